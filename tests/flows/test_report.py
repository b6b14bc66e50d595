"""Where a report finds the LR image that an output was made from."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.report import ReportFlowConfig, plan_tiles
from geo.reporting.plan import ReportPlan
from tests.geo import rasters
from tests.servers.stac_server import StacServer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A satellite image of a made world, and what stands for its upscaled image and the truth."""
    folder, world = tmp_path_factory.mktemp("world"), rasters.make_world()
    rasters.write(folder / "served" / "lr.tif", world.lr, world.lr_grid)
    rasters.write(folder / "aerial.tif", world.hr, world.hr_grid)
    return folder


def write_sr(path: Path, source: str) -> str:
    world = rasters.make_world()
    grid = world.lr_grid.zoom_out(1 / rasters.SCALE)
    tags = {"SKYSCALE_SOURCE": source, "SKYSCALE_SCALE": str(rasters.SCALE)}
    return rasters.write(path, world.true_hr, grid, tags=tags)


def plan(folder: Path, sr: str) -> ReportPlan:
    config = ReportFlowConfig(sr=sr, reference=str(folder / "aerial.tif"), out=str(folder / "out"))
    return plan_tiles.fn(config)


def test_by_the_url_that_the_output_names(folder: Path, tmp_path: Path) -> None:
    with StacServer(folder / "served") as server:
        url = f"{server.files}/lr.tif"
        found = plan(folder, write_sr(tmp_path / "sr.tif", url))
    assert found.lr is not None
    assert set(found.lr.source.hrefs) == {url}


def test_nowhere_if_the_file_that_the_output_names_is_gone(folder: Path, tmp_path: Path) -> None:
    assert plan(folder, write_sr(tmp_path / "sr.tif", str(tmp_path / "lr.tif"))).lr is None
