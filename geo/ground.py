"""A piece of the satellite scene with what is bad taken out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox
from scipy import ndimage

from geo.brightness import BrightnessScreen, learn_brightness
from geo.catalog.scene import Mask
from geo.quality import RIM_PX, find_empty, find_saturated, screen_masks
from geo.raster_io import BandRef, Pixels, Source, read_window, source_refs

_Mask = npt.NDArray[np.bool_]

# A scene without a mask is sampled in this many windows along each axis, of this size, to learn
# how bright its ground is: small enough for a remote file, spread enough for a scene half clouded.
_SAMPLES = 5
_SAMPLE_PX = 64


@dataclass(frozen=True, kw_only=True)
class GroundWindow:
    """A piece of the satellite scene.

    Parameters
    ----------
    geobox : GeoBox
    pixels : Pixels
        Cloud, shadow, saturation and nodata are not valid.
    cloud_fraction : float
        Of the pixels that are not nodata, as a mask or the brightness screen finds it.
    screened : array of bool [h, w] or None
        Pixels that are not valid for cloud or shadow (and their rim), and not for nodata.
    saturated : array of bool [h, w] or None
        Pixels that are not valid for saturation, and not for nodata.
    """

    geobox: GeoBox
    pixels: Pixels
    cloud_fraction: float = 0.0
    screened: _Mask | None = None
    saturated: _Mask | None = None


def read_ground(
    target: Source,
    target_geobox: GeoBox,
    rows: slice,
    cols: slice,
    masks: Sequence[Mask] = (),
) -> GroundWindow:
    """Read a window of the satellite scene; cloud, shadow, saturation and nodata are not valid.

    Parameters
    ----------
    target : str or sequence of BandRef
    target_geobox : GeoBox
        The whole grid of the scene.
    rows, cols : slice
        Inside the scene.
    masks : sequence of Mask
        All of them count. Where none tells clouds, thick ones are found by their brightness.
    """
    pixels = read_window(target, rows, cols)
    return screen_ground(pixels, target, target_geobox, rows, cols, masks)


def screen_ground(
    pixels: Pixels,
    target: Source,
    target_geobox: GeoBox,
    rows: slice,
    cols: slice,
    masks: Sequence[Mask] = (),
) -> GroundWindow:
    """The same of pixels that are read already, no mask taken from them; see `read_ground`."""
    geobox = target_geobox[rows, cols]
    screen = screen_masks(masks, geobox)
    seen = pixels.valid & screen.known & ~find_empty(pixels.data, pixels.valid)
    cloudy, clear = screen.cloudy, screen.clear
    if not any(mask.kind in ("scl", "cloud") for mask in masks):
        learnt = _learn(source_refs(target), target_geobox.shape.yx, _stamp(target))
        cloudy = learnt.find_clouds(pixels.data, seen)
        clear = ~ndimage.binary_dilation(cloudy, iterations=RIM_PX) if cloudy.any() else ~cloudy
    saturated = find_saturated(pixels.data, seen)
    return GroundWindow(
        geobox=geobox,
        pixels=Pixels(pixels.data, seen & clear & ~saturated),
        cloud_fraction=float(cloudy[seen].mean()) if seen.any() else 0.0,
        screened=seen & ~clear,
        saturated=saturated,
    )


@lru_cache(maxsize=64)  # every block of a scene asks, and the answer is one number
def _learn(
    refs: tuple[BandRef, ...], shape_yx: tuple[int, int], stamp: tuple[int, ...]
) -> BrightnessScreen:
    """How bright the ground of a scene is; `stamp` tells one state of its files from another."""
    size = [min(_SAMPLE_PX, n) for n in shape_yx]
    starts = [
        sorted({int(s) for s in np.linspace(0, length - window, _SAMPLES).round()})
        for length, window in zip(shape_yx, size, strict=True)
    ]
    samples = []
    for y in starts[0]:
        for x in starts[1]:
            found = read_window(refs, slice(y, y + size[0]), slice(x, x + size[1]))
            samples.append((found.data, found.valid & ~find_empty(found.data, found.valid)))
    return learn_brightness(samples)


def _stamp(target: Source) -> tuple[int, ...]:
    """When local files were written; nothing for remote ones."""
    hrefs = [target] if isinstance(target, str) else dict.fromkeys(ref.href for ref in target)
    paths = [Path(href) for href in hrefs if "://" not in href]
    return tuple(path.stat().st_mtime_ns for path in paths if path.is_file())
