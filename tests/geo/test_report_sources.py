"""What a report reads: which truth a tile is judged by, what the satellite shows of a region."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely

from geo.catalog.asset import Mask
from geo.errors import BandError, GridError, ReportError
from geo.mosaic_plan import plan_mosaic
from geo.raster_io import inspect_raster
from geo.region_source import raster_source
from geo.reporting.headline import cautions, headline
from geo.reporting.plan import ReportPlan, plan_report
from geo.reporting.references import AerialScene
from geo.reporting.rows import score_batch
from geo.reporting.satellite import SatelliteView
from geo.reporting.summary import summarise
from geo.reporting.table import tiles_frame
from geo.sensor import degrade
from tests.geo import mosaics, rasters
from tests.geo.reports import aerial, drawn, plan_of, satellite, score

SCALE, TILE = 4, 8
FINE = rasters.grid((256, 384), size=2.5, left=499_840.0, top=5_299_840.0)  # whole tiles
COARSE = FINE.zoom_out(SCALE)
TAGS = {"SKYSCALE_SCALE": str(SCALE)}


def dn(image: np.ndarray) -> np.ndarray:
    return (2500 + 500 * image).clip(1, 9000).round().astype(np.uint16)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Ground, what the satellite sees of it, and a perfect upscaling."""
    folder = tmp_path_factory.mktemp("world")
    hr = rasters.ground((256, 384), finest_px=3.0)
    lr = degrade(hr, SCALE)
    return {
        "hr": hr,
        "folder": folder,
        "sr": rasters.write(folder / "sr.tif", dn(hr), FINE, nodata=0, tags=TAGS),
        "lr": rasters.write(folder / "lr.tif", dn(lr), COARSE, nodata=0),
        "aerial": rasters.write(folder / "aerial.tif", dn(hr), FINE, nodata=0),
    }


def sheet(world: dict[str, Any], name: str, cols: slice, gap_days: float | None) -> AerialScene:
    """An aerial image of some columns of the ground."""
    path = world["folder"] / f"{name}.tif"
    href = rasters.write(path, dn(world["hr"])[:, :, cols], FINE[:, cols], nodata=0)
    return aerial(href, name, gap_days)


def planned(world: dict[str, Any], *scenes: AerialScene, **settings: Any) -> ReportPlan:
    lr = satellite(world["lr"])
    return plan_report(drawn(world["sr"]), scenes, lr=lr, tile_lr=TILE, **settings)


def test_each_tile_is_judged_by_the_scene_nearest_in_time_that_shows_it(
    world: dict[str, Any],
) -> None:
    west, east = sheet(world, "west", np.s_[:256], 3.0), sheet(world, "east", np.s_[128:], 1.0)
    rows = score(planned(world, west, east))
    by_col = {row["col"]: row["aerial_id"] for row in rows}
    first = min(by_col)
    # 12 columns of tiles: the first four are shown by the western sheet alone.
    assert [by_col[first + c] for c in range(12)] == ["west"] * 4 + ["east"] * 8
    assert {row["gap_days"] for row in rows if row["aerial_id"] == "east"} == {1.0}
    assert min(row["psnr_db"] for row in rows) > 40


def test_a_scene_that_cannot_be_aligned_gives_its_tiles_to_the_next_and_is_listed(
    world: dict[str, Any],
) -> None:
    noise = np.random.default_rng(3).integers(100, 4000, (3, 256, 384)).astype(np.uint16)
    path = rasters.write(world["folder"] / "noise.tif", noise, FINE, nodata=0)
    plan = planned(world, aerial(path, "noise", 0.0), aerial(world["aerial"], "good", 9.0))
    assert {row["aerial_id"] for row in score(plan)} == {"good"}
    told = summarise(score(plan), plan)
    assert [refusal["scene"] for refusal in told["references_refused"]] == ["noise"]
    assert any("noise" in note for note in told["notes"])


def test_without_any_scene_that_fits_there_is_no_report_but_a_reason(
    world: dict[str, Any], tmp_path: Path
) -> None:
    far = rasters.grid((64, 64), size=2.5, left=600_000.0)
    path = rasters.write(tmp_path / "far.tif", dn(rasters.ground((64, 64))), far, nodata=0)
    with pytest.raises(ReportError, match="no reference shows any tile"):
        planned(world, aerial(path))


