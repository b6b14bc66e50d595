"""Sub-pixel shift between two images of one place, with the evidence for it.

Orientation of edges finds the shift, whatever the date's colours; intensity and orientation
together tell it exactly, each frequency weighted by how far the two images agree there. The
evidence becomes a probability that the shift is right, and windows that deserve it vote.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from geo.evidence import Evidence, reliability_of, standard_error
from geo.peak import disagreement_px, find_peak, weighted
from geo.spectrum import Window, climb, correlation, scatter_px
from geo.windowing import Image, Mask

# Tapers that lie off the content by more than this are moved, and the window is measured again.
_FOLLOW_PX = 0.2
_MOST_PASSES = 3
# A peak that stands out less will not be believed whatever is done about it.
_LEAST_PEAK_RATIO = 1.2
# However good its evidence, one window in a hundred may be wrong.
_MOST_RELIABLE = 0.99
# What windows differ by although each is exact: ground is never quite rigid.
_GROUND_SIGMA_PX = 0.03
_HUBER = 1.5  # deviations beyond which a window loses weight


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
    min_window_reliability : float
        Least probability of being right for a window that is believed by itself.
    max_sigma_px : float
        Largest standard error of a window that is believed by itself: three of them stay within
        half a pixel.
    max_disagreement_px : float
        Most distance between the shift by intensity and by orientation of a window that is
        believed by itself, and from the consensus of a window that is behind it.
    max_distortion_px : float
        A window that is off the consensus by this much more is not behind it, but does not speak
        against it either: relief and mosaic joints move ground as far.
    max_shift_px : float
        A larger shift is refused.
    min_reliability : float
        A less reliable consensus is refused.
    """

    window_px: int = 128
    max_windows: int = 4
    min_valid: float = 0.4
    min_window_reliability: float = 0.9
    max_sigma_px: float = 0.16
    max_disagreement_px: float = 0.5
    max_distortion_px: float = 1.5
    max_shift_px: float = 4.0
    min_reliability: float = 0.95

    def __post_init__(self) -> None:
        if self.window_px < 16:
            raise ValueError(f"window_px is {self.window_px}; wanted 16 or more")
        for name in ("max_sigma_px", "max_disagreement_px", "max_shift_px"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name):g}; wanted more than 0")
        for name in ("min_valid", "min_window_reliability", "min_reliability"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name):g}; wanted 0 to 1")


@dataclass(frozen=True, kw_only=True)
class WindowShift:
    """What one window says.

    Parameters
    ----------
    dy_px, dx_px : float
        Where the target's content lies relative to the reference's, down and right.
    reliability : float
        Probability that this is right to within half a pixel, 0 to 1, calibrated (see
        `geo.evidence`).
    sigma_px : float
        Standard error along an axis, if it is right.
    evidence : Evidence
        What both were derived from.
    """

    dy_px: float
    dx_px: float
    reliability: float
    sigma_px: float
    evidence: Evidence

    @property
    def peak_ratio(self) -> float:
        """First over second correlation peak."""
        return self.evidence.peak_ratio

    @property
    def disagreement_px(self) -> float:
        """Distance between the shift by intensity and by orientation of edges."""
        return self.evidence.disagreement_px


