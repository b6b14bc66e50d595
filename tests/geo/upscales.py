"""Rasters upscaled into files, in blocks of any size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from scipy import ndimage

from geo.upscale import (
    Upsampler,
    UpscaleConfig,
    UpscalePlan,
    begin,
    finish,
    plan_upscale,
    run_block,
)
from tests.geo import rasters
from tests.geo.upsamplers import Crooked

SCALE = 4
TILE = 16  # the smallest; blocks are multiples of four LR pixels then
NETWORK = Crooked(scale=SCALE)


def write_lr(path: Path, data: np.ndarray, **options: Any) -> str:
    """Write [C, h, w] with pixels of 10 m."""
    return rasters.write(path, data, rasters.grid(data.shape[1:]), **options)


def random_raster(seed: int, dtype: str, shape: tuple[int, int, int], holes: float) -> np.ndarray:
    """Values with blobs of zeros."""
    rng = np.random.default_rng(seed)
    data = rng.integers(1, 120, shape).astype(dtype)
    blobs = ndimage.uniform_filter(rng.random(shape[1:]), 3)
    data[:, blobs < np.quantile(blobs, holes)] = 0
    return data


def run(plan: UpscalePlan, upsampler: Upsampler, tags: dict[str, str] | None = None) -> Path:
    """Begin, run all blocks and finish."""
    begin(plan)
    for block in plan.blocks:
        run_block(plan, block, upsampler)
    return finish(plan, tags)


def upscale(
    source: str,
    output: Path,
    upsampler: Upsampler,
    block_lr_px: int = 256,
    dtype: str | None = None,
) -> Path:
    """A file in blocks."""
    config = UpscaleConfig(block_lr_px=block_lr_px, dtype=dtype, tile_px=TILE)
    return run(plan_upscale(source, output, upsampler, config), upsampler)


def read_all(path: Path | str) -> tuple[np.ndarray, np.ndarray]:
    """Pixels and their validity."""
    with rasterio.open(path) as dataset:
        return dataset.read(), dataset.dataset_mask() > 0
