"""Scores that are kept while a report is made: never lost, never mixed with others."""

from __future__ import annotations

import math
from pathlib import Path

from geo.reporting.kept import KeptRows

FACTS = {"sr": "out.tif", "tile": 32}


def test_what_was_scored_is_found_again(tmp_path: Path) -> None:
    rows = [{"tile": "r0_c0", "psnr_db": math.inf, "ssim": None, "gain_db": 0.1 + 0.2}]
    KeptRows(tmp_path, FACTS).keep(3, rows)
    again = KeptRows(tmp_path, FACTS)
    assert again.finished() == {3: rows}
    assert not again.discarded


def test_scores_of_other_images_or_settings_are_thrown_away(tmp_path: Path) -> None:
    KeptRows(tmp_path, FACTS).keep(0, [])
    other = KeptRows(tmp_path, FACTS | {"tile": 16})
    assert other.discarded
    assert other.finished() == {}


def test_restart_throws_all_away(tmp_path: Path) -> None:
    KeptRows(tmp_path, FACTS).keep(0, [])
    assert KeptRows(tmp_path, FACTS, restart=True).finished() == {}


def test_a_half_written_file_counts_for_nothing(tmp_path: Path) -> None:
    kept = KeptRows(tmp_path, FACTS)
    kept.keep(0, [{"tile": "r0_c0"}])
    rows = tmp_path / "report.html.skyscale/rows"
    (rows / "1").write_text('[{"tile": "r0')
    (rows / "2.part").write_text("[]")
    assert set(KeptRows(tmp_path, FACTS).finished()) == {0}


def test_a_finished_report_leaves_no_working_folder(tmp_path: Path) -> None:
    kept = KeptRows(tmp_path, FACTS)
    kept.keep(0, [])
    kept.remove()
    assert list(tmp_path.iterdir()) == []
