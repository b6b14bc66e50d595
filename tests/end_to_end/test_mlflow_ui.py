"""The MLflow UI as a reviewer meets it: a real server, a real browser, what our own code logged."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flows import registry, report_log, tracking
from flows.run_logger import RunLogger
from flows.train_folder import RunFolder
from flows.train_publish import publish_run
from geo.interpolate import upsample
from geo.pictures import training_strip
from geo.reporting.table import write_report
from geo.splits import SplitRule
from models.config import TrainConfig
from tests.geo import rasters, reports
from tests.servers.mlflow_server import MlflowServer

pytestmark = pytest.mark.slow

EVIL = "<img src=x onerror=alert(1)> **aerial**"
BANDS = ("red", "green")
SCORES = {
    "pairs": 9,
    "psnr_db": 30.0,
    "bicubic_psnr_db": 29.0,
    "gain_db": 1.0,
    "pooled_psnr_db": 30.5,
    "pooled_bicubic_psnr_db": 29.25,
    "pooled_gain_db": 1.25,
    "pooled_gain_db_low": 0.75,
    "pooled_gain_db_high": 1.75,
    "interval_places": 12,
    "interval_place_chips": 1,
}


@pytest.fixture(scope="module")
def reviewed(chromium: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A server with a training, and a report of a region that its model drew."""
    folder = tmp_path_factory.mktemp("reviewed")
    server = MlflowServer(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", server.url)
        patch.chdir(folder)
        try:
            server.start()
            world = rasters.make_world()
            training = train(folder, world)
            report = draw_and_report(folder, world)
            yield SimpleNamespace(url=server.url, training=training, report=report)
        finally:
            server.kill()


def train(folder: Path, world: Any) -> str:
    """A training that has ended, told as `flows.train` tells it; nothing is learned."""
    run_id = tracking.start_run("train edsr, store@5", {"stage": "train"}, {"seed": 1})
    run = RunFolder(folder / run_id)
    with RunLogger(run_id, run.spool) as logger:
        for step in (10, 20, 30):
            logger.metrics({"val/psnr_db": 28.0 + step / 10, "train/loss": 1 / step}, step)
            strip = training_strip(
                world.lr, world.true_hr, world.true_hr, world.true_hr[0] > 0, bands=BANDS
            )
            logger.picture(f"samples/place0/step{step:06d}.png", strip, step)
    run.product.mkdir()
    (run.product / "generator.json").write_text("{}")
    told = {"selected_step": 30, "weights_sha256": "0" * 64}
    evaluation = {"parameters": 1234, "training": told, "val": SCORES, "test": SCORES}
    run.evaluation.write_text(json.dumps(evaluation))
    job = {
        "run_id": run_id,
        "folder": str(run.path),
        "store": EVIL,
        "store_version": 5,
        "store_digest": "one",
        "data": {"bands": list(BANDS), "scale": 4, "splits": {"train": 9}},
        "config": TrainConfig().to_dict(),
    }
    assert publish_run(job)["published"]
    tracking.end_run(run_id)
    return run_id


def draw_and_report(folder: Path, world: Any) -> str:
    """Through an alias, as `skyscale upscale` and `skyscale report` do."""
    fine = world.lr_grid.zoom_out(1 / rasters.SCALE)
    tags = {
        "SKYSCALE_SCALE": str(rasters.SCALE),
        "SKYSCALE_MODEL_URI": f"models:/{registry.MODEL_NAME}@champion",
        "SKYSCALE_MODEL_VERSION": f"{registry.MODEL_NAME}/1",
    }
    bicubic = upsample(world.lr, rasters.SCALE, "bicubic")
    sr = bicubic + 0.5 * (world.true_hr - bicubic)
    lr = rasters.write(folder / "lr.tif", world.lr, world.lr_grid)
    drawn = rasters.write(folder / "region.tif", sr.round(), fine, tags=tags)
    truth = rasters.write(folder / "aerial.tif", world.true_hr, fine)
    plan = reports.plan_of(
        drawn,
        reports.aerial(truth, EVIL),
        lr=lr,
        tile_lr=8,
        split_rule=SplitRule(block_m=640, buffer_m=0),
    )
    summary, files = write_report(plan, reports.score(plan), folder / "report")
    run_id = tracking.start_run("report region.tif", {"stage": "report"}, {"sr": drawn})
    report_log.log_report(run_id, summary, files)
    tracking.end_run(run_id)
    return run_id


@pytest.fixture
def page(chromium: Any, reviewed: Any) -> Iterator[Any]:
    """A browser that has never seen MLflow; nothing may run that a name would."""
    context = chromium.new_context(viewport={"width": 1600, "height": 1000})
    context.route(lambda url: not url.startswith(reviewed.url), lambda route: route.abort())
    page = context.new_page()
    page.set_default_timeout(45_000)
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
    yield page
    context.close()
    assert wrong == []


def open_runs(page: Any) -> None:
    """Where `skyscale train` says to look."""
    page.goto(tracking.ui_command().removeprefix("open "))


def open_run(page: Any, name: str) -> None:
    open_runs(page)
    page.get_by_role("link", name=name).click()


def follow(page: Any, link: Any) -> Any:
    """Links of descriptions open a page of their own."""
    with page.context.expect_page() as opened:
        link.click()
    return opened.value


def test_runs_are_found_by_names_that_say_what_they_are(page: Any, reviewed: Any) -> None:
    open_runs(page)
    page.get_by_role("link", name="train v1 edsr, store@5").wait_for()
    page.get_by_role("link", name="report v1 region.tif").wait_for()
    scores = follow(page, page.get_by_role("link", name="Scores of all runs"))
    scores.locator(".ag-header-cell", has_text="report/psnr_db").wait_for()
    assert scores.locator(".ag-cell", has_text="train").count() > 0


def test_a_training_shows_its_result_pictures_and_curves_at_once(page: Any, reviewed: Any) -> None:
    open_run(page, "train v1 edsr, store@5")
    page.get_by_text("Training: gain over bicubic +1.25 dB of PSNR on 9 held-out").wait_for()
    page.get_by_role("link", name="SR beats bicubic by").wait_for()
    assert page.get_by_text(EVIL).count() > 0
    page.get_by_text("Show more").first.click()
    shown = "e => e.complete && e.naturalWidth > 200"
    for name in ("step000010", "step000020", "step000030", "curves", "map"):
        picture = page.locator(f"img[src*='{name}.png']")
        picture.scroll_into_view_if_needed()
        page.wait_for_function(shown, arg=picture.element_handle())
    page.get_by_role("tab", name="Model metrics").click()
    page.get_by_placeholder("Search metric charts").fill("psnr")
    page.locator(".js-plotly-plot .scatterlayer .trace").first.wait_for()


def test_the_report_opens_in_place_and_answers(page: Any, reviewed: Any) -> None:
    open_run(page, "report v1 region.tif")
    opened = follow(page, page.get_by_role("link", name="SR beats bicubic"))
    report = opened.frame_locator("iframe#html")
    report.locator("h1", has_text="SR beats bicubic by").wait_for()
    shown = report.locator("#viewer-title:not(:empty)")
    first = shown.inner_text()
    report.locator("#next").click()
    shown.filter(has_not_text=first).wait_for()
    report.locator("#losers").check()
    assert " of " in report.locator("#counted").inner_text()


def test_a_version_gives_the_reason_of_its_promotion_and_leads_to_its_report(
    page: Any, reviewed: Any
) -> None:
    page.goto(f"{reviewed.url}/#/models/{registry.MODEL_NAME}")
    row = page.get_by_role("row", name="Version 1")
    row.filter(has_text="Promoted: no champion").wait_for()
    assert "champion" in row.inner_text()
    row.get_by_role("link", name="Version 1").click()
    told = page.get_by_test_id("note-editor-preview-content")
    told.get_by_text("Promoted: no champion to compare with; test gain +1.000 dB").wait_for()
    report = follow(page, told.get_by_role("link", name="SR beats bicubic"))
    report.frame_locator("iframe#html").locator("h1").wait_for()
    assert reviewed.report in report.url
