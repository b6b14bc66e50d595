"""The report's page in a real browser without network: what a reader does, what it answers."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from geo.reporting.columns import tile_columns
from geo.reporting.gallery import draw_overview, draw_tiles
from geo.reporting.page import build_page, fill_page
from geo.reporting.plan import ReportPlan
from geo.reporting.rows import score_batch
from geo.reporting.summary import summarise
from geo.reporting.table import plain
from tests.geo import reports
from tests.geo.segmenters import NearestColour, make_class_ground

pytestmark = pytest.mark.slow

Open = Callable[..., Any]
MINUS, UNKNOWN = "\N{MINUS SIGN}", "\N{EN DASH}"


@pytest.fixture
def opened(chromium: Any, tmp_path: Path) -> Iterator[Open]:
    """Opens a page; afterwards nothing may have been complained of, nor asked of a network."""
    wrong: list[str] = []
    contexts = []

    def open_page(text: str, width: int = 1300, scheme: str = "light", **options: Any) -> Any:
        file = tmp_path / f"report{len(contexts)}.html"
        file.write_text(text, encoding="utf-8")
        context = chromium.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, **options
        )
        contexts.append(context)
        context.set_offline(True)
        page = context.new_page()
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: wrong.append(dialog.message))
        page.on("request", lambda asked: wrong.append(asked.url))
        page.goto(file.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert [w for w in wrong if not w.startswith(("file:", "data:"))] == []


@pytest.fixture(scope="module")
def report(scored: Any) -> str:
    return build_page(scored.plan, scored.rows, plain(summarise(scored.rows, scored.plan)))


def settle(page: Any) -> None:
    """Wait for what is drawn once a frame."""
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def painted(page: Any, canvas: str) -> str:
    settle(page)
    return str(page.evaluate(f"document.getElementById('{canvas}').toDataURL()"))


def column(page: Any, place: int) -> list[str]:
    cells = page.locator(f"#table tbody tr[data-at] > :nth-child({place})")
    return list(cells.all_inner_texts())


def test_whatever_catalogues_say_stays_text(opened: Open, report: str, scored: Any) -> None:
    page = opened(report)
    assert scored.plan.references[0].scene.id in page.inner_text("#about")
    assert page.title().endswith(scored.plan.references[0].scene.id)
    assert "<script>alert('satellite')</script>" in page.inner_text("#provenance")
    assert "<b>forest</b>" in page.inner_text("#choices")
    assert page.locator("b").count() == 0
    assert page.locator("script").count() == 2


def test_the_page_begins_with_the_sentence_and_its_limits(opened: Open, report: str) -> None:
    page = opened(report)
    assert "dB of PSNR on held-out test ground (95 % interval" in page.inner_text("h1")
    assert "no training saw" in page.inner_text("#cautions")
    top = page.locator("#cautions").bounding_box()
    assert top["y"] < 900
    assert "20 log10(MAX)" in page.locator("#notes").text_content()


def test_every_score_can_colour_the_map_and_shows_its_ends(opened: Open, report: str) -> None:
    page = opened(report)
    scores = page.locator("#score option").evaluate_all("all => all.map(o => o.value)")
    assert {"gain_db", "bicubic_ssim", "split", "sharpness_of_roofs"} < set(scores)
    assert not {"nobody_knows", "squared_error", "values"} & set(scores)
    pictures = set()
    for score in scores:
        page.select_option("#score", score)
        pictures.add(painted(page, "map"))
        assert page.inner_text("#legend")
    assert len(pictures) > len(scores) / 2
    page.select_option("#score", "gain_db")
    assert "(worse)" in page.inner_text("#legend")
    assert "grey: unknown" in page.inner_text("#legend")


def test_the_map_tells_of_the_tile_under_the_mouse_and_chooses_it(
    opened: Open, report: str
) -> None:
    page = opened(report)
    page.hover("#map", position={"x": 380, "y": 300})
    told = page.inner_text("#tip").splitlines()
    assert any(line.startswith("gain over bicubic") for line in told)
    page.click("#map", position={"x": 380, "y": 300})
    assert page.inner_text("#viewer-title") == f"Tile {told[0]}"
    before = painted(page, "map")
    page.click("#zoom-in")
    nearer = painted(page, "map")
    page.mouse.move(400, 600)
    page.mouse.down()
    page.mouse.move(480, 640, steps=3)
    page.mouse.up()
    assert len({before, nearer, painted(page, "map")}) == 3
    assert page.inner_text("#viewer-title") == f"Tile {told[0]}"  # to drag is not to choose
    page.click("#zoom-all")
    page.mouse.move(5, 5)
    assert page.locator("#tip").is_hidden()


def test_the_map_is_used_by_keyboard(opened: Open, report: str) -> None:
    page = opened(report)
    page.focus("#map")
    first = page.inner_text("#viewer-title")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    settle(page)
    assert page.inner_text("#viewer-title") != first
    assert page.inner_text("#tip").splitlines()[0] in page.inner_text("#viewer-title")
    whole = painted(page, "map")
    page.keyboard.press("+")
    page.keyboard.press("Shift+ArrowLeft")
    assert painted(page, "map") != whole
    page.keyboard.press("0")
    assert painted(page, "map") == whole


def test_two_pictures_lie_under_a_slider_for_mouse_and_keyboard(opened: Open, report: str) -> None:
    page = opened(report)
    clip = "document.getElementById('left-image').style.clipPath"
    names = page.locator("#left option").all_inner_texts()
    assert names[:4] == ["satellite image", "bicubic", "SR", "aerial image"]
    assert names[4:] == ["SR error", "bicubic error"]
    page.focus("#slider")
    page.keyboard.press("ArrowLeft")
    assert "51%" in page.evaluate(clip)
    page.keyboard.press("Home")
    assert "100%" in page.evaluate(clip)
    assert "bicubic on the left 0 %" in page.get_attribute("#slider", "aria-valuetext")
    box = page.locator("#swipe").bounding_box()
    page.mouse.click(box["x"] + 0.75 * box["width"], box["y"] + 50)
    assert abs(page.evaluate("Number(document.getElementById('slider').value)") - 75) <= 2
    page.select_option("#right", "aerial")
    assert page.inner_text("#right-tag") == "aerial image"
    images = page.locator("#strip img, #swipe img")
    assert images.count() == 8
    assert images.evaluate_all("all => all.every(i => i.naturalWidth > 0)")
    assert "DN" in page.locator("#strip .error-scale").first.inner_text()


def test_tiles_with_pictures_are_gone_through_by_keyboard(opened: Open, report: str) -> None:
    page = opened(report)
    assert "median, 1 of" in page.inner_text("#viewer-rank")
    ranks = []
    for _ in range(page.locator("#ranks button").count()):
        page.keyboard.press("n")
        ranks.append(page.inner_text("#viewer-rank").split(",")[0])
    assert set(ranks) == {"best", "median", "worst", "most uncertain"}
    assert "median, 1 of" in page.inner_text("#viewer-rank")  # once round
    page.keyboard.press("p")
    assert "best" in page.inner_text("#viewer-rank")
    page.click("#next")
    page.focus("#find")
    page.keyboard.type("np")  # letters in a field are letters
    assert "median, 1 of" in page.inner_text("#viewer-rank")


def test_the_table_sorts_with_the_unknown_last(opened: Open, report: str) -> None:
    page = opened(report)
    head = page.locator("#table thead button")
    gain = 1 + head.all_inner_texts().index("gain over bicubic (dB) ▲")
    worst = column(page, gain)
    assert all(text.startswith(MINUS) for text in worst[:3])
    head.nth(gain - 1).click()
    best = column(page, gain)
    assert all(text.startswith("+") for text in best[:3])
    assert page.get_attribute(f"#table thead th:nth-child({gain})", "aria-sort") == "descending"
    page.focus("#table-frame")
    page.keyboard.press("End")
    settle(page)
    assert column(page, gain)[-1] == UNKNOWN
    assert column(page, 1)[-1] in page.inner_text("#viewer-title")


def test_the_table_filters_and_says_how_many_are_left(
    opened: Open, report: str, scored: Any
) -> None:
    page = opened(report)
    everything, losing = len(scored.rows), sum((r["gain_db"] or 0) < 0 for r in scored.rows)
    assert page.inner_text("#counted") == f"{everything} tiles"
    whole = painted(page, "map")
    page.check("#losers")
    assert page.inner_text("#counted") == f"{losing} of {everything} tiles"
    assert painted(page, "map") != whole
    page.select_option("select[data-of=category]", label="<b>forest</b>")
    both = sum((r["gain_db"] or 0) < 0 and r["category"] == "<b>forest</b>" for r in scored.rows)
    assert page.inner_text("#counted") == f"{both} of {everything} tiles"
    page.click("#clear")
    assert page.inner_text("#counted") == f"{everything} tiles"
    page.fill("#find", scored.rows[7]["tile"])
    settle(page)
    assert column(page, 1) == [scored.rows[7]["tile"]]
    page.fill("#find", "no such thing")
    settle(page)
    assert column(page, 1) == []


def test_columns_are_chosen(opened: Open, report: str) -> None:
    page = opened(report)
    page.click("#pick summary")
    page.check("#picks input[value=sharpness_of_roofs]")
    page.uncheck("#picks input[value=split]")
    heads = page.locator("#table thead button").all_inner_texts()
    assert "sharpness of roofs" in heads
    assert "split" not in heads


def test_bars_of_the_histogram_list_their_tiles(opened: Open, report: str) -> None:
    page = opened(report)
    assert "lose (left of the line at 0)" in page.inner_text("#histogram-told")
    page.focus("#histogram")
    page.keyboard.press("ArrowRight")
    told = page.inner_text("#histogram-told")
    assert told.startswith("less to ")
    page.keyboard.press("Enter")
    assert "gain over bicubic" in page.inner_text("#clear")
    kept, count = page.inner_text("#counted").split(" ")[0], told.split(": ")[1].split(" ")[0]
    assert int(kept) >= int(count) > 0  # the bar is of test ground, the list of all
    box = page.locator("#histogram").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 100)
    assert page.inner_text("#histogram-told") != told


def test_points_of_the_scatter_are_told_and_chosen(opened: Open, report: str) -> None:
    page = opened(report)
    before = painted(page, "scatter")
    page.select_option("#across", "psnr_db")
    page.select_option("#up", "bicubic_psnr_db")
    assert painted(page, "scatter") != before
    page.locator("#scatter").scroll_into_view_if_needed()
    box = page.locator("#scatter").bounding_box()
    for across, down in itertools.product(np.linspace(0.3, 0.7, 9), np.linspace(0.3, 0.7, 9)):
        page.mouse.move(box["x"] + across * box["width"], box["y"] + down * box["height"])
        told = page.inner_text("#scatter-told")
        if "bicubic: PSNR" in told:
            break
    page.mouse.down()
    page.mouse.up()
    assert page.inner_text("#viewer-title") == f"Tile {told.split(':')[0]}"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_it_without_scrolling_sideways(
    opened: Open, report: str, scheme: str
) -> None:
    page = opened(report, width=390, scheme=scheme, has_touch=True)
    assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, ground[4:-1].split(","))) < 200) == (scheme == "dark")
    page.touchscreen.tap(200, page.locator("#map").bounding_box()["y"] + 120)
    title = page.inner_text("#viewer-title")
    page.locator("#next").tap()
    assert page.inner_text("#viewer-title") != title


def test_on_paper_pictures_stand_for_clicks_and_it_is_light(opened: Open, report: str) -> None:
    page = opened(report, scheme="dark")
    assert page.locator("#samples img").count() == 0
    assert page.pdf(format="A4").startswith(b"%PDF")
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("#samples .sample").count() >= 4
    assert page.locator("#notes").is_visible()
    assert page.locator("#filters").is_hidden()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("#samples img").count() == 0


def page_of(plan: ReportPlan) -> str:
    rows = reports.score(plan)
    return build_page(plan, rows, plain(summarise(rows, plan)))


def test_without_reference_consistency_colours_the_map_and_sorts(opened: Open, scored: Any) -> None:
    nobody = np.full(scored.plan.tiles, -1)
    page = opened(page_of(replace(scored.plan, references=(), owners=nobody)))
    assert "No aerial reference" in page.inner_text("h1")
    assert page.input_value("#score") == "lr_consistency"
    assert page.inner_text("#left-tag") == "bicubic"
    assert "PSNR" not in page.inner_text("#figures")
    assert page.locator("#losers").is_hidden()
    assert page.locator("#groups-part").is_hidden()
    assert page.locator("#strip img").count() == 3


def test_without_satellite_image_there_is_no_bicubic(opened: Open, scored: Any) -> None:
    page = opened(page_of(replace(scored.plan, lr=None)))
    assert "no bicubic to compare with" in page.inner_text("h1")
    assert page.input_value("#score") == "psnr_db"
    assert {page.inner_text("#left-tag"), page.inner_text("#right-tag")} == {"SR", "aerial image"}


@pytest.fixture(scope="module")
def use_report(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A page of maps of four classes, one of which would be a script."""
    ground = make_class_ground(tmp_path_factory.mktemp("classes"))
    segmenter = NearestColour(classes=("farm", "<b>forest</b>", "town", "water"))
    plan = ground.plan(segmenter, labels=None, other=ground.bicubic)
    rows = [r for b in plan.batches() for r in score_batch(plan, b, segmenter=segmenter)]
    return build_page(plan, rows, plain(summarise(rows, plan)), segmenter)


