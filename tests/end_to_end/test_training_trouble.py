"""Training through trouble: killed ranks, lost trackers, cancelled flows. Real processes all."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest
import requests
import torch
from safetensors.torch import load_file

from flows.learning_curves import Curves, read_curves
from flows.metric_spool import Spool
from tests.flows.training_store import make_store
from tests.servers.mlflow_server import MlflowServer

pytestmark = pytest.mark.slow

_T = TypeVar("_T")

SETTINGS = """
batch_size = 8
patch_lr = 16
content_steps = {content}
adversarial_steps = {adversarial}
checkpoint_every = 20
val_every = 50
val_pairs = 4
log_every = 5
precision = "float32"
device = "cpu"
[generator]
channels = 8
blocks = 1
[discriminator]
channels = 4
stages = 3
"""


class Training:
    """``skyscale train`` in processes of its own, all of its runs in one folder."""

    def __init__(self, folder: Path, **steps: int) -> None:
        self.store = make_store(folder / "store")
        self.out = folder / "runs"
        self.settings = folder / "settings.toml"
        self.settings.write_text(SETTINGS.format(**{"content": 120, "adversarial": 60} | steps))

    def start(self, *more: object, **environment: str) -> subprocess.Popen[str]:
        given = ("train", "--store", self.store, "--config", self.settings, "--out", self.out)
        return subprocess.Popen(
            [sys.executable, "-m", "flows", *map(str, (*given, *more)), "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )

    def finish(self, process: subprocess.Popen[str]) -> tuple[dict[str, Any], str]:
        """What it answers and what it says."""
        try:
            answer, said = process.communicate(timeout=240)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        assert process.returncode == 0, said
        return dict(json.loads(answer)), said

    def folder(self, but: tuple[Path, ...] = ()) -> Path:
        """Folder of the run that began last."""
        return wait_for(lambda: next((f for f in self.out.glob("*") if f not in but), None))

    def step_reached(self, step: int, but: tuple[Path, ...] = ()) -> Path:
        """Wait until the run has a checkpoint of a step or a later one."""

        def there() -> Path | None:
            folder = self.folder(but)
            return folder if (newest_step(folder) or 0) >= step else None

        return wait_for(there)


def wait_for(ask: Callable[[], _T | None], *, seconds: float = 120) -> _T:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if (found := ask()) is not None:
            return found
        time.sleep(0.05)
    raise TimeoutError(f"{ask} had nothing within {seconds} s")


def newest_step(folder: Path) -> int | None:
    steps = [int(f.stem.split("-")[1]) for f in folder.glob("checkpoints/checkpoint-*.pt")]
    return max(steps, default=None)


def curves_of(folder: Path) -> Curves:
    return read_curves(Spool(folder / "tracking").entries())


def is_rank(process: psutil.Process) -> bool:
    with_torchrun = ["-m", "torch.distributed.run"]
    try:
        line = process.cmdline()
    except psutil.Error:
        return False
    return "flows.train_worker" in line and with_torchrun[1] not in line


def ranks_below(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return [p for p in psutil.Process(process.pid).children(recursive=True) if is_rank(p)]


def ranks_of(folder: Path) -> list[psutil.Process]:
    job = str(folder / "job.json")
    return [p for p in psutil.process_iter() if is_rank(p) and job in p.cmdline()]


@pytest.fixture(scope="module")
def training(services: Path, tmp_path_factory: pytest.TempPathFactory) -> Training:
    return Training(tmp_path_factory.mktemp("trouble"))


def test_a_killed_rank_is_started_again_and_changes_nothing(training: Training) -> None:
    undisturbed, _ = training.finish(training.start("--nproc", 2))
    first = training.folder()
    process = training.start("--nproc", 2)
    folder = training.step_reached(60, but=(first,))
    ranks = ranks_below(process)
    assert len(ranks) == 2
    ranks[1].kill()
    disturbed, _ = training.finish(process)
    pids = {p.pid for p in ranks}
    assert not pids & {p.pid for p in ranks_of(folder)}
    assert disturbed["run_id"] != undisturbed["run_id"]
    plain, killed = (load_file(f / "generator/generator.safetensors") for f in (first, folder))
    for name, tensor in plain.items():
        torch.testing.assert_close(killed[name], tensor, atol=1e-6, rtol=1e-5)
    wanted, found = curves_of(first), curves_of(folder)
    for name in ("train/content_loss", "train/d_accuracy", "val/psnr_db"):
        assert [s for s, _ in found[name]] == [s for s, _ in wanted[name]]
        assert [v for _, v in found[name]] == pytest.approx([v for _, v in wanted[name]], rel=1e-3)


def test_machines_meet_and_train_one_run_together(training: Training) -> None:
    before = tuple(training.out.glob("*"))
    prepared, _ = training.finish(training.start("--prepare", "--nproc", 1))
    run = prepared["run_id"]
    assert [f.name for f in training.out.glob("*") if f not in before] == [run]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        meeting = f"127.0.0.1:{probe.getsockname()[1]}"
    together = ("--resume", run, "--nnodes", 2, "--rendezvous", meeting)
    machines = [training.start(*together) for _ in range(2)]
    answers = [training.finish(machine)[0] for machine in machines]
    assert [a["run_id"] for a in answers] == [run, run]
    assert sorted(a.get("led_elsewhere", False) for a in answers) == [False, True]
    steps = [step for step, _ in curves_of(training.out / run)["train/content_loss"]]
    assert steps == sorted(set(steps))
    card = json.loads((training.out / run / "generator/generator.json").read_text())
    assert card["training"]["ranks"] == 2


def test_a_lost_tracker_costs_nothing(tmp_path: Path) -> None:
    server, training = MlflowServer(tmp_path), Training(tmp_path)
    server.start()
    try:
        process = training.start(MLFLOW_TRACKING_URI=server.url)
        folder = training.step_reached(40)
        server.kill()
        answer, said = training.finish(process)
        assert "trained, but not registered" in said
        assert "did not reach MLflow" in said
        assert not answer["published"]
        assert (folder / "generator/README.md").exists()
        server.start()
        resumed = training.start("--resume", answer["run_id"], MLFLOW_TRACKING_URI=server.url)
        answer, said = training.finish(resumed)
        assert answer["published"]
        client = server.client()
        run = client.get_run(answer["run_id"])
        assert run.info.status == "FINISHED"
        for name, points in curves_of(folder).items():
            told = [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, name)]
            assert sorted(told) == points, name
        pictures = client.list_artifacts(run.info.run_id, "samples/place0")
        assert len(pictures) == len({p.path for p in pictures}) >= 4
    finally:
        server.kill()


def test_a_tracker_that_was_never_there_is_an_error_before_anything(tmp_path: Path) -> None:
    training = Training(tmp_path)
    process = training.start(MLFLOW_TRACKING_URI=MlflowServer(tmp_path).url)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "cannot be reached" in said
    assert not training.out.exists()


def test_a_stopped_command_leaves_a_state_to_go_on_with(services: Path, tmp_path: Path) -> None:
    training = Training(tmp_path, content=100_000)
    process = training.start()
    folder = training.step_reached(20)
    started = time.monotonic()
    process.send_signal(signal.SIGTERM)  # as schedulers do; Ctrl-C takes the same way
    _, said = process.communicate(timeout=60)
    assert time.monotonic() - started < 30
    assert process.returncode != 0
    assert not ranks_of(folder)
    stopped_at = newest_step(folder)
    assert stopped_at is not None
    assert f"--resume {folder.name}" in said
    training.settings.write_text(f"content_steps = {stopped_at + 5}\nadversarial_steps = 0\n")
    answer, said = training.finish(training.start("--resume", folder.name))
    assert "changed settings: content_steps" in said
    steps = [step for step, _ in curves_of(folder)["train/content_loss"]]
    assert steps == sorted(set(steps))
    assert answer["run_id"] == folder.name


@pytest.fixture
def deployed(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Addresses of a Prefect server, with a worker and our deployments, and of MLflow."""
    ports = []
    for _ in range(2):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            ports.append(probe.getsockname()[1])
    command = ("up", "--folder", tmp_path / "servers", "--prefect-port", ports[0])
    process = subprocess.Popen(
        [sys.executable, "-m", "flows", *map(str, (*command, "--mlflow-port", ports[1]))],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "Ctrl-C stops all" in line:
            break
    else:
        raise AssertionError("the servers did not start")
    yield f"http://127.0.0.1:{ports[0]}/api", f"http://127.0.0.1:{ports[1]}"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)


