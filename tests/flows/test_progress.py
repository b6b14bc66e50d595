"""How far, how fast, how much longer: the same words and numbers for every long stage."""

from __future__ import annotations

import time

import pytest

from flows import progress
from flows.progress import Pace, Progress, duration


class Clock:
    """A clock that is set by hand."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    said: list[str] = []
    monkeypatch.setattr(progress, "say", lambda message, **facts: said.append(message))
    return said


def test_the_rate_counts_what_was_done_here_and_now(clock: Clock, said: list[str]) -> None:
    """Not what an earlier run had done; that is done, though."""
    paces: list[Pace] = []
    work = Progress("upscale", 100, "blocks", before=40, rate_unit="Mpx", tell=paces.append)
    clock.now += 10
    work.add(count=20, amount=30.0)
    assert said == ["upscale: 60 of 100 blocks, 3.0 Mpx/s, 20 s to go"]
    (pace,) = paces
    assert (pace.done, pace.total, pace.share, pace.rate, pace.eta_s) == (60, 100, 0.6, 3.0, 20.0)
    assert pace.facts["rate_unit"] == "Mpx/s"


def test_lines_come_now_and_then_and_a_bar_hears_all(clock: Clock, said: list[str]) -> None:
    paces: list[Pace] = []
    work = Progress("report", 100, "tiles", tell=paces.append)
    for _ in range(100):
        clock.now += 0.125
        work.add()
    assert len(said) == 2
    assert len(paces) == 100
    assert paces[-1].share == 1
    assert paces[-1].eta_s == 0


def test_a_bar_is_full_where_nothing_is_left_to_do() -> None:
    paces: list[Pace] = []
    Progress("report", 9, "tiles", before=9, tell=paces.append)
    assert [pace.share for pace in paces] == [1.0]


def test_nothing_is_promised_while_nothing_is_known() -> None:
    assert str(Pace(done=0, total=9, unit="tiles", share=0, rate_unit="tiles")) == "0 of 9 tiles"


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0.4, "0 s"), (99, "99 s"), (120, "2 min"), (9000, "2.5 h"), (3 * 86400, "3 d")],
)
def test_durations_have_the_unit_that_one_would_choose(seconds: float, told: str) -> None:
    assert duration(seconds) == told


def test_time_goes_on_by_the_real_clock() -> None:
    paces: list[Pace] = []
    work = Progress("report", 2, "tiles", tell=paces.append)
    time.sleep(0.02)
    work.add()
    assert paces[0].rate is not None
    assert 1 < paces[0].rate < 50
