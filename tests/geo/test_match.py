"""Matching: same place, nearly the same time; every refusal with its reason."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from geo.catalog.scene import Asset, Scene
from geo.footprints import Footprints, Neighbours, overlap_shares, turned
from geo.match import MatchRules, Rejection, match_scenes, parse_day
from geo.match_footprints import match_footprints, solar_hours
from geo.misses import explain_satellites

DAY = datetime(2023, 8, 15, 10, tzinfo=UTC)
HERE = shapely.box(15.0, 47.0, 15.2, 47.2)
ASIDE = shapely.box(15.1, 47.1, 15.3, 47.3)
AWAY = shapely.box(20.0, 47.0, 20.2, 47.2)


def scene(
    name: str,
    footprint: shapely.Geometry = HERE,
    *,
    days: float = 0,
    cloud: float | None = None,
) -> Scene:
    return Scene(
        id=name,
        time=DAY + timedelta(days=days),
        footprint=footprint,
        assets={"data": Asset(href=f"{name}.tif")},
        cloud_fraction=cloud,
    )


def names(matches: tuple[list[Any], list[Rejection]]) -> tuple[Any, Any]:
    candidates, rejections = matches
    return (
        [(c.satellite.id, c.aerial.id) for c in candidates],
        [(r.satellite_id, r.aerial_id, r.reason) for r in rejections],
    )


def test_the_same_place_and_day_is_a_candidate() -> None:
    candidates, rejections = match_scenes([scene("s")], [scene("a", ASIDE, days=2)], MatchRules())
    assert rejections == []
    (one,) = candidates
    assert one.gap_days == 2
    assert one.overlap.equals(shapely.box(15.1, 47.1, 15.2, 47.2))
    assert one.ground.equals(one.overlap)


@pytest.mark.parametrize("days", [31, -31])
def test_a_long_gap_is_refused_with_value_and_limit(days: float) -> None:
    got = match_scenes([scene("s")], [scene("a", days=days)], MatchRules(max_gap_days=30))
    assert got == (
        [],
        [Rejection(satellite_id="s", aerial_id="a", reason="time_gap", value=31.0, limit=30.0)],
    )


def test_the_limit_itself_is_allowed() -> None:
    candidates, _ = match_scenes([scene("s")], [scene("a", days=30)], MatchRules(max_gap_days=30))
    assert len(candidates) == 1


@pytest.mark.parametrize(
    "aerials",
    [
        [],
        [scene("a", AWAY)],
        [scene("a", shapely.box(15.2, 47.0, 15.4, 47.2))],  # they touch, they share no ground
    ],
)
def test_no_common_ground_is_said_once_for_the_satellite(aerials: list[Scene]) -> None:
    got = names(match_scenes([scene("s")], aerials, MatchRules()))
    unused = [("", a.id, "no_overlap") for a in aerials]
    assert got == ([], [("s", "", "no_overlap"), *unused])


def test_the_time_window_is_half_open() -> None:
    rules = MatchRules(start=DAY, end=DAY + timedelta(days=2))
    satellites = [scene(f"day{d}", days=d) for d in (-1, 0, 1, 2)]
    candidates, rejections = names(match_scenes(satellites, [scene("a")], rules))
    assert [s for s, _ in candidates] == ["day0", "day1"]
    assert rejections == [
        ("day-1", "", "outside_time_window"),
        ("day2", "", "outside_time_window"),
    ]


def test_the_window_is_for_satellites_only() -> None:
    rules = MatchRules(start=DAY)
    candidates, _ = match_scenes([scene("s")], [scene("a", days=-3)], rules)
    assert len(candidates) == 1


def test_clouds_by_the_catalogue() -> None:
    satellites = [scene("clear", cloud=0.6), scene("overcast", cloud=0.61), scene("unknown")]
    candidates, rejections = match_scenes(satellites, [scene("a")], MatchRules(max_cloud=0.6))
    assert {c.satellite.id for c in candidates} == {"clear", "unknown"}
    assert rejections == [
        Rejection(satellite_id="overcast", aerial_id="", reason="cloud", value=0.61, limit=0.6)
    ]


def test_only_the_area_of_interest_counts() -> None:
    aoi = shapely.box(15.05, 47.05, 15.1, 47.1)
    candidates, _ = match_scenes([scene("s")], [scene("a")], MatchRules(aoi=aoi))
    assert candidates[0].ground.equals(aoi)
    assert candidates[0].overlap.equals(HERE)  # for alignment the more ground the better
    outside = match_scenes([scene("s")], [scene("a")], MatchRules(aoi=AWAY))
    assert names(outside) == ([], [("s", "", "no_overlap"), ("", "a", "no_overlap")])


def test_the_best_comes_first() -> None:
    """The smallest gap, then the least cloud; then names, so that an answer stays the same."""
    satellites = [
        scene("c", days=5),
        scene("b", days=1, cloud=0.3),
        scene("a", days=1, cloud=0.1),
        scene("d", days=-1, cloud=0.1),
    ]
    candidates, _ = names(match_scenes(satellites, [scene("x")], MatchRules()))
    assert [s for s, _ in candidates] == ["a", "d", "b", "c"]


days = st.floats(-60, 60)
places = st.sampled_from([HERE, ASIDE, AWAY])
clouds = st.none() | st.floats(0, 1)


@given(
    st.lists(st.tuples(places, days, clouds), max_size=5),
    st.lists(st.tuples(places, days), max_size=5),
)
def test_every_scene_is_taken_or_refused_once(satellites: list[Any], aerials: list[Any]) -> None:
    lr = [scene(f"s{i}", p, days=d, cloud=c) for i, (p, d, c) in enumerate(satellites)]
    hr = [scene(f"a{i}", p, days=d) for i, (p, d) in enumerate(aerials)]
    candidates, rejections = match_scenes(lr, hr, MatchRules())
    for names_of, all_of in (
        ([r.satellite_id for r in rejections if r.satellite_id], lr),
        ([r.aerial_id for r in rejections if not r.satellite_id], hr),
    ):
        assert len(set(names_of)) == len(names_of)
        taken = {c.satellite.id for c in candidates} | {c.aerial.id for c in candidates}
        named = {r.aerial_id for r in rejections} | set(names_of)
        assert {s.id for s in all_of} <= taken | named
        assert not set(names_of) & taken
    scores = [c.score for c in candidates]
    assert scores == sorted(scores, reverse=True)
    for aerial in hr:
        ranks = [c.rank for c in candidates if c.aerial.id == aerial.id]
        assert sorted(ranks) == list(range(1, len(ranks) + 1))


def test_the_nearest_miss_is_named() -> None:
    aerials = [scene("far", days=300), scene("near", days=90), scene("aside", AWAY, days=1)]
    _, rejections = match_scenes([scene("s")], aerials, MatchRules(max_gap_days=30))
    assert rejections[0] == Rejection(
        satellite_id="s", aerial_id="near", reason="time_gap", value=90.0, limit=30.0
    )
    # Aerial scenes that nobody asked for are named too.
    assert [(r.satellite_id, r.aerial_id, r.reason) for r in rejections[1:]] == [
        ("", "far", "time_gap"),
        ("", "aside", "no_overlap"),
    ]
    assert (rejections[1].value, rejections[1].detail) == (300.0, "nearest: s")


def test_an_aerial_scene_says_what_kept_it_alone() -> None:
    """A cloudy partner is nearer to one than a late partner."""
    satellites = [scene("overcast", days=2, cloud=0.9), scene("late", days=90)]
    _, rejections = match_scenes(satellites, [scene("a")], MatchRules(max_cloud=0.5))
    assert rejections[-1].aerial_id == "a"
    _, rejections = match_scenes(satellites[:1], [scene("a")], MatchRules(max_cloud=0.5))
    assert rejections[-1] == Rejection(
        satellite_id="",
        aerial_id="a",
        reason="cloud",
        value=0.9,
        limit=0.5,
        detail="nearest: overcast",
    )


def test_ground_enough_a_month_late_is_a_nearer_miss_than_a_sliver_in_time() -> None:
    sliver = shapely.box(15.199, 47.0, 15.4, 47.2)
    aerials = [scene("sliver", sliver), scene("late", days=40)]
    _, rejections = match_scenes([scene("s")], aerials, MatchRules(min_overlap=0.05))
    assert (rejections[0].aerial_id, rejections[0].reason) == ("late", "time_gap")


def test_a_bare_date_has_no_time_of_day() -> None:
    """NAIP's items all say midnight: that is no reason to refuse them."""
    midnight = datetime(2023, 8, 15, tzinfo=UTC)
    photo = replace(scene("a"), time=midnight)
    assert match_scenes([scene("s")], [photo], MatchRules(max_solar_gap_hours=1))[0]


