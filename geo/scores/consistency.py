"""Consistency with the satellite's measurement: the one score that needs no reference."""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage

from geo.scores.pixels import Image, Mask
from geo.sensor import blur_sigma_px, degrade

_BLUR_REACH_SIGMAS = 3.5  # where `degrade` truncates its Gaussian


def lr_consistency(sr: Image, lr: Image, valid: Mask, scale: int, data_range: float) -> float:
    """RMSE between the LR input and `sr` seen by the satellite's sensor, in units of `data_range`.

    Needs no reference: what the sensor would make of the output has to be what it measured.
    LR pixels count for which all that the sensor's blur reaches is valid and inside the tile.
    """
    height, width = lr.shape[1:]
    whole = valid.reshape(height, scale, width, scale).all(axis=(1, 3))
    reach = math.ceil(_BLUR_REACH_SIGMAS * blur_sigma_px(scale) / scale)
    inside = ndimage.binary_erosion(whole, np.ones((2 * reach + 1,) * 2), border_value=0)
    if not inside.any():
        return math.nan
    seen = degrade(np.asarray(sr, np.float32), scale)
    difference = (seen - lr)[:, inside]
    return float(np.sqrt(np.square(difference).mean()) / data_range)
