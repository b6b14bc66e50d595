"""Images sampled at any places with a kernel as wide as the reduction asks for: arrays only.

Positions count in pixels of the source: pixel 0 reaches from 0 to 1, its centre lies at 0.5.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

_Positions = npt.NDArray[np.float64]
_Planes = npt.NDArray[np.float32]
_Image = npt.NDArray[Any]  # of small integers or float32
_Mask = npt.NDArray[np.bool_]

# Samples for each target pixel that a curved way is looked up in: enough for the spline.
_DENSITY = 1.5
# Positions whose weights are one dense matrix: few enough that little of it is zero.
_BLOCK = 16
# Weights smaller than this are rounding, and see nothing.
_NOTHING = 1e-5


@dataclass(frozen=True)
class Kernel:
    """A symmetric kernel for interpolation, widened when an image is reduced."""

    weigh: Callable[[_Positions], _Positions]
    reach: float


def _keys(x: _Positions) -> _Positions:
    """Cubic convolution, a = -0.5: R. Keys, IEEE Trans. ASSP 29 (1981)."""
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x**2 + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.asarray(np.where(x < 1, near, np.where(x < 2, far, 0.0)))


def _triangle(x: _Positions) -> _Positions:
    return np.asarray(np.maximum(0.0, 1 - np.abs(x)))


KERNELS = {"cubic": Kernel(_keys, 2.0), "bilinear": Kernel(_triangle, 1.0)}


def sample_grid(
    data: _Image,
    valid: _Mask,
    rows: _Positions,
    cols: _Positions,
    ratio_yx: tuple[float, float],
    kernel: Kernel,
) -> tuple[_Planes, _Mask]:
    """Sample on a grid parallel to the source's, rows and columns one after the other.

    Parameters
    ----------
    data : array, [C, h, w]
        Finite everywhere.
    valid : array of bool, [h, w]
    rows, cols : array, [H], [W]
    ratio_yx : (float, float)
        Source pixels for each target pixel; below 1 nothing is widened.

    Returns
    -------
    data : array, [C, H, W]
    valid : array of bool, [H, W]
        False where the kernel saw anything bad or beyond the source.
    """
    by_row, inside_rows = _weigh(rows, data.shape[1], ratio_yx[0], kernel)
    by_col, inside_cols = _weigh(cols, data.shape[2], ratio_yx[1], kernel)
    out = np.empty((len(data), len(rows), len(cols)), np.float32)
    for plane, target in zip(data, out, strict=True):
        target[:] = by_col.apply(by_row.apply(plane.astype(np.float32, copy=False)).T).T
    good = np.outer(inside_rows, inside_cols)
    if not valid.all():
        bad = by_col.touching(by_row.touching((~valid).astype(np.float32)).T).T
        good &= bad < _NOTHING
    return out, np.asarray(good)


@dataclass(frozen=True)
class _Weights:
    """Positions as sums over source pixels, few positions at a time: each block a small matrix."""

    blocks: tuple[tuple[slice, _Planes], ...]  # source pixels, [positions, pixels]

    def apply(self, plane: _Planes) -> _Planes:
        """Sum along the first axis: [length, m] to [positions, m]."""
        return np.concatenate([weights @ plane[span] for span, weights in self.blocks])

    def touching(self, plane: _Planes) -> _Planes:
        """The same with weights of either sign counted as they are large."""
        return np.concatenate([np.abs(weights) @ plane[span] for span, weights in self.blocks])


def _weigh(
    positions: _Positions, length: int, ratio: float, kernel: Kernel
) -> tuple[_Weights, _Mask]:
    """Weights of source pixels for each position, and where none of them lies outside."""
    wide = max(1.0, ratio)
    first = np.ceil(positions - kernel.reach * wide - 0.5).astype(np.int64)
    taps = first[:, None] + np.arange(int(np.ceil(2 * kernel.reach * wide)) + 1)  # [n, taps]
    weights = kernel.weigh((taps + 0.5 - positions[:, None]) / wide)
    weights /= weights.sum(axis=1, keepdims=True)
    outside = (taps < 0) | (taps >= length)
    inside = ~(outside & (np.abs(weights) > _NOTHING)).any(axis=1)
    weights[outside] = 0
    taps = np.clip(taps, 0, length - 1)
    blocks = []
    for start in range(0, len(positions), _BLOCK):
        tap, weight = taps[start : start + _BLOCK], weights[start : start + _BLOCK]
        low, high = int(tap.min()), int(tap.max()) + 1
        matrix = np.zeros((len(tap), high - low), np.float32)
        np.add.at(matrix, (np.arange(len(tap))[:, None], tap - low), weight)
        blocks.append((slice(low, high), matrix))
    return _Weights(tuple(blocks)), np.asarray(inside)


def sample_anywhere(
    data: _Image,
    valid: _Mask,
    rows: _Positions,
    cols: _Positions,
    ratio_yx: tuple[float, float],
    kernel: Kernel,
) -> tuple[_Planes, _Mask]:
    """Sample at places that lie on no grid: turned, bent, displaced.

    Parameters
    ----------
    rows, cols : array, [H, W]
        Not finite where the source does not reach.

    Notes
    -----
    The source is first reduced on its own grid by the kernel, a little denser than the target, so
    that nothing aliases; a cubic spline then finds the values between. Other parameters and
    returns as of `sample_grid`.
    """
    steps = [max(1.0, ratio / _DENSITY) for ratio in ratio_yx]
    if max(ratio_yx) > 1:
        own = [
            step * (np.arange(max(1, int(length / step)), dtype=np.float64) + 0.5)
            for step, length in zip(steps, valid.shape, strict=True)
        ]
        # Beyond the source its edge goes on: what leans on that is not valid anyway.
        margin = int(np.ceil(kernel.reach * max(1.0, *ratio_yx)))
        wider = np.pad(data, ((0, 0), (margin, margin), (margin, margin)), mode="edge")
        reduced, good = sample_grid(
            wider, np.pad(valid, margin), own[0] + margin, own[1] + margin, ratio_yx, kernel
        )
    else:
        reduced, good = data, valid
    at = np.stack([rows / steps[0] - 0.5, cols / steps[1] - 0.5])
    at[~np.isfinite(at)] = -1e6
    out = np.empty((len(data), *rows.shape), np.float32)
    for plane, target in zip(reduced, out, strict=True):
        spline = ndimage.spline_filter(plane, order=3, output=np.float32, mode="mirror")
        ndimage.map_coordinates(spline, at, target, order=3, mode="mirror", prefilter=False)
    # The spline reaches one pixel further than its four neighbours.
    if good.all():
        last = np.array(good.shape)[:, None, None] - 2
        return out, np.asarray(((at > 1 - _NOTHING) & (at < last + _NOTHING)).all(axis=0))
    bad = ndimage.binary_dilation(np.pad(~good, 1, constant_values=True), np.ones((3, 3), bool))
    seen = ndimage.map_coordinates(bad.astype(np.float32), at + 1, order=1, cval=1.0)
    return out, np.asarray(seen < _NOTHING)


def pick_nearest(
    data: _Image, valid: _Mask, rows: _Positions, cols: _Positions
) -> tuple[_Planes, _Mask]:
    """Pixels that places [H, W] lie in."""
    at = [np.floor(np.where(np.isfinite(p), p, -1)).astype(np.int64) for p in (rows, cols)]
    inside = np.ones(rows.shape, dtype=np.bool_)
    for index, length in zip(at, valid.shape, strict=True):
        inside &= (index >= 0) & (index < length)
    row, col = (np.where(inside, index, 0) for index in at)
    return data[:, row, col].astype(np.float32), inside & valid[row, col]


def fill_nearest(data: _Image, valid: _Mask) -> _Image:
    """Bad pixels take the value of the nearest good one, so that nothing rings beside them."""
    if valid.all():
        return data
    if not valid.any():
        return np.zeros_like(data)
    row, col = ndimage.distance_transform_edt(~valid, return_distances=False, return_indices=True)
    return np.asarray(data[:, row, col])