def test_the_better_time_of_day_comes_first() -> None:
    satellites = [scene("evening", days=-0.3), scene("same", days=-1.0)]
    candidates, _ = match_scenes(satellites, [scene("a")], MatchRules())
    assert [c.satellite.id for c in candidates] == ["same", "evening"]


def test_a_mended_ring_leaves_lines_that_do_not_matter() -> None:
    mended = shapely.GeometryCollection([HERE, shapely.LineString([(15, 47), (16, 47)])])
    assert match_scenes([scene("s", mended)], [scene("a")], MatchRules())[0]
    assert match_scenes([scene("s", shapely.Point(15, 47))], [scene("a")], MatchRules())[0] == []


def test_slivers_are_refused_with_their_share() -> None:
    sliver = shapely.box(15.199, 47.0, 15.4, 47.2)
    _, rejections = match_scenes([scene("s")], [scene("a", sliver)], MatchRules(min_overlap=0.05))
    assert (rejections[0].reason, rejections[0].limit) == ("too_little_overlap", 0.05)
    assert rejections[0].value == pytest.approx(0.001 / 0.2, rel=1e-3)
    assert match_scenes([scene("s")], [scene("a", sliver)], MatchRules(min_overlap=0))[0]


@pytest.mark.parametrize(("gap", "matches"), [(365, True), (730 + 18, True), (180, False)])
def test_the_same_season_of_another_year(gap: int, matches: bool) -> None:
    rules = MatchRules(season_days=20)
    candidates, rejections = match_scenes([scene("s")], [scene("a", days=gap)], rules)
    assert bool(candidates) is matches
    assert [r.reason for r in rejections] == ([] if matches else ["season"])
    if matches:  # a year apart is worse than the same week, whatever the season
        [(best, *_), _] = match_scenes([scene("s")], [scene("a"), scene("b", days=gap)], rules)
        assert best.aerial.id == "a"


