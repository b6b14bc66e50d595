"""Overviews of a raster: its pixels at half the size, again and again, down to one tile.

The rule is that of GDAL's average overviews: the mean of the valid ones of 2 x 2 pixels, each level
from the one before. So a block that begins at an even pixel has its overview to itself.

Where a side is odd the rules part: here cells stay 2 x 2 from the upper left corner on, and the
last one has what is left; GDAL stretches the level over the raster. Software that takes ours for
stretched is wrong by less than one pixel of the level, most at the lower right.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from geo.nodata import step_off

_STRIP_BYTES = 1 << 18
# Sums of four values fit in these.
_WIDER = {"uint8": "uint16", "int8": "int16", "uint16": "uint32", "int16": "int32"}


def overview_shapes(height: int, width: int, tile_px: int) -> list[tuple[int, int]]:
    """Shapes of the overviews of a raster; the last one is at most one tile high or wide."""
    shapes = []
    factor = 1
    while min(height, width) // factor > tile_px:
        factor *= 2
        shapes.append((-(-height // factor), -(-width // factor)))
    return shapes


def halve(
    pixels: npt.NDArray[Any], valid: npt.NDArray[np.bool_] | None, nodata: float | None = None
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_] | None]:
    """Take the mean of each 2 x 2 pixels.

    Parameters
    ----------
    pixels : array, [C, H, W]
        uint8, int8, uint16, int16 or float32.
    valid : array of bool, [H, W], or None
        Pixels that count; None for all.
    nodata : float or None
        Value of output pixels without a valid one (0 for None); means step off it.

    Returns
    -------
    pixels : array, [C, ceil(H/2), ceil(W/2)]
        Halves are rounded away from 0.
    valid : array of bool, [ceil(H/2), ceil(W/2)], or None
        Whether any of the pixels was valid; None for None.
    """
    height, width = -(-pixels.shape[1] // 2), -(-pixels.shape[2] // 2)
    if valid is not None and valid.all():
        halved, _ = halve(pixels, None, nodata)
        return halved, np.ones((height, width), np.bool_)
    halved = np.empty((pixels.shape[0], height, width), pixels.dtype)
    good = None if valid is None else np.empty((height, width), np.bool_)
    # A few rows at a time stay in the caches.
    step = max(1, _STRIP_BYTES // max(1, pixels[:, :2].nbytes))
    for top in range(0, height, step):
        rows, finer = slice(top, top + step), slice(2 * top, 2 * (top + step))
        if valid is None or good is None:
            halved[:, rows] = _quarter(_sums(_even(pixels[:, finer])), pixels.dtype)
            step_off(halved[:, rows], nodata)
        else:
            halved[:, rows], good[rows] = _halve_valid(pixels[:, finer], valid[finer], nodata)
    return halved, good


def _halve_valid(
    pixels: npt.NDArray[Any], valid: npt.NDArray[np.bool_], nodata: float | None
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    pixels, valid = _even(pixels), _even(valid)
    # Twice as fast as `where`, but NaN stays NaN.
    kept = np.where(valid, pixels, 0) if pixels.dtype.kind == "f" else pixels * valid
    sums = _sums(kept)
    count = _sums(valid[None].view(np.uint8))[0]
    halved = _quarter(sums, pixels.dtype)
    partly = (count > 0) & (count < 4)
    halved[:, partly] = _divide(sums[:, partly], count[partly], pixels.dtype)
    step_off(halved, nodata)
    np.copyto(halved, 0 if nodata is None else nodata, where=count == 0, casting="unsafe")
    return halved, count > 0


def _even(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """An array of even sides: an odd edge is repeated, as the mean of a value and itself."""
    odd = [(0, size % 2) for size in array.shape[-2:]]
    if not any(extra for _, extra in odd):
        return array
    return np.pad(array, [(0, 0)] * (array.ndim - 2) + odd, mode="edge")


def _sums(pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Sums of each 2 x 2 pixels, [C, H/2, W/2], in a type that holds them."""
    if (wider := _WIDER.get(pixels.dtype.name)) is None:
        across = pixels[..., ::2] + pixels[..., 1::2]
    else:
        # Neighbours as halves of one integer, so that memory is passed over in order.
        pairs = np.ascontiguousarray(pixels).view(wider)
        bits = 8 * pixels.dtype.itemsize
        across = pairs >> bits
        pairs = pairs << bits
        pairs >>= bits
        across += pairs
    sums: npt.NDArray[Any] = across[:, ::2] + across[:, 1::2]
    return sums


def _quarter(sums: npt.NDArray[Any], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    if dtype.kind == "f":
        return np.asarray(sums * dtype.type(0.25))
    rounded = sums + 2
    if dtype.kind == "i":
        rounded += sums >> (8 * sums.dtype.itemsize - 1)  # -1 below 0
    rounded >>= 2
    return rounded.astype(dtype)


def _divide(
    sums: npt.NDArray[Any], count: npt.NDArray[Any], dtype: np.dtype[Any]
) -> npt.NDArray[Any]:
    mean = sums / count
    if dtype.kind != "f":
        mean = np.trunc(mean + np.copysign(0.5, mean))
    return np.asarray(mean.astype(dtype))
