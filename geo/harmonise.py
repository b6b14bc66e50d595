"""Colours of the aerial image brought into the satellite's radiometry, a whole scene at once.

Where a fit is poor it says so, by which value against which limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from scipy import optimize

from geo.colour_fit import ColourFit, ToneCurve

_Planes = npt.NDArray[np.float32]
_Values = npt.NDArray[np.float64]

Method = Literal["linear", "histogram"]
METHODS: tuple[Method, ...] = get_args(Method)

# Outliers beyond this many standard deviations (by the median deviation) are changed ground or
# missed cloud.
_TRIM_SIGMA = 2.5
_ROUNDS = 8
_LEAST_KEPT = 0.3
_NO_CONTRAST = 1e-9

# A tone curve follows quantiles of both images, from well inside of what a handful of odd pixels
# decides, averaged over as many equal steps of the aerial image's range.
_SHARES = np.linspace(0.005, 0.995, 199)
_KNOTS = 10
# How far a piece of the curve may be flatter or steeper than the line: keeps it invertible.
_STEEPEST = 4.0


@dataclass(frozen=True, kw_only=True)
class HarmoniseRules:
    """How colours are brought over, and when the fit is good enough.

    Parameters
    ----------
    method : {"linear", "histogram"}
        A gain and an offset for each band, or a monotone curve of a few straight pieces through
        matching quantiles, for cameras with a tone curve.
    min_agreement : float
        Least agreement (see `ColourFit`). Calibrated on real pairs: good ones stand above 0.65,
        also in a desert and under 30 % of cloud; winter against summer, fields eight years apart
        and other places below 0.6.
    max_swapped_gain : float
        Most mean correlation that another order of the bands may win: more, and they are swapped.
        On real pairs the right order wins by 0.024 or more.
    """

    method: Method = "linear"
    min_agreement: float = 0.6
    max_swapped_gain: float = 0.02

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"method is {self.method!r}; wanted one of {', '.join(METHODS)}")
        if not 0 <= self.min_agreement <= 1:
            raise ValueError(f"min_agreement is {self.min_agreement:g}; wanted 0 to 1")


def fit_colours(
    aerial: _Planes,
    satellite: _Planes,
    rules: HarmoniseRules | None = None,
    *,
    noise_dn: Sequence[float] | None = None,
) -> ColourFit:
    """Colours of each band from the spreads of stable pixels.

    Parameters
    ----------
    aerial, satellite : array, [C, n]
        Valid pixels of both at LR resolution, registered; the aerial ones as the satellite's
        sensor would see them (`geo.sensor.degrade`), or gains come out too low.
    rules : HarmoniseRules, optional
    noise_dn : sequence of float, optional
        The satellite's noise for each band (`geo.sensor.estimate_noise`), taken out of
        its spread.

    Notes
    -----
    Least squares would shrink the gain by the correlation and so flatten the contrast of the
    target, the wrong thing for super-resolution; the ratio of standard deviations (reduced major
    axis) keeps it. That ratio lays unlikeness on both images alike; noise known to be the
    satellite's alone would raise it and is subtracted, though never below least squares.
    """
    rules = rules or HarmoniseRules()
    noise = [0.0] * len(satellite) if noise_dn is None else noise_dn
    fits = [
        _fit_band(a.astype(np.float64), s.astype(np.float64), n, rules.method)
        for a, s, n in zip(aerial, satellite, noise, strict=True)
    ]
    agreement = float(np.mean([f.correlation * f.kept for f in fits]))
    refusal = _refuse(agreement, find_swapped(aerial, satellite)[1], rules)
    return ColourFit(
        gains=tuple(f.gain for f in fits),
        offsets=tuple(f.offset for f in fits),
        correlation=float(np.mean([f.correlation for f in fits])),
        residual_dn=tuple(f.residual for f in fits),
        curves=tuple(f.curve for f in fits if f.curve is not None),  # all of them or none
        r_squared=tuple(f.r_squared for f in fits),
        agreement=agreement,
        contrast_dn=tuple(f.contrast for f in fits),
        noise_dn=tuple(float(n) for n in noise),
        **refusal,
    )


def fit_collections(
    aerial: _Planes,
    satellite: _Planes,
    method: Method = "linear",
    *,
    noise_dn: Sequence[float] | None = None,
) -> ColourFit:
    """Colours of each band from the spreads of two piles of pixels that are of no common ground.

    Parameters
    ----------
    aerial : array, [C, n]
        Valid pixels at LR resolution, as the satellite's sensor would see them.
    satellite : array, [C, m]
        Valid pixels, of other ground.
    method : {"linear", "histogram"}
    noise_dn : sequence of float, optional
        The satellite's noise for each band, taken out of its spread.

    Returns
    -------
    ColourFit
        Its correlation and residuals are 0: nothing is known of them.

    Raises
    ------
    ValueError
        If either pile is empty.
    """
    if not (aerial.shape[1] and satellite.shape[1]):
        raise ValueError(f"{aerial.shape[1]} aerial and {satellite.shape[1]} satellite pixels")
    noise = [0.0] * len(satellite) if noise_dn is None else [float(n) for n in noise_dn]
    gains, offsets, curves, contrasts = [], [], [], []
    for a, s, n in zip(aerial.astype(np.float64), satellite.astype(np.float64), noise, strict=True):
        spread = float(s.std())
        quiet = float(np.sqrt(max(spread**2 - n**2, 0.0)))
        flat = min(float(a.std()), quiet) <= _NO_CONTRAST
        gain = 1.0 if flat else quiet / float(a.std())
        gains.append(gain)
        offsets.append(float(s.mean() - gain * a.mean()))
        contrasts.append(spread)
        if method == "histogram":
            curves.append(_fit_curve(a, s, gain))
    nothing = (0.0,) * len(gains)
    return ColourFit(
        gains=tuple(gains),
        offsets=tuple(offsets),
        correlation=0.0,
        residual_dn=nothing,
        curves=tuple(curves),
        r_squared=nothing,
        agreement=0.0,
        contrast_dn=tuple(contrasts),
        noise_dn=tuple(noise),
    )


def _refuse(agreement: float, swapped_gain: float, rules: HarmoniseRules) -> dict[str, Any]:
    """Why a fit must not be used, if so."""
    if agreement < rules.min_agreement:
        limit = rules.min_agreement
        return {"reason": "poor_colour_fit", "value": agreement, "limit": limit}
    if swapped_gain > rules.max_swapped_gain:
        limit = rules.max_swapped_gain
        return {"reason": "swapped_bands", "value": swapped_gain, "limit": limit}
    return {}


def find_swapped(aerial: _Planes, satellite: _Planes) -> tuple[tuple[int, ...], float]:
    """Which aerial band each satellite band looks most like, and by how much it looks more so.

    Parameters
    ----------
    aerial, satellite : array, [C, n]
        Valid pixels of both at LR resolution, registered.

    Returns
    -------
    order : tuple of int
        The assignment with the largest sum of correlations; ``0, 1, 2 ...`` where bands are as
        they should be.
    margin : float
        Mean correlation in that order less that in the given one.
    """
    bands = len(satellite)
    given = tuple(range(bands))
    if bands < 2 or not aerial.shape[1]:
        return given, 0.0
    if np.concatenate([aerial, satellite]).std(axis=1).min() <= _NO_CONTRAST:
        return given, 0.0
    across = np.corrcoef(np.concatenate([satellite, aerial]))[:bands, bands:]  # [satellite, aerial]
    rows, order = optimize.linear_sum_assignment(-across)
    margin = float(across[rows, order].mean() - np.trace(across) / bands)
    return tuple(int(i) for i in order), margin


@dataclass(frozen=True)
class _BandFit:
    gain: float
    offset: float
    curve: ToneCurve | None
    correlation: float
    residual: float
    r_squared: float
    kept: float
    contrast: float


def _fit_band(a: _Values, s: _Values, noise: float, method: Method) -> _BandFit:
    keep = np.ones(a.shape, dtype=np.bool_)
    gain, offset, sigma = 1.0, float(np.mean(s - a)) if a.size else 0.0, 0.0
    curve: ToneCurve | None = None
    rounding = _NO_CONTRAST + 1e-6 * float(np.abs(s).max(initial=0.0))
    for _ in range(_ROUNDS if a.size else 0):
        gain = _gain(a[keep], s[keep], noise)
        offset = float(s[keep].mean() - gain * a[keep].mean())
        curve = _fit_curve(a[keep], s[keep], gain) if method == "histogram" else None
        residual = s - (gain * a + offset if curve is None else curve.apply(a))
        centre = np.median(residual[keep])
        sigma = 1.4826 * float(np.median(np.abs(residual[keep] - centre)))
        kept = np.abs(residual - centre) <= _TRIM_SIGMA * max(sigma, rounding)
        if kept.mean() < _LEAST_KEPT or (kept == keep).all():
            break
        keep = kept
    correlation = r_squared = contrast = 0.0
    if a.size and min(a[keep].std(), s[keep].std()) > _NO_CONTRAST:
        correlation = float(np.corrcoef(a[keep], s[keep])[0, 1])
        contrast = float(s[keep].std())
        fitted = gain * a + offset if curve is None else curve.apply(a)
        r_squared = 1 - float(np.mean((s - fitted)[keep] ** 2)) / contrast**2
    share = float(keep.mean()) if a.size else 0.0
    return _BandFit(gain, offset, curve, correlation, sigma, r_squared, share, contrast)


def _gain(a: _Values, s: _Values, noise: float) -> float:
    """Ratio of spreads, the satellite's without its noise."""
    spread_a, spread_s = float(a.std()), float(s.std())
    if spread_a <= _NO_CONTRAST or spread_s <= _NO_CONTRAST:
        # A band without contrast says nothing of the gain; only its level can be brought over.
        return 1.0
    if noise <= 0:
        return spread_s / spread_a
    least_squares = abs(float(np.mean((a - a.mean()) * (s - s.mean())))) / spread_a**2
    quiet = np.sqrt(max(spread_s**2 - noise**2, 0.0)) / spread_a
    return max(float(quiet), least_squares, _NO_CONTRAST)