@dataclass(frozen=True, kw_only=True)
class Registration:
    """Consensus of the windows.

    Parameters
    ----------
    dy_px, dx_px : float
        Where the target's content lies relative to the reference's, down and right.
    reliability : float
        Probability, 0 to 1, that this is right to within half a pixel.
    accepted : bool
    reason : str or None
        Why it was refused: ``too_little_ground``, ``unreliable_registration`` or
        ``shift_beyond_limit``.
    sigma_px : float
        Standard error of the consensus along an axis.
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
    sigma_px: float
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


def measure_window(reference: Image, target: Image, valid: Mask) -> WindowShift:
    """Shift of one window.

    Parameters
    ----------
    reference, target : array, [C, h, w]
        The same bands of the same ground on one grid.
    valid : array of bool, [h, w]
        Good in both.

    Returns
    -------
    WindowShift
        With a reliability of 0 where nothing can be compared.

    Notes
    -----
    Phase correlation: Kuglin and Hines (1975), frequencies weighted after Knapp and Carter (1976).
    The tapers follow the content: a taper that stays in place is common to both images and holds
    the shift back, by a quarter on smooth ground between masked clouds.
    """
    window = Window(np.asarray(reference, np.float32), np.asarray(target, np.float32), valid)
    at = window.frequencies
    cross = window.cross_spectra()
    unmoved = correlation(cross.likeness, at, (0.0, 0.0))
    place, peak_ratio = find_peak(cross, window)
    under = (0.0, 0.0)
    follow = peak_ratio > _LEAST_PEAK_RATIO and max(map(abs, place)) < min(valid.shape) / 3
    for _ in range(_MOST_PASSES):
        if follow and _off(place, under):
            cross, under = window.cross_spectra(place), place
        parts = weighted(cross, window, place)
        found = climb(parts.intensity + parts.orientation, at, place)
        if found is None:
            break
        place = found
        if not (follow and _off(place, under)):
            break
    similarity = correlation(cross.likeness, at, place)
    joint = parts.intensity + parts.orientation
    evidence = Evidence(
        peak_ratio=peak_ratio,
        disagreement_px=disagreement_px(parts, at, place),
        scatter_px=scatter_px(joint, at, place) if found else np.inf,
        similarity=similarity,
        similarity_gained=similarity - unmoved,
        valid_share=float(valid.mean()),
    )
    return WindowShift(
        dy_px=place[0],
        dx_px=place[1],
        reliability=reliability_of(evidence),
        sigma_px=standard_error(evidence),
        evidence=evidence,
    )


def _off(place: tuple[float, float], under: tuple[float, float]) -> bool:
    """Whether tapers lie beside the content."""
    return bool(np.hypot(place[0] - under[0], place[1] - under[1]) > _FOLLOW_PX)


def believe(shifts: Sequence[WindowShift], rules: RegistrationRules) -> npt.NDArray[np.bool_]:
    """Which windows are right to within half a pixel, each by its own evidence alone.

    Parameters
    ----------
    shifts : sequence of WindowShift

    Returns
    -------
    array of bool, [windows]
        Windows may be at odds and all be believed: where the ground is distorted, they ought to.
    """
    return np.array(
        [
            s.reliability >= rules.min_window_reliability
            and s.sigma_px <= rules.max_sigma_px
            and s.disagreement_px <= rules.max_disagreement_px
            # A window may exceed the limit: then the consensus says so, with its value.
            and np.hypot(s.dy_px, s.dx_px) <= 2 * rules.max_shift_px
            for s in shifts
        ],
        dtype=np.bool_,
    )


def agree(shifts: Sequence[WindowShift], rules: RegistrationRules) -> Registration:
    """Consensus of windows: the mean of those that agree, weighted by what they know.

    Parameters
    ----------
    shifts : sequence of WindowShift
        One for each usable window.

    Notes
    -----
    Windows that few others would believe may agree, and then deserve belief together. Their
    chances of being wrong multiply; credible windows far off take as much away.
    """
    yx = np.array([(s.dy_px, s.dx_px) for s in shifts]).reshape(-1, 2)
    doubt = 1 - np.array([min(s.reliability, _MOST_RELIABLE) for s in shifts])
    doubt[np.hypot(yx[:, 0], yx[:, 1]) > 2 * rules.max_shift_px] = 1
    weight = -np.log(doubt)  # [windows]
    if not weight.any():
        return _no_consensus(len(shifts))
    centre, close = _gathering(yx, weight, rules.max_disagreement_px)
    distance = np.hypot(*(yx - centre).T)
    far = distance > rules.max_disagreement_px + rules.max_distortion_px
    reliability = float(max(0.0, 1 - np.exp(weight[far].sum() - weight[close].sum())))
    behind = [s for s, ok in zip(shifts, close, strict=True) if ok]
    (dy, dx), sigma = _weighted_mean(behind)
    reason: str | None = None
    if reliability < rules.min_reliability:
        reason = "unreliable_registration"
    elif np.hypot(dy, dx) > rules.max_shift_px:
        reason = "shift_beyond_limit"
    return Registration(
        dy_px=dy,
        dx_px=dx,
        reliability=reliability,
        accepted=reason is None,
        reason=reason,
        sigma_px=sigma,
        spread_px=float(np.median(np.hypot(yx[close, 0] - dy, yx[close, 1] - dx))),
        windows=len(shifts),
        agreeing=int(close.sum()),
    )


def _gathering(
    yx: npt.NDArray[np.float64], weight: npt.NDArray[np.float64], radius: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Place about which most weight gathers, and which windows lie there."""
    apart = np.hypot(*(yx[:, None] - yx[None]).transpose(2, 0, 1))  # [windows, windows]
    # A soft edge, so that the middle of a gathering counts for more than its rim.
    support = (np.exp(-((apart / radius) ** 2) * 2) * weight).sum(axis=1) * (weight > 0)
    centre = yx[support.argmax()]
    for _ in range(3):
        near = (np.hypot(*(yx - centre).T) <= radius) & (weight > 0)
        if not near.any():
            break
        centre = np.average(yx[near], axis=0, weights=weight[near])
    near = (np.hypot(*(yx - centre).T) <= radius) & (weight > 0)
    if not near.any():
        near[support.argmax()] = True
    return centre, near


def _weighted_mean(shifts: Sequence[WindowShift]) -> tuple[tuple[float, float], float]:
    """Mean shift of windows and its standard error; outliers count for little (Huber)."""
    yx = np.array([(s.dy_px, s.dx_px) for s in shifts])  # [windows, 2]
    variance = np.array([s.sigma_px**2 + _GROUND_SIGMA_PX**2 for s in shifts])
    sureness = np.array([s.reliability for s in shifts]) / variance
    weight = sureness
    for _ in range(5):
        mean = np.average(yx, axis=0, weights=weight)
        off = np.hypot(*(yx - mean).T) / np.sqrt(2 * variance)
        weight = sureness / np.maximum(1, off / _HUBER)
    sigma = float(np.sqrt((weight**2 * variance).sum()) / weight.sum())
    return (float(mean[0]), float(mean[1])), sigma


def _no_consensus(windows: int) -> Registration:
    return Registration(
        dy_px=0.0,
        dx_px=0.0,
        reliability=0.0,
        accepted=False,
        reason="unreliable_registration" if windows else "too_little_ground",
        sigma_px=float("inf"),
        spread_px=float("inf"),
        windows=windows,
        agreeing=0,
    )
