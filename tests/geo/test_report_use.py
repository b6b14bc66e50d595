"""Maps made of a region's images: the same whatever the window, and what a report says of them."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio

from geo.errors import BandError, CatalogError, ReportError
from geo.labels import open_labels
from geo.reporting.map_scores import MAP_COLUMNS
from geo.reporting.plan import Batch
from geo.reporting.rows import score_batch, with_outlines
from geo.reporting.scored import read_scored
from geo.reporting.segmenter import SegmenterFacts, draw_map, widen
from geo.reporting.table import write_report
from geo.reporting.tiles import read_tiles
from geo.reporting.use import order_of, summarise_use
from geo.reporting.use_told import use_cautions, use_sentence
from geo.scores.agreement import Tally, confusion, from_sparse
from tests.geo.segmenters import (
    CLASSES,
    COLOURS,
    ClassGround,
    FarPixels,
    NearestColour,
    make_class_ground,
)


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> ClassGround:
    return make_class_ground(tmp_path_factory.mktemp("classes"))


@pytest.fixture(scope="module")
def holed(tmp_path_factory: pytest.TempPathFactory) -> ClassGround:
    return make_class_ground(tmp_path_factory.mktemp("holed"), hole="lr")


def score(plan: Any, segmenter: Any = None) -> list[dict[str, Any]]:
    segmenter = segmenter or NearestColour()
    rows = [row for b in plan.batches() for row in score_batch(plan, b, segmenter=segmenter)]
    return with_outlines(plan, rows)


@pytest.fixture(scope="module")
def rows(ground: ClassGround) -> list[dict[str, Any]]:
    return score(ground.plan(other=ground.bicubic))


def maps_of(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in MAP_COLUMNS}


@pytest.mark.parametrize("stride", [1, 6, 16])
def test_a_tile_gets_the_same_numbers_in_a_batch_as_alone_also_beside_a_hole(
    holed: ClassGround, stride: int
) -> None:
    plan, segmenter = holed.plan(NearestColour(stride)), NearestColour(stride)
    together = {row["tile"]: maps_of(row) for row in score(plan, segmenter)}
    assert any(row["fcn_confusion"] for row in together.values())
    for tile, told in list(together.items())[::3]:
        [alone] = score_batch(plan, plan.batch_of(tile), segmenter=segmenter)
        assert maps_of(alone) == told, tile


def test_holes_are_filled_alike_in_whatever_window(holed: ClassGround) -> None:
    """By the nearest valid pixel, which may lie beyond what the network sees."""
    plan, segmenter = holed.plan(FarPixels()), FarPixels()
    for batch in plan.batches():
        for tile in read_tiles(plan, batch, segmenter):
            alone = Batch((tile.cell,), batch.reference)
            [other] = read_tiles(plan, alone, segmenter)
            assert (other.maps["sr"] == tile.maps["sr"]).all()


@pytest.mark.parametrize("inner", [(slice(24, 120), slice(36, 96)), (slice(0, 144), slice(0, 120))])
def test_a_window_of_a_region_has_the_map_of_the_whole_however_it_is_cut(
    inner: tuple[slice, slice], monkeypatch: pytest.MonkeyPatch
) -> None:
    image = np.random.default_rng(0).uniform(0, 3000, (3, 144, 120)).astype(np.float32)
    segmenter = NearestColour()
    facts = SegmenterFacts.of(segmenter)
    coarse = (slice(part.start // 4, part.stop // 4) for part in inner)
    rows, cols = (slice(w.start * 4, w.stop * 4) for w in widen(*coarse, facts, 4, (36, 30)))
    assert (rows.start % 6, cols.start % 6) == (0, 0)
    within = tuple(
        slice(part.start - wide.start, part.stop - wide.start)
        for part, wide in zip(inner, (rows, cols), strict=True)
    )
    bands = ("red", "green", "blue")
    data_range = facts.data_range
    wanted = segmenter(image[[2, 0, 1]])[inner]
    for window_px in (1024, 30):
        monkeypatch.setattr("geo.reporting.segmenter._WINDOW_PX", window_px)
        found = draw_map(segmenter, image[:, rows, cols], bands, within, facts, data_range)
        assert (found == wanted).all()


def test_the_scores_are_those_of_whole_images_against_labels(
    ground: ClassGround, rows: list[dict[str, Any]]
) -> None:
    """SR and labels of the region read by rasterio alone, segmented at once."""
    plan = ground.plan(reference=None)  # so that nothing is moved
    segmenter = NearestColour()
    bare = score(plan)
    with rasterio.open(ground.sr) as dataset:
        whole = segmenter(dataset.read().astype(np.float32)[[2, 0, 1]])
    wanted = np.zeros_like(whole)
    for cell in plan.cells:
        r, c = (slice(4 * s.start, 4 * s.stop) for s in plan.lattice.window(cell, plan.lr_geobox))
        wanted[r, c] = ground.classes[r, c]
    by_hand = confusion(whole, wanted, 4)
    assert (from_sparse([row["fcn_confusion"] for row in bare], 4) == by_hand).all()
    # The reference is registered to within hundredths of a pixel, and labels with it.
    moved = Tally.of(from_sparse([row["fcn_confusion"] for row in rows], 4))
    assert moved.mean_iou == pytest.approx(Tally.of(by_hand).mean_iou, abs=0.02)


def test_what_lies_beside_a_hole_of_one_image_is_filled_in_all(holed: ClassGround) -> None:
    """The aerial image and SR know what the satellite does not show; neither may gain by it."""
    plan = holed.plan(sr=holed.truth)
    beside = [t for b in plan.batches() for t in read_tiles(plan, b, NearestColour())]
    beside = [tile for tile in beside if 0.3 < tile.seen.mean() < 1]
    assert beside
    for tile in beside:
        assert (tile.maps["sr"] == tile.maps["real"]).mean() > 0.99
        assert all((found[~tile.judged] == 0).all() for found in tile.maps.values())


def test_what_sr_shows_in_a_hole_of_the_aerial_image_is_seen_by_nobody(tmp_path: Path) -> None:
    ground = make_class_ground(tmp_path, hole="aerial")
    plan = ground.plan(sr=ground.truth)
    with rasterio.open(ground.aerial) as dataset:
        hole = dataset.read(1) == 0
    shutil.copy(ground.truth, other := tmp_path / "other.tif")
    with rasterio.open(other, "r+") as dataset:
        data = dataset.read()
        data[:, hole] = COLOURS[2][:, None]
        dataset.write(data)
    changed = replace(plan, sr=replace(plan.sr, href=str(other)))
    beside = 0
    for batch in plan.batches():
        pairs = zip(*(read_tiles(p, batch, NearestColour()) for p in (plan, changed)), strict=True)
        for one, two in pairs:
            assert (one.maps["sr"] == two.maps["sr"]).all()
            beside += (one.sr != two.sr).any()
    assert beside > 1


def test_labels_are_moved_as_the_aerial_image_is(ground: ClassGround) -> None:
    """Content lies one LR pixel, four HR pixels, to the right of its ground."""
    plan = ground.plan()
    [reference] = plan.references
    moved = replace(reference.alignment, dy_px=0.0, dx_px=1.0, field=None)
    plan = replace(plan, references=(replace(reference, alignment=moved),))
    looked_at = 0
    for batch in plan.batches():
        for tile in read_tiles(plan, batch, NearestColour()):
            rows, cols = plan.lattice.window(tile.cell, plan.lr_geobox)
            if cols.start < 1:
                continue
            wanted = ground.classes[
                4 * rows.start : 4 * rows.stop, 4 * cols.start - 4 : 4 * cols.stop - 4
            ]
            assert (tile.maps["labels"] == wanted)[tile.judged].all()
            looked_at += 1
    assert looked_at > 3


def test_images_are_compared_on_the_tiles_that_all_of_them_show(
    ground: ClassGround, rows: list[dict[str, Any]]
) -> None:
    plan = ground.plan(other=ground.bicubic)
    hidden = [{**rows[0], "real_fcn_confusion": None}, *rows[1:]]
    told = summarise_use(hidden, plan)
    without = summarise_use(rows[1:], plan)
    assert told is not None
    assert without is not None
    assert told["against_labels"] == without["against_labels"]
    assert told["against_real"]["tiles"] == len(rows)


def test_maps_of_the_truth_are_the_real_image_s(ground: ClassGround) -> None:
    told = write_summary(ground, sr=ground.truth)["use"]
    assert told["against_real"]["images"]["sr"]["mean_iou"]["value"] > 0.97
    of_labels = told["against_labels"]["images"]
    assert of_labels["sr"]["mean_iou"]["value"] == pytest.approx(
        of_labels["real"]["mean_iou"]["value"], abs=0.01
    )


def write_summary(ground: ClassGround, **settings: Any) -> dict[str, Any]:
    from geo.reporting.summary import summarise

    plan = ground.plan(**settings)
    return summarise(score(plan), plan)


def test_the_order_of_real_sr_and_bicubic_is_told_with_intervals(
    ground: ClassGround, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    plan = ground.plan(other=ground.bicubic)
    summary, files = write_report(plan, rows, tmp_path / "out", segmenter=NearestColour())
    use = json.loads(files["summary"].read_text())["use"]
    images = use["against_labels"]["images"]
    values = {image: told["mean_iou"]["value"] for image, told in images.items()}
    assert values["real"] > values["sr"] > values["bicubic"]
    assert values["other"] == pytest.approx(values["bicubic"], abs=0.005)  # rounded to DN
    for told in images.values():
        low, high = told["mean_iou"]["interval"]
        assert low < told["mean_iou"]["value"] < high
        assert set(told["iou"]) == set(CLASSES)
        assert Tally.of(np.array(told["confusion"])).mean_iou == told["mean_iou"]["value"]
    assert use["order"]["verdict"] == "holds"
    assert use["labels"] == "cover.tif"
    assert [(d["against"], d["a"], d["b"]) for d in use["differences"]] == [
        ("labels", "real", "sr"),
        ("labels", "sr", "bicubic"),
        ("labels", "sr", "other"),
        ("real", "sr", "bicubic"),
        ("real", "sr", "other"),
    ]
    assert "As it should be" in use_sentence(use)
    assert summary["scores"]["fcn_mean_iou"]["sr"]["pooled"] == values["sr"]
    assert any("FCN-score" in note for note in summary["notes"])
    kept = geopandas.read_parquet(files["tiles"])
    assert {"bicubic_fcn_same_mean_iou", "real_fcn_accuracy"} < set(kept.columns)
    assert kept.fcn_confusion[0].tolist() == rows[0]["fcn_confusion"]
    # Another report's reader compares scores, and needs no sums.
    columns = read_scored(tmp_path / "out").columns
    assert not [name for name in columns if name.endswith("confusion")]
    assert columns["fcn_mean_iou"].dtype.kind == "f"


def test_without_labels_maps_are_held_against_the_real_image_s(ground: ClassGround) -> None:
    use = write_summary(ground, labels=None)["use"]
    assert use["against_labels"] is None
    assert use["order"] is None
    assert "against the map of the real image" in use_sentence(use)
    assert "SR serves better than bicubic" in use_sentence(use)


def test_without_reference_maps_are_held_against_labels(ground: ClassGround) -> None:
    use = write_summary(ground, reference=None)["use"]
    assert use["against_real"] is None
    assert set(use["against_labels"]["images"]) == {"sr", "bicubic"}
    assert "against the labels" in use_sentence(use)
    assert any("how good" in caution for caution in use_cautions(use))


def test_other_scores_do_not_change_and_without_segmenter_there_are_no_maps(
    ground: ClassGround, rows: list[dict[str, Any]]
) -> None:
    plan = ground.plan(other=ground.bicubic, labels=None)
    bare_plan = replace(plan, segmenter=None)
    bare = [row for b in bare_plan.batches() for row in score_batch(bare_plan, b)]
    assert not [name for name in bare[0] if "fcn" in name]
    for without, with_maps in zip(bare, rows, strict=True):
        assert without == pytest.approx({name: with_maps[name] for name in without}, nan_ok=True)


def test_kept_rows_are_of_these_labels_and_this_segmenter(
    ground: ClassGround, tmp_path: Path
) -> None:
    plan = ground.plan()
    copied = shutil.copy(ground.labels, tmp_path / "cover.tif")
    plans = [
        plan,
        replace(plan, labels=None),
        replace(plan, labels=open_labels(copied)),  # which lacks the names of its values
        replace(plan, segmenter=None, labels=None),
        replace(plan, segmenter=SegmenterFacts.of(NearestColour(name="trained once more"))),
    ]
    facts = [json.dumps(one.facts, default=list, sort_keys=True) for one in plans]
    assert len(set(facts)) == len(facts)


def test_a_tile_that_cannot_be_read_has_the_same_columns(ground: ClassGround) -> None:
    plan = ground.plan()
    gone = replace(plan, sr=replace(plan.sr, href="/nowhere/sr.tif"))
    [row] = score_batch(gone, Batch(plan.cells[:1], 0), segmenter=NearestColour())
    assert row["error"]
    assert maps_of(row) == dict.fromkeys(MAP_COLUMNS)


def test_a_segmenter_that_cannot_look_at_these_images_is_refused(ground: ClassGround) -> None:
    with pytest.raises(BandError, match="has no nir"):
        ground.plan(NearestColour(bands=("nir", "red", "green")))
    with pytest.raises(CatalogError, match="none of which"):
        ground.plan(NearestColour(classes=("ice", "lava")))
    with pytest.raises(ReportError, match="nothing can be held against"):
        ground.plan(reference=None, labels=None)


def test_dn_of_another_range_are_brought_to_the_segmenter_s(ground: ClassGround) -> None:
    plan = ground.plan(tile_lr=32)
    facts = SegmenterFacts.of(NearestColour(data_range=2 * plan.data_range))
    image = np.random.default_rng(0).uniform(0, 3000, (3, 24, 24)).astype(np.float32)
    whole = (slice(0, 24), slice(0, 24))
    found = draw_map(NearestColour(), image, plan.bands, whole, facts, plan.data_range)
    assert (found == NearestColour()(2 * image[[2, 0, 1]])).all()
    told = write_summary(ground, segmenter=facts)
    assert any("DN up to 20000" in note for note in told["notes"])


def test_labels_that_the_segmenter_does_not_know_are_named_and_not_counted(
    ground: ClassGround,
) -> None:
    known = NearestColour(classes=("farm", "forest", "town"))
    plan = ground.plan(known)
    rows = score(plan, known)
    from geo.reporting.summary import summarise

    use = summarise(rows, plan)["use"]
    assert use["unknown_labels"] == ["water"]
    assert any("water are not counted" in caution for caution in use_cautions(use))
    counted = np.array(use["against_labels"]["images"]["sr"]["confusion"]).sum()
    assert counted == pytest.approx(len(rows) * 64 * 64 * (ground.classes != 4).mean(), rel=0.05)


def step(a: str, b: str, low: float, high: float) -> dict[str, Any]:
    middle = (low + high) / 2
    return {"against": "labels", "a": a, "b": b, "difference": middle, "interval": (low, high)}


@pytest.mark.parametrize(
    ("real_sr", "sr_bicubic", "verdict", "sentence"),
    [
        ((0.1, 0.2), (0.02, 0.06), "holds", "As it should be"),
        (
            (0.1, 0.2),
            (-0.02, 0.06),
            "not shown",
            "That the map of SR is better than that of bicubic is not shown (+0.020, 95 % "
            "interval -0.020 to +0.060).",
        ),
        (
            (0.1, 0.2),
            (-0.06, -0.02),
            "does not hold",
            "The map of SR is worse than that of bicubic (-0.040, 95 % interval -0.060 to -0.020).",
        ),
        (
            (-0.2, -0.1),
            (-0.01, 0.01),
            "does not hold",
            "The map of the real image is worse than that of SR (-0.150",
        ),
    ],
)
def test_the_order_is_told_plainly_also_where_it_does_not_hold(
    real_sr: tuple[float, float], sr_bicubic: tuple[float, float], verdict: str, sentence: str
) -> None:
    order = order_of([step("real", "sr", *real_sr), step("sr", "bicubic", *sr_bicubic)])
    assert order is not None
    assert order["verdict"] == verdict
    images = {image: {"mean_iou": {"value": 0.4}} for image in ("real", "sr", "bicubic")}
    use = {
        "order": order,
        "labels": "cover.tif",
        "unknown_labels": [],
        "against_labels": {"images": images, "places": 12},
        "against_real": None,
    }
    assert sentence in use_sentence(use)
    assert any("poor on the real image" in caution for caution in use_cautions(use))
    images["real"]["mean_iou"]["value"] = 0.6
    assert use_cautions(use) == []
