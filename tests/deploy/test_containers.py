"""Flow runs in containers of the image, by a worker of Docker. All of it real, where Docker is.

`docker build --tag skyscale .` makes the image; without it, these are left out.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import docker.errors
import numpy as np
import pytest

from flows.web import ask
from tests.deploy.pools import Pool, file_for_docker
from tests.flows.training_store import make_store
from tests.geo import rasters
from tests.servers.skyscale_up import wait_for

pytest.importorskip("prefect_docker", reason="pip install 'skyscale[clusters]'")
pytestmark = pytest.mark.slow

IMAGE = "skyscale:latest"


@pytest.fixture(scope="module")
def daemon() -> Iterator[Any]:
    try:
        client = docker.from_env()
        client.images.get(IMAGE)
    except docker.errors.DockerException as error:
        pytest.skip(f"no Docker with an image {IMAGE} here: {error}")
    yield client
    client.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The storage that containers see as /srv/skyscale."""
    return tmp_path_factory.mktemp("srv")


class Containers:
    """A pool with a worker, and what its runs do.

    Parameters
    ----------
    api : str
    folder : Path
    """

    def __init__(self, api: str, folder: Path) -> None:
        self._api, self._folder = api, folder
        self._pool = Pool(api, "docker", "containers")
        self._pool.deploy(file_for_docker(folder, self._pool.name))

    def open_folder(self) -> None:
        """Let the containers' user write there."""
        subprocess.run(["chmod", "-R", "a+rwX", str(self._folder)], check=True)

    def start(self, deployment: str, **config: Any) -> str:
        return self._pool.start(
            deployment,
            config,
            volumes=[f"{self._folder}:/srv/skyscale"],
            env={"MLFLOW_TRACKING_URI": "sqlite:////srv/skyscale/mlflow.db"},
            device_requests=[],
            memory="4g",
        )

    def states(self, run: str) -> list[str]:
        found = ask(f"{self._api}/flow_run_states/?flow_run_id={run}", attempts=20)
        return [s["name"] for s in sorted(found, key=lambda s: s["timestamp"])]

    def await_state(self, run: str, name: str, times: int = 1) -> None:
        wait_for(lambda: True if self.states(run).count(name) >= times else None, seconds=240)

    def cancel(self, run: str) -> None:
        state = {"type": "CANCELLING", "name": "Cancelling"}
        ask(f"{self._api}/flow_runs/{run}/set_state", {"state": state}, attempts=20)

    def messages(self, run: str) -> str:
        body = {"logs": {"flow_run_id": {"any_": [run]}}, "limit": 200}
        return "\n".join(entry["message"] for entry in ask(f"{self._api}/logs/filter", body))


@pytest.fixture(scope="module")
def containers(daemon: Any, prefect: str, folder: Path) -> Iterator[Containers]:
    containers = Containers(prefect, folder)
    command = [str(Path(sys.executable).with_name("prefect")), "worker", "start"]
    with subprocess.Popen([*command, "--pool", "containers", "--type", "docker"]) as worker:
        yield containers
        worker.terminate()


def running(daemon: Any) -> list[Any]:
    return list(daemon.containers.list(filters={"ancestor": IMAGE}))


def test_a_region_is_drawn_by_a_user_without_rights(containers: Containers, folder: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 3000, (1, 256, 256)).astype(np.uint16)
    rasters.write(folder / "scene.tif", pixels, rasters.grid(shape=(256, 256)))
    containers.open_folder()
    run = containers.start(
        "cluster-upscale",
        source="/srv/skyscale/scene.tif",
        output="/srv/skyscale/sr.tif",
        model="bicubic",
    )
    containers.await_state(run, "Completed")
    assert (folder / "sr.tif").stat().st_uid == 1000


def test_a_container_starts_as_many_threads_as_it_has_time_for(daemon: Any) -> None:
    program = "from flows.settings import read_surroundings as r; print(r().workers)"
    told = daemon.containers.run(IMAGE, ["python", "-c", program], nano_cpus=10**9, remove=True)
    assert told.decode().split() == ["1"]


def test_a_training_whose_container_is_stopped_goes_on_in_another_until_it_is_cancelled(
    containers: Containers, daemon: Any, folder: Path
) -> None:
    make_store(folder / "store")
    containers.open_folder()
    settings = {"batch_size": 8, "patch_lr": 16, "content_steps": 100_000, "device": "cpu"}
    run = containers.start(
        "cluster-train",
        store="/srv/skyscale/store",
        out="/srv/skyscale/runs",
        settings=settings | {"checkpoint_every": 20, "val_pairs": 4},
    )

    def checkpoints() -> set[Path]:
        return set(folder.glob("runs/*/checkpoints/*"))

    wait_for(lambda: checkpoints() or None, seconds=240)
    (first,) = running(daemon)
    first.stop(timeout=60)
    containers.await_state(run, "AwaitingRetry")
    before = checkpoints()
    containers.await_state(run, "Running", 2)
    wait_for(lambda: (checkpoints() - before) or None, seconds=240)
    (second,) = running(daemon)
    assert second.id != first.id
    assert len(list(folder.glob("runs/*"))) == 1, "the same run of MLflow"
    begun = time.monotonic()
    containers.cancel(run)
    containers.await_state(run, "Cancelled")
    wait_for(lambda: None if running(daemon) else True)
    assert time.monotonic() - begun < 45
