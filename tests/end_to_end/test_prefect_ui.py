"""Schedules and batches as a person at a browser meets them: `skyscale up`, clicks, typing.

It waits for whole minutes, so it runs when it is asked for: ``pytest --pictures FOLDER
tests/end_to_end/test_prefect_ui.py``, which leaves pictures of all pages in the folder.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from flows.forms import read_docstring
from flows.upscale import UpscaleFlowConfig
from tests.servers.skyscale_up import SkyscaleUp

pytestmark = pytest.mark.slow

DEPLOYMENTS = yaml.safe_load((Path(__file__).parents[2] / "prefect.yaml").read_text())[
    "deployments"
]
SENTENCE = re.compile(r"^SR beats bicubic by .* dB of PSNR on this region")
# What Prefect's UI asks for by itself, whatever is set, before it hears that nothing is to be told.
ASKED_BY_PREFECT = "https://sr-client-cfg.amplitude.com/config/"
# What its graph of tasks says when a page is left while it is drawn.
LEFT_WHILE_DRAWN = {f"Cannot read properties of null (reading '{n}')" for n in ("addChild", "x")}
Picture = Callable[[Any, str], None]


@pytest.fixture(scope="module")
def up(
    request: pytest.FixtureRequest, chromium: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SkyscaleUp]:
    if request.config.getoption("--pictures") is None:
        pytest.skip("takes minutes: pytest --pictures FOLDER tests/end_to_end/test_prefect_ui.py")
    up = SkyscaleUp(tmp_path_factory.mktemp("up") / "servers")
    up.start()
    yield up
    up.stop()


@pytest.fixture(scope="module")
def browser(chromium: Any, up: SkyscaleUp) -> Iterator[Any]:
    """Opens windows of somebody who has never been here; pages may not break or ask elsewhere."""
    wrong: list[str] = []
    contexts = []

    def is_ours(url: str) -> bool:
        return url.startswith((up.api.removesuffix("/api"), up.mlflow, "data:", "blob:"))

    def note(asked: Any) -> None:
        if not is_ours(asked.url) and not asked.url.startswith(ASKED_BY_PREFECT):
            wrong.append(asked.url)

    def open_window() -> Any:
        context = chromium.new_context(viewport={"width": 1280, "height": 800})
        contexts.append(context)
        context.route(lambda url: not is_ours(url), lambda route: route.abort())
        page = context.new_page()
        page.set_default_timeout(90_000)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", note)
        page.goto(up.api.removesuffix("/api"))
        return page

    yield open_window
    for context in contexts:
        context.close()
    assert [complaint for complaint in wrong if complaint not in LEFT_WHILE_DRAWN] == []


@pytest.fixture
def page(browser: Any) -> Any:
    return browser()


def link_to(page: Any, name: str) -> Any:
    """Link to a deployment in the list, where flows have links of their own."""
    return page.locator("a[href*='/deployments/']", has_text=re.compile(f"^{name}$"))


def open_deployment(page: Any, name: str) -> None:
    page.get_by_role("link", name="Deployments", exact=True).first.click()
    link_to(page, name).first.click()
    page.get_by_role("tab", name="Description").wait_for()


def open_form(page: Any, name: str) -> None:
    open_deployment(page, name)
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Custom run").click()
    page.get_by_role("button", name="Submit").wait_for()


def open_run(page: Any, link: Any) -> None:
    before = page.url
    link.click()
    page.wait_for_url(lambda url: "/runs/flow-run/" in url and url != before)
    page.get_by_role("tab", name="Job Variables").wait_for()


def press(page: Any, button: Any, done: Any) -> None:
    """Press it, and again where a busy server says so, as people do."""
    for _ in range(5):
        button.click()
        refused = page.get_by_text("Unknown error")
        done.or_(refused).first.wait_for()
        if done.count():
            return
        page.wait_for_timeout(1000)
    raise AssertionError(f"{button} did nothing five times")


def open_artifact(page: Any, key: str) -> None:
    """From the page of a run: what one of the cards is about, by way of the history of its key."""
    page.get_by_role("tab", name="Artifacts").click()
    card(page, key).click()
    page.wait_for_url("**/artifacts/key/**")
    page.locator("a[href*='/artifacts/artifact/']").first.click()
    page.get_by_role("tab", name="Raw").wait_for()


def card(page: Any, key: str) -> Any:
    return page.locator(f"a[href$='/artifacts/key/{key}']")


def runs(page: Any) -> Any:
    """Links to the runs that a tab lists, newest first; the next one stands above them."""
    return page.get_by_role("tabpanel").locator("a[href*='/runs/flow-run/']")


@pytest.fixture(scope="module")
def scheduled(browser: Any, scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A schedule typed in for scenes that nobody has ingested, every minute."""
    page = browser()
    store = tmp_path_factory.mktemp("nightly") / "store"
    open_deployment(page, "ingest")
    page.get_by_role("button", name="Schedule", exact=True).click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("tab", name="Cron").click()
    dialog.get_by_label("Value").fill("* * * * *")
    dialog.get_by_label("Satellite").fill(str(scenes / "satellite"))
    dialog.get_by_label("Aerial").fill(str(scenes / "aerial"))
    dialog.get_by_label("Store", exact=True).fill(str(store))
    added = page.get_by_role("main").get_by_text("Every minute", exact=True)
    press(page, dialog.get_by_role("button", name="Save"), added)
    return SimpleNamespace(at=datetime.now(UTC), store=store)


