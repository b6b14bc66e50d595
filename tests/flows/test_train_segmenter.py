"""A segmenter through the flow: labels laid under pairs, learned, scored, carried, found again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine

from flows import registry
from flows.errors import FlowError, UsageError
from flows.labelled_pairs import LabelledPairs, describe_labels
from flows.train_folder import RunFolder
from flows.train_job import TrainFlowConfig, read_settings, settle_job
from flows.train_kind_segmenter import score_maps
from flows.train_kinds import kind_of
from geo.labels import open_labels
from geo.pairstore.store import PairStore
from models.config import TrainConfig
from models.segment import load_segmenter
from models.trainer import train
from tests.flows.training_store import PIXEL_M, make_store

PAIRS = 24


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> PairStore:
    return PairStore.open(make_store(tmp_path_factory.mktemp("store") / "store", pairs=PAIRS))


@pytest.fixture(scope="module")
def labels(store: PairStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A label raster that says which ground is bright; between the pairs nothing."""
    reader, side = store.reader(None), 64
    image = np.zeros((side, 10 * side * PAIRS), np.uint8)
    for index, pair in enumerate(reader.read(range(PAIRS))):
        left = round(reader.row(index)["left"] / (PIXEL_M / 4))
        image[:, left : left + side] = 1 + (pair.hr[0] > np.median(pair.hr[0]))
    path = tmp_path_factory.mktemp("labels") / "ground.tif"
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=image.shape[0],
        width=image.shape[1],
        count=1,
        dtype="uint8",
        nodata=0,
        compress="deflate",
        crs="EPSG:32633",
        transform=Affine(PIXEL_M / 4, 0, 0, 0, -PIXEL_M / 4, 0),
    ) as file:
        file.write(image, 1)
    path.with_suffix(".json").write_text('{"1": "dark|<b>", "2": "bright"}')
    return path


def settings(labels: Path, **changes: Any) -> TrainConfig:
    return TrainConfig.from_dict(
        {
            **{"task": "segment", "device": "cpu", "batch_size": 8, "patch_lr": 16},
            **{"segment": {"labels": str(labels), "channels": 4, "stages": 2}},
            **{"content_steps": 60, "adversarial_steps": 0, "val_every": 60, "warmup_steps": 1},
            **{"lr_content": 1e-2, "ema_decay": 0.9, **changes},
        }
    )


def test_labels_lie_under_their_pixels_whole_and_in_windows(store: PairStore, labels: Path) -> None:
    opened = open_labels(labels)
    pairs = LabelledPairs(store.reader("train"), opened, opened.classes)
    for pair in pairs.read([0, 3]):
        assert pair.labels is not None
        assert (pair.labels == 1 + (pair.hr[0] > np.median(pair.hr[0]))).all()
    (whole,) = pairs.read([2])
    (cut,) = pairs.read([2], [(3, 5, 8)])
    assert whole.labels is not None
    assert cut.labels is not None
    assert (cut.labels == whole.labels[12:44, 20:52]).all()
    assert (cut.hr == whole.hr[:, 12:44, 20:52]).all()


def test_labels_move_with_the_shift_that_the_aerial_image_was_read_with(
    tmp_path: Path, labels: Path
) -> None:
    from geo.pairstore.rows import PairData

    first = PairStore.open(make_store(tmp_path / "plain", pairs=2))
    reader = first.reader(None)
    pair = reader.read([0])[0]
    row = {k: v for k, v in reader.row(0).items() if v is not None and k not in _FILLED}
    moved = PairStore.create_or_open(tmp_path / "moved", first.config)
    data = PairData(
        row={**row, "dy_px": 0.5, "dx_px": -1.0},  # type: ignore[typeddict-item]  # of a row
        lr=pair.lr,
        hr=pair.hr,
        valid=pair.valid,
    )
    moved.commit(moved.write_part([data]), "made")
    there, here = moved.reader(None).ground(0), reader.ground(0)
    # Half an LR pixel down is two HR pixels: the ground lies as far up; one right.
    assert there.affine.f - here.affine.f == pytest.approx(0.5 * PIXEL_M)
    assert there.affine.c - here.affine.c == pytest.approx(1.0 * PIXEL_M)


_FILLED = ("part", "part_index", "pixels_sha256", "row_sha256", "bucket", "ingested_by")


def test_from_a_store_to_a_card(store: PairStore, labels: Path, tmp_path: Path) -> None:
    config = settings(labels)
    kind, version = kind_of(config), store.version
    kind.check(store, version, config)
    spec = kind.spec(store.config)
    assert spec.classes == ("dark|<b>", "bright")
    folder, told = tmp_path / "run", []
    score = kind.score(spec)
    result = train(
        config,
        train_pairs=kind.pairs(store, "train", version, config),
        val_pairs=kind.pairs(store, "val", version, config),
        spec=spec,
        score=score,
        folder=folder,
    )
    assert result.exported == folder / "segmenter"
    job = {
        **{"folder": str(folder), "config": config.to_dict(), "store_version": version},
        **{"run_id": "abc", "store": "s3://bucket/<b>", "beside": kind.beside()},
        "data": {"bands": list(spec.bands), "scale": 4, "data_range": 10000.0},
    }
    found = kind.evaluate(job, store, score, result, told.append)
    assert RunFolder(folder, "segmenter").read_evaluation()["test"] == found["test"]
    test = found["test"]
    # Brightness is learned, and what blurs it costs.
    assert test["mean_iou"] > 0.8
    assert test["bicubic_mean_iou"] < test["mean_iou"]
    assert set(test) >= {"accuracy", "mean_accuracy", "iou.dark|<b>", "iou.bright", "pairs"}
    assert "mean IoU" in told[-1]
    card = kind.write_card(job, found)
    assert "| mean IoU |" in card
    assert "<b>" not in card
    assert f"{test['mean_iou']:.3f}" in card
    assert kind.version_tags(found)["test_mean_iou"] == test["mean_iou"]
    assert registry.find_segmenter(str(result.exported)) == str(result.exported)
    assert load_segmenter(result.exported).classes == spec.classes


