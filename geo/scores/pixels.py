"""Errors pixel by pixel: PSNR, alone and pooled from sums."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.float64]  # [C, H, W]
Mask = npt.NDArray[np.bool_]  # [H, W]


def squared_error(sr: Image, hr: Image, valid: Mask) -> tuple[float, int]:
    """Sum of squared differences over valid pixels of all bands, and how many values that is."""
    sums, count = band_errors(sr, hr, valid)
    return math.fsum(sums), count * len(sr)


def band_errors(sr: Image, hr: Image, valid: Mask) -> tuple[npt.NDArray[np.float64], int]:
    """Sum of squared differences over valid pixels for each band, and how many pixels that is."""
    difference = without_holes(sr - hr, valid).reshape(len(sr), -1)
    return np.einsum("ij,ij->i", difference, difference), int(np.count_nonzero(valid))


def without_holes(image: Image, valid: Mask) -> Image:
    """The image with 0 where it is not valid, whatever stood there; itself where all is valid."""
    return image if valid.all() else np.where(valid, image, 0.0)


def psnr_of(sum_squared: float, count: int, data_range: float) -> float:
    """``20 log10(MAX) - 10 log10(MSE)`` in dB; infinite for identical images, NaN without pixels.

    Pooled over many tiles it is this formula on the summed errors and counts.
    """
    if count == 0:
        return math.nan
    mse = sum_squared / count
    if mse == 0:
        return math.inf
    return 20 * math.log10(data_range) - 10 * math.log10(mse)


def psnr_db(sr: Image, hr: Image, valid: Mask, data_range: float) -> float:
    """Peak signal-to-noise ratio over valid pixels of all bands."""
    return psnr_of(*squared_error(sr, hr, valid), data_range)


def gain_db(mine: float, plain: float) -> float:
    """Difference in dB; two identical images gain nothing over each other."""
    return 0.0 if mine == plain == math.inf else mine - plain


def rectangle(counted: Mask) -> tuple[slice, slice] | None:
    """The smallest rectangle that holds all counted pixels; None without any."""
    rows, cells = (np.flatnonzero(counted.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return None
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(cells[0]), int(cells[-1]) + 1)


def as_image(image: npt.ArrayLike) -> Any:
    """DN as float64, [C, H, W]."""
    return np.asarray(image, np.float64)