def test_the_use_of_an_image_is_told_in_words_numbers_and_maps(
    opened: Open, use_report: str
) -> None:
    page = opened(use_report)
    assert "SR serves better than bicubic" in page.inner_text("#use-sentence")
    lines = page.locator("#use-scores tbody tr").all_inner_texts()
    assert lines[0] == "Against the map of the aerial image"
    assert [line.split("\t")[0] for line in lines[1:]] == ["SR", "bicubic", "bicubic.tif"]
    classes = page.locator("#use-classes tbody th[scope=row]").all_inner_texts()
    assert classes == ["farm", "<b>forest</b>", "town", "water"]
    assert page.locator("b").count() == 0
    captions = page.locator("#strip figcaption").all_inner_texts()
    maps = ["map of aerial image", "map of SR", "map of bicubic", "map of bicubic.tif"]
    assert captions[-4:] == maps
    assert page.locator("#strip-legend span").count() == 5
    # A square of the legend has the colour that the class has on the maps.
    square = "getComputedStyle(document.querySelector('#strip-legend i')).backgroundColor"
    assert page.evaluate(square) == "rgb(0, 114, 178)"
    page.select_option("#score", "fcn_same_mean_iou")
    assert "(better)" in page.inner_text("#legend")
    page.select_option("#left", "bicubic map")
    assert page.inner_text("#left-tag") == "map of bicubic"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_use_of_an_image_fits_a_phone(opened: Open, use_report: str, scheme: str) -> None:
    page = opened(use_report, width=390, scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0


def test_without_segmenter_nothing_is_said_of_use(opened: Open, report: str) -> None:
    page = opened(report)
    assert page.locator("#use-part").is_hidden()
    assert page.locator("#strip-legend").is_hidden()


MANY, SIDE = 50_000, 224
CLICKS = {
    "score": "const s = document.getElementById('score'); s.value = 'score_7'; "
    "s.dispatchEvent(new Event('change'))",
    "sort": "document.querySelector('#table thead th:nth-child(4) button').click()",
    "filter": "document.getElementById('losers').click()",
    "names": "document.querySelector('select[data-of=category]').value = '1'; "
    "document.querySelector('select[data-of=category]').dispatchEvent(new Event('change'))",
    "all": "document.getElementById('clear').click()",
    "next": "document.getElementById('next').click()",
    "tile": "document.querySelector('#table tbody tr[data-at]:nth-child(5)').click()",
    "zoom": "document.getElementById('zoom-in').click()",
}


def test_fifty_thousand_tiles_are_written_soon_stay_small_and_answer_at_once(
    opened: Open, scored: Any
) -> None:
    rng = np.random.default_rng(0)
    known = [k for k, v in scored.rows[-1].items() if isinstance(v, float)]
    names = [*known, *(f"{who}score_{k}" for who in ("", "bicubic_", "other_") for k in range(12))]
    values = rng.normal(1, 2, (MANY, len(names)))
    first = (scored.rows[0]["row"], scored.rows[0]["col"])
    rows = [
        {
            "tile": f"r{first[0] + i // SIDE}_c{first[1] + i % SIDE}",
            "row": first[0] + i // SIDE,
            "col": first[1] + i % SIDE,
            "category": ("farm", "town", None)[i % 3],
            "split": "test" if i % 5 else "train",
            "satellite_id": f"scene {i // 1000}",
            **dict(zip(names, line, strict=True)),
        }
        for i, line in enumerate(values.tolist())
    ]
    began = time.perf_counter()
    data = {
        "summary": plain(summarise(scored.rows, scored.plan)),
        "headline": "Fifty thousand tiles",
        "cautions": [],
        "tiles": tile_columns(rows),
        "overview": {**draw_overview(scored.plan), "width": SIDE, "height": SIDE},
        "pictures": draw_tiles(scored.plan, scored.rows),
    }
    text = fill_page(data, "many tiles")
    assert time.perf_counter() - began < 60
    assert len(data["tiles"]["columns"]) > 40
    assert len(text) + gallery_room(data) < 25_000_000
    page = opened(text)
    assert page.inner_text("#counted") == "50,000 tiles"
    clock = page.context.new_cdp_session(page)
    # Time that the page's own thread was at work: what else this machine does is not its fault.
    clock.send("Performance.enable", {"timeDomain": "threadTicks"})
    for name, action in CLICKS.items():
        before = busy(clock)
        page.evaluate(ANSWERED.format(action=action))
        spent = busy(clock) - before
        assert 0 < spent < 0.2, f"{name}: {1000 * spent:.0f} ms"


def busy(clock: Any) -> float:
    """Seconds of work of the page's thread so far."""
    metrics = clock.send("Performance.getMetrics")["metrics"]
    return float(next(entry["value"] for entry in metrics if entry["name"] == "TaskDuration"))


ANSWERED = """async () => {{
  {action};
  await new Promise(done => requestAnimationFrame(() => setTimeout(done)));
}}"""


def gallery_room(data: dict[str, Any]) -> int:
    """Characters that its pictures might have taken and did not."""
    from geo.reporting.gallery import BUDGET

    return BUDGET - sum(sum(map(len, entry["images"].values())) for entry in data["pictures"])
