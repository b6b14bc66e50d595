"""The rule for champions on real images: ordered as a person would, and its limits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from flows.champion_rule import decide, decide_first, merit
from flows.train_evaluate import PairScore
from geo.interpolate import upsample
from geo.reporting.compare import compare
from geo.reporting.scored import ScoredTiles
from geo.sensor import degrade
from tests.geo.scored_tiles import SIDE, changed, model

SCALE, CHIP, RANGE = 4, 128, 10_000.0
SCORES = PairScore(scale=SCALE, data_range=RANGE)

Draw = Callable[[np.ndarray, np.ndarray], np.ndarray]  # of LR and truth


def kernel(name: str) -> Draw:
    return lambda lr, hr: upsample(lr, SCALE, name)


def with_noise(lr: np.ndarray, hr: np.ndarray) -> np.ndarray:
    """As much of it as reality has detail."""
    base = upsample(lr, SCALE, "bicubic")
    noise = np.random.default_rng(0).standard_normal(base.shape, np.float32)
    return base + (hr - base).std() * noise


def with_truth(lr: np.ndarray, hr: np.ndarray) -> np.ndarray:
    """As a generator that knows a third of what bicubic does not."""
    base = upsample(lr, SCALE, "bicubic")
    return base + (hr - base) / 3


DRAWN: dict[str, Draw] = {
    "noise": with_noise,
    "nearest": kernel("nearest"),
    "bicubic": kernel("bicubic"),
    "lanczos": kernel("lanczos"),
    "trained": with_truth,
}


@pytest.fixture(scope="module")
def tiles(scenes: Path) -> dict[str, ScoredTiles]:
    """Scores of all that `DRAWN` draws, chip by chip."""
    with rasterio.open(next(scenes.rglob("aerial*/visual.tif"))) as dataset:
        ground = dataset.read([1, 2, 3]).astype(np.float32)
    height, width = 4, 5  # chips
    ground = ground[:, : height * CHIP, : width * CHIP] * RANGE / 255
    seen, part = degrade(ground, SCALE), CHIP // SCALE
    cells = [(row, col) for row in range(height) for col in range(width)]
    chips = [
        (
            seen[:, part * r : part * (r + 1), part * c : part * (c + 1)],
            ground[:, CHIP * r : CHIP * (r + 1), CHIP * c : CHIP * (c + 1)],
        )
        for r, c in cells
    ]
    return {name: scored(name, draw, cells, chips) for name, draw in DRAWN.items()}


def scored(name: str, draw: Draw, cells: list[tuple[int, int]], chips: list[Any]) -> ScoredTiles:
    valid = np.ones((CHIP, CHIP), np.bool_)
    rows = [SCORES(draw(lr, hr), hr, lr, valid) for lr, hr in chips]
    columns: dict[str, np.ndarray] = {
        "tile": np.array([f"{r} {c}" for r, c in cells], object),
        "row": np.array([r for r, _ in cells], float),
        "col": np.array([c for _, c in cells], float),
        **{key: np.array([row[key] for row in rows]) for key in rows[0]},
    }
    return ScoredTiles(name=name, columns=columns, facts={"data_range": RANGE, "scale": SCALE})


def beats(tiles: dict[str, ScoredTiles], a: str, b: str) -> tuple[bool, str]:
    return decide(compare(tiles[a], tiles[b], merit=merit).summary)


def test_models_are_ordered_as_a_person_would(tiles: dict[str, ScoredTiles]) -> None:
    wanted = [
        ("trained", "lanczos"),
        ("lanczos", "bicubic"),
        ("bicubic", "nearest"),
        ("bicubic", "noise"),
    ]
    for better, worse in wanted:
        there, back = beats(tiles, better, worse), beats(tiles, worse, better)
        assert (there[0], back[0]) == (True, False), (better, worse, there[1], back[1])


@pytest.mark.parametrize("trick", ["nearest", "noise"])
def test_detail_out_of_nothing_wins_by_merit_and_is_stopped_by_what_is_right(
    tiles: dict[str, ScoredTiles], trick: str
) -> None:
    compared = compare(tiles[trick], tiles["bicubic"], merit=merit).summary
    assert compared["merit_db"]["interval"][0] > 0.5
    compared["scores"].pop("lr_consistency")  # which may or may not see it
    won, reason = decide(compared)
    assert not won
    assert reason.startswith("less of what it draws is right than of bicubic; merit +")
    right = compared["correctness"]
    told = f"{right['a']:.0%} of what it draws right against {right['b']:.0%} (bicubic "
    assert told in reason


def made(gain_db: float, right: float, seed: int = 1) -> ScoredTiles:
    """Tiles of a model; bicubic's part that is right is a half."""
    part = {
        "improvement": right,
        "hallucination": 1 - right,
        "bicubic_improvement": 0.4,
        "bicubic_hallucination": 0.4,
    }
    columns = {name: np.full(SIDE * SIDE, value) for name, value in part.items()}
    return changed(model(seed, gain_db), **columns)


@pytest.mark.parametrize(
    ("a", "b", "wins", "says"),
    [
        ((1.0, 0.6), (0.0, 0.9), True, "better by merit"),  # bicubic's is enough
        ((1.0, 0.495), (0.0, 0.9), True, "better by merit"),  # as few pairs can tell
        ((1.0, 0.4), (0.0, 0.6), False, "less of what it draws is right than of bicubic;"),
        ((0.0, 0.6), (1.0, 0.4), True, "less of what the other draws is right"),
        # Where nobody is as right as bicubic, as on pairs of other dates, the best may still win.
        ((1.0, 0.4), (0.0, 0.3), True, "better by merit"),
        ((1.0, 0.3), (0.0, 0.4), False, "than of bicubic and the other"),
        ((0.0, 0.4), (1.0, 0.3), False, "worse by merit"),
    ],
)
def test_as_much_must_be_right_as_of_bicubic_or_of_the_champion_where_that_is_less(
    a: tuple[float, float], b: tuple[float, float], wins: bool, says: str
) -> None:
    won, reason = decide(compare(made(*a), made(*b, seed=2), merit=merit).summary)
    assert (won, says in reason) == (wins, True), reason


def test_reports_without_these_scores_are_judged_without_them() -> None:
    won, reason = decide(compare(model(1, 1.0), model(2), merit=merit).summary)
    assert won
    assert "right" not in reason


def test_the_first_champion_is_told_how_much_is_right_and_not_refused_for_it() -> None:
    known = {
        "gain_db": 0.5,
        "improvement": 0.2,
        "hallucination": 0.3,
        "bicubic_improvement": 0.2,
        "bicubic_hallucination": 0.2,
    }
    won, reason = decide_first(known)
    assert won
    assert "40% of what it draws right (bicubic 50%)" in reason
    assert "right" not in decide_first({"gain_db": 0.5})[1]
