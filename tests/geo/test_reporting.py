"""A report of a region whose every score is known beforehand."""

from __future__ import annotations

import json
import math
import pickle
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
from affine import Affine
from scipy import ndimage

from geo.errors import GridError, ReportError
from geo.interpolate import upsample
from geo.landcover import LandCover
from geo.reporting.plan import ReportPlan, plan_report
from geo.reporting.summary import pool, summarise
from geo.reporting.table import COLUMNS, write_report
from geo.reporting.tiles import score_batch
from geo.sensor import degrade
from geo.splits import SplitRule

EVIL = "<script>alert(1)</script>"


def write(path: Path, data: np.ndarray, pixel_m: float, **tags: str) -> str:
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=len(data),
        height=data.shape[1],
        width=data.shape[2],
        dtype=data.dtype,
        crs="EPSG:32633",
        transform=Affine(pixel_m, 0, 500_000, 0, -pixel_m, 5_000_000),
        nodata=0,
    ) as dataset:
        dataset.write(data)
        dataset.descriptions = ("red", "green", "blue")
        dataset.update_tags(**tags)
    return str(path)


@pytest.fixture(scope="module")
def region(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Aerial ground, the satellite's view of it, and two upscaled versions."""
    folder = tmp_path_factory.mktemp("region")
    noise = np.random.default_rng(0).normal(size=(3, 512, 512))
    # Structure at many scales, like ground.
    layers = [ndimage.gaussian_filter(noise, (0, s, s)) for s in (1, 4, 16)]
    hr = sum(layer / layer.std() for layer in layers)
    hr = (2500 + 500 * hr).astype(np.float32).clip(100, 9000)
    lr = degrade(hr, 4).round().astype(np.uint16)
    tags = {"SKYSCALE_SCALE": "4", "SKYSCALE_MODEL": EVIL}
    bicubic = upsample(lr, 4, "bicubic").round().clip(1, 65535).astype(np.uint16)
    return {
        "aerial": write(folder / "aerial.tif", hr.round().astype(np.uint16), 1.0),
        "lr": write(folder / "lr.tif", lr, 4.0),
        "bicubic": write(folder / "bicubic.tif", bicubic, 1.0, **tags),
        "truth": write(folder / "truth.tif", hr.round().astype(np.uint16), 1.0, **tags),
    }


def score(plan: ReportPlan) -> list[dict[str, Any]]:
    plan = pickle.loads(pickle.dumps(plan))
    return [row for batch in plan.batches() for row in score_batch(plan, batch)]


@pytest.fixture(scope="module")
def plan(region: dict[str, str]) -> ReportPlan:
    return plan_report(
        region["bicubic"],
        region["aerial"],
        lr=region["lr"],
        tile_lr=16,
        split_rule=SplitRule(block_chips=1, buffer_chips=0),
        reference_id=EVIL,
        gap_days=2.5,
    )


@pytest.fixture(scope="module")
def rows(plan: ReportPlan) -> list[dict[str, Any]]:
    return score(plan)


def test_bicubic_gains_nothing_over_bicubic(rows: list[dict[str, Any]], plan: ReportPlan) -> None:
    # Rounding to DN on one side only is all that is left between them.
    assert {round(abs(row["gain_db"]), 2) for row in rows} == {0.0}
    assert plan.alignment.accepted
    assert math.hypot(plan.alignment.dy_px, plan.alignment.dx_px) < 0.05
    residuals = [r["registration_residual_px"] for r in rows if r["registration_residual_px"]]
    assert np.median(residuals) < 0.1


def test_tiles_cover_the_region_once(rows: list[dict[str, Any]]) -> None:
    places = {(row["row"], row["col"]) for row in rows}
    assert len(places) == len(rows) >= 49
    assert {row["split"] for row in rows} == {"train", "val", "test"}


def test_the_headline_is_of_test_ground(rows: list[dict[str, Any]], plan: ReportPlan) -> None:
    summary = summarise(rows, plan)
    test = [row for row in rows if row["split"] == "test"]
    assert (summary["scope"], summary["tiles"]) == ("test", len(test))
    assert summary["psnr_db"] == pool(test, plan.data_range)["psnr_db"]
    assert summary["by_split"]["train"]["tiles"] > summary["tiles"]
    for name in ("gain_db", "gain_db_interval", "share_worse", "data_range", "bicubic_psnr_db"):
        assert name in summary


def test_the_truth_scores_far_above_bicubic(region: dict[str, str]) -> None:
    rows = score(plan_report(region["truth"], region["aerial"], lr=region["lr"], tile_lr=32))
    # Registration moves the reference by thousandths of a pixel, so it is near, not identical.
    assert min(row["gain_db"] for row in rows) > 6


def test_without_lr_there_is_no_bicubic_and_the_report_says_so(
    region: dict[str, str], tmp_path: Path
) -> None:
    plan = plan_report(region["truth"], region["aerial"], tile_lr=32)
    rows = score(plan)
    summary, _ = write_report(plan, rows, tmp_path / "out")
    assert summary["bicubic_psnr_db"] is None
    assert summary["gain_db"] is None
    assert summary["psnr_db"] > 40
    assert any("No LR raster" in note for note in summary["notes"])


def test_files_hold_the_contract(
    plan: ReportPlan, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    summary, files = write_report(plan, rows, tmp_path / "out")
    table = geopandas.read_parquet(files["tiles"])
    assert list(table.columns[: len(COLUMNS)]) == list(COLUMNS)
    assert table.crs == "EPSG:4326"
    assert len(table) == len(rows)
    assert table.geometry.total_bounds == pytest.approx((15, 45.15, 15.006, 45.16), abs=0.01)
    told = json.loads(files["summary"].read_text())
    assert told["psnr_db"] == pytest.approx(summary["psnr_db"])


class _Scripts(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.scripts = 0
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        self.sources += [v or "" for k, v in attrs if k in ("src", "href")]


def test_the_page_needs_nothing_and_runs_nothing_foreign(
    plan: ReportPlan, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    _, files = write_report(plan, rows, tmp_path / "out")
    page = files["page"].read_text()
    assert EVIL not in page
    parser = _Scripts()
    parser.feed(page)
    assert parser.scripts == 2  # the data and our own
    assert parser.sources == []
    data = page.split('id="data">')[1].split("</script>")[0]
    assert json.loads(data)["summary"]["model"] == EVIL


def test_another_lr_grid_is_refused(region: dict[str, str], tmp_path: Path) -> None:
    other = write(tmp_path / "other.tif", np.ones((3, 100, 100), np.uint16), 4.0)
    with pytest.raises(GridError, match="is not the LR grid"):
        plan_report(region["bicubic"], region["aerial"], lr=other)


def test_a_reference_of_other_ground_is_refused(region: dict[str, str], tmp_path: Path) -> None:
    noise = np.random.default_rng(9).integers(100, 4000, (3, 512, 512)).astype(np.uint16)
    with pytest.raises(ReportError, match="cannot be aligned"):
        plan_report(region["bicubic"], write(tmp_path / "noise.tif", noise, 1.0), lr=region["lr"])


def test_tiles_carry_their_land_cover(region: dict[str, str], tmp_path: Path) -> None:
    square = [[14, 44], [16, 44], [16, 46], [14, 46], [14, 44]]
    feature = {
        "type": "Feature",
        "properties": {"category": "farm"},
        "geometry": {"type": "Polygon", "coordinates": [square]},
    }
    file = tmp_path / "landcover.geojson"
    file.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    plan = plan_report(
        region["bicubic"], region["aerial"], lr=region["lr"], landcover=LandCover.read(file)
    )
    rows = score(plan)
    assert {row["category"] for row in rows} == {"farm"}
    assert set(summarise(rows, plan)["by_category"]) == {"farm"}
