"""Made tiles for scores: ground, what the satellite sees of it, and a flawed image of it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from geo.sensor import degrade

RANGE = 10000.0
SCALE = 4


class Tile(NamedTuple):
    """DN, as the scores take them."""

    sr: np.ndarray  # [4, 96, 96]
    hr: np.ndarray
    lr: np.ndarray  # [4, 24, 24]
    valid: np.ndarray  # [96, 96]


def made_tile(seed: int, *, holes: bool = False, whole_dn: bool = False) -> Tile:
    """Ground that came out moved, darker, brighter by a constant and noisy."""
    random = np.random.default_rng(seed)
    rough = ndimage.gaussian_filter(random.normal(size=(4, 96, 96)), (0, 1.5, 1.5))
    hr = (2000 + 800 * rough / rough.std()).clip(1)
    sr = 0.9 * np.roll(hr, (1, -2), axis=(1, 2)) + random.normal(150, 90, hr.shape)
    valid = np.ones((96, 96), bool)
    if holes:
        valid[30:41, 50:70] = False
        valid[random.random(valid.shape) < 0.002] = False
    lr = degrade(hr.astype(np.float32), SCALE)
    return Tile(*(np.round(a) if whole_dn else a for a in (sr, hr, lr)), valid)