def _fit_curve(a: _Values, s: _Values, gain: float) -> ToneCurve:
    """Curve through matching quantiles, between four times flatter and steeper than the line.

    Quantiles that lie close together are averaged: on a lake they follow the noise, which is not
    the same in the two images.
    """
    x, y = np.quantile(a, _SHARES), np.quantile(s, _SHARES)
    extent = float(x[-1] - x[0])
    if extent <= _NO_CONTRAST:  # one level: a straight line through it
        level = float(a.mean()), float(s.mean())
        return ToneCurve(aerial=(level[0],), satellite=(level[1],), gain=gain)
    step = np.minimum((x - x[0]) / extent * _KNOTS, _KNOTS - 1).astype(np.intp)
    many = np.bincount(step, minlength=_KNOTS)
    there = many > 0
    x, y = (np.bincount(step, v, _KNOTS)[there] / many[there] for v in (x, y))
    middle = int(np.argmax(many[there]))
    slopes = np.clip(np.diff(y) / np.diff(x), gain / _STEEPEST, gain * _STEEPEST)
    rises = np.concatenate([[0.0], np.cumsum(slopes * np.diff(x))])
    y = y[middle] + rises - rises[middle]  # limits bind where pixels are rare
    return ToneCurve(aerial=tuple(x.tolist()), satellite=tuple(y.tolist()), gain=gain)
