"""A region upscaled while workers are killed and the scheduler is started again. Real processes."""

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
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin
from rasterio.windows import Window

pytestmark = pytest.mark.slow

_ROOT = Path(__file__).resolve().parents[2]
SIZE = 1100  # LR pixels: 324 blocks of 64


class Cluster:
    """A Dask scheduler and workers, each a process group of its own."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{self.port}"
        self.scheduler: subprocess.Popen[bytes] | None = None
        self.workers: list[subprocess.Popen[bytes]] = []

    def start_scheduler(self) -> None:
        self.scheduler = _start(
            "scheduler", "--host", "127.0.0.1", "--port", self.port, "--no-dashboard", "--no-show"
        )

    def start_worker(self) -> None:
        options = ("--nthreads", 1, "--no-dashboard", "--host", "127.0.0.1")
        self.workers.append(_start("worker", self.address, *options))

    def kill_worker(self) -> None:
        _kill(self.workers.pop(0))

    def kill_scheduler(self) -> None:
        assert self.scheduler is not None
        _kill(self.scheduler)

    def close(self) -> None:
        for process in (*self.workers, *([self.scheduler] if self.scheduler else [])):
            _kill(process)


def _start(*command: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "dask", *map(str, command)],
        cwd=_ROOT,
        env=os.environ | {"PYTHONPATH": str(_ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    running = Cluster()
    yield running
    running.close()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scene") / "lr.tif"
    random = np.random.default_rng(0)
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=SIZE,
        width=SIZE,
        count=2,
        dtype="uint16",
        crs="EPSG:32633",
        transform=from_origin(500_000, 5_000_000, 10, 10),
        nodata=0,
    ) as dataset:
        dataset.write(random.integers(1, 9000, (2, SIZE, SIZE)).astype(np.uint16))
        dataset.write(np.zeros((2, 90, 200), np.uint16), window=Window(300, 400, 200, 90))
    return path


def upscale(source: Path, output: Path, **environment: str) -> subprocess.Popen[str]:
    options = ("--model", "lanczos", "--scale", "8", "--block", "64", "--json")
    return subprocess.Popen(
        [sys.executable, "-m", "flows", "upscale", str(source), str(output), *options],
        cwd=_ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def answer(process: subprocess.Popen[str]) -> tuple[dict[str, Any], str]:
    told, said = process.communicate(timeout=240)
    assert process.returncode == 0, said
    return json.loads(told), said


def wait_for(ask: Callable[[], bool], process: subprocess.Popen[str], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not ask():
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def test_killed_workers_and_a_lost_scheduler_change_no_pixel(
    services: Path, cluster: Cluster, source: Path, tmp_path: Path
) -> None:
    undisturbed, _ = answer(upscale(source, tmp_path / "a.tif"))
    assert undisturbed["blocks"] == 18 * 18
    cluster.start_scheduler()
    cluster.start_worker()
    cluster.start_worker()
    output = tmp_path / "b.tif"
    done = tmp_path / "b.tif.skyscale" / "done"
    process = upscale(source, output, SKYSCALE_DASK_SCHEDULER=cluster.address)

    def marks() -> dict[str, int]:
        return {p.name: p.stat().st_mtime_ns for p in done.glob("*")} if done.is_dir() else {}

    wait_for(lambda: len(marks()) >= 20, process)
    cluster.kill_worker()
    cluster.start_worker()
    wait_for(lambda: len(marks()) >= 80, process)
    cluster.kill_scheduler()
    cluster.kill_worker()
    cluster.kill_worker()
    before = marks()
    assert len(before) < undisturbed["blocks"]
    cluster.start_scheduler()
    cluster.start_worker()
    wait_for(lambda: len(marks()) > len(before) + 20, process)
    now = marks()
    assert {name: now[name] for name in before} == before  # nothing finished is done again
    told, said = answer(process)
    assert "waiting for it" in said
    assert told["blocks_done_before"] == 0
    assert output.read_bytes() == (tmp_path / "a.tif").read_bytes()


def test_a_source_that_cannot_be_read_in_a_window_fails_its_blocks_alone(
    services: Path, source: Path, tmp_path: Path
) -> None:
    whole = source.read_bytes()
    damaged = tmp_path / "lr.tif"
    # The last strips of the file are gone.
    damaged.write_bytes(whole[: int(0.8 * len(whole))])
    output = tmp_path / "sr.tif"
    process = upscale(damaged, output)
    _, said = process.communicate(timeout=240)
    assert process.returncode == 1
    assert "blocks failed" in said
    assert "the others are kept" in said
    assert not output.exists()
    finished = len(list((tmp_path / "sr.tif.skyscale" / "done").glob("*")))
    assert 0 < finished < 18 * 18
