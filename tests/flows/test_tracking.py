"""A tracker that many runs share, and one that does not answer."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from flows import datasets, tracking
from geo.reporting.scored import ScoredTiles, read_scored, write_scored
from tests.geo import scored_tiles

_RUNS, _REPORTS = 8, 10


@pytest.fixture
def tracker(
    new_tracker: Callable[[Path], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", new_tracker(tmp_path))


def made(**facts: object) -> ScoredTiles:
    known = {**scored_tiles.FACTS, **facts}
    return ScoredTiles(name="made", columns=scored_tiles.ground(), facts=known)


@pytest.mark.usefixtures("tracker")
def test_runs_that_log_the_same_ground_at_once_all_have_it() -> None:
    """MLflow looks, then adds: its database used to refuse all but one of them."""
    runs = [tracking.start_run(f"run {number}", {}, {}) for number in range(_RUNS)]
    gate = threading.Barrier(_RUNS)

    def log(run: str) -> None:
        for number in range(_REPORTS):
            gate.wait(60)
            datasets.log_ground(run, made(reference=f"aerial_{number}"))

    with ThreadPoolExecutor(_RUNS) as pool:
        list(pool.map(log, runs))
    client = tracking.mlflow_client()
    for run in runs:
        assert len(client.get_run(run).inputs.dataset_inputs) == _REPORTS


@pytest.mark.usefixtures("tracker")
def test_what_is_refused_for_itself_is_raised() -> None:
    from mlflow.exceptions import MlflowException

    run = tracking.start_run("run", {}, {})
    tracking.end_run(run)
    tracking.mlflow_client().delete_run(run)
    with pytest.raises(MlflowException, match="must be in the 'active' state"):
        datasets.log_ground(run, made())


@pytest.mark.usefixtures("tracker")
def test_a_report_without_reference_names_its_ground_so(tmp_path: Path) -> None:
    """Texts that are None in all rows used to come back from the file as numbers."""
    scored = made(reference=None)
    scored.columns["aerial_id"] = np.full(len(scored), None, object)
    write_scored(scored, tmp_path)
    run = tracking.start_run("run", {}, {})
    datasets.log_ground(run, read_scored(tmp_path))
    (seen,) = tracking.mlflow_client().get_run(run).inputs.dataset_inputs
    assert seen.dataset.name == "no reference"


def test_a_run_that_ends_does_not_wait_for_a_tracker_that_hangs(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It says that it is well, and then answers nothing."""
    asked, gate = threading.Event(), threading.Event()

    class Hanging(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def do_POST(self) -> None:
            asked.set()
            gate.wait(60)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hanging)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(tracking, "_STATUS_S", 1.0)
    monkeypatch.setattr(tracking.LOGGER, "propagate", True)
    tracking.mlflow_client()  # what it imports takes its time
    begun = time.monotonic()
    with caplog.at_level(logging.WARNING):
        tracking.set_status("a run", "KILLED")
    took = time.monotonic() - begun
    assert asked.wait(10)
    gate.set()
    server.shutdown()
    server.server_close()
    assert took < 5
    assert "MLflow was not told that run a run is KILLED (no answer in 1 s)" in caplog.text