def test_pictures_show_image_labels_and_map(store: PairStore, labels: Path) -> None:
    import io

    from PIL import Image

    from models.evaluate import Evaluation

    config = settings(labels)
    kind = kind_of(config)
    (pair,) = kind.pairs(store, "val", store.version, config).read([0])
    assert pair.labels is not None  # type: ignore[attr-defined]  # labelled pairs
    known = pair.labels[None, None].astype(np.float32)  # type: ignore[attr-defined]  # the same
    evaluation = Evaluation(
        scores={},
        pairs=1,
        not_finite={},
        sheets={"image": pair.hr[None].astype(np.float32), "labels": known, "found": 0 * known},
    )
    pictures = kind.pictures(evaluation, ("red", "green"))
    shown = np.asarray(Image.open(io.BytesIO(pictures["place0"])))
    assert shown.shape == (64, 3 * 64 + 2 * 4, 3)
    assert len(np.unique(shown[:, 68:132].reshape(-1, 3), axis=0)) == 2
    assert (shown[:, 136:] == 128).all()


def test_scores_are_those_of_the_whole_map() -> None:
    labels = np.array([[[1, 1, 1, 2]]], np.uint8)
    found = np.array([[[1, 1, 2, 2]]], np.uint8)
    scores = score_maps(found, labels, labels, labels[0] > 0, classes=("a", "b", "c"))
    assert scores == {
        "accuracy": 0.75,
        "mean_accuracy": pytest.approx((2 / 3 + 1) / 2),
        "mean_iou": pytest.approx((2 / 3 + 1 / 2) / 2),
        "iou.a": pytest.approx(2 / 3),
        "iou.b": 0.5,
    }


def test_labels_of_other_ground_are_refused(store: PairStore, tmp_path: Path) -> None:
    path = tmp_path / "far.geojson"
    box = [[[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]]
    features = [
        {
            "type": "Feature",
            "properties": {"category": name},
            "geometry": {"type": "Polygon", "coordinates": box},
        }
        for name in ("a", "b")
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    config = settings(path)
    with pytest.raises(FlowError, match=r"far\.geojson labels no pixel of 16 training pairs"):
        kind_of(config).check(store, store.version, config)
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features[:1]}))
    with pytest.raises(FlowError, match="labels a alone: wanted two classes"):
        kind_of(config).check(store, store.version, config)


def test_a_run_goes_on_with_its_own_labels_alone(
    store: PairStore,
    labels: Path,
    new_tracker: Callable[[Path], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", new_tracker(tmp_path))
    monkeypatch.chdir(tmp_path)
    mine = tmp_path / "mine.tif"
    shutil.copy(labels, mine)
    shutil.copy(labels.with_suffix(".json"), mine.with_suffix(".json"))
    asked = TrainFlowConfig(store=store.url, settings=settings(mine).to_dict())
    job = settle_job(asked)
    assert job["beside"] == describe_labels(str(mine))
    assert job["beside"]["classes"] == ["dark|<b>", "bright"]
    again = TrainFlowConfig(store=store.url, resume=job["run_id"])
    assert settle_job(again)["run_id"] == job["run_id"]
    with rasterio.open(mine, "r+") as file:
        values = file.read(1)
        values[0, 0] = 3 - values[0, 0]
        file.write(values, 1)
    with pytest.raises(FlowError, match="has learned from other data than these: labels_sha"):
        settle_job(again)


def test_it_begins_from_scratch(labels: Path, store: PairStore) -> None:
    from flows.train_start import Beginning
    from models.config_networks import GeneratorConfig
    from models.export import GeneratorCard

    card = GeneratorCard(
        architecture=GeneratorConfig(), scale=4, bands=("red", "green"), data_range=1e4, halo=1
    )
    start = Beginning(source=registry.ModelSource(uri="there", folder=None), card=card)
    asked = TrainFlowConfig(
        store="s", settings={"task": "segment", "segment": {"labels": str(labels)}}
    )
    with pytest.raises(UsageError, match="the task segment has none and begins from scratch"):
        read_settings(asked, store.summary(), start)


def test_what_is_no_segmenter_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"a folder with segmenter\.json, or an ONNX file"):
        registry.find_segmenter(str(tmp_path))
    onnx = tmp_path / "net.onnx"
    onnx.write_bytes(b"")
    assert registry.find_segmenter(str(onnx)) == str(onnx)
