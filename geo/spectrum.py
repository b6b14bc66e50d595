"""Shift between two windows in the Fourier domain: cross spectra and their peaks."""

from __future__ import annotations

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
        self._planes = [local_contrast(planes, valid) for planes in (reference, target)]
        self._edges = [edge_orientation(planes) for planes in self._planes]

    def cross_spectra(self, shift_yx: tuple[float, float] = (0.0, 0.0)) -> CrossSpectra:
        """Compare what lies under tapers that follow a shift known so far."""
        through = tapers(self.valid, shift_yx)
        first, second = (
            fft.rfft2(planes * taper, self.shape)
            for planes, taper in zip(self._planes, through, strict=True)
        )  # [C, h, w // 2 + 1]
        counts = self.frequencies.counts
        intensity = likeness = np.zeros(first.shape[1:], np.complex64)
        for reference, target in zip(first, second, strict=True):
            cross = target * np.conj(reference)
            intensity = intensity + _whitened(cross)
            energy = [float((np.abs(s) ** 2 @ counts).sum()) for s in (reference, target)]
            likeness = likeness + cross / np.float32(max(np.sqrt(energy[0] * energy[1]), 1e-30))
        edges = [
            fft.fft2(e * taper, self.shape) for e, taper in zip(self._edges, through, strict=True)
        ]
        bands = np.float32(len(first))
        return CrossSpectra(
            intensity=np.asarray(intensity / bands, np.complex64),
            orientation=_real_part(_whitened(edges[1] * np.conj(edges[0]))),
            likeness=np.asarray(likeness / bands, np.complex64),
        )


def _whitened(cross: Spectrum) -> Spectrum:
    magnitude = np.abs(cross)
    return np.asarray(cross / (magnitude + np.float32(1e-6) * magnitude.max() + _TINY))


def _real_part(spectrum: Spectrum) -> Spectrum:
    """Half plane of the transform of the real part of what this whole plane transforms to."""
    half = spectrum.shape[1] // 2 + 1
    mirrored = np.roll(spectrum[::-1, ::-1], (1, 1), axis=(0, 1))[:, :half]
    return np.asarray(np.float32(0.5) * (spectrum[:, :half] + np.conj(mirrored)))


# --- the peak of a cross spectrum ---------------------------------------------------------------


def derotated(spectrum: Spectrum, at: Frequencies, shift_yx: tuple[float, float]) -> Spectrum:
    """Cross spectrum as if the target were moved back by a shift."""
    turn = np.complex64(2j * np.pi)
    down = np.exp(turn * at.y * np.float32(shift_yx[0]))[:, None]
    right = np.exp(turn * at.x * np.float32(shift_yx[1]))
    return np.asarray(spectrum * down * right)


def correlation(spectrum: Spectrum, at: Frequencies, shift_yx: tuple[float, float]) -> float:
    """Sum of a cross spectrum over the whole plane, at a shift."""
    return float((derotated(spectrum, at, shift_yx).real @ at.counts).sum())


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
    """Gradient and curvature of a correlation about a shift, and the noise of the gradient."""

    gradient: _Float  # [2]
    curvature: _Float  # [2, 2], positive at a peak
    noise: _Float  # [2, 2]

    @property
    def is_peak(self) -> bool:
        """Whether the correlation falls off in every direction."""
        return bool(self.curvature[0, 0] > 0 and np.linalg.det(self.curvature) > 0)

    @property
    def step_yx(self) -> _Float:
        """Newton's step towards the peak."""
        return np.asarray(np.linalg.solve(self.curvature, self.gradient))

    @property
    def scatter_px(self) -> float:
        """Standard error along an axis that the noise of the gradient shows (sandwich)."""
        inverse = np.linalg.inv(self.curvature)
        return float(np.sqrt(np.trace(inverse @ self.noise @ inverse) / 2))


def slope_at(spectrum: Spectrum, at: Frequencies, shift_yx: tuple[float, float]) -> Slope:
    """Derivatives of the correlation with respect to the shift."""
    turned = derotated(spectrum, at, shift_yx)
    y = np.float32(2 * np.pi) * at.y
    sine = turned.imag @ at.moments[:, :2]  # [h, 2]
    return Slope(
        gradient=-np.array([y @ sine[:, 0], sine[:, 1].sum()], np.float64),
        curvature=_second_moments(turned.real @ at.moments, y),
        noise=2 * _second_moments(turned.imag**2 @ at.moments, y),
    )


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
    place = np.array(start_yx, np.float64)
    for _ in range(steps):
        slope = slope_at(spectrum, at, (place[0], place[1]))
        if not slope.is_peak:
            return None
        step = np.clip(slope.step_yx, -_FARTHEST_STEP_PX, _FARTHEST_STEP_PX)
        place += step
        if np.abs(place - start_yx).max() > reach_px:
            return None
        if np.abs(step).max() < 1e-4:
            break
    return float(place[0]), float(place[1])
