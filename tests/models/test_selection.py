from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from models.quality import quality
from models.selection import Selection, choose


def scores(psnr: float, power: float | None = None, consistency: float = 1.0) -> dict[str, float]:
    found = {"psnr_db": psnr, "lr_consistency": consistency, "bicubic_lr_consistency": 2.0}
    return found if power is None else {**found, "hf_power_ratio": power}


def drawn(*, right: float, wrong: float) -> dict[str, float]:
    """What opensr-test says of a generator, and of bicubic as in real imagery."""
    return {
        "improvement": right,
        "hallucination": wrong,
        "bicubic_improvement": 0.21,
        "bicubic_hallucination": 0.23,
    }


# --- which of two generators is better ------------------------------------------------------------


@pytest.mark.parametrize(
    ("worse", "better"),
    [
        (scores(30), scores(31)),
        (scores(30, 0.1), scores(29.1, 0.2)),  # twice the detail is worth one dB
        (scores(28.9, 0.2), scores(30, 0.1)),
        (scores(30, 3.0), scores(30, 0.5)),  # three times too much is worse than half
        (scores(30, 1.2), scores(30, 1.0)),
        (scores(31, 1.0, consistency=2.5), scores(20, 0.1)),  # not what the satellite saw
        (scores(30, 0.0), scores(29, 0.1)),
        (scores(30, 0.006), scores(30.2, 0.003)),  # neither has any that can be seen
        (scores(31, 1.0) | drawn(right=0.2, wrong=0.4), scores(20, 0.1)),  # noise
    ],
)
def test_the_rule(worse: dict[str, float], better: dict[str, float]) -> None:
    assert quality(better) > quality(worse)


def test_psnr_is_of_all_pixels_together() -> None:
    """One flat tile that gets a little noise loses many dB, and matters little."""
    before = {"psnr_db": 40.0, "squared_error": 100.0, "values": 1.0, "hf_power_ratio": 0.1}
    after = {"psnr_db": 37.0, "squared_error": 110.0, "values": 1.0, "hf_power_ratio": 0.2}
    assert quality(after) - quality(before) == pytest.approx(1 - 10 * math.log10(1.1), abs=1e-9)


def test_more_hallucination_than_bicubic_is_no_fault_where_more_is_right_as_well() -> None:
    """As of a trained generator: whatever draws nothing hallucinates less."""
    assert quality(scores(24, 0.7) | drawn(right=0.35, wrong=0.33)) > quality(scores(24, 0.01))


# --- what of a run is exported --------------------------------------------------------------------


def network(value: float) -> torch.nn.Module:
    made = torch.nn.Linear(2, 1)
    for parameter in made.parameters():
        torch.nn.init.constant_(parameter, value)
    return made


def value_of(weights: Mapping[str, Tensor]) -> float:
    return float(weights["weight"][0, 0])


def test_of_the_content_phase_the_best_is_kept_and_of_the_game_the_last(tmp_path: Path) -> None:
    selection = Selection(tmp_path)
    selection.offer(1, scores(30), network(1), playing=False)
    selection.offer(2, scores(31), network(2), playing=False)
    selection.offer(3, scores(29), network(3), playing=False)
    selection.offer(4, scores(28), network(4), playing=True)
    selection.offer(5, scores(27), network(5), playing=True)
    selection.offer(6, scores(40, consistency=9.0), network(6), playing=True)  # unfaithful
    again = Selection(tmp_path)
    again.load()
    for kept in (selection, again):
        assert kept.faithful is not None
        assert kept.sharp is not None
        assert (kept.faithful.step, kept.sharp.step) == (2, 5)
        assert [value_of(kept.blend(share)) for share in (0, 0.5, 1)] == [2, 3.5, 5]


def test_what_was_taken_does_not_change_with_the_network(tmp_path: Path) -> None:
    selection, changing = Selection(tmp_path), network(1)
    selection.offer(1, scores(30), changing, playing=False)
    torch.nn.init.constant_(changing.weight, 7)
    assert value_of(selection.blend(0)) == 1


