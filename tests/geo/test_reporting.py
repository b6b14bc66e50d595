"""A report of a region whose every score is known beforehand."""

from __future__ import annotations

import json
import math
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
from geo.reporting.plan import ReportPlan
from geo.reporting.summary import pool, summarise
from geo.reporting.table import COLUMNS, write_report
from geo.sensor import degrade
from geo.splits import SplitRule
from tests.geo.reports import aerial, plan_of, score

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


@pytest.fixture(scope="module")
def plan(region: dict[str, str]) -> ReportPlan:
    return plan_of(
        region["bicubic"],
        aerial(region["aerial"], EVIL, gap_days=2.5),
        lr=region["lr"],
        tile_lr=16,
        split_rule=SplitRule(block_m=64, buffer_m=0),
    )


@pytest.fixture(scope="module")
def rows(plan: ReportPlan) -> list[dict[str, Any]]:
    return score(plan)


def test_bicubic_gains_nothing_over_bicubic(rows: list[dict[str, Any]], plan: ReportPlan) -> None:
    # Rounding to DN on one side only is all that is left between them.
    assert {round(abs(row["gain_db"]), 2) for row in rows} == {0.0}
    shift = plan.references[0].alignment
    assert shift.accepted
    assert math.hypot(shift.dy_px, shift.dx_px) < 0.05
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


def test_without_test_ground_the_report_warns(rows: list[dict[str, Any]], plan: ReportPlan) -> None:
    summary = summarise([row for row in rows if row["split"] == "train"], plan)
    assert summary["scope"] == "all"
    assert "may have been trained on" in summary["notes"][0]


def made_row(row: int, col: int, error: float, bicubic_error: float = 100.0) -> dict[str, Any]:
    """A tile of 100 values whose errors are given; DN range 10."""
    gain = math.inf if error == 0 else 10 * math.log10(bicubic_error / error)
    scores = dict.fromkeys(
        (
            f"{who}{name}"
            for who in ("", "bicubic_")
            for name in ("ssim", "cpsnr_db", "sam_deg", "lr_consistency")
        ),
        0.5,
    )
    return {
        **scores,
        "tile": f"r{row}_c{col}",
        "row": row,
        "col": col,
        "squared_error": error,
        "bicubic_squared_error": bicubic_error,
        "values": 100.0,
        "psnr_db": math.inf if error == 0 else 20 + gain,
        "bicubic_psnr_db": 20.0,
        "gain_db": gain,
        "valid_fraction": 1.0,
        "registration_residual_px": None,
        "seen_fraction": 1.0,
        "error": None,
    }


def test_pooling_by_hand() -> None:
    rows = [made_row(0, 0, 10.0), made_row(0, 1, 1000.0), made_row(0, 2, 0.0)]
    pooled = pool(rows, 10.0)
    # 1010 over 300 values against 300 over 300.
    assert pooled["psnr_db"] == pytest.approx(20 - 10 * math.log10(1010 / 300))
    assert pooled["bicubic_psnr_db"] == pytest.approx(20)
    assert pooled["gain_db"] == pytest.approx(10 * math.log10(300 / 1010))
    # The identical tile is counted; the means are of the two others: +10 and -10 dB.
    assert pooled["identical_tiles"] == 1
    assert pooled["mean_gain_db"] == pytest.approx(0)
    assert pooled["mean_psnr_db"] == pytest.approx(20)
    assert pooled["share_worse"] == pytest.approx(1 / 3)


def test_the_interval_rests_on_places_wider_than_a_tile_where_there_are_enough() -> None:
    rng = np.random.default_rng(0)
    by_place = rng.uniform(40, 90, (8, 8))  # blocks of 4 x 4 tiles that resemble each other
    rows = [made_row(r, c, float(by_place[r // 4, c // 4])) for r in range(32) for c in range(32)]
    pooled = pool(rows, 10.0)
    assert (pooled["interval_place_tiles"], pooled["interval_places"]) == (8, 16)
    low, high = pooled["gain_db_interval"]
    assert low < pooled["gain_db"] < high
    assert pool(rows[:9], 10.0)["interval_place_tiles"] == 1


def test_the_truth_scores_far_above_bicubic(region: dict[str, str]) -> None:
    rows = score(plan_of(region["truth"], region["aerial"], lr=region["lr"], tile_lr=32))
    # Registration moves the reference by thousandths of a pixel, so it is near, not identical.
    assert min(row["gain_db"] for row in rows) > 6


def test_ground_without_reference_has_no_psnr_but_is_counted_and_keeps_its_consistency(
    region: dict[str, str], tmp_path: Path
) -> None:
    with rasterio.open(region["aerial"]) as dataset:
        half = write(tmp_path / "half.tif", dataset.read()[:, :, :256], 1.0)
    plan = plan_of(region["truth"], half, lr=region["lr"], tile_lr=32)
    rows = score(plan)
    bare = [row for row in rows if row["col"] > min(r["col"] for r in rows) + 1]
    assert bare
    for row in bare:
        assert (row["psnr_db"], row["gain_db"], row["ssim"]) == (None, None, None)
        assert row["valid_fraction"] < 0.1
        assert row["lr_consistency"] < 1e-3
    summary, files = write_report(plan, rows, tmp_path / "out")
    assert summary["tiles_without_reference"] == sum(row["psnr_db"] is None for row in rows)
    assert summary["tiles"] + summary["tiles_without_reference"] == len(rows)
    assert geopandas.read_parquet(files["tiles"]).psnr_db.isna().sum() == len(bare)


def test_without_lr_there_is_no_bicubic_and_the_report_says_so(
    region: dict[str, str], tmp_path: Path
) -> None:
    plan = plan_of(region["truth"], region["aerial"], tile_lr=32)
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


def test_another_lr_grid_is_refused(region: dict[str, str], tmp_path: Path) -> None:
    other = write(tmp_path / "other.tif", np.ones((3, 100, 100), np.uint16), 4.0)
    with pytest.raises(GridError, match="is not the LR grid"):
        plan_of(region["bicubic"], region["aerial"], lr=other)


def test_a_reference_of_other_ground_is_refused(region: dict[str, str], tmp_path: Path) -> None:
    noise = np.random.default_rng(9).integers(100, 4000, (3, 512, 512)).astype(np.uint16)
    with pytest.raises(ReportError, match="cannot be aligned"):
        plan_of(region["bicubic"], write(tmp_path / "noise.tif", noise, 1.0), lr=region["lr"])


def test_tiles_carry_their_land_cover(region: dict[str, str], tmp_path: Path) -> None:
    square = [[14, 44], [16, 44], [16, 46], [14, 46], [14, 44]]
    feature = {
        "type": "Feature",
        "properties": {"category": "farm"},
        "geometry": {"type": "Polygon", "coordinates": [square]},
    }
    file = tmp_path / "landcover.geojson"
    file.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    plan = plan_of(
        region["bicubic"], region["aerial"], lr=region["lr"], landcover=LandCover.read(file)
    )
    rows = score(plan)
    assert {row["category"] for row in rows} == {"farm"}
    assert set(summarise(rows, plan)["by_category"]) == {"farm"}