@pytest.fixture(scope="module")
def batch(browser: Any, scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A region upscaled from the form, with other parameters than those of the deployment."""
    page = browser()
    output = tmp_path_factory.mktemp("batch") / "harbour.tif"
    open_form(page, "upscale")
    page.get_by_label("Run Name").fill("harbour")
    item = scenes / "satellite" / "sat_20240621" / "sat_20240621.json"
    page.get_by_label("Source", exact=True).fill(str(item))
    page.get_by_label("Output", exact=True).fill(str(output))
    page.get_by_label("Model", exact=True).fill("lanczos")
    page.get_by_label("Reference (Optional)").fill(str(scenes / "aerial"))
    page.get_by_label("Block (Optional)").fill("128")
    page.get_by_label("Consistency (Optional)").click()
    view = page.get_by_role("button", name="View run")
    press(page, page.get_by_role("button", name="Submit"), view)
    view.click()
    page.get_by_text("Completed", exact=True).wait_for(timeout=120_000)
    return SimpleNamespace(output=output, url=page.url)


def test_all_deployments_are_listed_with_what_they_do(page: Any, picture: Picture) -> None:
    page.get_by_role("link", name="Deployments", exact=True).click()
    page.get_by_text(f"{len(DEPLOYMENTS)} Deployments").wait_for()
    for told in DEPLOYMENTS:
        row = page.get_by_role("row").filter(has=link_to(page, told["name"]))
        assert row.get_by_text("Ready", exact=True).count() == 1, "its worker is not there"
        assert row.get_by_text("1 schedules").count() == len(told.get("schedules", []))
    picture(page, "prefect_deployments")
    for told in DEPLOYMENTS:
        open_deployment(page, told["name"])
        page.get_by_role("tab", name="Description").click()
        page.get_by_text(told["description"].strip()).wait_for()


def test_a_schedule_that_was_typed_in_is_on(page: Any, scheduled: Any, picture: Picture) -> None:
    open_deployment(page, "ingest")
    page.get_by_text("Every minute").wait_for()
    nightly, minutely = (page.get_by_role("switch").nth(i) for i in (0, 1))
    assert (nightly.is_checked(), minutely.is_checked()) == (False, True)
    page.get_by_text("Next Run").wait_for()
    picture(page, "prefect_schedule")


def test_each_field_of_a_form_says_what_it_means(page: Any, picture: Picture) -> None:
    words, choices = read_docstring(UpscaleFlowConfig)
    open_form(page, "upscale")
    for told in words.values():
        page.get_by_text(told, exact=True).first.wait_for()
    picture(page, "prefect_form")
    page.get_by_label("Select Compression").click()
    assert set(page.get_by_role("option").all_inner_texts()) == set(choices["compression"])
    page.keyboard.press("Escape")
    # A person fills in, or leaves empty, and never has to know about types and "None".
    assert page.get_by_role("tab").all_inner_texts() == ["Now", "Later"]
    assert page.get_by_label("Model", exact=True).input_value().endswith("@champion")
    for empty in ("AOI", "Start", "CRS", "Workers"):
        assert page.get_by_label(f"{empty} (Optional)", exact=True).input_value() == ""


def test_what_has_to_be_filled_in_is_asked_for(page: Any) -> None:
    open_form(page, "upscale")
    page.get_by_label("Output", exact=True).fill("")
    page.get_by_role("button", name="Submit").click()
    page.get_by_text("'output' is a required property").wait_for()


def test_a_batch_runs_with_what_was_typed_and_shows_its_artifacts(
    page: Any, batch: Any, picture: Picture
) -> None:
    open_deployment(page, "upscale")
    open_run(page, runs(page).filter(has_text="harbour").first)
    page.get_by_text("Completed", exact=True).wait_for()
    page.get_by_role("tab", name="Logs").click()
    page.get_by_text(f": {batch.output}").wait_for()
    page.get_by_role("tab", name="Parameters").click()
    page.get_by_text('"consistency": true').wait_for()
    page.get_by_role("tab", name="Artifacts").click()
    card(page, "upscale").get_by_text("Drew 0.7 Mpx with lanczos").wait_for()
    card(page, "region-report").get_by_text(SENTENCE).scroll_into_view_if_needed()
    picture(page, "prefect_batch")
    run = page.url
    open_artifact(page, "upscale")
    page.get_by_role("cell", name="red, green, blue").wait_for()
    page.goto(run)
    open_artifact(page, "upscale-progress")
    page.get_by_text("Progress: 100%").wait_for()
    page.goto(run)
    open_artifact(page, "region")
    drawn = page.get_by_role("img", name="the region")
    drawn.wait_for()
    assert drawn.evaluate("e => e.complete && e.naturalWidth > 200")


def test_the_report_of_a_batch_opens_in_mlflow(page: Any, batch: Any, picture: Picture) -> None:
    page.goto(batch.url)
    open_artifact(page, "region-report")
    page.get_by_role("link", name=SENTENCE).click()
    report = page.frame_locator("iframe#html")
    assert SENTENCE.search(report.locator("h1").inner_text())
    page.get_by_role("tab", name="Overview").click()
    page.get_by_role("link", name=SENTENCE).wait_for()
    assert page.get_by_role("heading", name="report harbour.tif").count() == 1
    if (assistant := page.get_by_role("button", name="Close")).count():
        assistant.first.click()
    picture(page, "mlflow_batch")


def test_the_report_is_a_flow_that_the_batch_has_called(
    page: Any, batch: Any, picture: Picture
) -> None:
    page.goto(batch.url)
    page.get_by_role("tab", name="Subflow Runs").click()
    open_run(page, runs(page).last)
    open_artifact(page, "report")
    page.get_by_role("link", name="Run in MLflow").wait_for()
    assert page.get_by_role("img", name="Map of tiles").evaluate("e => e.naturalWidth > 100")
    picture(page, "prefect_batch_report")


def test_an_ingest_begins_by_itself_at_its_minute(
    page: Any, scheduled: Any, up: SkyscaleUp, picture: Picture
) -> None:
    open_deployment(page, "ingest")
    page.get_by_text("Completed", exact=True).last.wait_for(timeout=90_000)
    open_run(page, runs(page).last)
    page.get_by_text("auto-scheduled").wait_for()
    page.get_by_role("tab", name="Logs").click()
    told = page.get_by_text(re.compile(r"^ingest: done in .* pairs added"))
    told.wait_for()
    picture(page, "prefect_scheduled_run")
    page.get_by_role("tab", name="Artifacts").click()
    card(page, "ingest-map").wait_for()
    run = up.ask(f"flow_runs/{page.url.partition('flow-run/')[2].partition('?')[0]}")
    planned = datetime.fromisoformat(run["expected_start_time"])
    assert planned.replace(second=0, microsecond=0) == planned
    assert planned - scheduled.at <= timedelta(minutes=1)
    assert datetime.fromisoformat(run["start_time"]) - planned < timedelta(minutes=1)


def test_the_next_one_finds_nothing_new(page: Any, scheduled: Any) -> None:
    open_deployment(page, "ingest")
    page.get_by_text("Completed", exact=True).nth(1).wait_for(timeout=120_000)
    page.get_by_role("switch").nth(1).click()
    page.get_by_text("Schedule updated").or_(page.get_by_text("paused")).first.wait_for()
    open_run(page, runs(page).nth(-2))
    page.get_by_role("tab", name="Artifacts").click()
    card(page, "ingest").get_by_text("Nothing new").wait_for()
    assert card(page, "ingest-map").count() == 0
