"""Shares and means of answers that are not independent: of raters, and of places.

Who is easily fooled is so in all trials, and an image that fools one fools others. An interval that
took answers for independent would be too short.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A share or a mean, with its interval.

    Parameters
    ----------
    value : float
    low, high : float or None
        Ends of the interval; None where fewer than two raters or two places answered.
    answers, raters, places : int
        That it rests on.
    """

    value: float
    low: float | None
    high: float | None
    answers: int
    raters: int
    places: int


def estimate_share(
    values: Sequence[bool], raters: Sequence[int], places: Sequence[str], level: float = 0.95
) -> Estimate | None:
    """A share with its interval; None of no answers.

    Parameters
    ----------
    values : sequence of bool
    raters, places : sequence
        Of each answer.
    level : float
        Coverage that is aimed at.

    Notes
    -----
    The variance is that of two-way clusters (Cameron, Gelbach and Miller, "Robust inference with
    multiway clustering", 2011). It gives the number of independent answers that would tell as much,
    lessened for few clusters (Korn and Graubard, 1998), for the score interval of Wilson, 1927:
    it stays within 0 and 1 and holds where nearly all, or nearly none, were fooled.
    """
    if not len(values):
        return None
    y, by = np.asarray(values, np.float64), _Clusters.of(raters, places)
    share = float(y.mean())
    known = _known(share, y, by)
    if by.freedom < 1:
        return Estimate(low=None, high=None, **known)
    variance = by.variance(y)
    plain = share * (1 - share)
    count = min(float(y.size), plain / variance) if variance > 0 and plain > 0 else float(y.size)
    normal, student = (
        float(quantile)
        for quantile in (stats.norm.ppf((1 + level) / 2), stats.t.ppf((1 + level) / 2, by.freedom))
    )
    count *= (normal / student) ** 2
    square = normal**2 / count
    middle = (share + square / 2) / (1 + square)
    half = math.sqrt(plain / count * normal**2 + square**2 / 4) / (1 + square)
    return Estimate(low=max(0.0, middle - half), high=min(1.0, middle + half), **known)


def estimate_mean(
    values: Sequence[float], raters: Sequence[int], places: Sequence[str], level: float = 0.95
) -> Estimate | None:
    """A mean with its interval, of the same variance; None of no answers."""
    if not len(values):
        return None
    y, by = np.asarray(values, np.float64), _Clusters.of(raters, places)
    mean = float(y.mean())
    known = _known(mean, y, by)
    if by.freedom < 1:
        return Estimate(low=None, high=None, **known)
    half = float(stats.t.ppf((1 + level) / 2, by.freedom)) * math.sqrt(by.variance(y))
    return Estimate(low=mean - half, high=mean + half, **known)


def _known(value: float, y: _Floats, by: _Clusters) -> dict[str, Any]:
    sizes = [int(codes.max()) + 1 for codes in (by.raters, by.places)]
    return {"value": value, "answers": y.size, "raters": sizes[0], "places": sizes[1]}


@dataclass(frozen=True)
class _Clusters:
    """Which rater and which place each answer is of, as numbers from 0."""

    raters: npt.NDArray[np.intp]
    places: npt.NDArray[np.intp]

    @classmethod
    def of(cls, raters: Sequence[int], places: Sequence[str]) -> _Clusters:
        codes = (np.unique(np.asarray(of), return_inverse=True)[1] for of in (raters, places))
        return cls(*codes)

    @property
    def freedom(self) -> int:
        """Degrees of freedom: of the kind of cluster that there are fewer of."""
        return int(min(self.raters.max(), self.places.max()))

    def variance(self, y: _Floats) -> float:
        """Of the mean; never less than that of independent answers."""
        residual = y - y.mean()
        alone = float(np.square(residual).sum() / max(1, y.size - 1) / y.size)
        total = sum(_between(residual, codes) for codes in (self.raters, self.places)) - alone
        return max(total, alone)


def _between(residual: _Floats, codes: npt.NDArray[np.intp]) -> float:
    sums = np.bincount(codes, residual)
    return float(np.square(sums).sum() / residual.size**2 * sums.size / (sums.size - 1))
