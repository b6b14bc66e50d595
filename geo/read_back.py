"""Blocks of an output that is there already, read back as they were written."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.errors import RasterioError
from rasterio.windows import Window

from geo.tiling import Block

_Mask = npt.NDArray[np.bool_]


class ReadBackError(Exception):
    """An output cannot be read where it is wanted."""


class ReadBack(NamedTuple):
    """A block as `geo.region_sink.RegionSink.write` takes it.

    Parameters
    ----------
    strips : iterator of array, [C, rows, W], or None
        On the HR grid; None where all is hole. They may end in a `ReadBackError`.
    valid : array of bool, [h, w]
        On the LR grid.
    """

    strips: Iterator[npt.NDArray[Any]] | None
    valid: _Mask


def read_back_cog(path: Path, block: Block, scale: int, strip_px: int) -> ReadBack:
    """Read a block of a GeoTIFF, so many rows at a time.

    Parameters
    ----------
    path : Path
    block : Block
        On the LR grid.
    scale : int
        HR pixels in an LR pixel, along each axis.
    strip_px : int

    Raises
    ------
    ReadBackError
    """
    hr = block.scaled(scale)
    windows = [
        Window(hr.cols.start, top, hr.shape[1], min(strip_px, hr.rows.stop - top))
        for top in range(hr.rows.start, hr.rows.stop, strip_px)
    ]
    try:
        with rasterio.open(path) as dataset:
            masks = [dataset.read_masks(1, window=window) > 0 for window in windows]
    except (RasterioError, OSError) as error:
        raise ReadBackError(f"{path}: {error}") from error
    # All pixels of an LR pixel are valid, or none.
    valid = np.concatenate(masks)[::scale, ::scale]
    return ReadBack(_cog_strips(path, windows) if valid.any() else None, valid)


def _cog_strips(path: Path, windows: list[Window]) -> Iterator[npt.NDArray[Any]]:
    for window in windows:
        try:
            with rasterio.open(path) as dataset:
                strip = dataset.read(window=window)
        except (RasterioError, OSError) as error:
            raise ReadBackError(f"{path}: {error}") from error
        yield strip


def valid_by_nodata(pixels: npt.NDArray[Any], nodata: float | None) -> _Mask:
    """Which pixels [C, h, w] are none of the holes that a nodata value tells, [h, w].

    A pixel is a hole in all bands or in none.
    """
    if nodata is None:
        return np.ones(pixels.shape[1:], np.bool_)
    return np.asarray(~np.isnan(pixels[0]) if math.isnan(nodata) else pixels[0] != nodata)
