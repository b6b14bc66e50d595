"""Sub-pixel shift between two images of one place, with the evidence for it.

Whitened phase correlation finds the value, phase correlation of gradient directions checks it,
many windows vote. Whitening makes the estimate indifferent to another date's colours.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import fft, ndimage

_Image = npt.NDArray[np.float32]
_Mask = npt.NDArray[np.bool_]

# Low-pass of the cross spectrum in cycles per pixel: keeps the peak broad enough to be found
# between pixels and keeps the aliased top of the spectrum out.
_CUTOFF_INTENSITY = 0.25
_CUTOFF_DIRECTION = 0.18
_FINE_STEP_PX = 0.02


@dataclass(frozen=True, kw_only=True)
class RegistrationRules:
    """When a shift is believed.

    Parameters
    ----------
    window_px : int
        Side of the windows that vote, in LR pixels.
    max_windows : int
        Most windows along one axis; they are spread over the overlap.
    min_valid : float
        Least share of valid pixels for a window to be used.
    min_peak_ratio : float
        First over second correlation peak of a window that is believed.
    max_disagreement_px : float
        Most distance between the shift by intensity and by gradient direction, and between a
        window and the consensus.
    max_shift_px : float
        A larger shift is refused.
    min_reliability : float
        A less reliable consensus is refused.
    """

    window_px: int = 128
    max_windows: int = 4
    min_valid: float = 0.4
    min_peak_ratio: float = 1.3
    max_disagreement_px: float = 0.5
    max_shift_px: float = 4.0
    min_reliability: float = 0.3

    def __post_init__(self) -> None:
        if self.window_px < 16:
            raise ValueError(f"window_px is {self.window_px}; wanted 16 or more")
        if self.max_shift_px <= 0:
            raise ValueError(f"max_shift_px is {self.max_shift_px:g}; wanted more than 0")


@dataclass(frozen=True, kw_only=True)
class WindowShift:
    """What one window says: shift in pixels (down, right) and the evidence."""

    dy_px: float
    dx_px: float
    peak_ratio: float
    disagreement_px: float


@dataclass(frozen=True, kw_only=True)
class Registration:
    """Consensus of the windows.

    Parameters
    ----------
    dy_px, dx_px : float
        Where the target's content lies relative to the reference's, down and right.
    reliability : float
        0 to 1: share of usable windows that agree, times how far their peaks stand out.
    accepted : bool
    reason : str or None
        Why it was refused: ``too_little_ground``, ``unreliable_registration`` or
        ``shift_beyond_limit``.
    spread_px : float
        Median distance of agreeing windows from the consensus.
    windows, agreeing : int
        Usable windows, and those behind the consensus.
    """

    dy_px: float
    dx_px: float
    reliability: float
    accepted: bool
    reason: str | None
    spread_px: float
    windows: int
    agreeing: int


def spread_windows(
    shape_yx: tuple[int, int], rules: RegistrationRules
) -> list[tuple[slice, slice]]:
    """Windows spread over an image: side by side with half overlap, at most a fixed number."""
    size = [min(rules.window_px, n) for n in shape_yx]
    starts = []
    for length, window in zip(shape_yx, size, strict=True):
        wanted = 1 + -(-(length - window) // max(1, window // 2))
        count = min(rules.max_windows, wanted)
        starts.append(sorted({int(s) for s in np.linspace(0, length - window, count).round()}))
    return [(slice(y, y + size[0]), slice(x, x + size[1])) for y in starts[0] for x in starts[1]]


def measure_window(reference: _Image, target: _Image, valid: _Mask) -> WindowShift:
    """Shift of one window.

    Parameters
    ----------
    reference, target : array, [C, h, w]
        The same bands of the same ground on one grid.
    valid : array of bool, [h, w]
        Good in both.

    Notes
    -----
    Phase correlation: Kuglin and Hines (1975); peak by matrix DFT: Guizar-Sicairos, Thurman and
    Fienup, Optics Letters 33, 156 (2008).
    """
    taper = _taper(valid)
    spectrum = _cross_spectrum(
        [_flatten(t, valid, taper) for t in target],
        [_flatten(r, valid, taper) for r in reference],
        _CUTOFF_INTENSITY,
    )
    dy, dx, ratio = _find_peak(spectrum)
    directions = _cross_spectrum(
        [_directions(t) * taper for t in target],
        [_directions(r) * taper for r in reference],
        _CUTOFF_DIRECTION,
    )
    check_dy, check_dx, _ = _find_peak(directions)
    return WindowShift(
        dy_px=dy,
        dx_px=dx,
        peak_ratio=ratio,
        disagreement_px=float(np.hypot(dy - check_dy, dx - check_dx)),
    )


def _taper(valid: _Mask) -> npt.NDArray[np.float64]:
    """Hann window times a mask whose rim is feathered, so that neither leaves an edge."""
    window = np.outer(*(np.hanning(n + 2)[1:-1] for n in valid.shape))
    if valid.all():
        return window
    inside = ndimage.binary_erosion(valid, iterations=3, border_value=1)
    feathered = ndimage.gaussian_filter(inside.astype(np.float64), 2.0)
    return window * np.where(valid, feathered, 0.0)


def _flatten(
    plane: _Image, valid: _Mask, taper: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    mean = plane[valid].mean() if valid.any() else 0.0
    return np.where(valid, plane - mean, 0.0) * taper


def _directions(plane: _Image) -> npt.NDArray[np.complex128]:
    """Gradient direction as a unit vector in the complex plane; flat ground gives little."""
    gy = ndimage.gaussian_filter(plane.astype(np.float64), 1.0, order=(1, 0))
    gx = ndimage.gaussian_filter(plane.astype(np.float64), 1.0, order=(0, 1))
    length = np.hypot(gy, gx)
    floor = 0.1 * np.median(length) + 1e-12
    return np.asarray((gx + 1j * gy) / (length + floor))


def _cross_spectrum(
    targets: Iterable[npt.NDArray[np.complex128] | npt.NDArray[np.float64]],
    references: Iterable[npt.NDArray[np.complex128] | npt.NDArray[np.float64]],
    cutoff: float,
) -> npt.NDArray[np.complex128]:
    """Whitened cross spectrum, summed over bands, without its uncertain high frequencies."""
    total = None
    for target, reference in zip(targets, references, strict=True):
        cross = fft.fft2(target) * np.conj(fft.fft2(reference))
        magnitude = np.abs(cross)
        white = cross / (magnitude + 1e-6 * magnitude.max() + 1e-30)
        total = white if total is None else total + white
    assert total is not None
    fy, fx = (fft.fftfreq(n) for n in total.shape)
    radius_squared = fy[:, None] ** 2 + fx[None, :] ** 2
    low_pass = np.exp(-radius_squared / cutoff**2 / 2)
    return np.asarray(total * low_pass)


def _find_peak(spectrum: npt.NDArray[np.complex128]) -> tuple[float, float, float]:
    """Position of the correlation peak to a fraction of a pixel, and first over second peak."""
    surface = fft.ifft2(spectrum).real
    height, width = surface.shape
    row, col = np.unravel_index(int(surface.argmax()), surface.shape)
    first = surface[row, col]
    rest = surface.copy()
    around = np.arange(-3, 4)
    rest[np.ix_((row + around) % height, (col + around) % width)] = -np.inf
    second = max(float(rest.max()), 1e-12 * abs(float(first)) + 1e-30)
    dy = int(row) - height if row > height // 2 else int(row)
    dx = int(col) - width if col > width // 2 else int(col)
    fine_dy, fine_dx = _refine(spectrum, dy, dx)
    return fine_dy, fine_dx, float(first / second)


def _refine(spectrum: npt.NDArray[np.complex128], dy: int, dx: int) -> tuple[float, float]:
    """Evaluate the correlation on a fine grid about a whole-pixel peak by matrix DFT."""
    steps = np.arange(-0.8, 0.8 + _FINE_STEP_PX / 2, _FINE_STEP_PX)
    fy, fx = (fft.fftfreq(n) for n in spectrum.shape)
    kernel_y = np.exp(2j * np.pi * np.outer(dy + steps, fy))  # [n, h]
    kernel_x = np.exp(2j * np.pi * np.outer(fx, dx + steps))  # [w, n]
    fine = (kernel_y @ spectrum @ kernel_x).real  # [n, n]
    i, j = np.unravel_index(int(fine.argmax()), fine.shape)
    return (
        dy + float(steps[i]) + _FINE_STEP_PX * _vertex(fine[:, j], int(i)),
        dx + float(steps[j]) + _FINE_STEP_PX * _vertex(fine[i, :], int(j)),
    )


def _vertex(values: npt.NDArray[np.float64], peak: int) -> float:
    """Offset of a parabola's top from its middle sample, in samples."""
    if not 0 < peak < len(values) - 1:
        return 0.0
    left, middle, right = values[peak - 1 : peak + 2]
    curvature = left - 2 * middle + right
    return float(0.5 * (left - right) / curvature) if curvature < 0 else 0.0


