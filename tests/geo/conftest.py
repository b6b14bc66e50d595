"""Fixtures of the tests of `geo`."""

from __future__ import annotations

import importlib.util
import sys
import uuid
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture(scope="session")
def rasters() -> ModuleType:
    """Small rasters whose right answer is known; a fixture, for tests are no package."""
    name = "skyscale_test_rasters"
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name("rasters.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def world(rasters: ModuleType) -> Any:
    """Ground seen by an aerial camera and, displaced, by a satellite."""
    return rasters.make_world()


@pytest.fixture(scope="session")
def aerial(rasters: ModuleType, world: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The aerial image of that world as a file."""
    path = tmp_path_factory.mktemp("world") / "aerial.tif"
    return str(rasters.write(path, world.hr, world.hr_grid))


@pytest.fixture
def store(tmp_path: Path) -> Any:
    """An empty pair store on disk."""
    from geo.pairstore.config import StoreConfig
    from geo.pairstore.store import PairStore

    config = StoreConfig(bands=("red", "green"), scale=2, lr_size=8)
    return PairStore.create_or_open(tmp_path / "store", config)


@pytest.fixture(params=["disk", pytest.param("s3", marks=pytest.mark.slow)])
def any_store(request: pytest.FixtureRequest) -> Any:
    """An empty pair store, on disk and on a server that speaks S3."""
    if request.param == "disk":
        return request.getfixturevalue("store")
    from geo.pairstore.config import StoreConfig
    from geo.pairstore.store import PairStore

    request.getfixturevalue("s3")
    config = StoreConfig(bands=("red", "green"), scale=2, lr_size=8)
    return PairStore.create_or_open(f"s3://skyscale/{uuid.uuid4().hex}/store", config)
