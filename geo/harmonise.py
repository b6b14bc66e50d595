"""Colours of the aerial image brought into the satellite's radiometry, a whole scene at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_Planes = npt.NDArray[np.float32]

# Outliers beyond this many standard deviations (by the median deviation) are changed ground or
# missed cloud.
_TRIM_SIGMA = 2.5
_ROUNDS = 5


@dataclass(frozen=True, kw_only=True)
class ColourFit:
    """``satellite = gain * aerial + offset`` for each band, in the satellite's DN.

    Parameters
    ----------
    gains, offsets : tuple of float
    correlation : float
        Mean over bands between the two at LR resolution, on the pixels that were kept.
    residual_dn : tuple of float
        Standard deviation of what the fit leaves, by the median deviation.
    """

    gains: tuple[float, ...]
    offsets: tuple[float, ...]
    correlation: float
    residual_dn: tuple[float, ...]

    def apply(self, aerial: _Planes) -> _Planes:
        """Aerial DN [C, ...] to satellite DN, float32."""
        shape = (-1,) + (1,) * (aerial.ndim - 1)
        gains = np.asarray(self.gains, np.float32).reshape(shape)
        offsets = np.asarray(self.offsets, np.float32).reshape(shape)
        return np.asarray(aerial * gains + offsets, np.float32)


def fit_colours(aerial: _Planes, satellite: _Planes) -> ColourFit:
    """Gain and offset of each band from the ratio of spreads on stable pixels.

    Parameters
    ----------
    aerial, satellite : array, [C, n]
        Valid pixels of both at LR resolution, registered.

    Notes
    -----
    Least squares would shrink the gain by the correlation and so flatten the contrast of the
    target, the wrong thing for super-resolution; the ratio of standard deviations keeps it.
    """
    fits = [_fit_band(a, s) for a, s in zip(aerial, satellite, strict=True)]
    gains, offsets, correlations, residuals = zip(*fits, strict=True)
    return ColourFit(
        gains=gains,
        offsets=offsets,
        correlation=float(np.mean(correlations)),
        residual_dn=residuals,
    )


def _fit_band(
    aerial: npt.NDArray[np.float32], satellite: npt.NDArray[np.float32]
) -> tuple[float, float, float, float]:
    a, s = aerial.astype(np.float64), satellite.astype(np.float64)
    keep = np.ones(a.shape, dtype=np.bool_)
    gain, offset, sigma = 1.0, 0.0, 0.0
    for _ in range(_ROUNDS):
        spread_a, spread_s = a[keep].std(), s[keep].std()
        # A band without contrast says nothing of the gain; only its level can be brought over.
        gain = spread_s / spread_a if spread_a > 1e-9 else 1.0
        offset = s[keep].mean() - gain * a[keep].mean()
        residual = s - (gain * a + offset)
        centre = np.median(residual[keep])
        sigma = 1.4826 * float(np.median(np.abs(residual[keep] - centre)))
        kept = np.abs(residual - centre) <= _TRIM_SIGMA * max(sigma, 1e-9)
        if kept.sum() < 0.3 * len(kept) or (kept == keep).all():
            break
        keep = kept
    correlation = 0.0
    if a[keep].std() > 1e-9 and s[keep].std() > 1e-9:
        correlation = float(np.corrcoef(a[keep], s[keep])[0, 1])
    return float(gain), float(offset), correlation, sigma