def test_the_satellite_image_may_be_larger_than_the_region(
    world: dict[str, Any], tmp_path: Path
) -> None:
    inner = np.s_[:, 16:208, 32:352]  # 4 LR px from the top, 8 from the left
    sr = rasters.write(tmp_path / "sr.tif", dn(world["hr"])[inner], FINE[inner[1:]], tags=TAGS)
    plan = plan_of(sr, world["aerial"], lr=world["lr"], tile_lr=TILE)
    assert plan.lr_geobox == COARSE[4:52, 8:88]
    rows = score(plan)
    assert max(row["lr_consistency"] for row in rows if row["lr_consistency"]) < 1e-3


def test_a_satellite_image_half_a_pixel_beside_is_refused(
    world: dict[str, Any], tmp_path: Path
) -> None:
    beside = rasters.grid((64, 96), size=10.0, left=499_845.0, top=5_299_840.0)
    path = rasters.write(tmp_path / "beside.tif", dn(degrade(world["hr"], SCALE)), beside)
    with pytest.raises(GridError, match="is not the LR grid"):
        plan_of(world["sr"], world["aerial"], lr=path)


def test_clouds_of_a_mask_are_not_scored_and_their_share_is_told(
    world: dict[str, Any], tmp_path: Path
) -> None:
    scl = np.full((64, 96), mosaics.CLEAR, np.uint8)
    scl[:, :24] = mosaics.CLOUD
    mask = Mask(href=rasters.write(tmp_path / "scl.tif", scl[None], COARSE, nodata=0), kind="scl")
    source = raster_source(world["lr"], masks=[mask])
    view = SatelliteView(source=source, id="clouded")
    rows = score(plan_report(drawn(world["sr"]), [aerial(world["aerial"])], lr=view, tile_lr=TILE))
    first = min(row["col"] for row in rows)
    clouded = [row for row in rows if row["col"] - first < 3]
    assert {row["psnr_db"] for row in clouded} == {None}
    assert {row["cloud_share"] for row in clouded} == {1.0}
    assert {row["cloud_share"] for row in rows if row["col"] - first > 4} == {0.0}
    assert {row["satellite_id"] for row in rows} == {"clouded"}


def test_a_tile_of_a_mosaic_tells_its_own_scene_and_its_days_from_the_aerial_image(
    world: dict[str, Any], tmp_path: Path
) -> None:
    lr = dn(degrade(world["hr"], SCALE))
    bands = ("band1", "band2", "band3")
    west, east = COARSE[:, :48], COARSE[:, 48:]
    scenes = [
        mosaics.write_scene(tmp_path, "west", lr[:, :, :48], west, days=0, bands=bands),
        mosaics.write_scene(tmp_path, "east", lr[:, :, 48:], east, days=6, bands=bands),
    ]
    source = plan_mosaic(scenes, bands).source
    view = SatelliteView(source=source)
    taken = mosaics.DAY_0 + timedelta(days=2)
    info = inspect_raster(world["aerial"])
    truth = aerial(world["aerial"], "truth")
    truth = AerialScene(source=info.href, id="truth", footprint=truth.footprint, time=taken)
    rows = score(plan_report(drawn(world["sr"]), [truth], lr=view, tile_lr=TILE))
    told = {(row["satellite_id"], row["gap_days"]) for row in rows}
    assert told == {("west", 2.0), ("east", 4.0)}
    assert min(row["bicubic_psnr_db"] for row in rows) > 20


def test_another_model_is_judged_on_the_same_pixels(world: dict[str, Any], tmp_path: Path) -> None:
    blurred = dn(rasters.moved(world["hr"], 0.5, 0.5))
    blurred[:, :64, :64] = 0
    other = rasters.write(tmp_path / "other.tif", blurred, FINE, nodata=0, tags=TAGS)
    plan = plan_of(world["sr"], world["aerial"], lr=world["lr"], other=other, tile_lr=TILE)
    rows = score(plan)
    scored = [row for row in rows if row["psnr_db"] is not None]
    assert all(row["other_psnr_db"] < row["psnr_db"] for row in scored)
    assert len(rows) - len(scored) == 4  # where the other has a hole, neither is judged
    table = summarise(rows, plan)["scores"]
    assert set(table["psnr_db"]) == {"sr", "bicubic", "other"}
    assert table["gain_db"]["other"]["pooled"] < table["gain_db"]["sr"]["pooled"]


