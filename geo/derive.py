"""LR images derived of HR ones, where no satellite has seen the ground."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from geo.cut import to_dtype
from geo.pairstore.rows import PairData
from geo.sensor import degrade

Derive = Callable[[npt.NDArray[np.float32], Sequence[int]], npt.NDArray[np.float32]]
"""HR chips [n, C, H, W] in DN and a seed for each, to LR chips [n, C, h, w] in DN.

What comes of a chip hangs on the chip and its seed alone, not on those beside it.
"""

SENSOR = "sensor"

_Images = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class SensorModel:
    """A sensor that is known beforehand: blur by its MTF, mean over LR pixels, white noise.

    It has no colours of its own: HR chips are in those of the satellite side already, so that both
    images of a pair agree.

    Parameters
    ----------
    scale : int
    noise_dn : tuple of float
        Standard deviation for each band.
    """

    scale: int
    noise_dn: tuple[float, ...]

    def __call__(self, hr: _Images, seeds: Sequence[int]) -> _Images:
        """HR chips to LR chips; see `Derive`."""
        sigma = np.asarray(self.noise_dn, np.float32)[:, None, None]
        lr = [degrade(chip, self.scale) for chip in hr]
        noise = [
            sigma * np.random.default_rng(seed).standard_normal(image.shape, np.float32)
            for seed, image in zip(seeds, lr, strict=True)
        ]
        return np.stack(lr) + np.stack(noise)


def derive_pairs(chips: Sequence[PairData], derive: Derive, dtype: str) -> list[PairData]:
    """Give HR chips the LR images that are derived of them, the same ones each time."""
    if not chips:
        return []
    hr = np.stack([fill_holes(chip.hr.astype(np.float32), chip.valid) for chip in chips])
    lr = derive(hr, [seed_of(chip.row["identity"]) for chip in chips])
    return [replace(chip, lr=image) for chip, image in zip(chips, to_dtype(lr, dtype), strict=True)]


def seed_of(identity: str) -> int:
    """A seed that a chip keeps for ever."""
    return int(identity[:8], 16)


def fill_holes(hr: _Images, valid: npt.NDArray[np.bool_]) -> _Images:
    """An image [C, H, W] with the mean of its good pixels where it has none: no edge to be seen."""
    if valid.all() or not valid.any():
        return hr
    return np.where(valid, hr, hr[:, valid].mean(axis=1)[:, None, None]).astype(np.float32)
