"""Descriptions in MLflow: sections that stay apart, names from catalogues that stay text."""

from __future__ import annotations

from typing import Any

import pytest

from flows.experiment_page import NOTE, experiment_tags
from flows.run_notes import (
    ReportPlace,
    comparison_note,
    plain,
    report_section,
    training_section,
    with_section,
)

EVIL = "<script>alert(1)</script> [a](javascript:b) **c** | d\n# e"
SUMMARY: dict[str, Any] = {
    "scope": "test",
    "tiles": 44,
    "psnr_db": 36.5,
    "gain_db": 1.5,
    "gain_db_interval": [1.2, 1.8],
    "share_worse": 0.25,
    "model": EVIL,
    "reference": EVIL,
    "scores": {"ssim": {"sr": {"mean": 0.9}, "bicubic": {"mean": 0.8}}},
}
PLACE = ReportPlace(
    experiment_id="1",
    run_id="r",
    page="report/report.html",
    map="report/map.png",
    version="skyscale-generator/7",
    trained_by="t",
)


def test_names_from_catalogues_mean_nothing_to_markdown_or_html() -> None:
    told = plain(EVIL)
    assert not set("<>[]*|#\n") & set(told.replace("&#", ""))
    assert "&#60;script&#62;alert(1)" in told


def test_a_report_begins_with_its_sentence_and_leads_to_page_model_and_training() -> None:
    told = report_section(SUMMARY, PLACE)
    first, links = told.splitlines()[0], told.splitlines()[2]
    assert first.startswith("Report: [SR beats bicubic by 1.50 dB of PSNR on held-out test ground")
    assert "95 % interval +1.20 to +1.80 dB" in first
    mode = "?workflowType=machine_learning"
    assert first.endswith(f"](#/experiments/1/runs/r/artifacts/report/report.html{mode})")
    assert f"(#/models/skyscale-generator/versions/7{mode})" in links
    assert f"(#/experiments/1/runs/t{mode})" in links
    assert "| SSIM&emsp; | 0.900&emsp; | 0.800&emsp; |" in told
    assert "![Map of the tiles](get-artifact?path=report%2Fmap.png&run_uuid=r)" in told
    assert "<script>" not in told


def test_a_new_report_takes_the_place_of_the_old_one_and_of_nothing_else() -> None:
    note = with_section("Mine: keep this.", "Training: good.\n\n| table |")
    note = with_section(note, "Report: old.\n\n![map](old)")
    note = with_section(note, "Report: new.")
    note = with_section(note, "Promoted: better.")
    assert note.split("\n\n") == [
        "Mine: keep this.",
        "Promoted: better.",
        "Report: new.",
        "Training: good.",
        "| table |",
    ]
    assert with_section(None, "Report: new.") == "Report: new."


@pytest.mark.parametrize("test_pairs", [158, None])
def test_a_training_says_its_gain_where_there_is_test_ground(test_pairs: int | None) -> None:
    scores = {
        "pairs": test_pairs,
        "pooled_psnr_db": 30.0,
        "pooled_bicubic_psnr_db": 29.0,
        "pooled_gain_db": 1.0,
        "pooled_gain_db_low": 0.5,
        "pooled_gain_db_high": 1.5,
    }
    told = training_section(
        {"run_id": "r", "store": EVIL, "store_version": 5},
        {"parameters": 1234, "test": scores if test_pairs else None},
        experiment_id="1",
        version="skyscale-generator/7",
        pictures=[("Step 5", "samples/place0/step5.png")],
    )
    if test_pairs:
        assert "+1.00 dB of PSNR on 158 held-out test pairs (95 % interval +0.50 to +1.50" in told
    else:
        assert told.startswith("Training: no test pairs")
    assert "![Step 5](get-artifact?path=samples%2Fplace0%2Fstep5.png&run_uuid=r)" in told
    assert "<script>" not in told


def test_a_comparison_begins_with_its_verdict() -> None:
    psnr = {"a": 30.0, "b": 29.0, "difference": 1.0, "interval": [0.5, 1.5]}
    known = {"a": EVIL, "b": "b", "reason": "better by merit", "a_replaces_b": True}
    told = comparison_note({**known, "psnr_db": psnr, "scores": {"ssim": None}})
    assert told.startswith("A would take B's place: better by merit.")
    assert "| PSNR, dB&emsp; | 30&emsp; | 29&emsp; | +1 (+0.5 to +1.5)&emsp; |" in told
    assert "<script>" not in told


def test_the_experiment_leads_to_reports_with_the_best_first() -> None:
    note = experiment_tags("3")[NOTE]
    assert "#/experiments/3/runs?workflowType=machine_learning&viewStateShareKey=" in note
    assert "orderByKey=metrics.%60report%2Fpsnr_db%60&orderByAsc=false" in note
