"""Whether two images show the same things at the same places, whatever their colours."""

from __future__ import annotations

import math

import numpy as np

from geo.coregister import measure_window
from geo.scores.pixels import Image, Mask


def edge_likeness(one: Image, other: Image, valid: Mask) -> float:
    """Correlation of the strengths of edges, mean over bands; NaN where there are none.

    Parameters
    ----------
    one, other : array, [C, H, W]
    valid : array of bool, [H, W]
        Good in both.
    """
    if not valid.any():
        return math.nan
    found = []
    for a, b in zip(one, other, strict=True):
        x, y = (np.hypot(*np.gradient(np.asarray(band, np.float64)))[valid] for band in (a, b))
        x, y = x - x.mean(), y - y.mean()
        size = math.sqrt(float((x * x).sum() * (y * y).sum()))
        if size > 0:
            found.append(float((x * y).sum()) / size)
    return float(np.mean(found)) if found else math.nan


def shift_px(one: Image, other: Image, valid: Mask) -> float:
    """How far one lies from the other, in pixels; NaN where nothing can be compared."""
    shift = measure_window(np.asarray(other, np.float32), np.asarray(one, np.float32), valid)
    return math.hypot(shift.dy_px, shift.dx_px) if shift.reliability > 0 else math.nan
