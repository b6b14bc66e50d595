"""A report by use: from an ONNX file and labels to what is told of the maps, everywhere."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flows import report_work
from flows.cli_report import score_lines
from flows.errors import UsageError
from flows.pipeline import read_pipeline
from flows.report import ReportFlowConfig, plan_tiles
from flows.report_artifacts import report_markdown
from flows.report_log import metrics_of
from flows.run_notes import ReportPlace, report_section
from geo.errors import BandError, CatalogError
from geo.reporting.table import write_report
from tests.flows.onnx_files import write_pixel_network
from tests.geo.segmenters import BANDS, CLASSES, COLOURS, ClassGround, make_class_ground

TAKEN = ("blue", "red", "green")


def write_nearest_colour(path: Path, **words: Any) -> str:
    """The class whose colour is nearest, of images up to 10000 DN."""
    colours = COLOURS[:, [BANDS.index(band) for band in TAKEN]] / 10_000
    card = {"classes": CLASSES, "bands": TAKEN, "data_range": 10_000} | words
    return write_pixel_network(path, 2 * colours, -(colours**2).sum(1), **card)


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> ClassGround:
    return make_class_ground(tmp_path_factory.mktemp("classes"))


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_nearest_colour(tmp_path_factory.mktemp("segmenter") / "colours.onnx")


def config_of(ground: ClassGround, out: Path, **settings: Any) -> ReportFlowConfig:
    known: dict[str, Any] = {
        "sr": ground.sr,
        "out": str(out),
        "reference": ground.aerial,
        "lr": ground.lr,
        "labels": ground.labels,
        "tile": 16,
        "workers": 2,
    }
    return ReportFlowConfig(**known | settings)


@pytest.fixture(scope="module")
def made(
    ground: ClassGround, segmenter: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], dict[str, Path]]:
    """What a report came to, its tiles scored on Dask."""
    out = tmp_path_factory.mktemp("report")
    config = config_of(ground, out, segmenter=segmenter)
    maps = report_work.find_maps(config.segmenter, config.labels)
    assert maps is not None
    plan = plan_tiles.fn(config, maps)
    scored = report_work.score_tiles(plan, out, segmenter=maps, workers=2)
    return write_report(plan, scored.rows, out, segmenter=report_work.load_maps(maps))


def test_maps_are_told_of_wherever_a_report_is(
    made: tuple[dict[str, Any], dict[str, Path]],
) -> None:
    summary, files = made
    assert summary["use"]["order"]["verdict"] == "holds"
    assert summary["use"]["segmenter"].startswith("colours@")
    told = "Mean IoU of maps against the labels"
    place = ReportPlace(experiment_id="1", run_id="2", page=None, map=None)
    for text in (
        "\n".join(score_lines(summary)),
        report_markdown(summary, files["map"]),
        report_section(summary, place),
        files["page"].read_text(),
    ):
        assert told in text
    assert "mean IoU of maps against labels: sr 0." in report_work.closing(summary)


def test_metrics_are_of_every_image_and_class(
    made: tuple[dict[str, Any], dict[str, Path]],
) -> None:
    summary, _ = made
    metrics = dict(metrics_of(summary))
    held = summary["use"]["against_labels"]["images"]
    for prefix, image in (("", "sr"), ("bicubic_", "bicubic"), ("real_", "real")):
        assert metrics[f"report/{prefix}fcn_mean_iou"] == held[image]["mean_iou"]["value"]
        assert metrics[f"report/{prefix}fcn_iou.water"] == held[image]["iou"]["water"]
    assert "report/fcn_same_mean_iou" in metrics
    assert "report/real_fcn_same_mean_iou" not in metrics
    low, high = (metrics[f"report/fcn_mean_iou_sr_less_bicubic_{end}"] for end in ("low", "high"))
    assert low < metrics["report/fcn_mean_iou_sr_less_bicubic"] < high


def test_class_names_that_mlflow_does_not_take_are_written_otherwise(
    made: tuple[dict[str, Any], dict[str, Path]],
) -> None:
    summary, _ = made
    text = json.dumps(summary["use"]).replace('"water"', '"wet/land: <b>&"')
    names = [name for name, _ in metrics_of(summary | {"use": json.loads(text)})]
    assert "report/fcn_iou.wet_land_ _b__" in names


def test_what_does_not_fit_is_said_before_any_work(
    ground: ClassGround, segmenter: str, tmp_path: Path
) -> None:
    def plan(segmenter: str, **settings: Any) -> None:
        plan_tiles.fn(config_of(ground, tmp_path / "out", **settings), segmenter)

    with pytest.raises(BandError, match="has no nir"):
        plan(write_nearest_colour(tmp_path / "nir.onnx", bands=("nir", "red", "green")))
    strange = write_nearest_colour(tmp_path / "ice.onnx", classes=("ice", "lava", "sand", "sea"))
    with pytest.raises(CatalogError, match="none of which is among ice"):
        plan(strange)
    with pytest.raises(CatalogError, match="labels are one band"):
        plan(segmenter, labels=ground.aerial)
    with pytest.raises(UsageError, match="wanted --segmenter too"):
        report_work.find_maps(None, ground.labels)
    assert report_work.find_maps(None, None) is None


def test_scores_of_another_segmenter_are_not_gone_on_with(
    ground: ClassGround, segmenter: str, tmp_path: Path
) -> None:
    config = config_of(ground, tmp_path)
    plan = plan_tiles.fn(config, segmenter)
    report_work.score_tiles(plan, tmp_path, segmenter=segmenter, workers=2)
    again = report_work.score_tiles(plan, tmp_path, segmenter=segmenter, workers=2)
    assert again.done_before == plan.tiles
    bare = plan_tiles.fn(replace(config, labels=None))
    other = report_work.score_tiles(bare, tmp_path, workers=2)
    assert other.done_before == 0
    assert not [name for name in other.rows[0] if "fcn" in name]


def test_a_pipeline_holds_maps_against_the_land_cover_that_it_ingests(tmp_path: Path) -> None:
    file = tmp_path / "pipeline.toml"
    text = """
    [ingest]
    satellite = "s2"
    aerial = "aerial"
    store = "store"
    landcover = "cover.geojson"
    [train]
    [upscale]
    source = "lr.tif"
    output = "sr.tif"
    [report]
    out = "report"
    """
    file.write_text(text)
    assert read_pipeline(file).report.labels is None
    file.write_text(text + 'segmenter = "models:/skyscale-segmenter@latest"\n')
    assert read_pipeline(file).report.labels == "cover.geojson"
    file.write_text(text + 'segmenter = "net.onnx"\nlabels = "mine.tif"\n')
    assert read_pipeline(file).report.labels == "mine.tif"
