"""``skyscale up`` from day to day: its servers, deployments and runs. All of it real."""

from __future__ import annotations

import json
import os
import re
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import geopandas
import numpy as np
import pytest

from geo.pairstore.store import PairStore
from tests.end_to_end.cancelling import (
    Cancelled,
    processes_of,
)
from tests.geo import rasters
from tests.servers.dask_cluster import DaskCluster
from tests.servers.notice_board import NoticeBoard
from tests.servers.skyscale_up import SOON_S, SkyscaleUp, status, wait_for

pytestmark = pytest.mark.slow

FLOWS = {"ingest", "care", "train", "renew", "upscale", "refresh", "report", "pipeline"}


def test_the_folder_is_for_its_owner_alone(up: SkyscaleUp) -> None:
    assert stat.S_IMODE(up.folder.stat().st_mode) == 0o700


def test_a_second_one_is_kept_out_of_the_folder(up: SkyscaleUp) -> None:
    command = [sys.executable, "-m", "flows", "up", "--folder", str(up.folder)]
    ports = ["--prefect-port", "1", "--mlflow-port", "2"]
    done = subprocess.run([*command, *ports], capture_output=True, text=True)
    assert done.returncode == 1
    assert "has servers already" in done.stderr


def test_every_flow_has_a_form_that_explains_each_field(up: SkyscaleUp) -> None:
    deployments = {d["name"]: d for d in up.ask("deployments/filter", {})}
    assert set(deployments) == FLOWS
    for name, deployment in deployments.items():
        assert deployment["description"]
        assert "skyscale" in deployment["tags"]
        schema = deployment["parameter_openapi_schema"]
        for kind, form in schema["definitions"].items():
            unexplained = [
                k for k, field in form["properties"].items() if "description" not in field
            ]
            assert unexplained == [], f"{name}: {kind}"
    ingest = deployments["ingest"]["parameter_openapi_schema"]["definitions"]["IngestConfig"]
    assert ingest["properties"]["harmonise"]["enum"] == ["linear", "histogram"]
    assert ingest["required"] == ["store"]


def test_one_training_at_a_time_and_a_queue_for_gpus(up: SkyscaleUp) -> None:
    deployments = {d["name"]: d for d in up.ask("deployments/filter", {})}
    limits = [deployments[name]["global_concurrency_limit"] for name in ("train", "renew")]
    assert [limit["limit"] for limit in limits] == [1, 1]
    assert limits[0]["id"] == limits[1]["id"], "a renewal is a training as well"
    queues = {q["name"]: q for q in up.ask("work_pools/skyscale/queues/filter", {})}
    assert queues["gpu"]["concurrency_limit"] >= 1
    on_gpu = {n for n, d in deployments.items() if d["work_queue_name"] == "gpu"}
    assert on_gpu == {"train", "renew", "upscale", "refresh", "pipeline"}
    schedules = {
        (n, s["slug"], s["active"]) for n, d in deployments.items() for s in d["schedules"]
    }
    assert schedules == {
        ("ingest", "nightly", False),
        ("care", "weekly", False),
        ("train", "weekly", False),
        ("refresh", "nightly", False),
    }


def test_status_tells_all_within_seconds(up: SkyscaleUp) -> None:
    code, told, seconds = status(up)
    assert told["prefect"]["well"], told
    assert told["mlflow"]["well"]
    assert told["pools"][0]["workers_online"]
    assert {d["name"] for d in told["deployments"]} == FLOWS
    assert told["disk"]["free_bytes"] > 0
    assert (code == 0) == told["well"] == (told["troubles"] == [])
    assert seconds < 10


def test_a_failed_run_is_told_once_and_is_a_trouble(up: SkyscaleUp, board: NoticeBoard) -> None:
    run = up.run("care", store="nowhere")
    assert up.await_end(run) == "FAILED"
    (notice,) = wait_for(lambda: [n for n in board.notices if n["run_id"] == run] or None)
    assert (notice["flow"], notice["state"]) == ("care", "Failed")
    assert "no pair store" in notice["message"]
    assert notice["url"].endswith(f"/runs/flow-run/{run}")
    code, told, _ = status(up)
    assert code == 1
    assert any(trouble.startswith("care: last run") for trouble in told["troubles"])


