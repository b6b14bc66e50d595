"""Fixtures of the tests of `geo`."""

from __future__ import annotations

import importlib.util
import sys
import uuid
from pathlib import Path
from types import ModuleType, SimpleNamespace
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


@pytest.fixture(scope="session")
def scored(rasters: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A scored region: `plan`, `rows`; SR is better than bicubic in the west, worse in the east.

    A corner of the aerial image is missing, and a scene's name would be a script.
    """
    import numpy as np

    from geo.interpolate import upsample
    from geo.sensor import degrade
    from geo.splits import SplitRule
    from tests.geo.reports import aerial, plan_of, score

    folder = tmp_path_factory.mktemp("scored")
    hr = 2500 + 500 * rasters.ground((384, 384), finest_px=3.0)
    lr = degrade(hr, 4).round()
    bicubic = upsample(lr, 4, "bicubic")
    share = np.linspace(0.7, -0.3, hr.shape[-1], dtype=np.float32)
    sr = bicubic + share * (hr - bicubic)
    hr[:, :70, :70] = 0
    fine = rasters.grid((384, 384), size=1.0)
    made = {"sr": (sr, fine), "aerial": (hr, fine), "lr": (lr, fine.zoom_out(4))}
    files = {
        name: rasters.write(
            folder / f"{name}.tif",
            data.round().astype(np.uint16),
            geobox,
            nodata=0,
            bands=("red", "green", "blue"),
            tags={"SKYSCALE_SCALE": "4", "SKYSCALE_MODEL": "generator/7"},
        )
        for name, (data, geobox) in made.items()
    }
    plan = plan_of(
        files["sr"],
        aerial(files["aerial"], "</script><script>alert('aerial')</script>", gap_days=2.5),
        lr=files["lr"],
        tile_lr=8,
        split_rule=SplitRule(block_m=64, buffer_m=0),
    )
    rows = score(plan)
    for place, row in enumerate(rows):
        row["category"] = ("farm", "<b>forest</b>", None)[place % 3]
        row["satellite_id"] = "<script>alert('satellite')</script>"
        row["uncertainty"] = None if place == 0 else float(place)
        row["cloud_share"] = 0.0
        row["sharpness_of_roofs"] = place / 7
        row["nobody_knows"] = None
    return SimpleNamespace(plan=plan, rows=rows)
