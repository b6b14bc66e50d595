"""What a report's page is made of: columns, sentences, chosen tiles, pictures, one file."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from PIL import Image

from geo.chips import Cell
from geo.reporting.columns import tile_columns
from geo.reporting.gallery import choose_tiles, draw_tile, draw_tiles
from geo.reporting.headline import cautions, headline
from geo.reporting.page import build_page
from geo.reporting.summary import summarise
from geo.reporting.table import plain
from geo.reporting.tiles import TilePixels

TYPES = {"f4": "<f4", "u1": "u1", "u2": "<u2", "u4": "<u4"}


def row(place: int, **scores: Any) -> dict[str, Any]:
    return {"tile": f"r1_c{place}", "row": 1, "col": place, "valid_fraction": 1.0, **scores}


def columns_of(rows: list[dict[str, Any]], **options: Any) -> dict[str, Any]:
    told = tile_columns(rows, **options)
    json.dumps(told, allow_nan=False)
    return {column["name"]: column for column in told["columns"]}


def read(column: dict[str, Any]) -> list[Any]:
    return np.frombuffer(base64.b64decode(column["data"]), TYPES[column["kind"]]).tolist()


def test_null_is_kept_apart_from_zero_and_from_infinity() -> None:
    rows = [row(i, score=v) for i, v in enumerate((0.0, None, float("inf"), float("nan"), 1.5))]
    values = read(columns_of(rows)["score"])
    assert (values[0], values[2], values[4]) == (0.0, float("inf"), 1.5)
    assert np.isnan([values[1], values[3]]).all()


def test_names_are_coded_and_null_is_no_name() -> None:
    rows = [row(i, category=name) for i, name in enumerate(("b", None, "a", "b"))]
    column = columns_of(rows)["category"]
    assert (column["names"], read(column)) == (["a", "b"], [2, 0, 1, 2])


def test_a_column_says_its_one_value_once_and_without_any_is_left_out() -> None:
    rows = [row(i, gap_days=2.5, model="m", unknown=None, never=float("nan")) for i in range(3)]
    columns = columns_of(rows)
    assert columns["gap_days"]["constant"] == 2.5
    assert (columns["model"]["names"], columns["model"]["constant"]) == (["m"], 1)
    assert set(columns) == {"valid_fraction", "gap_days", "model"}


def test_scores_never_heard_of_are_carried_and_sums_for_pooling_are_not() -> None:
    rows = [row(i, news=float(i), squared_error=1.0, values=9.0, geometry=b"") for i in range(2)]
    assert set(columns_of(rows)) == {"valid_fraction", "news"}


def test_what_the_budget_does_not_allow_is_left_out_by_name_bicubic_first() -> None:
    rows = [row(i, bicubic_news=i / 3, news=i / 2) for i in range(300)]
    told = tile_columns(rows, budget=2000)
    assert [column["name"] for column in told["columns"]] == ["valid_fraction", "news"]
    assert told["left_out"] == ["bicubic_news"]


def test_names_of_tiles_are_not_said_where_they_follow_from_their_place() -> None:
    rows = [row(i) for i in range(3)]
    assert tile_columns(rows)["tiles"] is None
    rows[1]["tile"] = "other"
    assert tile_columns(rows)["tiles"] == ["r1_c0", "other", "r1_c2"]


def told(**changes: Any) -> dict[str, Any]:
    """A summary of held-out ground where SR wins."""
    return {
        "scope": "test",
        "tiles": 44,
        "tiles_all": 400,
        "tiles_without_reference": 3,
        "identical_tiles": 0,
        "psnr_db": 36.1,
        "bicubic_psnr_db": 35.0,
        "gain_db": 1.18,
        "gain_db_interval": [0.9, 1.4],
        "interval_places": 12,
        "share_worse": 4 / 44,
        "lr_consistency": 0.004,
        "bicubic_lr_consistency": 0.002,
        "gap_days": 2.0,
    } | changes


NOTHING = {"gain_db": None, "gain_db_interval": None, "share_worse": None}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {},
            "SR beats bicubic by 1.18 dB of PSNR on held-out test ground (95 % interval +0.90 to "
            "+1.40 dB); it loses on 4 of 44 tiles (9 %).",
        ),
        (
            {"gain_db": 0.05, "gain_db_interval": [-0.1, 0.2], "scope": "all"},
            "No gain over bicubic can be shown on this region: +0.05 dB of PSNR (95 % interval "
            "-0.10 to +0.20 dB); it loses on 4 of 44 tiles (9 %).",
        ),
        (
            {"gain_db": -0.3, "gain_db_interval": [-0.5, -0.1]},
            "SR loses 0.30 dB of PSNR against bicubic on held-out test ground (95 % interval -0.50 "
            "to -0.10 dB); it loses on 4 of 44 tiles (9 %).",
        ),
        (
            NOTHING | {"bicubic_psnr_db": None},
            "PSNR is 36.10 dB over 44 tiles of held-out test ground; without the satellite image "
            "there is no bicubic to compare with.",
        ),
        (
            NOTHING | {"psnr_db": None, "tiles": 0},
            "No aerial reference: 400 tiles judged by how well they agree with the satellite "
            "image, RMSE 0.0040 against bicubic's 0.0020.",
        ),
    ],
)
def test_the_headline_says_gain_interval_ground_and_losers(
    changes: dict[str, Any], sentence: str
) -> None:
    assert headline(told(**changes)) == sentence


def test_cautions_say_what_the_numbers_do_not() -> None:
    text = " ".join(cautions(told(gap_days=200.0)))
    assert "44 tiles that no training saw" in text
    assert "worse than bicubic (RMSE 0.0040, bicubic 0.0020" in text
    assert "200 days apart" in text
    assert "3 tiles have no reference" in text
    assert "may flatter the model" in " ".join(cautions(told(scope="all")))
    bare = " ".join(cautions(told(**NOTHING, psnr_db=None, tiles=0)))
    assert "which of the details are true" in bare
    assert "PSNR" not in bare


def test_ranks_show_no_tile_twice_and_no_sliver() -> None:
    rows = [row(i, gain_db=-float(i)) for i in range(9)]
    rows[0]["valid_fraction"] = 0.01
    ranked = choose_tiles(rows, count=3)
    shown = [r["col"] for rank in ("best", "median", "worst") for r in ranked[rank]]
    assert shown == [1, 2, 5, 4, 8, 7]
    assert {rank: len(chosen) for rank, chosen in choose_tiles(rows[:1]).items()} == {"worst": 1}


def test_the_most_uncertain_tiles_are_shown_where_uncertainty_is_known() -> None:
    rows = [row(i, gain_db=float(i), uncertainty=float(i % 7)) for i in range(30)]
    ranked = choose_tiles(rows, count=2)
    assert [r["uncertainty"] for r in ranked["most uncertain"]] == [6.0, 6.0]
    tiles = [r["tile"] for chosen in ranked.values() for r in chosen]
    assert len(tiles) == len(set(tiles)) == 8


def test_without_reference_the_most_consistent_tile_is_best() -> None:
    rows = [row(i, gain_db=None, psnr_db=None, lr_consistency=i / 100) for i in range(9)]
    ranked = choose_tiles(rows, count=1)
    assert (ranked["best"][0]["col"], ranked["worst"][0]["col"]) == (0, 8)


def images(side: int = 32, **changes: Any) -> TilePixels:
    hr = np.random.default_rng(0).uniform(100, 900, (3, side, side)).astype(np.float32)
    seen = np.ones((side, side), bool)
    known: dict[str, Any] = {
        "sr": hr + 50,
        "hr": hr,
        "bicubic": hr - 100,
        "lr": hr[:, ::4, ::4],
        "seen": seen,
        "valid": seen,
        "other": None,
        "cell": Cell(0, 0),
        "uncertainty": None,
        "cloudy": None,
        "scene": None,
    }
    return TilePixels(**known | changes)


def opened(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1])))


def test_errors_of_a_tile_have_one_ramp_whose_end_is_told_in_dn() -> None:
    shown, error_dn = draw_tile(images(), ("red", "green", "blue"))
    assert list(shown) == ["LR", "bicubic", "SR", "aerial", "SR error", "bicubic error"]
    assert error_dn == pytest.approx(100, rel=1e-4)
    half, whole = (np.asarray(opened(shown[f"{who} error"])) for who in ("SR", "bicubic"))
    assert np.abs(half.mean((0, 1)) - (35, 144, 140)).max() < 4  # the middle of viridis
    assert np.abs(whole.mean((0, 1)) - (253, 231, 37)).max() < 4
    assert opened(shown["LR"]).size == (8, 8)


def test_what_is_missing_is_not_shown() -> None:
    bands = ("red", "green", "blue")
    bare, error_dn = draw_tile(images(hr=None, valid=None, lr=None, bicubic=None), bands)
    assert (list(bare), error_dn) == (["SR"], None)
    with_other, _ = draw_tile(images(other=images().hr), bands)
    assert {"other", "other error"} < set(with_other)
    void = np.zeros((32, 32), bool)
    unseen, error_dn = draw_tile(images(valid=void, seen=void), bands)
    assert (list(unseen), error_dn) == (["LR", "bicubic", "SR", "aerial"], None)


def test_of_large_tiles_the_middle_is_shown() -> None:
    shown, _ = draw_tile(images(side=640), ("red", "green", "blue"))
    assert {opened(uri).size for uri in shown.values()} == {(512, 512), (128, 128)}


def test_pictures_keep_to_their_budget_and_every_rank_keeps_some(scored: Any) -> None:
    everything = draw_tiles(scored.plan, scored.rows)
    few = draw_tiles(scored.plan, scored.rows, budget=sum(map(_size, everything)) // 2)
    assert len(few) < len(everything) <= 24
    assert sum(map(_size, few)) <= sum(map(_size, everything)) / 2
    ranks = ["best", "median", "worst", "most uncertain"]
    assert list(dict.fromkeys(entry["rank"] for entry in few)) == ranks


def _size(entry: dict[str, Any]) -> int:
    return sum(map(len, entry["images"].values()))


class _Parts(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.scripts = 0
        self.sources: list[str] = []
        self.policy = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.scripts += tag == "script"
        self.sources += [v or "" for k, v in attrs if k in ("src", "href")]
        if given.get("http-equiv") == "Content-Security-Policy":
            self.policy = given["content"] or ""


def test_the_page_needs_nothing_and_runs_nothing_foreign(scored: Any) -> None:
    page = build_page(scored.plan, scored.rows, plain(summarise(scored.rows, scored.plan)))
    assert "<script>alert" not in page
    parts = _Parts()
    parts.feed(page)
    assert (parts.scripts, parts.sources) == (2, [])  # the data and our own
    [script] = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in parts.policy
    assert parts.policy.startswith("default-src 'none'; img-src data:;")
    data = json.loads(page.split('id="data">')[1].split("</script>")[0])
    assert data["summary"]["reference"] == scored.plan.references[0].scene.id


def test_what_looks_equal_is_not_called_worse() -> None:
    text = " ".join(cautions(told(lr_consistency=0.00612, bicubic_lr_consistency=0.00611)))
    assert "like bicubic (RMSE 0.0061, bicubic 0.0061" in text


def test_a_difference_that_rounds_to_nothing_has_no_minus() -> None:
    sentence = headline(told(gain_db=-0.001, gain_db_interval=[-0.004, 0.003]))
    assert "+0.00 dB of PSNR (95 % interval +0.00 to +0.00 dB)" in sentence
