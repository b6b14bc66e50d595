"""``skyscale up`` when something dies: what was begun goes on, and nothing stays behind."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.cancelling import Training, open_training, processes_of, run_status
from tests.servers.notice_board import NoticeBoard
from tests.servers.skyscale_up import SOON_S, SkyscaleUp, status, wait_for

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def training(up: SkyscaleUp, store: Path, tmp_path_factory: pytest.TempPathFactory) -> Training:
    training = Training(up, tmp_path_factory.mktemp("training"), store)
    training.await_progress()
    return training


def test_a_power_cut_leaves_no_zombies_and_the_run_goes_on(
    up: SkyscaleUp, training: Training, board: NoticeBoard
) -> None:
    ingest = up.ask("deployments/name/ingest/ingest")
    schedule = f"deployments/{ingest['id']}/schedules/{ingest['schedules'][0]['id']}"
    up.ask(schedule, {"active": True}, method="PATCH")
    up.kill()
    assert up.processes() == []
    assert up.start() < 120
    training.await_start(2)
    assert [n["state"] for n in board.notices if n["run_id"] == training.run] == ["Crashed"]
    ingest = up.ask("deployments/name/ingest/ingest")
    assert ingest["schedules"][0]["active"], "what was activated stays active"


def test_an_ingest_that_has_ended_starts_a_renewal_once_somebody_wants_that(
    up: SkyscaleUp, training: Training
) -> None:
    ids = {d["name"]: d["id"] for d in up.ask("deployments/filter", {})}

    def end_ingest() -> None:
        later = {"type": "SCHEDULED", "state_details": {"scheduled_time": "2099-01-01T00:00:00Z"}}
        run = up.ask(f"deployments/{ids['ingest']}/create_flow_run", {"state": later})["id"]
        up.set_state(run, "COMPLETED", "Completed", force=True)

    def renewals() -> list[dict[str, Any]]:
        of = {"flow_runs": {"deployment_id": {"any_": [ids["renew"]]}}}
        return list(up.ask("flow_runs/filter", of))

    (automation,) = up.ask("automations/filter", {})
    assert (automation["name"], automation["enabled"]) == ("renew after ingest", False)
    end_ingest()
    up.ask(f"automations/{automation['id']}", {"enabled": True}, method="PATCH")
    end_ingest()
    # The training has the queue and the limit, so it waits, and is taken away before its turn.
    (renewal,) = wait_for(lambda: renewals() or None, seconds=90)
    assert renewal["state_type"] == "SCHEDULED"
    assert renewal["parameters"]["config"]["start_from"] == "models:/skyscale-generator@champion"
    assert renewal["parameters"]["config"]["min_new_pairs"] == 200
    up.ask(f"flow_runs/{renewal['id']}", method="DELETE")


def test_what_dies_is_started_again_and_its_runs_go_on(up: SkyscaleUp, training: Training) -> None:
    def server(name: str) -> Any:
        return next(iter(up.running(name)), None)

    for name in ("worker start", "mlflow server", "server start"):
        old = server(name)
        old.kill()
        wait_for(lambda name=name, old=old: ((new := server(name)) and new.pid != old.pid) or None)
    wait_for(lambda: True if all(status(up)[1][n]["well"] for n in ("prefect", "mlflow")) else None)
    training.await_start(3)


@pytest.fixture(scope="module")
def lost(up: SkyscaleUp, training: Training) -> tuple[str, str]:
    """Trainings that MLflow takes for running: one of a flow run that failed, one of nobody's."""
    failed = up.run("care", store="nowhere")
    assert up.await_end(failed) == "FAILED"
    return open_training(up, failed), open_training(up, "")


def test_status_names_trainings_that_nobody_trains_and_how_to_go_on(
    up: SkyscaleUp, lost: tuple[str, str]
) -> None:
    told = status(up)[1]["lost_trainings"]
    assert len(told) == 2, "not those that train"
    for run, why in zip(lost, ("its flow run is failed", "has not heard of it for"), strict=True):
        (trouble,) = (t for t in told if run in t)
        assert why in trouble
        assert f"skyscale train --store my-store --resume {run}" in trouble


def test_a_killed_run_goes_on_by_itself_and_leaves_no_task_under_way(
    up: SkyscaleUp, training: Training
) -> None:
    (process,) = (p for p in processes_of(up, training.run) if "prefect.engine" in p.cmdline())
    process.kill()
    training.await_start(4)

    def under_way() -> list[str]:
        tasks = up.ask("task_runs/filter", {"flow_runs": {"id": {"any_": [training.run]}}})
        return [t["name"].split("-")[0] for t in tasks if t["state_type"] == "RUNNING"]

    assert under_way() == ["train ranks"]
    # The killed process's last words may reach the server late, when its tasks were ended already.
    late = {"flow_run_id": training.run, "task_key": "late", "dynamic_key": "0", "name": "late"}
    up.ask("task_runs/", late | {"state": {"type": "RUNNING", "name": "Running"}})
    assert "late" in under_way()
    wait_for(lambda: True if under_way() == ["train ranks"] else None, seconds=90)


def test_it_stops_within_seconds_leaves_nobody_and_goes_on_when_it_is_back(
    up: SkyscaleUp, training: Training, lost: tuple[str, str]
) -> None:
    before = sorted(d["name"] for d in up.ask("deployments/filter", {}))
    assert up.stop(signal.SIGTERM) < SOON_S
    assert up.processes() == []
    assert status(up)[1]["prefect"] is None
    (up.folder / "registered.json").unlink()  # as with another version of the code
    up.start()
    (automation,) = up.ask("automations/filter", {})
    assert automation["enabled"], "what was switched on stays so, and there is one of it"
    assert sorted(d["name"] for d in up.ask("deployments/filter", {})) == before
    assert [run_status(up, run) for run in lost] == ["KILLED", "RUNNING"]
    training.await_start(5)
    assert training.status() == "RUNNING"


def test_a_cancelled_training_is_gone_within_seconds(up: SkyscaleUp, training: Training) -> None:
    begun = time.monotonic()
    up.set_state(training.run, "CANCELLING", "Cancelling")
    assert up.await_end(training.run) == "CANCELLED"
    wait_for(lambda: None if up.running("train_worker") else True)
    assert time.monotonic() - begun < SOON_S
    assert training.status() == "KILLED"
