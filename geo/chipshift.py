"""Whether each chip by itself lies where it should: the last word on a pair's registration.

A scene's shift may be right and a chip still off, over a bridge, a quarry, a mosaic joint that no
window saw. Likeness does not tell: chips a whole LR pixel aside still look alike.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import fft

from geo.coregister import measure_window

_Values = npt.NDArray[np.float64]
_Mask = npt.NDArray[np.bool_]

# Whitened phase correlation of all chips at once finds those worth a closer look.
_CUTOFF = 0.25  # cycles a pixel
_SUSPECT_PX = 0.35
# A closer look is believed when it is this sure of itself, as windows of scenes are.
_SURE = 0.9


def measure_chips(lr: npt.NDArray[Any], seen: npt.NDArray[np.float32], good: _Mask) -> _Values:
    """How far each LR chip lies from its HR chip.

    Parameters
    ----------
    lr : array, [n, C, h, w]
    seen : array, [n, C, h, w]
        What the satellite would have seen of the HR chips.
    good : array of bool, [n, h, w]
        Good in both.

    Returns
    -------
    array, [n]
        LR pixels; NaN where a chip shows too little to tell.
    """
    shifts = _glance(lr, seen, good)
    for i in np.flatnonzero(~(shifts <= _SUSPECT_PX)):
        found = measure_window(seen[i], lr[i].astype(np.float32), good[i])
        sure = found.reliability >= _SURE
        shifts[i] = np.hypot(found.dy_px, found.dx_px) if sure else np.nan
    return shifts


def _glance(lr: npt.NDArray[Any], seen: npt.NDArray[np.float32], good: _Mask) -> _Values:
    """A rough shift of every chip, by phase correlation to the nearest tenth or so."""
    height, width = good.shape[1:]
    taper = np.outer(*(np.hanning(n + 2)[1:-1] for n in (height, width))).astype(np.float32)
    total = None
    for a, b in zip(seen.swapaxes(0, 1), lr.swapaxes(0, 1), strict=True):  # band by band
        cross = fft.rfft2(_flatten(b, good, taper)) * np.conj(fft.rfft2(_flatten(a, good, taper)))
        white = cross / (
            np.abs(cross) + 1e-6 * np.abs(cross).max(axis=(1, 2), keepdims=True) + 1e-30
        )
        total = white if total is None else total + white
    fy, fx = fft.fftfreq(height), fft.rfftfreq(width)
    low_pass = np.exp(-(fy[:, None] ** 2 + fx[None, :] ** 2) / _CUTOFF**2 / 2)
    surface = fft.irfft2(total * low_pass, (height, width))  # [n, h, w]
    flat = surface.reshape(len(surface), -1).argmax(axis=1)
    row, col = np.divmod(flat, width)
    each = np.arange(len(surface))
    dy = _signed(row, height) + _vertex(
        *(surface[each, (row + k) % height, col] for k in (-1, 0, 1))
    )
    dx = _signed(col, width) + _vertex(*(surface[each, row, (col + k) % width] for k in (-1, 0, 1)))
    return np.asarray(np.hypot(dy, dx))


def _flatten(
    plane: npt.NDArray[Any], good: _Mask, taper: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Deviations from the mean of good pixels, nothing elsewhere, tapered: [n, h, w]."""
    weight = good.sum(axis=(1, 2), keepdims=True)
    values = np.where(good, plane, 0).astype(np.float32)
    mean = values.sum(axis=(1, 2), keepdims=True) / np.maximum(weight, 1)
    return np.asarray(np.where(good, values - mean, 0) * taper, np.float32)


def _signed(index: npt.NDArray[np.int_], length: int) -> npt.NDArray[np.int_]:
    return np.where(index > length // 2, index - length, index)


def _vertex(left: _Values, middle: _Values, right: _Values) -> _Values:
    """Offset of a parabola's top from the middle of three samples."""
    curvature = left - 2 * middle + right
    safe = np.where(curvature < 0, curvature, -1.0)
    return np.asarray(np.where(curvature < 0, 0.5 * (left - right) / safe, 0.0))
