"""A paired comparison: what it finds in made tiles whose difference is known."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shapely.geometry import box

from geo.errors import ReportError
from geo.place_draws import draw_places, interval_95
from geo.reporting.compare import compare
from geo.reporting.scored import read_scored, write_scored
from geo.scores.pooling import bootstrap_interval
from tests.geo.scored_tiles import SIDE, changed, ground, model, of_tiles

TRUE_GAIN_DB = 0.5


def merit(scores: Any) -> float:
    """PSNR up to a constant, less 1 dB for each factor of two in detail."""
    return -10 * math.log10(scores["squared_error"] / scores["values"]) - abs(
        math.log2(scores["hf_power_ratio"])
    )


def test_the_interval_covers_a_known_difference_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    covered = 0
    for _ in range(200):
        # 36 places of 16 tiles; what is true of a place is not what is true of all ground.
        by_place = rng.normal(TRUE_GAIN_DB, 0.3, 36)
        places = np.arange(36).repeat(16)
        plain = rng.lognormal(0, 0.3, places.size)
        mine = plain * 10 ** (-(by_place[places] + rng.normal(0, 0.3, places.size)) / 10)
        drawn = draw_places(np.stack([mine, plain], 1), list(places), draws=400)
        assert drawn is not None
        low, high = interval_95(10 * np.log10(drawn[:, 1] / drawn[:, 0])) or (0.0, 0.0)
        covered += low < TRUE_GAIN_DB < high
    assert 0.88 <= covered / 200 <= 0.99


def test_places_are_drawn_with_all_their_tiles_and_for_the_gain_over_bicubic_likewise() -> None:
    a = model(1, TRUE_GAIN_DB)
    mine, plain = a.columns["squared_error"], a.columns["bicubic_squared_error"]
    places = [int(r // 4) for r in a.columns["row"]]
    by_place = [(mine[r], plain[r]) for r in (np.equal(places, p) for p in range(6))]
    gains = []
    for chosen in np.random.default_rng(0).integers(0, 6, (2000, 6)):
        ours, theirs = (np.concatenate([by_place[p][side] for p in chosen]) for side in (0, 1))
        gains.append(10 * math.log10(theirs.sum() / ours.sum()))
    wanted = pytest.approx(tuple(np.percentile(gains, [2.5, 97.5])))
    assert bootstrap_interval(list(mine), list(plain), places=places) == wanted


def test_a_better_model_is_found_better_by_what_it_is_better() -> None:
    found = compare(model(1, TRUE_GAIN_DB), model(2), merit=merit).summary
    psnr = found["psnr_db"]
    assert psnr["difference"] == pytest.approx(TRUE_GAIN_DB, abs=0.15)
    low, high = psnr["interval"]
    assert 0 < low < psnr["difference"] < high
    assert found["verdict"] == "better"
    assert (found["tiles"], found["scope"]) == (SIDE * SIDE, "all")
    assert 0.05 < found["share_a_worse"] < 0.3
    ssim = found["scores"]["ssim"]
    assert ssim["difference"] == pytest.approx(0.005, abs=0.002)
    assert ssim["interval"][0] < ssim["difference"] < ssim["interval"][1]
    assert ssim["bicubic"] == pytest.approx(0.7)
    assert set(found["by_category"]) == {"farm", "port"}
    assert sum(of["tiles"] for of in found["by_category"].values()) == found["tiles"]


def test_pooling_is_that_of_reports() -> None:
    a, b = model(1, TRUE_GAIN_DB), model(2)
    found = compare(a, b).summary["psnr_db"]
    pooled = [
        20 * math.log10(1e4)
        - 10 * math.log10(side.columns["squared_error"].sum() / side.columns["values"].sum())
        for side in (a, b)
    ]
    assert (found["a"], found["b"]) == pytest.approx(tuple(pooled))


@pytest.mark.parametrize("perfect", [False, True])
def test_identical_runs_differ_by_exactly_nothing_and_are_never_better(perfect: bool) -> None:
    a = model(1)
    if perfect:
        a = changed(a, squared_error=np.zeros(SIDE * SIDE))
    found = compare(a, a, merit=merit if not perfect else None).summary
    assert found["psnr_db"]["difference"] == 0
    assert found["psnr_db"]["interval"] == (0, 0)
    assert (found["share_a_worse"], found["share_equal"]) == (0, 1)
    assert found["verdict"] == "undecided"
    if not perfect:
        assert found["merit_db"]["difference"] == 0
        assert found["merit_db"]["interval"] == (0, 0)
        assert found["scores"]["ssim"]["interval"] == (0, 0)


def test_a_swap_changes_the_sign_and_nothing_else() -> None:
    a, b = model(1, TRUE_GAIN_DB), model(2)
    there, back = (compare(*pair, merit=merit).summary for pair in ((a, b), (b, a)))
    for way in ("psnr_db", "merit_db", "hf_power_ratio"):
        low, high = back[way]["interval"]
        assert there[way]["difference"] == pytest.approx(-back[way]["difference"])
        assert there[way]["interval"] == pytest.approx((-high, -low))
    assert there["share_a_worse"] == pytest.approx(1 - back["share_a_worse"])
    assert (there["verdict"], back["verdict"]) == ("better", "worse")


def test_detail_can_outweigh_psnr_where_a_merit_says_so() -> None:
    blurred, sharp = model(1, 0.2), model(2)
    sharp = changed(sharp, hf_power=1.6 * sharp.columns["hf_power"])
    found = compare(sharp, blurred, merit=merit).summary
    assert found["psnr_db"]["difference"] < 0
    assert found["merit_db"]["interval"][0] > 0


def test_correctness_is_of_sums_and_stands_beside_that_of_bicubic() -> None:
    tiles = SIDE * SIDE
    plain = {
        "bicubic_improvement": np.full(tiles, 0.2),
        "bicubic_hallucination": np.full(tiles, 0.2),
    }
    right = np.where(ground()["row"] < 12, 0.6, 0.2)
    a, b = (
        changed(model(seed), improvement=part * right, hallucination=np.full(tiles, 0.2), **plain)
        for seed, part in ((1, 1.0), (2, 0.5))
    )
    found = compare(a, b).summary["correctness"]
    assert found["a"] == pytest.approx(0.4 / 0.6)
    assert found["b"] == pytest.approx(0.2 / 0.4)
    assert found["bicubic"] == pytest.approx(0.5)
    low, high = found["interval"]
    assert 0 < low < found["difference"] < high
    assert found["tiles"] == tiles
    assert compare(a, a).summary["correctness"]["interval"] == (0, 0)
    assert compare(model(1), model(2)).summary["correctness"] is None  # old reports have none


def test_tiles_of_one_report_alone_are_counted_and_named() -> None:
    every = np.arange(SIDE * SIDE)
    a, b = of_tiles(model(1), every[2:]), of_tiles(model(2), every[:-3])
    found = compare(a, b).summary
    assert found["tiles"] == SIDE * SIDE - 5
    assert (found["only_in_a"], found["only_in_b"]) == (3, 2)
    assert found["left_out"]["only_b"] == ["r0_c0", "r0_c1"]


def test_tiles_of_the_same_name_elsewhere_are_not_the_same() -> None:
    a = model(1)
    moved = ground()["geometry"].copy()
    moved[0] = box(50, 50, 51, 51).wkb
    found = compare(a, changed(model(2), geometry=moved)).summary
    assert (found["only_in_a"], found["only_in_b"]) == (1, 1)


def test_the_order_of_tiles_does_not_matter() -> None:
    a, b = model(1, TRUE_GAIN_DB), model(2)
    shuffled = of_tiles(b, np.random.default_rng(0).permutation(SIDE * SIDE))
    assert compare(a, shuffled).summary["psnr_db"]["difference"] == pytest.approx(
        compare(a, b).summary["psnr_db"]["difference"]
    )


def test_tiles_scored_on_other_pixels_are_left_out_and_all_of_them_are_refused() -> None:
    a, b = model(1), model(2)
    for name in ("values", "bicubic_squared_error", "real_hf_power"):
        other = b.columns[name].copy()
        other[:4] *= 1.1
        found = compare(a, changed(b, **{name: other})).summary
        assert (found["tiles"], found["other_pixels"]) == (SIDE * SIDE - 4, 4)
    with pytest.raises(ReportError, match="same pixels"):
        compare(a, changed(b, values=b.columns["values"] - 1))


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        ({"data_range": 255.0}, "data range 10000.0 against 255.0"),
        ({"mask": "no clouds"}, "mask 'all valid' against 'no clouds'"),
        ({"crop_px": 4}, "pixels cropped 0 against 4"),
        ({"bands": ["nir"]}, "bands"),
        ({"scale": 2}, "scale 4 against 2"),
        (
            {"reference": "aerial_2"},
            "other references for the same tiles .aerial_1 against aerial_2",
        ),
    ],
)
def test_other_rules_are_refused_by_name(facts: dict[str, Any], says: str) -> None:
    with pytest.raises(ReportError, match=says):
        compare(model(1), model(2, **facts))


def test_other_ground_is_refused() -> None:
    every = np.arange(SIDE * SIDE)
    with pytest.raises(ReportError, match="no tile in common"):
        compare(of_tiles(model(1), every[:9]), of_tiles(model(2), every[9:]))
    with pytest.raises(ReportError, match="r0_c0 stands twice"):
        compare(of_tiles(model(1), np.array([0, 0])), model(2))


def test_test_ground_is_compared_alone_where_it_is_known() -> None:
    split = np.where(ground()["row"] < 8, "test", "train").astype(object)
    found = compare(changed(model(1), split=split), model(2)).summary
    assert (found["scope"], found["tiles"]) == ("test", 8 * SIDE)
    wider = np.where(ground()["row"] < 12, "test", "train").astype(object)
    both = compare(changed(model(1), split=split), changed(model(2), split=wider)).summary
    assert both["tiles"] == 8 * SIDE


def test_without_a_reference_the_scores_that_need_none_are_compared() -> None:
    unknown = np.full(SIDE * SIDE, np.nan)
    bare = dict.fromkeys(
        ("squared_error", "bicubic_squared_error", "values", "real_hf_power", "ssim"), unknown
    )
    sides = (
        changed(model(seed), **bare, lr_consistency=np.full(SIDE * SIDE, 0.001 * seed))
        for seed in (1, 2)
    )
    found = compare(*sides, merit=merit).summary
    assert (found["tiles"], found["psnr_db"], found["merit_db"]) == (0, None, None)
    assert found["verdict"] == "undecided"
    assert found["scores"]["lr_consistency"]["difference"] == pytest.approx(-0.001)
    assert found["scores"]["lr_consistency"]["better"] == "lower"


def test_one_place_has_no_interval_and_decides_nothing() -> None:
    found = compare(
        of_tiles(model(1, 3.0), np.array([0])), of_tiles(model(2), np.array([0]))
    ).summary
    assert found["psnr_db"]["difference"] > 1
    assert found["psnr_db"]["interval"] is None
    assert found["verdict"] == "undecided"


def test_what_is_written_reads_the_same(tmp_path: Path) -> None:
    a = model(1, TRUE_GAIN_DB)
    a.columns["ssim"][3], a.columns["category"][5] = np.nan, None
    write_scored(a, tmp_path / "a")
    again = read_scored(tmp_path / "a")
    assert compare(again, a).summary["psnr_db"]["difference"] == 0
    np.testing.assert_array_equal(again.columns["ssim"], a.columns["ssim"])
    assert again.columns["category"][5] is None


def test_a_folder_without_a_report_says_what_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="wanted a folder that `skyscale report` wrote"):
        read_scored(tmp_path / "nix")
