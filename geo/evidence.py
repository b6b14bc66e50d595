"""What speaks for a shift, and how far it is to be believed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Logistic model of "right to within half a pixel", fitted on windows of 64 and 128 px with known
# shifts (Manila, Nepal, South African mountains, a Virginia quarry, two Sentinel-2 series; clouds
# masked and not, nodata, noise, other colours, other dates, a third of them wrongly paired) and
# checked on others: docs/benchmarks.md, "windows".
_INTERCEPT = -1.275
_PER_LOG_PEAK = 1.734  # of log(peak_ratio - 1)
_PER_PIXEL_APART = -2.527  # of disagreement_px, at most 1
_PER_LOG_SCATTER = -1.239  # of log(scatter_px + 0.01)
# Phases of neighbouring frequencies are not independent under a taper, and coherent content that
# does not move with the ground is not noise: the scatter of phases alone promises too much.
_SCATTER_FACTOR = 3.4
_LEAST_SIGMA_PX = 0.015


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What speaks for the shift of a window.

    Parameters
    ----------
    peak_ratio : float
        First over second correlation peak.
    disagreement_px : float
        Distance between the shift by intensity and by orientation of edges.
    scatter_px : float
        Standard error that the scatter of phases shows; infinite where there is no peak.
    similarity : float
        Mean correlation of the bands at the shift, -1 to 1.
    similarity_gained : float
        The same less what it is without the shift.
    valid_share : float
        Share of valid pixels.
    """

    peak_ratio: float
    disagreement_px: float
    scatter_px: float
    similarity: float
    similarity_gained: float
    valid_share: float


def reliability_of(evidence: Evidence) -> float:
    """Probability, 0 to 1, that the shift is right to within half a pixel."""
    if not np.isfinite(evidence.scatter_px):
        return 0.0
    log_odds = (
        _INTERCEPT
        + _PER_LOG_PEAK * np.log(np.clip(evidence.peak_ratio - 1, 0.02, 30))
        + _PER_PIXEL_APART * min(evidence.disagreement_px, 1.0)
        + _PER_LOG_SCATTER * np.log(min(evidence.scatter_px, 1.0) + 0.01)
    )
    return float(1 / (1 + np.exp(-log_odds)))


def standard_error(evidence: Evidence) -> float:
    """Standard error of the shift along an axis, in pixels, if it is right."""
    return float(np.hypot(_SCATTER_FACTOR * evidence.scatter_px, _LEAST_SIGMA_PX))