def test_too_many_years_apart() -> None:
    rules = MatchRules(season_days=20, max_season_years=2)
    _, rejections = match_scenes([scene("s")], [scene("a", days=3 * 365.25)], rules)
    assert rejections[0].reason == "time_gap"


@pytest.mark.parametrize(("hours", "matches"), [(0.5, True), (23.5, True), (5, False)])
def test_the_same_time_of_day(hours: float, matches: bool) -> None:
    rules = MatchRules(max_solar_gap_hours=1)
    satellite, aerial = scene("s"), scene("a", days=hours / 24)
    candidates, rejections = match_scenes([satellite], [aerial], rules)
    assert bool(candidates) is matches
    if not matches:
        assert rejections[0].reason == "solar_time"
        assert rejections[0].value == pytest.approx(5, abs=0.05)


@pytest.mark.parametrize(
    ("lon", "time", "hours"),
    [
        (0.0, datetime(2024, 4, 15, 12, tzinfo=UTC), 12.0),  # the equation of time is 0
        (15.0, datetime(2024, 6, 13, 11, tzinfo=UTC), 12.0),
        (-75.0, datetime(2024, 11, 3, 17, tzinfo=UTC), 12 + 16.4 / 60),  # its largest
        (0.0, datetime(2024, 2, 11, 12, tzinfo=UTC), 12 - 14.2 / 60),  # its least
    ],
)
def test_solar_time_is_that_of_almanacs(lon: float, time: datetime, hours: float) -> None:
    found = solar_hours(np.array([lon]), np.array([time.timestamp()]))
    assert found[0] == pytest.approx(hours, abs=0.02)


