"""Values that must not be taken for nodata."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt


def step_off(pixels: npt.NDArray[Any], nodata: float | None) -> None:
    """Move values of valid pixels that would read as nodata to the next value, in place.

    Parameters
    ----------
    pixels : array
    nodata : float or None
        A value of the array's dtype; None and NaN leave the pixels as they are.
    """
    if nodata is None or math.isnan(nodata):
        return
    if pixels.dtype.kind == "f":
        if math.isinf(nodata):
            return
        # GDAL takes floats within 4 epsilon for nodata, so one step would not be enough.
        limits = np.finfo(pixels.dtype)
        gap = 4 * float(limits.eps) * abs(nodata)
        beside = nodata - math.copysign(1.5 * gap or float(limits.tiny), nodata)
        pixels[np.abs(pixels - pixels.dtype.type(nodata)) <= gap] = beside
    else:
        largest = np.iinfo(pixels.dtype).max
        pixels[pixels == int(nodata)] = int(nodata) + (1 if nodata < largest else -1)
