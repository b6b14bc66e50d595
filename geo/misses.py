"""Why scenes found no partner: the one that came nearest, and the rule that stood between."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from geo.footprints import Footprints, Neighbours, find_neighbours, overlap_shares
from geo.match_footprints import gap_days_of, refuse_alone, season_gap_days, solar_gap_hours
from geo.match_rules import DAY_S, YEAR_DAYS, MatchRules

_Floats = npt.NDArray[np.float64]
_Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Misses:
    """Scenes without a partner, as columns.

    Parameters
    ----------
    other : array of int, [n]
        Position of the scene that came nearest; -1 where none shares ground.
    reason : array of str, [n]
    value, limit : array, [n]
        NaN where the reason has none.
    """

    other: _Ints
    reason: npt.NDArray[np.str_]
    value: _Floats
    limit: _Floats


def explain_satellites(lonely: Footprints, aerials: Footprints, rules: MatchRules) -> Misses:
    """Of satellite scenes that are good in themselves and yet have no partner."""
    other = _nearest(lonely, aerials, rules)
    index = np.flatnonzero(other >= 0)
    return _name(lonely, aerials, Neighbours(index, other[index]), other, rules)


def explain_aerials(lonely: Footprints, satellites: Footprints, rules: MatchRules) -> Misses:
    """Of aerial scenes; the satellite scene that came nearest may be no good in itself."""
    other = _nearest(lonely, satellites, rules)
    index = np.flatnonzero(other >= 0)
    misses = _name(satellites, lonely, Neighbours(other[index], index), other, rules)
    kept_apart = np.isin(misses.reason, ("time_gap", "season", "solar_time", "too_little_overlap"))
    alone = (
        np.where(other >= 0, refuse_alone(satellites, rules)[other], "")
        if len(satellites)
        else np.full(len(other), "")
    )
    clouds = np.flatnonzero(~kept_apart & (alone == "cloud"))
    misses.reason[clouds], misses.limit[clouds] = "cloud", rules.max_cloud
    misses.value[clouds] = satellites.cloud[other[clouds]]
    misses.reason[~kept_apart & (alone == "outside_time_window")] = "outside_time_window"
    return misses


def _nearest(lonely: Footprints, others: Footprints, rules: MatchRules) -> _Ints:
    """The nearest in time of those that share enough ground; else of those that share any."""
    found = _nearest_sharing(lonely, others, max(rules.min_overlap, 1e-12))
    if rules.min_overlap > 0 and (missing := np.flatnonzero(found < 0)).size:
        found[missing] = _nearest_sharing(lonely.take(missing), others, 1e-12)
    return found


def _nearest_sharing(lonely: Footprints, others: Footprints, least: float) -> _Ints:
    """Look in ever wider rings of time, and only for scenes that found none in a nearer one."""
    found = np.full(len(lonely), -1, np.int64)
    if not len(lonely) or not len(others):
        return found
    times = np.concatenate([lonely.seconds, others.seconds])
    inner, outer, span = 0.0, 32 * DAY_S, float(np.ptp(times))
    missing = np.arange(len(lonely))
    while len(missing) and inner <= span:
        rings = [(-outer, outer)] if inner == 0 else [(-outer, -inner), (inner, outer)]
        found[missing] = _nearest_within(lonely.take(missing), others, rings, least)
        missing = missing[found[missing] < 0]
        inner, outer = outer, 4 * outer
    return found


def _nearest_within(
    lonely: Footprints, others: Footprints, rings: list[tuple[float, float]], least: float
) -> _Ints:
    best, found = np.full(len(lonely), np.inf), np.full(len(lonely), -1, np.int64)
    for pairs in find_neighbours(lonely, others, rings):
        gap = gap_days_of(lonely, others, pairs)
        one, other = pairs.satellite, pairs.aerial  # pairs of one scene stand together
        better = (gap < best[one]) | ((gap == best[one]) & (other < found[one]))
        # The nearest of each scene is laid over it first: most often it is the answer.
        while better.any():
            one, other, gap = one[better], other[better], gap[better]
            start = np.flatnonzero(np.diff(one, prepend=-1))
            sizes = np.diff(start, append=len(one))
            nearest = gap == np.repeat(np.minimum.reduceat(gap, start), sizes)
            last = np.iinfo(np.int64).max
            who = np.minimum.reduceat(np.where(nearest, other, last), start)
            nearest &= other == np.repeat(who, sizes)
            tried = Neighbours(one[nearest], other[nearest])
            good = overlap_shares(lonely, others, tried) >= least
            best[tried.satellite[good]] = gap[nearest][good]
            found[tried.satellite[good]] = tried.aerial[good]
            better = ~nearest & ((gap < best[one]) | ((gap == best[one]) & (other < found[one])))
    return found


def _name(
    satellites: Footprints,
    aerials: Footprints,
    pairs: Neighbours,
    other: _Ints,
    rules: MatchRules,
) -> Misses:
    """The first rule that a pair breaks: ground, time, time of day."""
    reason = np.full(len(pairs.satellite), "", "U24")
    value, limit = np.full(len(reason), np.nan), np.full(len(reason), np.nan)

    def say(broken: npt.NDArray[np.bool_], why: str, values: _Floats, most: float) -> None:
        broken = broken & (reason == "")
        reason[broken], value[broken], limit[broken] = why, values[broken], most

    share = overlap_shares(satellites, aerials, pairs)
    gap = gap_days_of(satellites, aerials, pairs)
    say(share < rules.min_overlap, "too_little_overlap", share, rules.min_overlap)
    late = gap > rules.max_gap_days
    if rules.season_days is not None:
        season = season_gap_days(gap)
        within_years = np.round(gap / YEAR_DAYS) <= rules.max_season_years
        say(late & within_years & (season > rules.season_days), "season", season, rules.season_days)
        late &= ~within_years
    say(late, "time_gap", gap, rules.max_gap_days)
    if rules.max_solar_gap_hours is not None:
        hours = solar_gap_hours(satellites, aerials, pairs)
        most = rules.max_solar_gap_hours
        say(hours > most, "solar_time", hours, most)
    has = np.flatnonzero(other >= 0)
    misses = Misses(
        other,
        np.full(len(other), "no_overlap", "U24"),
        np.full(len(other), np.nan),
        np.full(len(other), np.nan),
    )
    # What breaks no rule of pairs shares no ground that is wanted, or is refused for itself.
    misses.reason[has] = np.where(reason == "", "no_overlap", reason)
    misses.value[has], misses.limit[has] = value, limit
    return misses
