"""Training through trouble: killed ranks, lost trackers, cancelled flows. Real processes all."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest
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
checkpoint_every = 10
val_every = 30
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
        self.settings.write_text(SETTINGS.format(**{"content": 80, "adversarial": 40} | steps))

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
            answer, said = process.communicate(timeout=400)
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


def wait_for(ask: Callable[[], _T | None], *, seconds: float = 240) -> _T:
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


def test_a_killed_rank_is_started_again_and_changes_nothing(services: Path, tmp_path: Path) -> None:
    training = Training(tmp_path)
    undisturbed, _ = training.finish(training.start("--nproc", 2))
    first = training.folder()
    process = training.start("--nproc", 2)
    folder = training.step_reached(20, but=(first,))
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


def test_machines_meet_and_train_one_run_together(services: Path, tmp_path: Path) -> None:
    training = Training(tmp_path, content=20, adversarial=10)
    prepared, _ = training.finish(training.start("--prepare", "--nproc", 1))
    run = prepared["run_id"]
    assert [f.name for f in training.out.glob("*")] == [run]
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


def test_a_lost_tracker_costs_nothing(
    prefect: str, new_tracker: Callable[[Path], str], tmp_path: Path
) -> None:
    new_tracker(tmp_path)
    server, training = MlflowServer(tmp_path), Training(tmp_path)
    server.start()
    try:
        process = training.start(MLFLOW_TRACKING_URI=server.url)
        folder = training.step_reached(20)
        server.kill()
        answer, said = training.finish(process)
        assert "trained, but not registered" in said
        assert "did not reach MLflow" in said
        assert not answer["published"]
        assert (folder / "generator/README.md").exists()
        server.start()
        resumed = training.start("--resume", answer["run_id"], MLFLOW_TRACKING_URI=server.url)
        unpublished = answer
        answer, said = training.finish(resumed)
        assert answer["published"]
        assert answer["run_id"] == unpublished["run_id"]
        assert answer["test"]["psnr_db"] == pytest.approx(unpublished["test"]["psnr_db"], abs=1e-6)
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


def test_a_tracker_that_was_never_there_is_an_error_before_anything(
    prefect: str, tmp_path: Path
) -> None:
    training = Training(tmp_path)
    process = training.start(MLFLOW_TRACKING_URI=MlflowServer(tmp_path).url)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "cannot be reached" in said
    assert not training.out.exists()


def test_a_stopped_command_leaves_a_state_to_go_on_with(services: Path, tmp_path: Path) -> None:
    training = Training(tmp_path, content=100_000)
    process = training.start()
    folder = training.step_reached(10)
    started = time.monotonic()
    process.send_signal(signal.SIGTERM)  # as schedulers do; Ctrl-C takes the same way
    _, said = process.communicate(timeout=120)
    assert time.monotonic() - started < 45
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
