"""Matching: same place, nearly the same time; every refusal with its reason."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from geo.catalog.scene import Asset, Scene
from geo.match import MatchRules, Rejection, match_scenes, parse_day

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
    assert got == ([], [("s", "", "no_overlap")])


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
    assert names(outside) == ([], [("s", "", "no_overlap")])


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
def test_every_pair_that_overlaps_is_taken_or_refused(
    satellites: list[Any], aerials: list[Any]
) -> None:
    lr = [scene(f"s{i}", p, days=d, cloud=c) for i, (p, d, c) in enumerate(satellites)]
    hr = [scene(f"a{i}", p, days=d) for i, (p, d) in enumerate(aerials)]
    rules = MatchRules()
    candidates, rejections = match_scenes(lr, hr, rules)
    taken = {(c.satellite.id, c.aerial.id) for c in candidates}
    refused = {(r.satellite_id, r.aerial_id) for r in rejections}
    assert len(taken) == len(candidates)
    assert len(refused) == len(rejections)
    assert not taken & refused
    for s in lr:
        overlapping = {a.id for a in hr if s.footprint.intersection(a.footprint).area > 0}
        if (s.id, "") in refused:  # alone: cloudy, or over nothing
            assert not overlapping or (s.cloud_fraction or 0) > rules.max_cloud
        else:
            assert {(s.id, a) for a in overlapping} == {
                pair for pair in taken | refused if pair[0] == s.id
            }
    for c in candidates:
        assert c.gap_days <= rules.max_gap_days
        assert c.overlap.area > 0
    gaps = [c.gap_days for c in candidates]
    assert gaps == sorted(gaps)


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