def test_what_fails_is_told_without_secrets_and_by_choice_as_json(
    up: SkyscaleUp, tmp_path: Path
) -> None:
    asked = {"sr": "http://127.0.0.1:9/a.tif?sig=hunter2", "out": str(tmp_path)}
    chosen = {"SKYSCALE_LOG_FORMAT": "json", "PREFECT_LOGGING_LEVEL": "INFO"}
    run = up.run("report", chosen, **asked)
    assert up.await_end(run) == "FAILED"
    wanted = {"flow_run_id": {"any_": [run]}, "state": {"type": {"any_": ["FAILED"]}}}
    tasks = wait_for(lambda: up.ask("task_runs/filter", {"task_runs": wanted}) or None)
    for one in (up.ask(f"flow_runs/{run}"), *tasks):
        assert "sig=***" in one["state"]["message"]
        assert "hunter2" not in one["state"]["message"]
    log = wait_for(lambda: told if "Traceback" in (told := up.messages(run)) else None)
    assert "Finished in state Failed" in log, "the UI shows text"
    printed = (up.folder / "worker.log").read_text()
    for text in (log, printed):
        assert "sig=***" in text
        assert "hunter2" not in text
    lines = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    assert {line["flow"] for line in lines} <= {"report", None}
    (failed,) = (line for line in lines if line["message"].startswith("report: failed: "))
    assert (failed["level"], failed["stage"]) == ("error", "report")


def test_a_run_that_takes_too_long_is_stopped_and_told(
    up: SkyscaleUp, board: NoticeBoard, tmp_path: Path
) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()  # and never answers
        source = f"http://127.0.0.1:{silent.getsockname()[1]}/collection.json"
        asked = {"satellite": source, "aerial": source, "store": str(tmp_path / "store")}
        run = up.run("ingest", {"SKYSCALE_TIMEOUT_HOURS": "0.001"}, **asked)
        up.await_state(run, "RUNNING")
        begun = time.monotonic()
        assert up.await_end(run) == "FAILED"
        wait_for(lambda: None if processes_of(up, run) else True)
        assert time.monotonic() - begun < SOON_S
    message = up.ask(f"flow_runs/{run}")["state"]["message"]
    assert "stopped after 0.001 h, as SKYSCALE_TIMEOUT_HOURS says" in message
    (notice,) = wait_for(lambda: [n for n in board.notices if n["run_id"] == run] or None)
    assert "stopped after" in notice["message"]


def test_each_deployment_has_a_time_that_it_may_take(up: SkyscaleUp) -> None:
    deployments = up.ask("deployments/filter", {})
    hours = {d["name"]: d["job_variables"]["env"]["SKYSCALE_TIMEOUT_HOURS"] for d in deployments}
    assert set(hours) == FLOWS
    assert float(hours["ingest"]) < 24, "the next night would wait"


def test_a_second_worker_in_another_folder_takes_runs_too(
    up: SkyscaleUp, tmp_path: Path, store: Path
) -> None:
    first = next(p for p in up.processes() if "worker start" in " ".join(p.cmdline()))
    first.suspend()
    command = [str(Path(sys.executable).with_name("prefect")), "worker", "start", "--pool"]
    environment = os.environ | {"PREFECT_API_URL": up.api, "PREFECT_HOME": str(tmp_path / "home")}
    with (tmp_path / "log").open("w") as log:
        second = subprocess.Popen(
            [*command, "skyscale"], cwd=tmp_path, env=environment, stdout=log, stderr=log
        )
    try:
        run = up.run("care", store=str(store))
        assert up.await_end(run) == "COMPLETED"
        wait_for(lambda: True if "care: done in" in up.messages(run) else None)
        assert "care: done in" in (tmp_path / "log").read_text()
    finally:
        second.terminate()
        second.wait(60)
        first.resume()


def test_parameters_that_cannot_be_are_refused_by_the_form(up: SkyscaleUp) -> None:
    from flows.web import ServiceError

    with pytest.raises(ServiceError, match="harmonise"):
        up.run("ingest", satellite="a", aerial="b", store="c", harmonise="magic")


