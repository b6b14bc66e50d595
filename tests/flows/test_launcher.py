"""Ranks that are killed are started again; those that do not heed a request to stop are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from flows import launcher
from flows.errors import FlowError

# As torchrun has them: a child in a session of its own, which will not stop.
STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)  # children inherit that
child = "import time; print(1, flush=True); time.sleep(99)"
started = subprocess.Popen([sys.executable, "-c", child], start_new_session=True)
time.sleep(99)
"""


def test_nothing_is_left_of_ranks_that_do_not_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launcher, "_GRACE_S", 0.5)
    process = subprocess.Popen(
        [sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    (rank,) = psutil.Process(process.pid).children()
    assert os.getsid(rank.pid) != os.getsid(process.pid)
    with (tmp_path / "log").open("w") as record:
        launcher._stop(process, record)
    deadline = time.monotonic() + 5
    while rank.is_running() and rank.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert process.returncode == -signal.SIGKILL


# Kills itself, as often as it is told, and goes on when it is started again.
KILLED = """
import json, os, pathlib, signal, sys
starts = pathlib.Path(sys.argv[1])
starts.write_text(starts.read_text() + "." if starts.exists() else ".")
print(json.dumps({"say": f"start {len(starts.read_text())}"}), flush=True)
if len(starts.read_text()) <= int(sys.argv[2]):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def killed(times: int, folder: Path, monkeypatch: pytest.MonkeyPatch, nnodes: int = 1) -> list[str]:
    """What ranks say that are killed so often."""
    command = [sys.executable, "-c", KILLED, str(folder / "starts"), str(times)]
    monkeypatch.setattr(launcher, "_command", lambda *_: command)
    told = launcher.launch_ranks(folder / "job.json", log=folder / "log", nnodes=nnodes)
    return [event["say"] for event in told]


def test_what_is_killed_is_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    again = "the ranks were killed; they are started again"
    assert killed(1, tmp_path, monkeypatch) == ["start 1", again, "start 2"]


@pytest.mark.parametrize(("nnodes", "starts"), [(1, 4), (2, 1)])
def test_what_is_killed_every_time_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nnodes: int, starts: int
) -> None:
    with pytest.raises(FlowError, match="status -9"):
        killed(99, tmp_path, monkeypatch, nnodes)
    assert len((tmp_path / "starts").read_text()) == starts
