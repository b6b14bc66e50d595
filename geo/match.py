"""Same place, nearly the same time: which satellite scene goes with which aerial one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import shapely

from geo.catalog.scene import Scene
from geo.footprints import Footprints, turned, unwrap
from geo.match_footprints import match_footprints, refuse_alone
from geo.match_rules import MatchRules, parse_day
from geo.misses import Misses, explain_aerials, explain_satellites

__all__ = ["Candidate", "MatchRules", "Rejection", "match_scenes", "parse_day", "scenes_alone"]


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
        empty where there is none); and one for each aerial scene without a partner, where
        ``satellite_id`` is empty and the nearest miss is named in `detail`, unless it is itself
        named already as the nearest miss of a satellite scene.
    """
    if rules.aoi is not None:
        rules = replace(rules, aoi=unwrap(rules.aoi))
    sides = Footprints.of(satellites), Footprints.of(aerials)
    inside = _inside(sides[0], rules.aoi), _inside(sides[1], rules.aoi)
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
    return candidates, _explain(satellites, aerials, sides, inside, candidates, rules)


def scenes_alone(
    scenes: Sequence[Scene], rules: MatchRules, *, satellite: bool
) -> tuple[list[tuple[Scene, shapely.Geometry]], list[tuple[Scene, str]]]:
    """Scenes that are wanted without a partner, by place, and of satellites by time and cloud.

    Returns
    -------
    wanted : list of (Scene, geometry)
        With the ground of each that is wanted, lon/lat.
    refused : list of (Scene, str)
        With the reason.
    """
    side = Footprints.of(scenes)
    aoi = None if rules.aoi is None else unwrap(rules.aoi)
    inside = set(_inside(side, aoi).tolist())
    reasons = refuse_alone(side, rules).tolist() if satellite else [""] * len(scenes)
    wanted, refused = [], []
    for index, scene in enumerate(scenes):
        shape = side.shapes[index]
        ground = shape if aoi is None else shape.intersection(_beside(aoi, shape))
        if reasons[index]:
            refused.append((scene, str(reasons[index])))
        elif index not in inside or ground.area == 0:
            refused.append((scene, "no_overlap"))
        else:
            wanted.append((scene, ground))
    return wanted, refused


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
    inside: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]],
    candidates: Sequence[Candidate],
    rules: MatchRules,
) -> list[Rejection]:
    """Why scenes have no partner."""
    taken = {id(c.satellite) for c in candidates}, {id(c.aerial) for c in candidates}
    alone = refuse_alone(sides[0], rules)
    rejections: dict[int, Rejection] = {}
    for index in np.flatnonzero(alone != "").tolist():
        scene = satellites[index]
        if alone[index] == "cloud":
            cloud = float(sides[0].cloud[index])
            rejections[index] = _refuse(scene, None, "cloud", cloud, rules.max_cloud)
        else:
            day = f"{scene.time:%Y-%m-%d}"
            rejections[index] = _refuse(scene, None, str(alone[index]), detail=day)
    for index, scene in enumerate(satellites):  # those outside the area of interest stay so
        if alone[index] == "" and id(scene) not in taken[0]:
            rejections[index] = _refuse(scene, None, "no_overlap")
    wanted = [side.take(some) for side, some in zip(sides, inside, strict=True)]
    local = [k for k, i in enumerate(inside[0]) if int(i) in rejections and alone[i] == ""]
    lonely = np.asarray(local, np.int64)
    misses = explain_satellites(wanted[0].take(lonely), wanted[1], rules)
    for k in np.flatnonzero(misses.reason != "no_overlap"):
        index, other = int(inside[0][lonely[k]]), int(inside[1][misses.other[k]])
        if not _wanted(sides, index, other, rules):
            continue
        facts = _facts(misses, int(k))
        rejections[index] = _refuse(satellites[index], aerials[other], *facts)
    told = [rejections[index] for index in sorted(rejections)]
    named = {r.aerial_id for r in told}
    unused = _explain_aerials(satellites, aerials, sides, inside, taken[1], rules)
    return told + [r for r in unused if r.aerial_id not in named]


def _explain_aerials(
    satellites: Sequence[Scene],
    aerials: Sequence[Scene],
    sides: tuple[Footprints, Footprints],
    inside: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]],
    taken: set[int],
    rules: MatchRules,
) -> list[Rejection]:
    """Aerial scenes without a partner; the satellite scene that came nearest is the detail."""
    unused = [i for i, scene in enumerate(aerials) if id(scene) not in taken]
    rejections = {i: _refuse(None, aerials[i], "no_overlap") for i in unused}
    lonely = np.asarray([i for i in inside[1] if int(i) in rejections], np.int64)
    some = sides[0].take(inside[0])
    misses = explain_aerials(sides[1].take(lonely), some, rules)
    for k in np.flatnonzero(misses.reason != "no_overlap"):
        index, other = int(lonely[k]), int(inside[0][misses.other[k]])
        if not _wanted(sides, other, index, rules):
            continue
        detail = f"nearest: {satellites[other].id}"
        facts = _facts(misses, int(k))
        rejections[index] = _refuse(None, aerials[index], *facts, detail=detail)
    return list(rejections.values())


def _wanted(sides: tuple[Footprints, Footprints], one: int, other: int, rules: MatchRules) -> bool:
    """Whether two scenes share ground in the area of interest."""
    if rules.aoi is None:
        return True
    ground = _common_ground(sides[0].shapes[one], sides[1].shapes[other], rules.aoi)[1]
    return bool(ground.area > 0)


def _facts(misses: Misses, k: int) -> tuple[str, float | None, float | None]:
    value, limit = (None if np.isnan(v) else float(v) for v in (misses.value[k], misses.limit[k]))
    return str(misses.reason[k]), value, limit


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
