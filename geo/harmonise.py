"""Colours of the aerial image brought into the satellite's radiometry, a whole scene at once.

A fit is stored with its coefficients and can be undone; where it is poor it says so, by which
value against which limit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from scipy import ndimage, optimize

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
_MOST_TOLERANCE = 0.25  # of the contrast

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


@dataclass(frozen=True, kw_only=True)
class ToneCurve:
    """A monotone curve of straight pieces from aerial to satellite DN, for one band.

    Parameters
    ----------
    aerial, satellite : tuple of float
        Its knots, both rising strictly; beyond the ends it goes on with `gain`.
    gain : float
    """

    aerial: tuple[float, ...]
    satellite: tuple[float, ...]
    gain: float

    def apply(self, values: npt.NDArray[Any]) -> _Values:
        """Aerial DN to satellite DN."""
        return _bend(values, self.aerial, self.satellite, self.gain)

    def undo(self, values: npt.NDArray[Any]) -> _Values:
        """Satellite DN to aerial DN."""
        return _bend(values, self.satellite, self.aerial, 1 / self.gain)


@dataclass(frozen=True, kw_only=True)
class ColourFit:
    """``satellite = gain * aerial + offset`` for each band, in the satellite's DN, or a curve.

    Parameters
    ----------
    gains, offsets : tuple of float
        The line; a curve's line is the best straight one.
    correlation : float
        Mean over bands between the two at LR resolution, on the pixels that were kept.
    residual_dn : tuple of float
        Standard deviation of what the fit leaves, by the median deviation.
    curves : tuple of ToneCurve
        One for each band with histogram matching, else none.
    r_squared : tuple of float
        Share of the satellite's variance that the fit explains on kept pixels, for each band.
    agreement : float
        Correlation times the share of pixels that were kept, mean over bands: a fit to the few
        pixels that happen to suit it is not a good one.
    contrast_dn, noise_dn : tuple of float
        Standard deviation of the satellite's pixels that were kept, and of its noise where that
        is known, for each band.
    reason : str or None
        ``poor_colour_fit`` or ``swapped_bands`` for a fit that must not be used, with `value` and
        `limit`.
    """

    gains: tuple[float, ...]
    offsets: tuple[float, ...]
    correlation: float
    residual_dn: tuple[float, ...]
    curves: tuple[ToneCurve, ...] = ()
    r_squared: tuple[float, ...] = ()
    agreement: float = 1.0
    contrast_dn: tuple[float, ...] = ()
    noise_dn: tuple[float, ...] = ()
    reason: str | None = None
    value: float | None = None
    limit: float | None = None

    def apply(self, aerial: _Planes) -> _Planes:
        """Aerial DN [C, ...] to satellite DN, float32."""
        if self.curves:
            bent = [curve.apply(p) for curve, p in zip(self.curves, aerial, strict=True)]
            return np.asarray(np.stack(bent), np.float32)
        out = np.empty(aerial.shape, np.float32)
        for plane, target, gain, offset in zip(aerial, out, self.gains, self.offsets, strict=True):
            np.multiply(plane, np.float32(gain), out=target)
            target += np.float32(offset)
        return out

    def undo(self, satellite: npt.NDArray[Any]) -> _Planes:
        """Satellite DN [C, ...] back to aerial DN, float32."""
        if self.curves:
            bent = [curve.undo(p) for curve, p in zip(self.curves, satellite, strict=True)]
            return np.asarray(np.stack(bent), np.float32)
        gains, offsets = self._line(satellite.ndim)
        return np.asarray((satellite.astype(np.float32) - offsets) / gains, np.float32)

    def _line(self, ndim: int) -> tuple[_Planes, _Planes]:
        shape = (-1,) + (1,) * (ndim - 1)
        gains, offsets = (np.asarray(v, np.float32) for v in (self.gains, self.offsets))
        return gains.reshape(shape), offsets.reshape(shape)

    @property
    def tolerance_dn(self) -> tuple[float, ...]:
        """How unlike good pixels may be, for each band.

        What the fit leaves, but not more than a quarter of the contrast: where much has changed,
        it leaves much, and that must not excuse the change. And not less than the noise.
        """
        if not self.contrast_dn:
            return self.residual_dn
        return tuple(
            max(noise, min(residual, _MOST_TOLERANCE * contrast))
            for noise, residual, contrast in zip(
                self.noise_dn, self.residual_dn, self.contrast_dn, strict=True
            )
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> ColourFit:
        """The fit that `to_dict` wrote."""
        curves = tuple(
            ToneCurve(
                aerial=tuple(curve["aerial"]),
                satellite=tuple(curve["satellite"]),
                gain=curve["gain"],
            )
            for curve in plain["curves"]
        )
        return cls(
            gains=tuple(plain["gains"]),
            offsets=tuple(plain["offsets"]),
            correlation=plain["correlation"],
            residual_dn=tuple(plain["residual_dn"]),
            curves=curves,
            r_squared=tuple(plain["r_squared"]),
            agreement=plain["agreement"],
            contrast_dn=tuple(plain["contrast_dn"]),
            noise_dn=tuple(plain["noise_dn"]),
            reason=plain["reason"],
            value=plain["value"],
            limit=plain["limit"],
        )


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
        The satellite's noise for each band (`estimate_noise`), taken out of its spread.

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


def _bend(values: npt.NDArray[Any], x: Sequence[float], y: Sequence[float], gain: float) -> _Values:
    inside = np.interp(values, x, y)
    beyond = np.minimum(values - x[0], 0.0) + np.maximum(values - x[-1], 0.0)
    return np.asarray(inside + gain * beyond, np.float64)


# The noise of an image shows where the ground is smoothest: in this share of small blocks.
_SMOOTHEST = 0.1
_BLOCK_PX = 8
# Blind to planes: what is left of smooth ground is noise.
_NOISE_MASK = np.outer([1.0, -2.0, 1.0], [1.0, -2.0, 1.0]) / 6


def estimate_noise(image: npt.NDArray[Any], valid: npt.NDArray[np.bool_]) -> tuple[float, ...]:
    """Standard deviation of an image's noise for each band, from its smoothest blocks.

    Parameters
    ----------
    image : array, [C, h, w]
    valid : array of bool, [h, w]

    Returns
    -------
    tuple of float
        Zeros where no block is wholly valid.

    Notes
    -----
    J. Immerkaer, "Fast noise variance estimation", CVIU 64 (1996), with block-wise selection:
    over the whole image the texture of the ground would count as noise. Where all ground is
    smooth the answer is a fifth too low, for the quietest blocks are quiet by chance.
    """
    height, width = (n // _BLOCK_PX * _BLOCK_PX for n in valid.shape)
    whole = _blocks(valid[:height, :width]).all(axis=1)  # [blocks]
    if not whole.any():
        return (0.0,) * len(image)
    noise = []
    for plane in image:
        left = ndimage.convolve(plane.astype(np.float64), _NOISE_MASK)
        energy = (_blocks(left[:height, :width])[whole] ** 2).mean(axis=1)  # [blocks]
        noise.append(float(np.sqrt(np.quantile(energy, _SMOOTHEST))))
    return tuple(noise)


def _blocks(plane: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """[h, w] to [blocks, pixels]."""
    rows, cols = (n // _BLOCK_PX for n in plane.shape)
    cells = plane.reshape(rows, _BLOCK_PX, cols, _BLOCK_PX).swapaxes(1, 2)
    return cells.reshape(rows * cols, _BLOCK_PX**2)
