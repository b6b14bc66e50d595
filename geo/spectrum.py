"""Shift between two windows in the Fourier domain: cross spectra and their peaks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import fft

from geo.windowing import Image, Mask, edge_orientation, local_contrast, tapers

Spectrum = npt.NDArray[np.complex64]  # half plane of a real image's transform, [h, w // 2 + 1]
_Float = npt.NDArray[np.float64]

_RINGS = 8
# Coherence is never believed to be perfect: that bounds the weight of any frequency.
_MOST_COHERENCE = 0.95
_FARTHEST_STEP_PX = 0.4
_LAST_STEP_PX = 2e-3  # what Newton's method leaves after it is as small as its square
_TINY = np.float32(1e-30)


@dataclass(frozen=True)
class Frequencies:
    """The half plane of frequencies of a window, cycles per pixel."""

    y: Image  # [h]
    x: Image  # [w // 2 + 1]
    counts: Image  # [w // 2 + 1], how often a column stands in the whole plane: once or twice
    moments: Image  # [w // 2 + 1, 3], counts times (1, a, a²), a the angular frequency along x
    ring: npt.NDArray[np.intp]  # [h, w // 2 + 1], index of a ring of like frequency
    ring_size: _Float  # [rings]


@lru_cache(64)
def frequencies(height: int, width: int) -> Frequencies:
    """Frequencies of a window of this many samples; kept, for windows come in few sizes."""
    y = fft.fftfreq(height).astype(np.float32)
    x = fft.rfftfreq(width).astype(np.float32)
    counts = np.full(x.size, 2, np.float32)
    counts[0] = 1
    if width % 2 == 0:
        counts[-1] = 1
    angular = np.float32(2 * np.pi) * x
    moments = counts[:, None] * np.stack([np.ones_like(x), angular, angular**2], axis=1)
    radius = np.hypot(y[:, None], x)
    ring = np.minimum((2 * radius) ** 1.5 * _RINGS, _RINGS).astype(np.intp)
    size = np.bincount(ring.ravel(), np.broadcast_to(counts, ring.shape).ravel())
    return Frequencies(y, x, counts, moments, ring, np.maximum(size, 1))


@lru_cache(64)
def low_pass(height: int, width: int, cutoff: float) -> Image:
    """Gaussian ``exp(-(f / cutoff)² / 2)`` with the cutoff in cycles per pixel."""
    y, x = fft.fftfreq(height), fft.rfftfreq(width)
    squared = y[:, None] ** 2 + x**2
    return np.asarray(np.exp(-squared / cutoff**2 / 2), np.float32)


def transform_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """Samples of the transform: a little more than the window where that is much faster."""
    height, width = (int(fft.next_fast_len(n, real=True)) for n in shape)
    return height, width


# --- cross spectra ------------------------------------------------------------------------------


@dataclass(frozen=True)
class CrossSpectra:
    """Phase of the target against the reference, at each frequency.

    Parameters
    ----------
    intensity : array
        Whitened cross spectrum, mean over bands.
    orientation : array
        The same of `edge_orientation`.
    likeness : array
        Not whitened, scaled so that its sum is the mean correlation of the bands.
    """

    intensity: Spectrum
    orientation: Spectrum
    likeness: Spectrum


class Window:
    """Two images of one window, ready to be transformed through any pair of tapers."""

    def __init__(self, reference: Image, target: Image, valid: Mask) -> None:
        self.valid = valid
        self.shape = transform_shape(valid.shape)
        self.frequencies = frequencies(*self.shape)
        self._bands = len(reference)
        contrast = local_contrast(np.stack([reference, target]), valid)
        self._planes = np.concatenate([contrast, edge_orientation(contrast)], axis=1)

    def cross_spectra(self, shift_yx: tuple[float, float] = (0.0, 0.0)) -> CrossSpectra:
        """Compare what lies under tapers that follow a shift known so far."""
        through = np.stack(tapers(self.valid, shift_yx))  # [2, h, w]
        planes = self._planes * through[:, None]  # [2, C + 2, h, w]
        reference, target = fft.rfft2(planes, self.shape)  # [C + 2, h, w // 2 + 1]
        cross = target * np.conj(reference)
        bands, edges = cross[: self._bands], cross[self._bands :]
        energy = np.einsum("kchw,kchw->kc", planes, planes).prod(axis=0)[: self._bands]  # squared
        scale = 1 / np.maximum(np.sqrt(energy) * np.float32(np.prod(self.shape)), _TINY)
        return CrossSpectra(
            intensity=_mean([_whitened(band) for band in bands]),
            orientation=_mean([_whitened(part) for part in edges]),
            likeness=_mean([s * band for s, band in zip(scale, bands, strict=True)]),
        )


def _mean(spectra: Sequence[Spectrum]) -> Spectrum:
    total = spectra[0]
    for spectrum in spectra[1:]:
        total += spectrum
    return np.asarray(total * np.float32(1 / len(spectra)))


def _whitened(cross: Spectrum) -> Spectrum:
    magnitude = np.abs(cross)
    # Many times faster than dividing complex numbers.
    return np.asarray(cross * (1 / (magnitude + np.float32(1e-6) * magnitude.max() + _TINY)))


# --- the peak of a cross spectrum ---------------------------------------------------------------


def _turns(at: Frequencies, shift_yx: tuple[float, float]) -> tuple[Spectrum, Spectrum]:
    """Factors of rows and of columns that move the target back by a shift."""
    return _turn(at.y, shift_yx[0]), _turn(at.x, shift_yx[1])


def _turn(frequency: Image, shift: float) -> Spectrum:
    angle = np.float32(2 * np.pi * shift) * frequency
    factors = np.empty(angle.shape, np.complex64)
    factors.real, factors.imag = np.cos(angle), np.sin(angle)  # faster than a complex exponential
    return factors


def derotated(spectrum: Spectrum, at: Frequencies, shift_yx: tuple[float, float]) -> Spectrum:
    """Cross spectrum as if the target were moved back by a shift."""
    rows, cols = _turns(at, shift_yx)
    return np.asarray(spectrum * rows[:, None] * cols)


def correlation(spectrum: Spectrum, at: Frequencies, shift_yx: tuple[float, float]) -> float:
    """Sum of a cross spectrum over the whole plane, at a shift."""
    rows, cols = _turns(at, shift_yx)
    return float((rows @ (spectrum @ (cols * at.counts))).real)


def coherence(spectrum: Spectrum, at: Frequencies, shift_yx: tuple[float, float]) -> _Float:
    """How far phases in each ring of frequencies keep to a shift, less what chance gives."""
    kept = (derotated(spectrum, at, shift_yx).real * at.counts).ravel()
    mean = np.bincount(at.ring.ravel(), kept, minlength=at.ring_size.size) / at.ring_size
    return np.asarray(np.clip(mean - 1 / np.sqrt(at.ring_size), 0, _MOST_COHERENCE))


def likelihood_weights(of_rings: _Float, at: Frequencies) -> Image:
    """Weight of each frequency in the maximum-likelihood shift: ``c² / (1 - c²)``.

    Notes
    -----
    Knapp and Carter, The generalized correlation method for estimation of time delay, IEEE
    Transactions on Acoustics, Speech and Signal Processing 24, 320 (1976).
    """
    weights = of_rings**2 / (1 - of_rings**2)
    return np.asarray(weights.astype(np.float32)[at.ring])


@dataclass(frozen=True)
class Slope:
    """Gradient and curvature of a correlation about a shift."""

    gradient: _Float  # [2]
    curvature: _Float  # [2, 2], positive at a peak

    @property
    def is_peak(self) -> bool:
        """Whether the correlation falls off in every direction."""
        return bool(self.curvature[0, 0] > 0 and self._determinant > 0)

    @property
    def _determinant(self) -> float:
        (yy, yx), (_, xx) = self.curvature
        return float(yy * xx - yx * yx)

    @property
    def covariance(self) -> _Float:
        """Inverse of the curvature."""
        (yy, yx), (_, xx) = self.curvature
        return np.array([[xx, -yx], [-yx, yy]]) / self._determinant

    @property
    def step_yx(self) -> _Float:
        """Newton's step towards the peak."""
        return np.asarray(self.covariance @ self.gradient)