def test_another_model_of_other_ground_or_bands_is_refused(
    world: dict[str, Any], tmp_path: Path
) -> None:
    beside = rasters.write(tmp_path / "beside.tif", dn(world["hr"])[:, 4:], FINE[4:, :])
    with pytest.raises(GridError, match="another grid"):
        plan_of(world["sr"], world["aerial"], other=beside)
    few = rasters.write(tmp_path / "few.tif", dn(world["hr"])[:2], FINE)
    with pytest.raises(BandError, match="no band band3"):
        plan_of(world["sr"], world["aerial"], other=few)


def test_the_band_that_says_how_sure_the_model_is_is_no_colour(
    world: dict[str, Any], tmp_path: Path
) -> None:
    spread = np.full((1, 256, 384), 7, np.uint16)
    spread[:, :, 192:] = 21
    bands = ("red", "green", "blue", "uncertainty")
    data = np.concatenate([dn(world["hr"]), spread])
    sr = rasters.write(tmp_path / "sr.tif", data, FINE, bands=bands, tags=TAGS)
    rows = score(plan_of(sr, world["aerial"], lr=world["lr"], tile_lr=TILE))
    assert {row["uncertainty"] for row in rows} == {7.0, 21.0}
    assert min(row["psnr_db"] for row in rows) > 40


def test_without_reference_only_what_needs_no_truth_is_told(world: dict[str, Any]) -> None:
    plan = plan_of(world["sr"], lr=world["lr"], tile_lr=TILE)
    rows = score(plan)
    summary = summarise(rows, plan)
    for row in rows:
        assert (row["psnr_db"], row["ssim"], row["gain_db"], row["aerial_id"]) == (None,) * 4
        assert row["lr_consistency"] < 1e-3
        assert row["hf_power"] > row["bicubic_hf_power"]
    assert (summary["tiles"], summary["psnr_db"], summary["reference"]) == (0, None, None)
    assert summary["lr_consistency"] < summary["bicubic_lr_consistency"]
    assert any("no aerial reference" in note for note in summary["notes"])


def test_tiles_carry_who_drew_them(world: dict[str, Any], tmp_path: Path) -> None:
    tags = TAGS | {
        "SKYSCALE_MODEL_URI": "models:/skyscale-generator@champion",
        "SKYSCALE_MODEL_VERSION": "skyscale-generator/3",
    }
    sr = rasters.write(tmp_path / "sr.tif", dn(world["hr"]), FINE, tags=tags)
    plan = plan_of(sr, lr=world["lr"], tile_lr=TILE, store_version="5")
    told = score(plan)[0]
    assert told["model"] == "models:/skyscale-generator@champion"
    assert (told["model_version"], told["store_version"]) == ("skyscale-generator/3", "5")


def test_gaps_and_residuals_are_grouped_by_size(world: dict[str, Any]) -> None:
    west, east = sheet(world, "w", np.s_[:192], 0.5), sheet(world, "e", np.s_[192:], 45.0)
    plan = planned(world, west, east)
    summary = summarise(score(plan), plan)
    assert list(summary["by_gap"]) == ["up to 1 day", "over 30 days"]
    assert next(iter(summary["by_registration_residual"])) == "up to 0.1 LR px"
    grouped = sum(group["tiles"] for group in summary["by_gap"].values())
    assert grouped == summary["tiles"]


@pytest.mark.parametrize("tile", [4, 8, 16])
def test_the_pooled_psnr_does_not_depend_on_the_tiling(world: dict[str, Any], tile: int) -> None:
    lr = satellite(world["lr"])
    blurred = world["folder"] / "half_px.tif"
    sr = rasters.write(blurred, dn(rasters.moved(world["hr"], 0.3, 0.0)), FINE, tags=TAGS)
    plan = plan_report(drawn(sr), [aerial(world["aerial"])], lr=lr, tile_lr=tile)
    whole = plan_report(drawn(sr), [aerial(world["aerial"])], lr=lr, tile_lr=32)
    told = [summarise(score(one), one) for one in (plan, whole)]
    assert told[0]["psnr_db"] == pytest.approx(told[1]["psnr_db"], abs=1e-9)
    assert told[0]["bicubic_psnr_db"] == pytest.approx(told[1]["bicubic_psnr_db"], abs=1e-9)


