"""The tracker is lost while a model is judged: real server, real trainings, a line that is cut."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flows import registry, tracking
from flows.console import LOGGER
from flows.settings import worker_environment
from flows.train_job import TrainFlowConfig, settle_job
from flows.train_publish import publish_run
from flows.transient import is_transient
from tests.flows.test_train_job import SMALL
from tests.flows.training_store import make_store
from tests.servers.cut_line import Cut, CutLine
from tests.servers.mlflow_server import MlflowServer

pytestmark = pytest.mark.slow

NAME = registry.MODEL_NAME


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CutLine]:
    """To an MLflow server."""
    server = MlflowServer(tmp_path_factory.mktemp("server"))
    server.start()
    line = CutLine(server.url)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", line.url)
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        yield line
    line.close()
    server.kill()


@pytest.fixture(scope="module")
def jobs(line: CutLine, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Two trainings that have ended and are not yet published."""
    folder = tmp_path_factory.mktemp("runs")
    store = str(make_store(folder / "store"))
    jobs = [
        settle_job(TrainFlowConfig(store=store, settings=SMALL, seed=seed, out=str(folder)))
        for seed in (1, 2)
    ]
    for job in jobs:
        rank = [sys.executable, "-m", "flows.train_worker", f"{job['folder']}/job.json"]
        subprocess.run(rank, check=True, env=worker_environment(threads=1), timeout=240)
    return jobs


@pytest.fixture(autouse=True)
def nobody(line: CutLine) -> Any:
    """A client of a registry with nothing in it."""
    line.mend()
    client = tracking.mlflow_client()
    for model in client.search_registered_models():
        client.delete_registered_model(model.name)
    return client


def asks_for_the_champion(method: str, path: str, body: bytes) -> bool:
    return method == "GET" and "alias=champion" in path


def promotes(method: str, path: str, body: bytes) -> bool:
    return method == "POST" and "registered-models/alias" in path and b"champion" in body


def writes_the_reason(method: str, path: str, body: bytes) -> bool:
    return "model-versions/set-tag" in path and b"promotion" in body


@pytest.mark.parametrize("moment", [asks_for_the_champion, promotes, writes_the_reason])
def test_a_training_is_not_lost_and_is_judged_once_the_tracker_is_back(
    line: CutLine,
    jobs: list[dict[str, Any]],
    nobody: Any,
    moment: Cut,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(LOGGER, "propagate", True)
    line.cut_at(moment)
    left = publish_run(jobs[0])
    assert not left["published"]
    assert (Path(left["model_uri"]) / "generator.json").exists()
    assert "trained, but not registered or judged" in caplog.text
    assert f"--resume {jobs[0]['run_id']} does that" in caplog.text

    line.mend()
    for _ in range(2):  # once more changes nothing
        done = publish_run(jobs[0])
        assert done["published"]
        assert nobody.get_run(jobs[0]["run_id"]).info.status == "FINISHED"
        (version,) = nobody.search_model_versions(f"name = '{NAME}'")
        known = "it was champion" if moment is writes_the_reason else "no champion to compare"
        assert version.tags["promotion"].startswith(f"promoted: {known}")
        assert nobody.get_model_version_by_alias(NAME, "champion").version == version.version
        assert nobody.get_model_version_by_alias(NAME, "challenger").version == version.version


@pytest.mark.parametrize("moment", [asks_for_the_champion, promotes, writes_the_reason])
def test_who_can_try_again_is_told_that_it_may_pass(
    line: CutLine, jobs: list[dict[str, Any]], moment: Cut
) -> None:
    line.cut_at(moment)
    with pytest.raises(Exception, match=r".") as lost:
        publish_run(jobs[0], insist=True)
    assert is_transient(lost.value)


def test_a_champion_that_is_away_does_not_let_a_challenger_take_its_place(
    line: CutLine, jobs: list[dict[str, Any]], nobody: Any
) -> None:
    publish_run(jobs[0])
    line.cut_at(asks_for_the_champion)
    assert not publish_run(jobs[1])["published"]
    line.mend()
    first, second = nobody.search_model_versions(f"name = '{NAME}'", order_by=["version_number"])
    assert "promotion" not in second.tags
    champion = nobody.get_model_version_by_alias(NAME, "champion")
    assert champion.version == first.version
    publish_run(jobs[1])
    second = nobody.get_model_version(NAME, second.version)
    assert f"against champion version {first.version}" in second.tags["promotion"]


def test_a_champion_chosen_by_hand_stays_when_a_run_is_published_again(
    line: CutLine, jobs: list[dict[str, Any]], nobody: Any
) -> None:
    for job in jobs:
        publish_run(job)
    for version in ("2", "1"):
        nobody.set_registered_model_alias(NAME, "champion", version)
        for job in jobs:
            publish_run(job)
        assert nobody.get_model_version_by_alias(NAME, "champion").version == version
