"""Upsamplers whose faults are known, and a region upsampled whole and in blocks, in memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from geo.tiling import Tiling, halo_window
from geo.upsampler import Upsampler


@dataclass(frozen=True)
class Crooked:
    """Two 3x3 convolutions with a ReLU, then pixel shuffle, added to repetition.

    Each direction has its own answer, off by up to a fifth of the largest value.
    """

    scale: int = 3
    bands: tuple[str, ...] | None = None
    extras: tuple[str, ...] = ()
    name: str = "crooked"
    seed: int = 5

    @property
    def halo(self) -> int:
        return 2

    def __call__(self, lr: np.ndarray, /) -> np.ndarray:
        rng = np.random.default_rng(self.seed)
        first, *others = (_random_kernel(rng) for _ in range(1 + self.scale**2))
        hidden = [np.maximum(ndimage.correlate(b.astype(float), first), 0) for b in lr]
        out = lr.repeat(self.scale, axis=1).repeat(self.scale, axis=2)
        for place, second in enumerate(others):
            y, x = divmod(place, self.scale)
            out[:, y :: self.scale, x :: self.scale] += [
                ndimage.correlate(band, second / 5) for band in hidden
            ]
        return out


def _random_kernel(rng: np.random.Generator) -> np.ndarray:
    kernel = rng.normal(0, 1, (3, 3))
    return kernel / np.abs(kernel).sum()


@dataclass(frozen=True)
class Broken:
    """Makes an image of another shape than it should."""

    scale: int = 2
    halo: int = 0
    bands: tuple[str, ...] | None = None
    extras: tuple[str, ...] = ()
    name: str = "broken"

    def __call__(self, lr: np.ndarray, /) -> np.ndarray:
        return np.zeros((1, lr.shape[1] * self.scale, lr.shape[2] * self.scale), np.float32)


def in_blocks(upsampler: Upsampler, region: np.ndarray, block_lr_px: int) -> np.ndarray:
    """A region [C, h, w] upsampled block by block, each with its halo."""
    height, width = region.shape[1:]
    planes = len(region) + len(upsampler.extras)
    out = np.full((planes, height * upsampler.scale, width * upsampler.scale), np.nan, np.float32)
    margin = upsampler.halo * upsampler.scale
    for block in Tiling(height, width, block_lr_px):
        window = halo_window(block, upsampler.halo, height, width)
        sr = upsampler(window.lay_out(region[:, window.rows, window.cols]))
        fine = block.scaled(upsampler.scale)
        rows, cols = fine.shape
        out[:, fine.rows, fine.cols] = sr[:, margin : margin + rows, margin : margin + cols]
    return out


def whole(upsampler: Upsampler, region: np.ndarray) -> np.ndarray:
    """A region upsampled in one piece."""
    return in_blocks(upsampler, region, max(region.shape[1:]))


def reach(upsampler: Upsampler, side: int = 41) -> int:
    """How far, in LR pixels, one pixel of a random image is felt in any plane."""
    rng = np.random.default_rng(3)
    lr = rng.uniform(0, 10_000, (2, side, side)).astype(np.float32)
    changed = lr.copy()
    middle = side // 2
    changed[:, middle, middle] += 5000
    differs = (upsampler(changed) != upsampler(lr)).any(axis=0)
    s = upsampler.scale
    touched = differs.reshape(side, s, side, s).any(axis=(1, 3))
    return int(np.abs(np.argwhere(touched) - middle).max())