def slope_at(spectrum: Spectrum, at: Frequencies, shift_yx: tuple[float, float]) -> Slope:
    """Derivatives of the correlation with respect to the shift."""
    rows, cols = _turns(at, shift_yx)
    sums = rows[:, None] * (spectrum @ (cols[:, None] * at.moments))  # [h, 3]
    y = np.float32(2 * np.pi) * at.y
    return Slope(
        gradient=-np.array([y @ sums[:, 0].imag, sums[:, 1].imag.sum()], np.float64),
        curvature=_second_moments(sums.real, y),
    )


def scatter_px(spectrum: Spectrum, at: Frequencies, shift_yx: tuple[float, float]) -> float:
    """Standard error of a peak along an axis, by the scatter of phases (sandwich estimate).

    Infinite where there is no peak.
    """
    slope = slope_at(spectrum, at, shift_yx)
    if not slope.is_peak:
        return float("inf")
    sine = derotated(spectrum, at, shift_yx).imag
    y = np.float32(2 * np.pi) * at.y
    noise = 2 * _second_moments(sine**2 @ at.moments, y)
    return float(np.sqrt(np.trace(slope.covariance @ noise @ slope.covariance) / 2))


def _second_moments(rows: Image, y: Image) -> _Float:
    """Sums over the plane of y², yx and x², from sums of 1, x and x² along rows."""
    mixed = y @ rows[:, 1]
    return np.array([[y**2 @ rows[:, 0], mixed], [mixed, rows[:, 2].sum()]], np.float64)


def climb(
    spectrum: Spectrum,
    at: Frequencies,
    start_yx: tuple[float, float],
    *,
    steps: int = 5,
    reach_px: float = 1.0,
) -> tuple[float, float] | None:
    """Peak of the correlation near a shift, by Newton's method; None where it leads away."""
    start = place = np.array(start_yx, np.float64)
    for _ in range(steps):
        slope = slope_at(spectrum, at, (place[0], place[1]))
        if not slope.is_peak:
            return None
        step = np.clip(slope.step_yx, -_FARTHEST_STEP_PX, _FARTHEST_STEP_PX)
        place = place + step
        if np.abs(place - start).max() > reach_px:
            return None
        if np.abs(step).max() < _LAST_STEP_PX:
            break
    return float(place[0]), float(place[1])