def test_a_truth_two_pixels_beside_is_seen_by_psnr_and_forgiven_by_cpsnr(
    world: dict[str, Any], tmp_path: Path
) -> None:
    """And consistency names the culprit: it is SR that moved, not the truth."""
    moved = rasters.write(
        tmp_path / "sr.tif", dn(rasters.moved(world["hr"], 2, 0)), FINE, tags=TAGS
    )
    lr = satellite(world["lr"])
    right, wrong = (
        summarise(score(plan), plan)
        for plan in (
            plan_report(drawn(sr), [aerial(world["aerial"])], lr=lr, tile_lr=16)
            for sr in (world["sr"], moved)
        )
    )
    assert wrong["psnr_db"] < right["psnr_db"] - 10
    assert wrong["cpsnr_db"] > wrong["psnr_db"] + 8
    assert wrong["lr_consistency"] > 10 * right["lr_consistency"]
    assert wrong["registration_residual_px"] == pytest.approx(0.5, abs=0.1)


def test_a_tile_that_cannot_be_read_stops_no_other_and_says_why(
    world: dict[str, Any], tmp_path: Path
) -> None:
    layout = {"tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "deflate"}
    sr = rasters.write(tmp_path / "sr.tif", dn(world["hr"]), FINE, nodata=0, tags=TAGS, **layout)
    plan = plan_of(sr, world["aerial"], lr=world["lr"], tile_lr=TILE)
    with rasterio.open(sr) as dataset:
        start = int(dataset.get_tag_item("BLOCK_OFFSET_1_1", "TIFF", bidx=1))
    content = bytearray(Path(sr).read_bytes())
    content[start : start + 400] = b"\xff" * 400
    Path(sr).write_bytes(content)
    rows = score(plan)
    unread = [row for row in rows if row["error"]]
    assert len(unread) == 4  # of 32 px each, in one block of 64
    assert all(sr in row["error"] and row["psnr_db"] is None for row in unread)
    summary = summarise(rows, plan)
    assert (summary["tiles"], summary["tiles_unread"]) == (len(rows) - 4, 4)
    assert "4 tiles could not be read" in cautions(summary)[0]
    tiles_frame(rows)


def test_a_satellite_image_without_a_clear_pixel_is_told(
    world: dict[str, Any], tmp_path: Path
) -> None:
    """As where a band is an alpha that is not told to be one: 255 everywhere is saturated."""
    lr = np.full((3, 64, 96), 65535, np.uint16)
    path = rasters.write(tmp_path / "lr.tif", lr, COARSE)
    plan = plan_of(world["sr"], lr=path, tile_lr=TILE)
    summary = summarise(score(plan), plan)
    assert summary["tiles_seen"] == 0
    assert "no pixel is valid in all images" in headline(summary)


def test_a_network_looks_at_red_green_and_blue_in_that_order(
    world: dict[str, Any], tmp_path: Path
) -> None:
    levels = np.stack([np.full((256, 384), v, np.uint16) for v in (100, 200, 300, 400)])
    bands = ("blue", "green", "red", "nir")
    sr = rasters.write(tmp_path / "sr.tif", levels, FINE, bands=bands, tags=TAGS)
    rgbn = np.concatenate([dn(world["hr"])[::-1], dn(world["hr"])[:1]])
    truth = rasters.write(tmp_path / "hr.tif", rgbn, FINE, bands=bands)
    coarse = degrade(rgbn.astype(np.float32), SCALE).round().astype(np.uint16)
    lr = rasters.write(tmp_path / "lr.tif", coarse, COARSE, bands=bands)
    seen = []

    def look(image: np.ndarray, hr: np.ndarray, valid: np.ndarray) -> float:
        seen.append((image.shape[0], hr.shape[0], float(image[0].mean())))
        return 0.5

    plan = plan_of(sr, truth, lr=lr, tile_lr=TILE)
    rows = score_batch(plan, plan.batches()[0], look)
    assert {row["lpips"] for row in rows} == {0.5}
    assert (3, 3, 300.0) in seen  # SR's; bicubic is looked at as well


def test_ground_beyond_the_area_of_the_source_is_not_judged(world: dict[str, Any]) -> None:
    box = COARSE.boundingbox
    west = shapely.box(box.left, box.bottom, (box.left + box.right) / 2, box.top)
    view = SatelliteView(source=replace(raster_source(world["lr"]), area=west), id="west")
    rows = score(plan_report(drawn(world["sr"]), lr=view, tile_lr=TILE))
    first = min(row["col"] for row in rows)
    judged = {row["col"] - first for row in rows if row["seen_fraction"]}
    assert judged == set(range(6))  # of 12 columns
