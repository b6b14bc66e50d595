"""Shifts taken over from neighbours: only true neighbours are asked, and only if they agree."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import shapely

from geo.alignment import Alignment
from geo.borrow import BorrowRules, borrow_shift, find_neighbours, may_borrow
from geo.catalog.scene import Asset, Scene
from geo.match import Candidate, MatchRules, match_scenes

DAY = datetime(2024, 6, 1, 10, tzinfo=UTC)
ALIGNED = Alignment(
    dy_px=0.4,
    dx_px=-0.6,
    reliability=0.9,
    accepted=True,
    reason=None,
    value=None,
    limit=None,
    residual_px=0.03,
    colours=None,
    cloud_fraction=0.0,
)
LOST = replace(ALIGNED, accepted=False, reason="too_little_ground")


def scene(name: str, box: Any, days: float = 0) -> Scene:
    time = DAY + timedelta(days=days)
    return Scene(id=name, time=time, footprint=box, assets={"d": Asset(href=f"{name}.tif")})


def candidate(
    satellite: str = "sat", lon: float = 15.0, *, days: float = 0, aerial: str | None = None
) -> Candidate:
    """An aerial photograph of some kilometres under a wide satellite scene."""
    wide = scene(satellite, shapely.box(14, 46, 18, 48))
    small = scene(aerial or f"air{lon}", shapely.box(lon, 47, lon + 0.05, 47.05), days)
    [found], _ = match_scenes([wide], [small], MatchRules())
    return found


def test_the_nearest_come_first() -> None:
    far, near = replace(ALIGNED, dy_px=1.0), replace(ALIGNED, dy_px=2.0)
    aligned = [(candidate(lon=15.2), far), (candidate(lon=15.1), near)]
    assert find_neighbours(candidate(), aligned) == [near, far]
    assert find_neighbours(candidate(), aligned, BorrowRules(most=1)) == [near]


@pytest.mark.parametrize(
    ("other", "alignment"),
    [
        (candidate("another satellite scene", 15.1), ALIGNED),
        (candidate(lon=15.1), LOST),
        (candidate(lon=15.1), replace(ALIGNED, origin="neighbours")),
        (candidate(lon=17.0), ALIGNED),  # 150 km away
        (candidate(lon=15.1, days=29), replace(ALIGNED, accepted=False)),
    ],
)
def test_who_is_no_neighbour(other: Candidate, alignment: Alignment) -> None:
    assert find_neighbours(candidate(), [(other, alignment)]) == []


def test_another_campaign_is_no_neighbour() -> None:
    other = [(candidate(lon=15.1, days=20), ALIGNED)]
    rules = BorrowRules(max_campaign_days=10)
    assert find_neighbours(candidate(), other) == [ALIGNED]
    assert find_neighbours(candidate(), other, rules) == []


def test_neighbours_that_agree_lend_their_middle() -> None:
    near = [replace(ALIGNED, dy_px=0.4 + d, reliability=r) for d, r in ((0, 0.9), (0.1, 0.7))]
    shift = borrow_shift(near)
    assert shift is not None
    assert (shift.dy_px, shift.dx_px) == pytest.approx((0.45, -0.6))
    assert (shift.reliability, shift.origin) == (0.7, "neighbours")
    assert shift.residual_px == pytest.approx(0.03 + 0.05)


def test_neighbours_at_odds_lend_nothing() -> None:
    assert borrow_shift([ALIGNED, replace(ALIGNED, dx_px=0.6)]) is None
    assert borrow_shift([]) is None


@pytest.mark.parametrize(
    ("reason", "may"),
    [
        ("too_little_ground", True),
        ("unreliable_registration", True),
        ("shift_beyond_limit", False),
        ("cloud", False),
        ("poor_colour_fit", False),
    ],
)
def test_only_for_want_of_ground(reason: str, may: bool) -> None:
    assert may_borrow(replace(LOST, reason=reason)) is may
    assert not may_borrow(ALIGNED)
