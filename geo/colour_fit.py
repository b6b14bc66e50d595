"""What brings aerial colours into the satellite's radiometry: a line or a curve for each band.

It is kept with what says how good it is, and can be undone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

_Planes = npt.NDArray[np.float32]
_Values = npt.NDArray[np.float64]

_MOST_TOLERANCE = 0.25  # of the contrast


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

    @classmethod
    def as_it_is(cls, bands: int) -> ColourFit:
        """The fit that changes nothing."""
        nothing = (0.0,) * bands
        return cls(gains=(1.0,) * bands, offsets=nothing, correlation=0.0, residual_dn=nothing)

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


def _bend(values: npt.NDArray[Any], x: Sequence[float], y: Sequence[float], gain: float) -> _Values:
    inside = np.interp(values, x, y)
    beyond = np.minimum(values - x[0], 0.0) + np.maximum(values - x[-1], 0.0)
    return np.asarray(inside + gain * beyond, np.float64)