def agree(shifts: Sequence[WindowShift], rules: RegistrationRules) -> Registration:
    """Consensus of windows: the median of those that pass every gate and agree.

    Parameters
    ----------
    shifts : sequence of WindowShift
        One for each usable window.
    """
    believed = [
        s
        for s in shifts
        if s.peak_ratio >= rules.min_peak_ratio
        and s.disagreement_px <= rules.max_disagreement_px
        # A window may exceed the limit: then the consensus says so, with its value.
        and np.hypot(s.dy_px, s.dx_px) <= 2 * rules.max_shift_px
    ]
    if not believed:
        return Registration(
            dy_px=0.0,
            dx_px=0.0,
            reliability=0.0,
            accepted=False,
            reason="unreliable_registration" if shifts else "too_little_ground",
            spread_px=float("inf"),
            windows=len(shifts),
            agreeing=0,
        )
    yx = np.array([(s.dy_px, s.dx_px) for s in believed])
    distance = np.linalg.norm(yx - np.median(yx, axis=0), axis=1)
    close = distance <= rules.max_disagreement_px
    if not close.any():
        close[distance.argmin()] = True
    dy, dx = np.median(yx[close], axis=0)
    stand_out = np.median([s.peak_ratio for s, ok in zip(believed, close, strict=True) if ok])
    reliability = float(close.sum() / len(shifts) * min(1.0, stand_out - 1.0))
    reason: str | None = None
    if reliability < rules.min_reliability:
        reason = "unreliable_registration"
    elif np.hypot(dy, dx) > rules.max_shift_px:
        reason = "shift_beyond_limit"
    return Registration(
        dy_px=float(dy),
        dx_px=float(dx),
        reliability=reliability,
        accepted=reason is None,
        reason=reason,
        spread_px=float(np.median(distance[close])),
        windows=len(shifts),
        agreeing=int(close.sum()),
    )
