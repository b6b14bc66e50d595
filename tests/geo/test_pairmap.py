"""The map of pairs: every chip where it lies, everything counted, nothing foreign run."""

from __future__ import annotations

import html.parser
import io
import json
import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pyproj import Transformer

from geo.catalog.scene import Scene
from geo.match import MatchRules, match_scenes
from geo.pairmap import content as content_module
from geo.pairmap.colours import colours_of
from geo.pairmap.content import (
    ACCEPTED,
    COLUMNS,
    PLANNED,
    PairMap,
    corners_lonlat,
    map_of_plan,
    map_of_rows,
)
from geo.pairmap.page import build_page
from geo.pairmap.picture import draw_png
from geo.pairmap.table import HEAD, as_markdown, as_text, table_of
from geo.pairmap.view import arrows_of, view_of
from geo.pairstore.rows import SCHEMA

EVIL = '</script><script>alert("x")</script>|`*'
CRS = "EPSG:32633"
DAY = datetime(2024, 6, 18, tzinfo=UTC)
CHIP_M = 320.0
LEFT, TOP = 500_000.0, 5_400_000.0


def scene(name: str, day: float, box: tuple[float, float, float, float]) -> Scene:
    return Scene(id=name, time=DAY + timedelta(days=day), footprint=shapely.box(*box), assets={})


def lonlat_box(side: float) -> tuple[float, float, float, float]:
    to_lonlat = Transformer.from_crs(CRS, "EPSG:4326", always_xy=True)
    west, south = to_lonlat.transform(LEFT, TOP - side)
    east, north = to_lonlat.transform(LEFT + side, TOP)
    return west, south, east, north


def chip_row(
    satellite: str, row: int, col: int, reason: str | None = None, **more: Any
) -> dict[str, Any]:
    left, top = LEFT + col * CHIP_M, TOP - row * CHIP_M
    return {
        "identity": f"{satellite} {row} {col}",
        "kind": "rejection" if reason else "pair",
        "satellite_id": satellite,
        "aerial_id": "aerial",
        "reason": reason,
        "crs": CRS,
        "resolution_x": 10.0,
        "row": row,
        "col": col,
        "left": left,
        "bottom": top - CHIP_M,
        "right": left + CHIP_M,
        "top": top,
        "dy_px": 0.5,
        "dx_px": -1.0,
        **more,
    }


def scenes_row(satellite: str, reason: str | None = None, **more: Any) -> dict[str, Any]:
    return {
        "identity": satellite,
        "kind": "rejection" if reason else "scenes",
        "satellite_id": satellite,
        "aerial_id": "aerial",
        "reason": reason,
        "dy_px": 0.5,
        "dx_px": -1.0,
        "reliability": 0.9,
        **more,
    }


def make_map(rows: list[dict[str, Any]], dates: dict[str, float], chips: int = 8) -> PairMap:
    box = lonlat_box(chips * CHIP_M)
    scenes = {
        "satellite": [scene(name, day, box) for name, day in dates.items()],
        "aerial": [scene("aerial", 0, box)],
    }
    candidates, _ = match_scenes(*scenes.values(), MatchRules())
    schema = pa.schema([SCHEMA.field(n) for n in ("identity", *COLUMNS)])
    schema = pa.schema([f.with_nullable(True) for f in schema])
    return map_of_rows(EVIL, scenes, candidates, pa.Table.from_pylist(rows, schema=schema))


@pytest.fixture(scope="module")
def content() -> PairMap:
    rows = [chip_row("clear", r, c) for r in range(8) for c in range(8)]
    rows += [
        chip_row("cloudy", r, c, "cloud" if c < 4 else None, value=0.25, limit=0.9)
        for r in range(8)
        for c in range(8)
    ]
    rows += [
        scenes_row("clear"),
        scenes_row("cloudy", dy_px=-0.25),
        scenes_row(EVIL, "unreliable_registration", value=0.1, limit=0.4, detail=EVIL),
        {"identity": "n", "kind": "rejection", "satellite_id": "late", "aerial_id": "aerial"}
        | {"reason": "time_gap", "value": 400.0, "limit": 30.0, "detail": ""},
    ]
    return make_map(rows, {"clear": 2, "cloudy": -5, EVIL: 11})


def test_everything_is_counted_once(content: PairMap) -> None:
    chips = {entry.satellite: entry.chips for entry in content.pairs}
    assert chips == {
        "clear": Counter({ACCEPTED: 64}),
        "cloudy": Counter({ACCEPTED: 32, "cloud": 32}),
        EVIL: Counter(),
    }
    assert len(content.chips) == content.totals["chips"] == 128
    assert [r["satellite"] for r in content.refusals] == ["late"]


