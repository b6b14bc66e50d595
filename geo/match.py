"""Same place, nearly the same time: which satellite scene goes with which aerial one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import shapely

from geo.catalog.scene import Scene


@dataclass(frozen=True, kw_only=True)
class MatchRules:
    """What counts as the same place and time.

    Parameters
    ----------
    max_gap_days : float
        Most days between the two acquisitions.
    max_cloud : float
        Most cloud, 0 to 1, that the catalogue may give for the satellite scene.
    start, end : datetime, optional
        Window of satellite times, aware; `end` is not in it.
    aoi : shapely geometry, optional
        Area of interest in lon/lat.
    """

    max_gap_days: float = 30.0
    max_cloud: float = 0.6
    start: datetime | None = None
    end: datetime | None = None
    aoi: shapely.Geometry | None = None

    def __post_init__(self) -> None:
        if self.max_gap_days < 0:
            raise ValueError(f"max_gap_days is {self.max_gap_days:g}; wanted 0 or more")
        if not 0 <= self.max_cloud <= 1:
            raise ValueError(f"max_cloud is {self.max_cloud:g}; wanted a share from 0 to 1")
        for name, time in (("start", self.start), ("end", self.end)):
            if time is not None and time.tzinfo is None:
                raise ValueError(f"{name} is {time}; wanted a time with a zone")
        if self.start and self.end and self.start >= self.end:
            raise ValueError(
                f"the time window is empty: start {self.start:%Y-%m-%d} is not before "
                f"end {self.end:%Y-%m-%d}"
            )


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
    """

    satellite: Scene
    aerial: Scene
    gap_days: float
    overlap: shapely.Geometry
    ground: shapely.Geometry


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
        Best first: smallest gap, then least cloud.
    rejections : list of Rejection
        One for each overlapping pair of scenes that was refused, and one for each satellite scene
        that overlaps no aerial scene at all (``aerial_id`` is then empty).
    """
    candidates: list[Candidate] = []
    rejections: list[Rejection] = []
    if not aerials:
        return candidates, [_refuse(s, None, "no_overlap") for s in satellites]
    tree = shapely.STRtree([a.footprint for a in aerials])
    for satellite in satellites:
        if (refusal := _refuse_alone(satellite, rules)) is not None:
            rejections.append(refusal)
            continue
        partners = 0
        for index in sorted(tree.query(satellite.footprint, predicate="intersects")):
            aerial = aerials[int(index)]
            overlap = satellite.footprint.intersection(aerial.footprint)
            ground = overlap if rules.aoi is None else overlap.intersection(rules.aoi)
            if ground.area == 0:
                continue
            partners += 1
            gap_days = abs((satellite.time - aerial.time).total_seconds()) / 86400
            if gap_days > rules.max_gap_days:
                rejections.append(
                    _refuse(satellite, aerial, "time_gap", gap_days, rules.max_gap_days)
                )
                continue
            candidates.append(
                Candidate(
                    satellite=satellite,
                    aerial=aerial,
                    gap_days=gap_days,
                    overlap=overlap,
                    ground=ground,
                )
            )
        if not partners:
            rejections.append(_refuse(satellite, None, "no_overlap"))
    candidates.sort(
        key=lambda c: (
            c.gap_days,
            c.satellite.cloud_fraction or 0.0,
            c.satellite.id,
            c.aerial.id,
        )
    )
    return candidates, rejections


def _refuse_alone(satellite: Scene, rules: MatchRules) -> Rejection | None:
    """Refusals that need no partner."""
    if (rules.start and satellite.time < rules.start) or (
        rules.end and satellite.time >= rules.end
    ):
        return _refuse(satellite, None, "outside_time_window", detail=f"{satellite.time:%Y-%m-%d}")
    cloud = satellite.cloud_fraction
    if cloud is not None and cloud > rules.max_cloud:
        return _refuse(satellite, None, "cloud", cloud, rules.max_cloud)
    return None


def _refuse(
    satellite: Scene,
    aerial: Scene | None,
    reason: str,
    value: float | None = None,
    limit: float | None = None,
    detail: str = "",
) -> Rejection:
    return Rejection(
        satellite_id=satellite.id,
        aerial_id=aerial.id if aerial else "",
        reason=reason,
        value=None if value is None else float(np.round(value, 6)),
        limit=limit,
        detail=detail,
    )


def parse_day(text: str, name: str) -> datetime:
    """Read a day or time in ISO form; without a zone it is UTC.

    Raises
    ------
    ValueError
        If it is no such time.
    """
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{name} is {text!r}; wanted a day like 2024-06-30") from error
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
