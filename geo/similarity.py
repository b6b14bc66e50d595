"""Is it the same ground? LR chips against what the satellite would make of their HR chips.

All chips of a block are measured at once; windows within a chip tell a chip that has changed in
part from one that is a little unlike everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from geo.sensor import degrade

_Array = npt.NDArray[Any]
_Values = npt.NDArray[np.float64]
_Mask = npt.NDArray[np.bool_]

# Windows of about this many LR pixels: enough to tell texture from noise, small beside a chip.
_WINDOW_PX = 8
# A window with fewer good pixels than this share says nothing.
_LEAST_GOOD = 0.25
# Even on flat ground a level off by less than this many times the scene's tolerance is no evidence
# of change: `c` is three times its square, so there the similarity falls to one half.
_TOLERANCE_SIGMA = 3.0
# A window less alike than this has changed: half of its energy is difference.
_CHANGED = 0.5


@dataclass(frozen=True)
class Comparison:
    """What comparing chips says, one value for each.

    Parameters
    ----------
    similarity : array, [n]
        Mean over windows of the share of their energy that both images have in common: 1 for
        equal images, about 0 for other ground, down to -1 for other ground of another level.
    changed_fraction : array, [n]
        Share of good pixels in windows that have changed.
    content : array, [n]
        Slope of LR, in units of its noise: about 1 where there is nothing else.
    """

    similarity: _Values
    changed_fraction: _Values
    content: _Values


def see_chips(hr: _Array, aerial_valid: _Mask, scale: int) -> tuple[npt.NDArray[np.float32], _Mask]:
    """What the satellite would have seen of each chip.

    Parameters
    ----------
    hr : array, [n, C, H, W]
    aerial_valid : array of bool, [n, H, W]

    Returns
    -------
    seen : array, [n, C, h, w]
    good : array of bool, [n, h, w]
        Wholly made of good HR pixels.

    Notes
    -----
    Each chip by itself: what a chip is worth must not depend on which others were cut with it.
    """
    rows, cols = (_sensor_matrix(length, scale) for length in hr.shape[-2:])
    seen = rows @ hr.astype(np.float32, copy=False) @ cols.T  # [n, C, h, w]
    # Bad pixels are 0 and have blurred into their neighbours: take their share out again.
    for i in np.flatnonzero(~aerial_valid.all(axis=(1, 2))):
        weight = rows @ aerial_valid[i].astype(np.float32) @ cols.T
        seen[i] /= np.maximum(weight, 1e-3)
    return seen, shares(aerial_valid, scale) == 1


@lru_cache(maxsize=8)
def _sensor_matrix(length: int, scale: int) -> npt.NDArray[np.float32]:
    """What `degrade` does along one axis, as a matrix [length / scale, length].

    It treats both axes alike, so its answers to unit vectors are all there is to know; for images
    of a chip's size a product of matrices is several times faster.
    """
    units = np.eye(length, dtype=np.float32)[:, :, None].repeat(scale, axis=2)
    return np.ascontiguousarray(degrade(units, scale)[:, :, 0].T)


def shares(mask: _Mask, scale: int) -> npt.NDArray[np.float32]:
    """Share of each LR pixel that a mask holds: [n, H, W] to [n, h, w]."""
    height, width = mask.shape[1:]
    share = mask[:, ::scale, ::scale].astype(np.float32)
    # Most chips are good all over; only of the others is there anything to count.
    for i in np.flatnonzero(mask.any(axis=(1, 2)) & ~mask.all(axis=(1, 2))):
        cells = mask[i].reshape(height // scale, scale, width // scale, scale)
        share[i] = cells.mean(axis=(1, 3))
    return share


def compare_chips(
    lr: _Array,
    seen: _Array,
    good: _Mask,
    tolerance_dn: Sequence[float],
    noise_dn: Sequence[float] = (),
) -> Comparison:
    """Compare chips window by window.

    Parameters
    ----------
    lr, seen : array, [n, C, h, w]
        As the satellite saw it, and as it would have seen the HR chip.
    good : array of bool, [n, h, w]
    tolerance_dn : sequence of float
        How unlike good pixels of this scene may be, for each band (`ColourFit.tolerance_dn`).
    noise_dn : sequence of float, optional
        The satellite's noise for each band; the tolerance, where it is not known.

    Notes
    -----
    In a window, ``1 - (mse + dmean^2) / (var_lr + var_seen + dmean^2 + c)``, bands pooled. As the
    mean squared difference is both variances less twice the covariance plus the squared difference
    of means, this is ``(2 cov - dmean^2 + c) / (var_lr + var_seen + dmean^2 + c)``: the structural
    similarity of Wang et al. (IEEE TIP 13, 2004) with levels beside structure, for a field in
    another colour differs by nothing else. `c` comes from the scene's own tolerance, so still
    water, alike but for noise, is similar to itself, which a correlation would deny.
    """
    sigma = np.maximum(np.asarray(tolerance_dn, np.float64), 1e-6)[:, None, None]  # [C, 1, 1]
    noise = np.asarray(noise_dn or tolerance_dn, np.float64)[:, None, None]
    noise = np.where(noise > 0, noise, sigma)
    weight = good[:, None].astype(np.float64)  # [n, 1, h, w]
    a = np.where(good[:, None], lr / sigma, 0.0)  # [n, C, h, w], in units of the tolerance
    b = np.where(good[:, None], seen / sigma, 0.0)
    count = _window_sums(weight)  # [n, 1, y, x]
    many = np.maximum(count, 1.0)
    mean_a, mean_b = _window_sums(a) / many, _window_sums(b) / many
    variances = _window_sums(a * a) / many - mean_a**2 + _window_sums(b * b) / many - mean_b**2
    levels = (mean_a - mean_b) ** 2
    unlike = _window_sums((a - b) ** 2) / many + levels
    energy = variances + levels + 3 * _TOLERANCE_SIGMA**2
    alike = 1 - unlike.sum(axis=1) / energy.sum(axis=1)  # [n, y, x]
    share = np.where(count[:, 0] >= _LEAST_GOOD * _window_sizes(good.shape), count[:, 0], 0.0)
    total = np.maximum(share.sum(axis=(1, 2)), 1.0)
    return Comparison(
        similarity=(alike * share).sum(axis=(1, 2)) / total,
        changed_fraction=((alike < _CHANGED) * share).sum(axis=(1, 2)) / total,
        content=_content(a * (sigma / noise), good),
    )


def content_of(chips: _Array, good: _Mask, noise_dn: Sequence[float]) -> _Values:
    """Slope of chips without partners, in units of the noise; see `Comparison`.

    Parameters
    ----------
    chips : array, [n, C, h, w]
    good : array of bool, [n, h, w]
    noise_dn : sequence of float
        For each band.

    Returns
    -------
    array, [n]
    """
    noise = np.maximum(np.asarray(noise_dn, np.float64), 1e-6)[:, None, None]
    return _content(np.where(good[:, None], chips / noise, 0.0), good)


def _content(a: _Values, good: _Mask) -> _Values:
    """Root mean square of differences of neighbours over sqrt(2): the spread of white noise."""
    energy, count = np.zeros(len(a)), np.zeros(len(a))
    for axis in (1, 2):
        first = tuple(slice(None, -1) if k == axis else slice(None) for k in range(3))
        second = tuple(slice(1, None) if k == axis else slice(None) for k in range(3))
        both = good[first] & good[second]
        steps = a[:, :, first[1], first[2]] - a[:, :, second[1], second[2]]
        energy += (steps**2 * both[:, None]).sum(axis=(1, 2, 3)) / (2 * a.shape[1])
        count += both.sum(axis=(1, 2))
    return np.asarray(np.sqrt(energy / np.maximum(count, 1.0)))


def _edges(length: int) -> npt.NDArray[np.intp]:
    """Starts of equal windows along an axis."""
    count = max(1, round(length / _WINDOW_PX))
    return np.linspace(0, length, count, endpoint=False).round().astype(np.intp)


def _window_sums(values: _Values) -> _Values:
    """Sums over windows: [..., h, w] to [..., y, x]."""
    rows = np.add.reduceat(values, _edges(values.shape[-2]), axis=-2)
    return np.asarray(np.add.reduceat(rows, _edges(values.shape[-1]), axis=-1))


def _window_sizes(shape: tuple[int, ...]) -> _Values:
    """Pixels of each window, [y, x]."""
    return _window_sums(np.ones(shape[-2:]))