def test_the_table_adds_up(content: PairMap) -> None:
    *lines, total = table_of(content)
    assert [line[0] for line in lines] == ["clear", "cloudy", EVIL]
    assert [line[2] for line in lines] == ["2.0", "5.0", "11.0"]
    assert int(total[5]) == sum(int(line[5]) for line in lines) == 96
    assert lines[1][6] == "32 cloud"
    assert lines[2][6] == "all: unreliable_registration 0.1 against 0.4"
    assert "32 cloud" in total[6]
    assert "1 unreliable_registration" in total[6]


def test_the_table_is_text_whatever_names_hold(content: PairMap) -> None:
    lines = table_of(content)
    markdown = as_markdown(lines).splitlines()
    bare = [re.sub(r"\\.", "", line) for line in markdown]  # without what is escaped
    assert all(line.count("|") == len(HEAD) + 1 for line in bare)
    assert not set("<>`*[") & set("".join(bare))
    assert all(len(line) < 200 for line in as_text(lines))


def test_chips_lie_where_their_bounds_are(content: PairMap) -> None:
    back = Transformer.from_crs("EPSG:4326", CRS, always_xy=True)
    corners = content.chips.corners[9]  # row 1, column 1
    x, y = back.transform(corners[:, 0], corners[:, 1])
    edge = CHIP_M
    np.testing.assert_allclose(x, LEFT + np.array([1, 2, 2, 1]) * edge, atol=1e-3)
    np.testing.assert_allclose(y, TOP - np.array([1, 1, 2, 2]) * edge, atol=1e-3)


def test_distances_on_the_map_are_kilometres(content: PairMap) -> None:
    view = view_of(content)
    quad = view.to_km(content.chips.corners[0])
    sides = np.linalg.norm(quad - np.roll(quad, 1, axis=0), axis=1)
    np.testing.assert_allclose(sides, CHIP_M / 1000, rtol=5e-3)
    left, top, right, bottom = view.bounds
    assert quad[0, 0] < quad[1, 0]  # east is right
    assert quad[0, 1] < quad[3, 1]  # south is down
    assert left < 0 < right
    assert top < 0 < bottom


@given(lon=st.floats(-180, 180), lat=st.floats(-70, 70))
def test_ground_hangs_together_anywhere(lon: float, lat: float) -> None:
    """Also across the antimeridian, however its longitudes are written."""
    west, east = lon - 0.1, lon + 0.1
    parts = [(west, min(east, 180)), (-180, east - 360)] if east > 180 else [(west, east)]
    ground = shapely.union_all([shapely.box(w, lat - 0.1, e, lat + 0.1) for w, e in parts])
    sides = {
        name: [Scene(id=name, time=DAY, footprint=ground, assets={})]
        for name in ("satellite", "aerial")
    }
    candidates, _ = match_scenes(sides["satellite"], sides["aerial"], MatchRules())
    shown = map_of_plan("map", sides, candidates, [np.empty((0, 4, 2))] * len(candidates))
    left, top, right, bottom = view_of(shown).bounds
    assert right - left < 30
    assert bottom - top < 30


def test_refused_chips_upon_kept_ones_are_known(content: PairMap) -> None:
    chips = content.chips
    cloudy = np.array([chips.names[code] == "cloud" for code in chips.code])
    np.testing.assert_array_equal(chips.covered, cloudy)  # `clear` kept them all


def test_one_arrow_for_one_shift_and_several_for_a_field(content: PairMap) -> None:
    arrows = arrows_of(content, view_of(content))
    assert [(a.pair, a.shift_yx) for a in arrows] == [(0, (0.5, -1.0)), (1, (-0.25, -1.0))]
    rows = [chip_row("clear", r, c, dy_px=0.1 * r) for r in range(8) for c in range(8)]
    field = make_map([*rows, scenes_row("clear")], {"clear": 2})
    spread = arrows_of(field, view_of(field))
    assert len(spread) == 36
    downwards = [a.shift_yx[0] for a in sorted(spread, key=lambda a: a.at_km[1])]
    assert downwards[0] < 0.1
    assert downwards[-1] > 0.6


def test_refused_scenes_have_no_arrow(content: PairMap) -> None:
    assert all(
        content.pairs[a.pair].state == "paired" for a in arrows_of(content, view_of(content))
    )


def test_too_many_chips_are_thinned_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content_module, "MOST_CHIPS", 100)
    rows = [chip_row("clear", r, c) for r in range(30) for c in range(30)]
    shown = make_map([*rows, scenes_row("clear")], {"clear": 2}, chips=30)
    assert shown.chips.stride == 3
    assert len(shown.chips) == 100
    assert shown.pairs[0].chips[ACCEPTED] == 900
    assert "each square stands for" in build_page(shown)
    draw_png(shown)


