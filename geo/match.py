"""Same place, nearly the same time: which satellite scene goes with which aerial one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import shapely

from geo.catalog.scene import Scene
from geo.footprints import Footprints, Neighbours, find_neighbours, overlap_shares, turned
from geo.match_footprints import (
    gap_days_of,
    match_footprints,
    refuse_alone,
    season_gap_days,
    solar_gap_hours,
)
from geo.match_rules import YEAR_DAYS, MatchRules, parse_day

__all__ = ["Candidate", "MatchRules", "Rejection", "match_scenes", "parse_day"]

# Scenes without a partner whose nearest miss is looked for; beyond, they are named without.
_MOST_EXPLAINED = 10_000


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A satellite and an aerial scene that may give pairs.

    Parameters
    ----------
    satellite, aerial : Scene
    gap_days : float
    overlap : shapely geometry
        Common ground, lon/lat: what the two are aligned on, whatever part of it is wanted.
    ground : shapely geometry
        The part of it that is wanted.
    score : float
        0 to 1, see `score_pairs`.
    rank : int
        Place among the candidates of its aerial scene, from 1 for the best.
    """

    satellite: Scene
    aerial: Scene
    gap_days: float
    overlap: shapely.Geometry
    ground: shapely.Geometry
    score: float = 0.0
    rank: int = 1


@dataclass(frozen=True, kw_only=True)
class Rejection:
    """A result, not an exception: what was refused, why, by which value against which limit."""

    satellite_id: str
    aerial_id: str
    reason: str
    value: float | None = None
    limit: float | None = None
    detail: str = ""


def match_scenes(
    satellites: Sequence[Scene], aerials: Sequence[Scene], rules: MatchRules
) -> tuple[list[Candidate], list[Rejection]]:
    """Pair scenes by footprint and time.

    Returns
    -------
    candidates : list of Candidate
        Best first, by their score.
    rejections : list of Rejection
        One for each satellite scene without a partner, naming its nearest miss (``aerial_id`` is
        empty where there is none), and one for each aerial scene without any.
    """
    sides = Footprints.of(satellites), Footprints.of(aerials)
    inside = [_inside(side, rules.aoi) for side in sides]
    matches = match_footprints(sides[0].take(inside[0]), sides[1].take(inside[1]), rules)
    candidates: list[Candidate] = []
    ranks: dict[int, int] = {}
    for i in range(len(matches)):
        one, other = int(inside[0][matches.satellite[i]]), int(inside[1][matches.aerial[i]])
        overlap, ground = _common_ground(sides[0].shapes[one], sides[1].shapes[other], rules.aoi)
        if ground.area == 0:
            continue
        ranks[other] = ranks.get(other, 0) + 1
        candidates.append(
            Candidate(
                satellite=satellites[one],
                aerial=aerials[other],
                gap_days=float(matches.gap_days[i]),
                overlap=overlap,
                ground=ground,
                score=round(float(matches.score[i]), 9),
                rank=ranks[other],
            )
        )
    # Names decide between equals, so that an answer does not hang on the order of a listing.
    candidates.sort(key=lambda c: (-c.score, c.gap_days, c.satellite.id, c.aerial.id))
    return candidates, _explain(satellites, aerials, sides, candidates, rules)


def _inside(side: Footprints, aoi: shapely.Geometry | None) -> npt.NDArray[np.int64]:
    """Scenes that touch the area of interest."""
    if aoi is None:
        return np.arange(len(side))
    touching = np.zeros(len(side), dtype=np.bool_)
    for turn in (-360.0, 0.0, 360.0):  # footprints may run on beyond 180 degrees
        moved = turned(aoi, turn)
        shapely.prepare(moved)
        touching |= shapely.intersects(moved, side.shapes)
    return np.flatnonzero(touching)


def _common_ground(
    one: shapely.Geometry, other: shapely.Geometry, aoi: shapely.Geometry | None
) -> tuple[shapely.Geometry, shapely.Geometry]:
    """What two footprints share, and what of it is wanted."""
    overlap = one.intersection(_beside(other, one))
    return overlap, overlap if aoi is None else overlap.intersection(_beside(aoi, overlap))


def _beside(shape: shapely.Geometry, other: shapely.Geometry) -> shapely.Geometry:
    """The same ground with longitudes counted as another's are."""
    if shape.is_empty or other.is_empty:
        return shape
    middles = [(s.bounds[0] + s.bounds[2]) / 2 for s in (other, shape)]
    turn = 360 * round((middles[0] - middles[1]) / 360)
    return turned(shape, turn)