@pytest.mark.parametrize("playing", [False, True])
def test_without_scores_the_last_one_counts(tmp_path: Path, playing: bool) -> None:
    selection = Selection(tmp_path)
    for step in (1, 2):
        selection.offer(step, {}, network(step), playing=playing)
    choice = choose(selection, 0.8, lambda _: {})
    assert choice is not None
    assert (choice.step, value_of(selection.blend(choice.share))) == (2, 2)


def test_of_a_run_without_a_game_the_most_faithful_is_exported(tmp_path: Path) -> None:
    selection = Selection(tmp_path)
    assert choose(selection, 0.8, lambda _: {}) is None
    selection.offer(1, scores(30), network(1), playing=False)
    choice = choose(selection, 0.8, lambda _: {})
    assert choice is not None
    assert (choice.share, choice.scores) == (0, scores(30))


def between(loss_db: float, detail: float, tmp_path: Path, consistency: float = 1.0) -> Selection:
    """A game that lost so much PSNR for so much detail; the content phase is at 30 dB, 0.2."""
    selection = Selection(tmp_path)
    selection.offer(10, scores(30, 0.2), network(0), playing=False)
    last = scores(30 - loss_db, detail, consistency)
    selection.offer(20, last, network(1), playing=True)
    return selection


@pytest.mark.parametrize(
    ("loss_db", "cost_db", "share"),
    [
        (3.2, 0.8, 0.5),  # the loss goes with the square of the share
        (3.2, 0.0, 0.0),
        (3.2, 0.4, math.sqrt(0.125)),
        (3.2, 10.0, 1.0),
        (0.5, 0.8, 1.0),
        (-1.0, 0.8, 1.0),  # the game made it better
    ],
)
def test_the_sharpest_point_within_the_price_is_chosen(
    tmp_path: Path, loss_db: float, cost_db: float, share: float
) -> None:
    def score(weights: Mapping[str, Tensor]) -> dict[str, float]:
        at = value_of(weights)
        return scores(30 - loss_db * at**2, 0.2 + 0.7 * at)

    choice = choose(between(loss_db, 0.9, tmp_path), cost_db, score)
    assert choice is not None
    assert share - 1 / 32 <= choice.share <= share
    assert 30 - choice.scores["psnr_db"] <= max(cost_db, loss_db if share == 1 else 0) + 1e-9
    shares = [at for at, _ in choice.curve]
    assert shares == sorted(shares)
    assert {0.0, 0.25, 0.5, 0.75, 1.0} <= set(shares)


def test_never_more_detail_than_reality_has(tmp_path: Path) -> None:
    def score(weights: Mapping[str, Tensor]) -> dict[str, float]:
        return scores(30, 0.2 + 1.8 * value_of(weights))

    choice = choose(between(0, 2.0, tmp_path), 5.0, score)
    assert choice is not None
    assert 0.9 < choice.scores["hf_power_ratio"] <= 1


def test_never_less_consistent_than_bicubic_if_it_can_be_helped(tmp_path: Path) -> None:
    selection = between(0.1, 0.5, tmp_path, consistency=9.0)  # the only state of the game
    choice = choose(selection, 0.8, lambda w: scores(30, 0.3, 1 + 2 * value_of(w)))
    assert choice is not None
    assert 0.4 < choice.share <= 0.52


def test_never_less_right_than_bicubic_if_it_can_be_helped(tmp_path: Path) -> None:
    def score(weights: Mapping[str, Tensor]) -> dict[str, float]:
        return scores(30, 0.3) | drawn(right=0.4 - 0.3 * value_of(weights), wrong=0.3)

    choice = choose(between(0, 2.0, tmp_path), 5.0, score)
    assert choice is not None
    assert 0.4 < choice.share <= 0.46