def test_a_cancelled_upscale_stops_its_cluster_and_goes_on_when_it_is_retried(
    up: SkyscaleUp, tmp_path: Path
) -> None:
    from distributed import Client

    pixels = np.random.default_rng(1).integers(0, 3000, (1, 1024, 1024)).astype(np.uint16)
    grid = rasters.grid(shape=(1024, 1024))
    source = rasters.write(tmp_path / "scene.tif", pixels, grid)
    output = tmp_path / "sr.tif"
    cluster = DaskCluster()
    try:
        cluster.start_scheduler()
        cluster.start_worker()
        run = up.run(
            "upscale",
            {"SKYSCALE_DASK_SCHEDULER": cluster.address},
            **{"source": source, "output": str(output), "model": "lanczos"},
            **{"ensemble": True, "block": 128, "compression": "none"},
        )
        done = Path(f"{output}.skyscale/done")
        wait_for(lambda: True if len(list(done.glob("*"))) >= 4 else None)
        begun = time.monotonic()
        up.set_state(run, "CANCELLING", "Cancelling")
        assert up.await_end(run) == "CANCELLED"
        with Client(cluster.address, set_as_default=False) as client:
            wait_for(lambda: None if any(client.processing().values()) else True, seconds=30)
        assert time.monotonic() - begun < SOON_S
        stopped_at = len(list(done.glob("*")))
        time.sleep(2)
        assert len(list(done.glob("*"))) == stopped_at < 64
        assert not output.exists()
        up.set_state(run, "SCHEDULED", "AwaitingRetry", force=True)
        up.await_state(run, "COMPLETED")
        assert f"going on; {stopped_at} blocks are done already" in up.messages(run)
        assert output.exists()
    finally:
        cluster.close()


@pytest.fixture(scope="module")
def cancelled(up: SkyscaleUp, scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Cancelled:
    return Cancelled(up, scenes, tmp_path_factory.mktemp("cancelled"))


def test_ingest_report_and_pipeline_are_gone_within_seconds_of_a_cancel(
    up: SkyscaleUp, cancelled: Cancelled
) -> None:
    for name, seconds in cancelled.seconds.items():
        assert seconds < SOON_S, f"{name}: {seconds}\n{up.messages(cancelled.ids[name])}"


def test_what_was_cancelled_completes_when_it_is_tried_again(cancelled: Cancelled) -> None:
    assert set(cancelled.states) == {"COMPLETED"}


def test_a_cancelled_ingest_comes_to_the_pairs_of_an_undisturbed_one(cancelled: Cancelled) -> None:
    """The pipeline's, which was cancelled later, in its training."""
    ours, theirs = (
        PairStore.open(str(cancelled.folder / name)) for name in ("store", "pipeline/store")
    )
    assert ours.digest() == theirs.digest()
    assert ours.count_pairs() == theirs.count_pairs() > 100
    assert ours.summary()["rejected"] == theirs.summary()["rejected"]


def test_a_cancelled_report_comes_to_the_rows_of_an_undisturbed_one(
    up: SkyscaleUp, cancelled: Cancelled
) -> None:
    assert "tiles are scored already" in up.messages(cancelled.ids["report"])
    ours, theirs = (
        geopandas.read_parquet(cancelled.folder / name / "tiles.parquet")
        for name in ("report", "undisturbed")
    )
    assert ours.equals(theirs)


def test_a_cancelled_pipeline_goes_on_with_the_training_that_it_began(
    up: SkyscaleUp, cancelled: Cancelled
) -> None:
    (run,) = (cancelled.folder / "runs").iterdir()
    assert json.loads((run / "job.json").read_text())["run_id"] == run.name
    assert (cancelled.folder / "pipeline/report/report.html").exists()

    def last() -> list[str] | None:
        """Prefect sends lines every other second, so this one comes after the end."""
        told = up.messages(cancelled.ids["pipeline"]).splitlines()
        return [line for line in told if line.startswith("pipeline: done in ")] or None

    assert len(wait_for(last, seconds=90)) == 1, "what, how long: told once"


@pytest.mark.usefixtures("cancelled")
@pytest.mark.parametrize(
    ("stage", "pace"),
    [
        ("ingest", r"Scene pairs: (\d+) of \1 scene pairs, .* chips/s, 0 s to go"),
        ("train", r"Training: \d+ of 400 steps.*"),
        ("upscale", r"Blocks of the region: (\d+) of \1 blocks, .* Mpx/s, 0 s to go"),
        ("report", r"Tiles of the report: (\d+) of \1 tiles, .* tiles/s, 0 s to go"),
    ],
)
def test_the_bars_of_long_stages_tell_their_pace(up: SkyscaleUp, stage: str, pace: str) -> None:
    wanted = {"artifacts": {"key": {"any_": [f"{stage}-progress"]}}, "limit": 50}
    bars = up.ask("artifacts/filter", wanted)
    assert any(re.fullmatch(pace, bar["description"]) for bar in bars), bars
