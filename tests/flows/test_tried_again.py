"""A flow run that was cut off and is tried again finds what it had begun, and doubles nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from flows import tracking
from flows.report import ReportFlowConfig
from flows.train_folder import RunFolder
from flows.train_job import TrainFlowConfig, settle_job
from flows.work_key import work_key
from tests.flows.test_train_job import SMALL, runs
from tests.flows.training_store import make_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("store") / "store")


@pytest.fixture
def config(
    store: Path,
    new_tracker: Callable[[Path], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> TrainFlowConfig:
    """Of a training that a worker runs, beside an empty tracker."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", new_tracker(tmp_path))
    monkeypatch.setenv("PREFECT__FLOW_RUN_ID", "pipeline-1")
    return TrainFlowConfig(store=str(store), settings=SMALL, out=str(tmp_path / "runs"))


def test_the_training_of_a_pipeline_that_was_cut_off_goes_on(config: TrainFlowConfig) -> None:
    job = settle_job(config)
    assert settle_job(config)["run_id"] == job["run_id"]
    assert runs() == [job["run_id"]]


def test_other_flow_runs_and_other_settings_train_anew(
    config: TrainFlowConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle_job(config)
    settle_job(TrainFlowConfig(store=config.store, settings=SMALL, out=config.out, seed=1))
    monkeypatch.setenv("PREFECT__FLOW_RUN_ID", "pipeline-2")
    settle_job(config)
    assert len(runs()) == 3


def test_a_training_that_was_cut_off_before_its_job_was_written_leaves_no_run(
    config: TrainFlowConfig,
) -> None:
    first = settle_job(config)
    RunFolder(Path(first["folder"])).job.unlink()
    second = settle_job(config)
    assert runs() == [second["run_id"]] != [first["run_id"]]


def test_a_report_that_was_cut_off_leaves_one_run(config: TrainFlowConfig) -> None:
    work = work_key("report", ReportFlowConfig(sr="sr.tif", out="report"))
    started = [tracking.start_run("report sr.tif", {}, {}, work=work) for _ in range(2)]
    assert runs() == started[1:]


def test_numbers_that_are_logged_again_are_one_point(config: TrainFlowConfig) -> None:
    run_id = tracking.start_run("report sr.tif", {}, {})
    for gain_db in (1.0, 1.0, 2.0):
        tracking.log_metrics(run_id, {"report/gain_db": gain_db})
    history = tracking.mlflow_client().get_metric_history(run_id, "report/gain_db")
    assert sorted(point.value for point in history) == [1.0, 2.0]


def test_at_a_terminal_nothing_is_found_again(
    config: TrainFlowConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PREFECT__FLOW_RUN_ID")
    assert work_key("train", config) is None
    settle_job(config)
    settle_job(config)
    assert len(runs()) == 2