@pytest.mark.slow
def test_fifty_thousand_chips_stay_small() -> None:
    n = 50_000
    at = np.stack(np.divmod(np.arange(n), 250), axis=-1) * CHIP_M
    square = np.array([(0, 0), (1, 0), (1, -1), (0, -1)]) * CHIP_M
    there = np.array([LEFT, TOP]) + at[:, None, ::-1] * [1, -1] + square
    corners = corners_lonlat(there, np.full(n, CRS, dtype=object))
    box = lonlat_box(250 * CHIP_M)
    sides = {name: [scene(name, 0, box)] for name in ("satellite", "aerial")}
    candidates, _ = match_scenes(sides["satellite"], sides["aerial"], MatchRules())
    shown = map_of_plan("much", sides, candidates, [corners])
    assert len(shown.chips) == n
    assert len(build_page(shown)) < 3e6
    assert len(draw_png(shown)) < 1e6


def test_a_plan_has_no_verdict_and_no_arrows(content: PairMap) -> None:
    sides = {name: [scene(name, 0, lonlat_box(8 * CHIP_M))] for name in ("satellite", "aerial")}
    candidates, _ = match_scenes(sides["satellite"], sides["aerial"], MatchRules())
    plan = map_of_plan("plan", sides, candidates, [content.chips.corners[:64]])
    assert plan.chips.names == (PLANNED,)
    assert plan.pairs[0].chips == Counter({PLANNED: 64})
    assert arrows_of(plan, view_of(plan)) == []
    assert table_of(plan)[-1][5] == "64"


def test_a_map_of_nothing_can_be_drawn() -> None:
    empty = map_of_plan("nothing", {"satellite": [], "aerial": []}, [], [])
    assert Image.open(io.BytesIO(draw_png(empty))).width > 100
    assert "nothing" in build_page(empty)


def test_colours_differ_and_are_the_same_for_ever() -> None:
    names = (ACCEPTED, "cloud", "nodata", "dissimilar_content", "changed_ground", "unheard_of")
    colours = colours_of(names)
    assert len(set(colours.values())) == len(names)
    assert colours_of((ACCEPTED,)) == {ACCEPTED: colours[ACCEPTED]}


def test_the_picture_shows_both_verdicts(content: PairMap) -> None:
    picture = Image.open(io.BytesIO(draw_png(content))).convert("RGB")
    pixels = np.asarray(picture).reshape(-1, 3)
    for name, colour in colours_of((ACCEPTED, "cloud")).items():
        rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        share = (np.abs(pixels.astype(int) - rgb).max(axis=1) < 8).mean()
        assert share > (0.05 if name == ACCEPTED else 0.005)


class _Tags(html.parser.HTMLParser):
    """What a page would run or load."""

    def __init__(self) -> None:
        super().__init__()
        self.scripts = 0
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        self.sources += [v or "" for k, v in attrs if k in ("src", "href")]


def test_the_page_needs_nothing_and_runs_nothing_foreign(content: PairMap) -> None:
    page = build_page(content)
    assert EVIL not in page
    tags = _Tags()
    tags.feed(page)
    assert tags.scripts == 2  # the data and our own
    assert tags.sources == []
    data = json.loads(page.split('id="data">')[1].split("</script>")[0])
    assert data["pairs"][2]["satellite"] == EVIL
    assert len(data["chips"]["pair"]) == len(data["chips"]["at"]) / 2 == 128


@pytest.mark.slow
def test_the_page_works_in_a_browser_without_a_network(
    chromium: Any, content: PairMap, tmp_path: Path
) -> None:
    file = tmp_path / "map.html"
    file.write_text(build_page(content), encoding="utf-8")
    wrong: list[str] = []
    page = chromium.new_page(viewport={"width": 390, "height": 800})
    page.on("console", lambda message: wrong.append(message.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("dialog", lambda dialog: wrong.append(dialog.message))
    page.on("request", lambda asked: wrong.append(asked.url))
    page.goto(file.as_uri())
    assert page.inner_text("#title") == EVIL
    assert page.locator("#pairs tbody tr").count() == 3
    assert page.locator("#refusals tbody tr").count() == 1
    page.select_option("#colour", "gap")
    page.select_option("#colour", "verdict")
    page.focus("#map")
    page.keyboard.press("ArrowRight")
    first = page.inner_text("#tip")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("+")
    page.keyboard.press("Shift+ArrowLeft")
    assert "gap" in first
    page.keyboard.press("0")
    page.click("#pairs button >> nth=1")
    assert page.locator("#pairs tr.chosen").count() == 1
    assert "32 refused: cloud" in page.inner_text("#legend")
    page.focus("#map")
    for _ in range(12):
        page.keyboard.press("ArrowLeft")
    assert "refused: cloud 0.25 against 0.9" in page.inner_text("#tip")
    painted = page.evaluate(
        "() => { const c = document.getElementById('map'); return new Set("
        "c.getContext('2d').getImageData(0, 0, c.width, c.height).data).size }"
    )
    wide = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    page.close()
    assert painted > 20
    assert wide <= 0
    assert [w for w in wrong if not w.startswith("file:")] == []
