"""A region upscaled while workers are killed and the scheduler is started again. Real processes."""

from __future__ import annotations

import json
import os
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

from tests.end_to_end.upscaling import upscale
from tests.geo.cogs import assert_same_picture
from tests.servers.dask_cluster import DaskCluster

pytestmark = pytest.mark.slow

_ROOT = Path(__file__).resolve().parents[2]
SIZE = 800  # LR pixels
BLOCKS = 13 * 13  # of 64


@pytest.fixture
def cluster() -> Iterator[DaskCluster]:
    running = DaskCluster()
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


def start(source: Path, output: Path, **environment: str) -> subprocess.Popen[str]:
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
    told, said = process.communicate(timeout=400)
    assert process.returncode == 0, said
    return json.loads(told), said


def wait_for(ask: Callable[[], bool], process: subprocess.Popen[str], seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not ask():
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def test_killed_workers_and_a_lost_scheduler_change_no_pixel(
    services: Path, cluster: DaskCluster, source: Path, tmp_path: Path
) -> None:
    undisturbed = upscale(source, tmp_path / "a.tif", "lanczos", "--scale", 8).result
    assert undisturbed is not None
    assert undisturbed["blocks"] == BLOCKS
    cluster.start_scheduler()
    cluster.start_worker()
    cluster.start_worker()
    output = tmp_path / "b.tif"
    done = tmp_path / "b.tif.skyscale" / "done"
    process = start(source, output, SKYSCALE_DASK_SCHEDULER=cluster.address)

    def marks() -> dict[str, int]:
        return {p.name: p.stat().st_mtime_ns for p in done.glob("*[0-9]")} if done.is_dir() else {}

    wait_for(lambda: len(marks()) >= 20, process)
    cluster.kill_worker()
    cluster.start_worker()
    wait_for(lambda: len(marks()) >= 60, process)
    cluster.kill_scheduler()
    cluster.kill_worker()
    cluster.kill_worker()
    before = marks()
    assert len(before) < BLOCKS
    cluster.start_scheduler()
    cluster.start_worker()
    wait_for(lambda: len(marks()) > len(before) + 20, process)
    now = marks()
    assert {name: now[name] for name in before} == before  # nothing finished is done again
    told, said = answer(process)
    assert "waiting for it" in said
    assert told["blocks_done_before"] == 0
    assert_same_picture(output, tmp_path / "a.tif")
