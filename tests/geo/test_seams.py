"""The seam score: 0 where blocks cannot be told, more the more their edges break."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from geo.interpolate import upsample
from geo.reporting.plan import ReportPlan
from geo.reporting.seams import EdgePiece, edge_pieces, measure_breaks, seam_score
from geo.sensor import degrade
from tests.geo import rasters
from tests.geo.reports import plan_of, satellite

SIDE, BLOCK, SCALE = 512, 128, 4
GRID = rasters.grid((SIDE, SIDE), size=2.5)


def planned(tmp_path: Path, image: np.ndarray, block_px: int | None = BLOCK) -> ReportPlan:
    tags = {"SKYSCALE_SCALE": str(SCALE)}
    sr = rasters.write(tmp_path / "sr.tif", image.astype(np.float32), GRID, tags=tags)
    return plan_of(sr, tile_lr=16, block_px=block_px)


def score(plan: ReportPlan) -> dict[str, float]:
    told = seam_score(plan, [measure_breaks(plan, piece) for piece in edge_pieces(plan)])
    assert told is not None
    return told


def smooth(seed: int = 0) -> np.ndarray:
    return 2000 + 300 * rasters.ground((SIDE, SIDE), seed=seed, finest_px=5.0)


def test_ground_without_seams_scores_nothing(tmp_path: Path) -> None:
    told = score(planned(tmp_path, smooth()))
    low, high = told["interval"]
    assert low < 0 < high
    assert abs(told["score"]) < 0.05
    assert (told["blocks_px"], told["edges"]) == (BLOCK, 24)


def test_blocks_of_another_brightness_are_seen(tmp_path: Path) -> None:
    image = smooth()
    lighter = np.add.outer(np.arange(SIDE) // BLOCK, np.arange(SIDE) // BLOCK) % 2
    told = score(planned(tmp_path, image + 60 * lighter))
    # The step of 60 DN stands beside the ground's own breaks.
    assert told["break_dn"] == pytest.approx(60, rel=0.2)
    assert told["score"] > 1
    assert told["interval"][0] > 0


def test_a_pattern_that_repeats_with_the_lr_pixels_is_no_seam(tmp_path: Path) -> None:
    image = smooth() + np.where(np.arange(SIDE) % SCALE == 0, 80, 0)
    assert abs(score(planned(tmp_path, image))["score"]) < 0.05


def test_a_slope_is_no_seam(tmp_path: Path) -> None:
    image = smooth() + 20.0 * np.arange(SIDE)
    assert abs(score(planned(tmp_path, image))["score"]) < 0.05


def test_holes_along_an_edge_do_not_count(tmp_path: Path) -> None:
    image = smooth()
    image[:, :, BLOCK - 6 : BLOCK + 6] = np.nan
    plan = planned(tmp_path, image)
    breaks = measure_breaks(plan, EdgePiece(BLOCK, slice(0, SIDE), is_row=False))
    assert breaks.sr[1] == 0
    assert abs(score(plan)["score"]) < 0.05


def test_without_the_size_of_blocks_nothing_is_said(tmp_path: Path) -> None:
    plan = planned(tmp_path, smooth(), block_px=None)
    assert edge_pieces(plan) == []
    assert seam_score(plan, []) is None


def test_a_street_along_an_edge_is_no_seam_where_the_satellite_saw_it(tmp_path: Path) -> None:
    image = smooth()
    image[:, :, BLOCK : BLOCK + 6] += 900
    seen = degrade(image, SCALE)
    plan = planned(tmp_path, upsample(seen, SCALE, "lanczos"))
    assert score(plan)["score"] > 0.3
    lr = rasters.write(tmp_path / "lr.tif", seen, GRID.zoom_out(SCALE))
    told = score(replace(plan, lr=satellite(lr)))
    assert told["against_satellite"]
    assert abs(told["score"]) < 0.15
