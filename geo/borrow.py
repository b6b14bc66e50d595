"""A shift from the neighbours, where the ground itself has nothing to register on.

Open water and flat desert show nothing that could be laid over another image. But a satellite
scene is displaced as a whole, by its pointing and its orbit, so what other aerial scenes beside
it found holds here too, as long as they agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from pyproj import Geod

from geo.alignment import Alignment
from geo.match import Candidate
from geo.registration import SceneShift

# Refusals that say "nothing to see", not "something is wrong".
_BORROWERS = ("too_little_ground", "unreliable_registration")
_GEOD = Geod(ellps="WGS84")


@dataclass(frozen=True, kw_only=True)
class BorrowRules:
    """From whom a shift may be taken.

    Parameters
    ----------
    max_distance_km : float
        Between the middles of the common ground.
    max_campaign_days : float
        Between the aerial acquisitions: another campaign has errors of its own.
    most : int
        The nearest so many are asked.
    max_disagreement_px : float
        Neighbours that lie further apart are of no help.
    """

    max_distance_km: float = 30.0
    max_campaign_days: float = 30.0
    most: int = 5
    max_disagreement_px: float = 0.3


Neighbour = tuple[Candidate, Alignment]
"""Scenes that were aligned, and how."""


def may_borrow(alignment: Alignment) -> bool:
    """Whether a refusal was for want of anything to register on."""
    return not alignment.accepted and alignment.reason in _BORROWERS


def find_neighbours(
    candidate: Candidate, aligned: Sequence[Neighbour], rules: BorrowRules | None = None
) -> list[Alignment]:
    """Alignments that hold for these scenes too, the nearest first.

    Parameters
    ----------
    candidate : Candidate
        Scenes that could not be registered.
    aligned : sequence of (Candidate, Alignment)
        Any scene pairs; those of other satellite scenes, refused ones, ones that borrowed
        themselves and ones too far away are passed over.
    """
    rules = rules or BorrowRules()
    near = sorted(
        (
            (distance, alignment)
            for other, alignment in aligned
            if _is_neighbour(candidate, other, alignment, rules)
            and (distance := _distance_km(candidate, other)) <= rules.max_distance_km
        ),
        key=lambda found: found[0],
    )
    return [alignment for _, alignment in near[: rules.most]]


def borrow_shift(
    neighbours: Sequence[Alignment], rules: BorrowRules | None = None
) -> SceneShift | None:
    """Shift as the neighbours have it, with the least of their reliabilities.

    Returns
    -------
    SceneShift or None
        None where there are no neighbours, or where they disagree.
    """
    rules = rules or BorrowRules()
    if not neighbours:
        return None
    shifts = np.array([(a.dy_px, a.dx_px) for a in neighbours])
    middle = np.median(shifts, axis=0)
    apart = float(np.linalg.norm(shifts - middle, axis=1).max())
    if apart > rules.max_disagreement_px:
        return None
    return SceneShift(
        dy_px=float(middle[0]),
        dx_px=float(middle[1]),
        reliability=min(a.reliability for a in neighbours),
        residual_px=max(a.residual_px for a in neighbours) + apart,
        origin="neighbours",
    )


def _is_neighbour(
    candidate: Candidate, other: Candidate, alignment: Alignment, rules: BorrowRules
) -> bool:
    days = abs((candidate.aerial.time - other.aerial.time).total_seconds()) / 86400
    return (
        alignment.accepted
        and alignment.origin != "neighbours"
        and other.satellite.id == candidate.satellite.id
        and days <= rules.max_campaign_days
    )


def _distance_km(one: Candidate, other: Candidate) -> float:
    a, b = (shapely.point_on_surface(c.overlap) for c in (one, other))
    return float(_GEOD.inv(a.x, a.y, b.x, b.y)[2]) / 1000