def _explain(
    satellites: Sequence[Scene],
    aerials: Sequence[Scene],
    sides: tuple[Footprints, Footprints],
    candidates: Sequence[Candidate],
    rules: MatchRules,
) -> list[Rejection]:
    """Why scenes have no partner."""
    taken = {c.satellite.id for c in candidates}, {c.aerial.id for c in candidates}
    alone = refuse_alone(sides[0], rules)
    rejections, lonely = [], []
    for index, scene in enumerate(satellites):
        if alone[index] == "cloud":
            cloud = float(np.round(sides[0].cloud[index], 6))
            rejections.append(_refuse(scene, None, "cloud", cloud, rules.max_cloud))
        elif alone[index]:
            day = f"{scene.time:%Y-%m-%d}"
            rejections.append(_refuse(scene, None, str(alone[index]), detail=day))
        elif scene.id not in taken[0]:
            lonely.append(index)
    for index in lonely[_MOST_EXPLAINED:]:
        rejections.append(_refuse(satellites[index], None, "no_partner"))
    misses = _nearest_misses(sides, lonely[:_MOST_EXPLAINED], rules)
    for index in lonely[:_MOST_EXPLAINED]:
        other = misses.get(index)
        aerial = None if other is None else aerials[other]
        rejections.append(_name_miss(satellites[index], aerial, rules))
    named = {r.aerial_id for r in rejections}
    for scene in aerials:
        if scene.id not in taken[1] and scene.id not in named:
            rejections.append(_refuse(None, scene, "no_partner"))
    return rejections


def _nearest_misses(
    sides: tuple[Footprints, Footprints], lonely: Sequence[int], rules: MatchRules
) -> dict[int, int]:
    """The aerial scene nearest in time that shares ground, for satellite scenes without partner."""
    index = np.asarray(lonely, np.int64)
    some = sides[0].take(index)
    nearest: dict[int, tuple[float, int]] = {}
    for pairs in find_neighbours(some, sides[1], [(-np.inf, np.inf)]):
        shared = overlap_shares(some, sides[1], pairs) > 0
        gaps = gap_days_of(some, sides[1], pairs)
        columns = (pairs.satellite, pairs.aerial, gaps, shared)
        for one, other, gap, shares in zip(*columns, strict=True):
            best = nearest.get(int(index[one]), (np.inf, -1))
            if shares and (gap, other) < best:
                nearest[int(index[one])] = (float(gap), int(other))
    return {one: other for one, (_, other) in nearest.items()}


def _name_miss(satellite: Scene, aerial: Scene | None, rules: MatchRules) -> Rejection:
    """Which rule kept two scenes apart."""
    if aerial is None:
        return _refuse(satellite, None, "no_overlap")
    sides = Footprints.of([satellite]), Footprints.of([aerial])
    _, ground = _common_ground(sides[0].shapes[0], sides[1].shapes[0], rules.aoi)
    if ground.area == 0:
        return _refuse(satellite, None, "no_overlap")
    only = Neighbours(np.zeros(1, np.int64), np.zeros(1, np.int64))
    gap = float(gap_days_of(*sides, only)[0])
    share = float(overlap_shares(*sides, only)[0])
    if gap > rules.max_gap_days:
        season = float(season_gap_days(np.array([gap]))[0])
        if rules.season_days is not None and season > rules.season_days:
            return _refuse(satellite, aerial, "season", season, rules.season_days)
        if rules.season_days is None or round(gap / YEAR_DAYS) > rules.max_season_years:
            return _refuse(satellite, aerial, "time_gap", gap, rules.max_gap_days)
    if rules.max_solar_gap_hours is not None:
        hours = float(solar_gap_hours(*sides, only)[0])
        if hours > rules.max_solar_gap_hours:
            return _refuse(satellite, aerial, "solar_time", hours, rules.max_solar_gap_hours)
    return _refuse(satellite, aerial, "too_little_overlap", share, rules.min_overlap)


def _refuse(
    satellite: Scene | None,
    aerial: Scene | None,
    reason: str,
    value: float | None = None,
    limit: float | None = None,
    detail: str = "",
) -> Rejection:
    return Rejection(
        satellite_id=satellite.id if satellite else "",
        aerial_id=aerial.id if aerial else "",
        reason=reason,
        value=None if value is None else float(np.round(value, 6)),
        limit=limit,
        detail=detail,
    )