def test_a_cancelled_flow_stops_its_ranks_and_a_retried_one_goes_on_with_its_run(
    deployed: tuple[str, str], tmp_path: Path
) -> None:
    api, _ = deployed
    training = Training(tmp_path, content=100_000)
    deployment = requests.get(f"{api}/deployments/name/train/train", timeout=10).json()
    config = {
        "store": str(training.store),
        "config": str(training.settings),
        "out": str(training.out),
        "nproc": 2,
    }
    run = requests.post(
        f"{api}/deployments/{deployment['id']}/create_flow_run",
        json={"parameters": {"config": config}, "state": {"type": "SCHEDULED"}},
        timeout=10,
    ).json()

    def state() -> str:
        return str(requests.get(f"{api}/flow_runs/{run['id']}", timeout=10).json()["state_type"])

    def ask(kind: str, name: str) -> None:
        body = {"state": {"type": kind, "name": name}, "force": kind == "SCHEDULED"}
        done = requests.post(f"{api}/flow_runs/{run['id']}/set_state", json=body, timeout=10)
        assert done.json()["status"] == "ACCEPT", done.text

    def cancel(folder: Path) -> None:
        started = time.monotonic()
        ask("CANCELLING", "Cancelling")
        wait_for(lambda: True if not ranks_of(folder) else None, seconds=40)
        assert time.monotonic() - started < 30
        wait_for(lambda: True if state() == "CANCELLED" else None, seconds=60)

    folder = training.step_reached(20)
    assert len(ranks_of(folder)) == 2
    cancel(folder)
    stopped_at = newest_step(folder)
    assert stopped_at is not None
    ask("SCHEDULED", "AwaitingRetry")
    training.step_reached(stopped_at + 20)
    assert [f.name for f in training.out.glob("*")] == [folder.name]
    cancel(folder)