# --- the antimeridian ---------------------------------------------------------------------------

CUT = shapely.MultiPolygon(
    [shapely.box(179.9, -17, 180, -16.8), shapely.box(-180, -17, -179.9, -16.8)]
)
JUMP = shapely.Polygon([(179.9, -17), (-179.9, -17), (-179.9, -16.8), (179.9, -16.8)])
BEYOND = shapely.box(179.9, -17, 180.1, -16.8)
BEFORE = shapely.box(-180.1, -17, -179.9, -16.8)
WAYS = {"cut": CUT, "jump": JUMP, "beyond": BEYOND, "before": BEFORE}


@pytest.mark.parametrize("one", WAYS)
@pytest.mark.parametrize("other", WAYS)
def test_ground_across_the_antimeridian(one: str, other: str) -> None:
    """However a catalogue writes it, it is the same ground."""
    [candidate], rejections = match_scenes(
        [scene("s", WAYS[one])], [scene("a", WAYS[other])], MatchRules()
    )
    assert rejections == []
    assert candidate.overlap.area == pytest.approx(0.2 * 0.2)
    west = shapely.box(-180, -17, -179.95, -16.9)
    [small], _ = match_scenes([scene("s", WAYS[one])], [scene("a", west)], MatchRules())
    assert small.overlap.area == pytest.approx(0.05 * 0.1)
    [asked], _ = match_scenes(
        [scene("s", WAYS[one])], [scene("a", WAYS[other])], MatchRules(aoi=west)
    )
    assert asked.ground.area == pytest.approx(0.05 * 0.1)
    greenwich = match_scenes(
        [scene("s", WAYS[one])], [scene("a", shapely.box(0, -17, 1, -16))], MatchRules()
    )
    assert greenwich[0] == []


JUMPING_POLE = shapely.Polygon([(0, 80), (90, 80), (180, 80), (-90, 80)])


@pytest.mark.parametrize(
    "pole",
    [shapely.box(-180, 80, 180, 90), shapely.box(-180, -90, 180, 90), JUMPING_POLE],
)
def test_footprints_round_a_pole_or_the_world_match_what_lies_under(pole: Any) -> None:
    under = shapely.box(100, 84, 101, 85)
    assert len(match_scenes([scene("s", pole)], [scene("a", under)], MatchRules())[0]) == 1
    across = shapely.box(179, 84, 181, 85)
    assert len(match_scenes([scene("s", pole)], [scene("a", across)], MatchRules())[0]) == 1


# --- columns ------------------------------------------------------------------------------------

spots = st.tuples(st.floats(-180, 180), st.floats(-60, 60), st.floats(0.05, 3), st.floats(0.05, 3))
moments = st.floats(-800, 800)
sides = st.lists(st.tuples(spots, moments, st.none() | st.floats(0, 1)), max_size=12)
rule_sets = st.builds(
    MatchRules,
    max_gap_days=st.floats(0, 200),
    min_overlap=st.sampled_from([0.0, 0.01, 0.5]),
    season_days=st.none() | st.floats(0, 60),
    max_season_years=st.integers(1, 2),
    max_solar_gap_hours=st.none() | st.floats(0.5, 12),
)


@settings(max_examples=60, deadline=None)
@given(sides, sides, rule_sets)
def test_columns_say_what_a_double_loop_says(lr: Any, hr: Any, rules: MatchRules) -> None:
    """The index leaves nothing out and lets nothing in."""

    def footprints(rows: Any) -> Footprints:
        return Footprints.of(
            [
                scene("x", shapely.box(x, y, x + w, y + h), days=t, cloud=c)
                for (x, y, w, h), t, c in rows
            ]
        )

    one, other = footprints(lr), footprints(hr)
    found = match_footprints(one, other, rules)
    pairs = list(zip(found.satellite.tolist(), found.aerial.tolist(), strict=True))
    assert len(set(pairs)) == len(pairs)
    assert set(pairs) == {
        (i, j) for i in range(len(one)) for j in range(len(other)) if fits(one, i, other, j, rules)
    }


