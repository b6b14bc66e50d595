"""A flow that hangs is stopped: asked as a cancelled one is, then killed."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from flows.errors import FlowError, UsageError
from flows.settings import read_surroundings
from flows.time_limit import time_limit


def hours(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    monkeypatch.setenv("SKYSCALE_TIMEOUT_HOURS", str(seconds / 3600))


def limited(work: Callable[[], None]) -> None:
    with time_limit():
        work()


def test_a_wait_without_end_ends_and_cleans_up(monkeypatch: pytest.MonkeyPatch) -> None:
    hours(monkeypatch, 0.3)
    seen: list[str] = []

    def work() -> None:
        try:
            queue.Queue[int]().get()  # as one waits for Dask, or for ranks
        except Exception:
            seen.append("kept by what catches errors")
        finally:
            seen.append("cleaned")

    begun = time.monotonic()
    with pytest.raises(FlowError, match=r"stopped after .* h, as SKYSCALE_TIMEOUT_HOURS says"):
        limited(work)
    assert seen == ["cleaned"]
    assert time.monotonic() - begun < 20


def test_a_flow_that_is_called_has_no_time_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    hours(monkeypatch, 0.3)

    def work() -> None:
        limited(lambda: None)
        time.sleep(5)

    with pytest.raises(FlowError):
        limited(work)


def test_in_time_nothing_happens_then_or_later(monkeypatch: pytest.MonkeyPatch) -> None:
    hours(monkeypatch, 0.2)
    before = signal.getsignal(signal.SIGALRM)
    with time_limit():
        pass
    assert signal.getsignal(signal.SIGALRM) == before
    time.sleep(0.4)


def test_who_does_not_wind_down_is_killed() -> None:
    code = (
        "import sys, time\n"
        "from flows import time_limit\n"
        "time_limit._GRACE_S = 0.3\n"
        "with time_limit.time_limit():\n"
        "    try:\n"
        "        time.sleep(60)\n"
        "    finally:\n"
        "        print('asked', flush=True)\n"
        "        time.sleep(60)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "SKYSCALE_TIMEOUT_HOURS": "0.0001"},
        stdout=subprocess.PIPE,
        timeout=30,
        text=True,
    )
    assert (done.stdout, done.returncode) == ("asked\n", -signal.SIGKILL)


@pytest.mark.parametrize("told", ["soon", "0", "-1", "nan"])
def test_what_is_no_time_is_refused(told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKYSCALE_TIMEOUT_HOURS", told)
    with pytest.raises(UsageError, match="wanted hours"):
        read_surroundings()
