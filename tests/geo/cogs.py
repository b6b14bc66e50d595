"""Pixels written as a COG block by block."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.crs import CRS

from geo.cog import CogSink
from geo.raster_profile import RasterProfile
from geo.tiling import Tiling

UTM = CRS.from_epsg(32633).to_wkt()


def profile_of(pixels: np.ndarray, **changes: object) -> RasterProfile:
    bands, height, width = pixels.shape
    profile = RasterProfile(
        height=height,
        width=width,
        dtype=str(pixels.dtype),
        crs=UTM,
        transform=(2.5, 0, 500000.125, 0, -2.5, 4999999.875),
        nodata=None,
        masked=False,
        descriptions=("red", "green", "blue", None)[:bands],
        colours=("red", "green", "blue", "undefined")[:bands],
        scales=(1.0,) * bands,
        offsets=(0.0,) * bands,
    )
    return replace(profile, **changes)


def write(
    path: Path,
    pixels: np.ndarray,
    profile: RasterProfile,
    valid: np.ndarray | None = None,
    **options: Any,
) -> Path:
    sink, folder = begin(path, profile, **options)
    write_blocks(sink, folder, pixels, valid)
    return sink.finish(folder, path, {"SKYSCALE_MODEL": "test"})


def begin(
    path: Path, profile: RasterProfile, *, block_px: int = 1024, **options: Any
) -> tuple[CogSink, Path]:
    sink = CogSink(profile=profile, scale=1, block_lr_px=block_px, **options)
    folder = path.with_suffix(".run")
    sink.create(folder)
    return sink, folder


def write_blocks(sink: CogSink, folder: Path, pixels: np.ndarray, valid: np.ndarray | None) -> None:
    if valid is None:
        nodata = sink.profile.nodata
        holes = np.zeros(pixels.shape, bool) if nodata is None else pixels == nodata
        if nodata is not None and math.isnan(nodata):
            holes = np.isnan(pixels)
        valid = ~holes.any(axis=0)
    for block in Tiling(*pixels.shape[1:], sink.block_lr_px):
        good = valid[block.rows, block.cols]
        cut = pixels[:, block.rows, block.cols] if good.any() else None
        sink.write(folder, block, None if cut is None else strips(cut), good)


def strips(pixels: np.ndarray, rows: int = 100) -> Iterator[np.ndarray]:
    """Strips that share their memory, as an upsampler's may."""
    memory = np.empty_like(pixels[:, :rows])
    for top in range(0, pixels.shape[1], rows):
        strip = pixels[:, top : top + rows]
        memory[:, : strip.shape[1]] = strip
        yield memory[:, : strip.shape[1]]


def picture(dtype: str, bands: int = 3, height: int = 700, width: int = 1300) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    wave = 60 + 50 * np.sin(x / 17) * np.cos(y / 23)
    return np.stack([wave + 5 * band for band in range(bands)]).astype(dtype)


def read_levels(path: Path) -> list[tuple[np.ndarray, np.ndarray, dict[str, str]]]:
    """Pixels, mask and tags of the full size and of each overview."""
    with rasterio.open(path) as dataset:
        levels = [(dataset.read(), dataset.dataset_mask(), dataset.tags())]
        overviews = len(dataset.overviews(1))
    for level in range(overviews):
        with rasterio.open(path, overview_level=level) as dataset:
            levels.append((dataset.read(), dataset.dataset_mask(), dataset.tags()))
    return levels


def assert_same_picture(a: Path, b: Path) -> None:
    """Not by bytes: ISA-L now and then finds another match of the same length.

    That it was drawn in other blocks may be told.
    """
    for (pixels, mask, tags), (wanted, wanted_mask, wanted_tags) in zip(
        read_levels(a), read_levels(b), strict=True
    ):
        np.testing.assert_array_equal(pixels, wanted)
        np.testing.assert_array_equal(mask, wanted_mask)
        for told in (tags, wanted_tags):
            told.pop("SKYSCALE_BLOCK_LR_PX", None)
        assert tags == wanted_tags
