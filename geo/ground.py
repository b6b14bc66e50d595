"""A piece of the satellite scene with what is bad taken out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox

from geo.catalog.scene import Mask
from geo.quality import screen_clouds
from geo.raster_io import Pixels, Source, read_window


@dataclass(frozen=True, kw_only=True)
class GroundWindow:
    """A piece of the satellite scene.

    Parameters
    ----------
    geobox : GeoBox
    pixels : Pixels
        Cloud, shadow and nodata are not valid.
    cloud_fraction : float
        Of the pixels that are not nodata, as classified.
    screened : array of bool [h, w] or None
        Pixels that are not valid for cloud or shadow (and their rim), and not for nodata.
    """

    geobox: GeoBox
    pixels: Pixels
    cloud_fraction: float = 0.0
    screened: npt.NDArray[np.bool_] | None = None


def read_ground(
    target: Source,
    target_geobox: GeoBox,
    rows: slice,
    cols: slice,
    masks: Sequence[Mask] = (),
) -> GroundWindow:
    """Read a window of the satellite scene; cloud, shadow and nodata are not valid."""
    geobox = target_geobox[rows, cols]
    pixels = read_window(target, rows, cols)
    classifications = [mask.href for mask in masks if mask.kind == "scl"]
    if not classifications:
        return GroundWindow(geobox=geobox, pixels=pixels)
    clear, cloudy = screen_clouds(classifications[0], geobox)
    seen = pixels.valid
    cloud_fraction = float(cloudy[seen].mean()) if seen.any() else 0.0
    return GroundWindow(
        geobox=geobox,
        pixels=Pixels(pixels.data, seen & clear),
        cloud_fraction=cloud_fraction,
        screened=seen & ~clear,
    )
