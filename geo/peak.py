"""Where two images of a window match best, and how each frequency is weighed for it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import fft

from geo.spectrum import (
    CrossSpectra,
    Frequencies,
    Spectrum,
    Window,
    climb,
    coherence,
    likelihood_weights,
    low_pass,
)

# Low-pass of the cross spectra in cycles per pixel: keeps a peak broad enough to be found between
# pixels and keeps the aliased top of the spectrum out.
_CUTOFF_INTENSITY = 0.25
_CUTOFF_ORIENTATION = 0.18
_CUTOFF_ORIENTATION_FINE = 0.2
# Weight of intensity in finding the peak: it is the first to be led astray by another season.
_INTENSITY_SHARE = np.float32(0.3)
# Half the side of what counts as the peak, not as a second one.
_PEAK_PX = 3
# Intensity and orientation that find no common peak disagree by this much.
_NO_COMMON_PEAK_PX = 3.0


def find_peak(cross: CrossSpectra, window: Window) -> tuple[tuple[float, float], float]:
    """Shift to about a tenth of a pixel, and how far its peak stands out."""
    at = window.frequencies
    edges = cross.orientation * low_pass(*window.shape, _CUTOFF_ORIENTATION)
    bands = cross.intensity * low_pass(*window.shape, _CUTOFF_INTENSITY)
    share = _INTENSITY_SHARE * np.float32(_chance_level(edges, at) / _chance_level(bands, at))
    surface = fft.irfft2(edges + share * bands, window.shape)
    height, width = surface.shape
    row, col = divmod(int(surface.argmax()), width)
    first = float(surface[row, col])
    place = (
        _signed(row, height) + _vertex(surface[[row - 1, row, (row + 1) % height], col]),
        _signed(col, width) + _vertex(surface[row, [col - 1, col, (col + 1) % width]]),
    )
    around = np.arange(-_PEAK_PX, _PEAK_PX + 1)
    surface[np.ix_((row + around) % height, (col + around) % width)] = -np.inf
    second = max(float(surface.max()), 1e-12)
    return place, first / second


def _signed(index: int, length: int) -> int:
    return index - length if index > length // 2 else index


def _vertex(values: npt.NDArray[np.float32]) -> float:
    """Offset of a parabola's top from the middle one of three samples."""
    left, middle, right = (float(v) for v in values)
    curvature = left - 2 * middle + right
    return 0.5 * (left - right) / curvature if curvature < 0 else 0.0


def _chance_level(spectrum: Spectrum, at: Frequencies) -> float:
    """Standard deviation of the correlation where nothing corresponds, times a constant."""
    return float(np.sqrt((np.abs(spectrum) ** 2 @ at.counts).sum())) + 1e-30


def weighted(cross: CrossSpectra, window: Window, place: tuple[float, float]) -> CrossSpectra:
    """Cross spectra with the weights of the likeliest shift, from the coherence at a near one."""
    at = window.frequencies
    weights = [
        likelihood_weights(coherence(spectrum, at, place), at)
        for spectrum in (cross.intensity, cross.orientation)
    ]
    return CrossSpectra(
        intensity=cross.intensity * weights[0],
        orientation=cross.orientation
        * (weights[1] * low_pass(*window.shape, _CUTOFF_ORIENTATION_FINE)),
        likeness=cross.likeness,
    )


def disagreement_px(parts: CrossSpectra, at: Frequencies, place: tuple[float, float]) -> float:
    """Distance between the peaks of intensity and of orientation next to a shift."""
    peaks = [
        climb(spectrum, at, place, steps=2, reach_px=2.0)
        for spectrum in (parts.intensity, parts.orientation)
    ]
    if peaks[0] is None or peaks[1] is None:
        return _NO_COMMON_PEAK_PX
    return float(np.hypot(peaks[0][0] - peaks[1][0], peaks[0][1] - peaks[1][1]))