@settings(max_examples=60, deadline=None)
@given(sides, sides, st.sampled_from([0.0, 0.3]))
def test_the_nearest_miss_is_what_a_double_loop_finds(lr: Any, hr: Any, least: float) -> None:
    """Nearest in time of those that share enough ground, else of those that share any."""
    one, other = (
        Footprints.of(
            [
                scene("x", shapely.box(x / 9, y / 9, x / 9 + w, y / 9 + h), days=t)
                for (x, y, w, h), t, _ in rows
            ]
        )
        for rows in (lr, hr)
    )
    found = explain_satellites(one, other, MatchRules(max_gap_days=0, min_overlap=least)).other
    for i in range(len(one)):
        gaps: dict[bool, list[tuple[float, int]]] = {True: [], False: []}
        for j in range(len(other)):
            both = Neighbours(np.array([i]), np.array([j]))
            share = overlap_shares(one, other, both)[0]
            if share > 1e-12:
                gap = float(abs(one.seconds[i] - other.seconds[j]) / 86400)
                gaps[bool(share >= least)].append((gap, j))
        wanted = min(gaps[True] or gaps[False] or [(0.0, -1)])
        assert found[i] == wanted[1]


def fits(one: Footprints, i: int, other: Footprints, j: int, rules: MatchRules) -> bool:
    """The rules in plain words."""
    if not np.isnan(one.cloud[i]) and one.cloud[i] > rules.max_cloud:
        return False
    gap = abs(one.seconds[i] - other.seconds[j]) / 86400
    season = min(abs(gap - 365.25 * k) for k in range(6))
    in_season = (
        rules.season_days is not None
        and season <= rules.season_days
        and round(gap / 365.25) <= rules.max_season_years
    )
    if gap > rules.max_gap_days and not in_season:
        return False
    if rules.max_solar_gap_hours is not None:
        here, there = one.seconds[i : i + 1], other.seconds[j : j + 1]
        west, _, east, _ = other.shapes[j].bounds
        lon = np.array([(west + east) / 2])
        hours = abs(solar_hours(lon, here) - solar_hours(lon, there))[0]
        if here[0] % 43200 == 0 or there[0] % 43200 == 0:  # a date alone
            hours = 0.0
        if min(hours, 24 - hours) > rules.max_solar_gap_hours:
            return False
    areas = [
        shapely.intersection(one.shapes[i], turned(other.shapes[j], turn)).area
        for turn in (-360.0, 0.0, 360.0)
    ]
    share = max(areas) / min(one.shapes[i].area, other.shapes[j].area)
    return share > 0 and min(share, 1) >= rules.min_overlap


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_gap_days": -1}, "max_gap_days is -1; wanted 0 or more"),
        ({"max_cloud": 60}, "max_cloud is 60; wanted a share from 0 to 1"),
        ({"start": datetime(2023, 1, 1)}, "wanted a time with a zone"),
        ({"start": DAY, "end": DAY}, "the time window is empty: start 2023-08-15 is not before"),
        ({"start": DAY, "end": DAY - timedelta(1)}, "the time window is empty"),
    ],
)
def test_rules_check_themselves(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        MatchRules(**options)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2023-08-15", datetime(2023, 8, 15, tzinfo=UTC)),
        ("2023-08-15T12:30", datetime(2023, 8, 15, 12, 30, tzinfo=UTC)),
        ("2023-08-15T12:30:00Z", datetime(2023, 8, 15, 12, 30, tzinfo=UTC)),
        ("2023-08-15T12:30+02:00", datetime(2023, 8, 15, 10, 30, tzinfo=UTC)),
    ],
)
def test_days_are_utc_unless_they_say_otherwise(text: str, time: datetime) -> None:
    assert parse_day(text, "--start") == time
    assert parse_day(text, "--start").tzinfo is UTC


@pytest.mark.parametrize("text", ["", "yesterday", "2023-13-01", "15.08.2023"])
def test_what_is_no_day_is_said_with_its_option(text: str) -> None:
    with pytest.raises(ValueError, match=r"--start is '.*'; wanted a day like 2024-06-30"):
        parse_day(text, "--start")
