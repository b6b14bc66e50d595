"""Matching by columns, so that a million scenes can be held against another million."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from geo.footprints import Footprints, Neighbours, find_neighbours, overlap_shares
from geo.match_rules import DAY_S, YEAR_DAYS, MatchRules

_Floats = npt.NDArray[np.float64]
_Mask = npt.NDArray[np.bool_]

# What the score takes an unknown cloud cover for: about the mean over land.
_UNKNOWN_CLOUD = 0.4


@dataclass(frozen=True)
class Matches:
    """Pairs of scenes that match, as columns, best first.

    Parameters
    ----------
    satellite, aerial : array of int, [n]
        Positions in the two lists.
    gap_days, overlap, score : array, [n]
    """

    satellite: npt.NDArray[np.int64]
    aerial: npt.NDArray[np.int64]
    gap_days: _Floats
    overlap: _Floats
    score: _Floats

    def __len__(self) -> int:
        return len(self.satellite)


def match_footprints(satellites: Footprints, aerials: Footprints, rules: MatchRules) -> Matches:
    """Pair footprints by place and time.

    Notes
    -----
    Works on columns, slice of time by slice of time: memory is that of the answer, and the work
    grows with the number of scenes times the partners each one has.
    """
    wanted = np.flatnonzero(refuse_alone(satellites, rules) == "")
    some = satellites.take(wanted)
    found = list(find_neighbours(some, aerials, rules.time_windows()))
    columns = [
        np.concatenate([getattr(part, name) for part in found] or [np.empty(0, np.int64)])
        for name in ("satellite", "aerial")
    ]
    pairs = Neighbours(*columns)
    judged = _judge(some, aerials, pairs, rules)
    kept = Neighbours(pairs.satellite[judged], pairs.aerial[judged])
    overlap = overlap_shares(some, aerials, kept)
    enough = (overlap > 0) & (overlap >= rules.min_overlap)
    kept = Neighbours(kept.satellite[enough], kept.aerial[enough])
    overlap = overlap[enough]
    gap = gap_days_of(some, aerials, kept)
    hours = solar_gap_hours(some, aerials, kept)
    score = score_pairs(gap, some.cloud[kept.satellite], overlap, hours)
    order = np.lexsort((kept.aerial, kept.satellite, gap, -np.round(score, 9)))
    return Matches(
        satellite=wanted[kept.satellite[order]],
        aerial=kept.aerial[order],
        gap_days=gap[order],
        overlap=overlap[order],
        score=score[order],
    )


def score_pairs(
    gap_days: _Floats, cloud: _Floats, overlap: _Floats, solar_gap_h: _Floats
) -> _Floats:
    """How well scenes suit each other, 0 to 1.

    ``exp(-gap / 30 days) * (1 - cloud) * (1 + overlap) / 2 * (1 + cos(15 deg * hours)) / 2``: what
    grows and is harvested between two dates changes within weeks; what is under cloud is lost; a
    sliver of common ground gives little to register on; shadows turn with the sun's hour angle
    (`hours` to the tenth: the equation of time alone shall not order days). A gap of years in the
    same season counts by its days of the year, and half.
    """
    season = season_gap_days(gap_days)
    same_year = np.exp(-gap_days / 30)
    same_season = 0.5 * np.exp(-season / 30)
    clear = 1 - np.where(np.isfinite(cloud), cloud, _UNKNOWN_CLOUD)
    near = np.maximum(same_year, same_season * (gap_days > 182))
    sun = (1 + np.cos(np.radians(15 * np.round(solar_gap_h, 1)))) / 2
    return np.asarray(near * clear * (1 + overlap) / 2 * sun)


def season_gap_days(gap_days: _Floats) -> _Floats:
    """Days between two days of the year, whatever the years: 0 to about 183."""
    return np.asarray(np.abs(gap_days - YEAR_DAYS * np.round(gap_days / YEAR_DAYS)))


def solar_hours(lon: _Floats, seconds: _Floats) -> _Floats:
    """Local apparent solar time in hours, 0 to 24.

    Parameters
    ----------
    lon : array
        Degrees.
    seconds : array
        Unix time.

    Notes
    -----
    Equation of time after P. I. Cooper's day angle, good to about a minute.
    """
    day = (seconds / DAY_S) % YEAR_DAYS  # 1970 began with a first of January
    angle = 2 * np.pi * (day - 80) / 365
    minutes = 9.87 * np.sin(2 * angle) - 7.53 * np.cos(angle) - 1.5 * np.sin(angle)
    return np.asarray((seconds % DAY_S / 3600 + lon / 15 + minutes / 60) % 24)


def refuse_alone(satellites: Footprints, rules: MatchRules) -> npt.NDArray[np.str_]:
    """Reason why a satellite scene is refused whatever its partner, or nothing."""
    reasons = np.full(len(satellites), "", dtype="U24")
    reasons[satellites.cloud > rules.max_cloud] = "cloud"  # unknown is not more
    if rules.start:
        reasons[satellites.seconds < rules.start.timestamp()] = "outside_time_window"
    if rules.end:
        reasons[satellites.seconds >= rules.end.timestamp()] = "outside_time_window"
    return reasons


def _judge(
    satellites: Footprints, aerials: Footprints, pairs: Neighbours, rules: MatchRules
) -> _Mask:
    """Pairs whose times suit."""
    gap = gap_days_of(satellites, aerials, pairs)
    good = gap <= rules.max_gap_days
    if rules.season_days is not None:
        years = np.round(gap / YEAR_DAYS)
        good |= (season_gap_days(gap) <= rules.season_days) & (years <= rules.max_season_years)
    if rules.max_solar_gap_hours is not None:
        good &= solar_gap_hours(satellites, aerials, pairs) <= rules.max_solar_gap_hours
    return np.asarray(good)


def gap_days_of(satellites: Footprints, aerials: Footprints, pairs: Neighbours) -> _Floats:
    """Days between the two scenes of each pair."""
    there, here = aerials.seconds[pairs.aerial], satellites.seconds[pairs.satellite]
    return np.asarray(np.abs(there - here) / DAY_S)


def solar_gap_hours(satellites: Footprints, aerials: Footprints, pairs: Neighbours) -> _Floats:
    """Hours between the local solar times of each pair; 0 where one is known by its date alone.

    On common ground the longitude adds the same to both times, whatever it is.
    """
    here, there = satellites.seconds[pairs.satellite], aerials.seconds[pairs.aerial]
    greenwich = np.zeros(len(here))
    apart = np.abs(solar_hours(greenwich, here) - solar_hours(greenwich, there))
    apart = np.minimum(apart, 24 - apart)
    apart[(here % (DAY_S / 2) == 0) | (there % (DAY_S / 2) == 0)] = 0
    return np.asarray(apart)
