from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from models.quality import quality
from models.selection import Selection


def scores(psnr: float, power: float | None = None, consistency: float = 1.0) -> dict[str, float]:
    found = {"psnr_db": psnr, "lr_consistency": consistency, "bicubic_lr_consistency": 2.0}
    return found if power is None else {**found, "hf_power_ratio": power}


@pytest.mark.parametrize(
    ("worse", "better"),
    [
        (scores(30), scores(31)),
        (scores(30, 0.1), scores(29.6, 0.2)),  # twice the detail is worth half a dB
        (scores(29.4, 0.2), scores(30, 0.1)),
        (scores(30, 3.0), scores(30, 0.5)),  # three times too much is worse than half
        (scores(30, 1.2), scores(30, 1.0)),
        (scores(31, 1.0, consistency=2.5), scores(20, 0.1)),  # not what the satellite saw
        (scores(31, 0.0), scores(20, 0.1)),
    ],
)
def test_the_rule(worse: dict[str, float], better: dict[str, float]) -> None:
    assert quality(better, 0.5) > quality(worse, 0.5)


def test_when_detail_is_worth_nothing_psnr_decides() -> None:
    assert quality(scores(30, 0.01), 0.0) > quality(scores(29.9, 1.0), 0.0)


def test_psnr_is_of_all_pixels_together() -> None:
    """One flat tile that gets a little noise loses many dB, and matters little."""
    before = {"psnr_db": 40.0, "squared_error": 100.0, "values": 1.0, "hf_power_ratio": 0.1}
    after = {"psnr_db": 37.0, "squared_error": 110.0, "values": 1.0, "hf_power_ratio": 0.2}
    assert quality(after, 0.5) - quality(before, 0.5) == pytest.approx(
        0.5 - 10 * math.log10(1.1), abs=1e-9
    )


def test_without_scores_the_last_one_counts(tmp_path: Path) -> None:
    selection, network = Selection(tmp_path, detail_worth_db=0.5), torch.nn.Linear(1, 1)
    assert selection.offer(1, {}, network)
    assert selection.offer(2, {}, network)
    assert selection.step == 2


def test_the_best_state_survives_the_process(tmp_path: Path) -> None:
    network = torch.nn.Linear(2, 1)
    selection = Selection(tmp_path, detail_worth_db=0.5)
    assert selection.weights() is None
    assert selection.offer(1, scores(30), network)
    kept = network.weight.detach().clone()
    torch.nn.init.zeros_(network.weight)
    assert not selection.offer(2, scores(29), network)
    again = Selection(tmp_path, detail_worth_db=0.5)
    again.load()
    assert (again.step, again.scores) == (1, scores(30))
    weights = again.weights()
    assert weights is not None
    assert torch.equal(weights["weight"], kept)
    assert not again.offer(3, scores(29.9), network)
