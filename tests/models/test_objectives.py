from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.objectives import OBJECTIVES

logits = st.lists(st.floats(-15, 15), min_size=1, max_size=8)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


@given(real=logits, fake=logits)
def test_binary_objectives_are_the_formulas_of_the_paper(
    real: list[float], fake: list[float]
) -> None:
    r, f = torch.tensor(real, dtype=torch.float64), torch.tensor(fake, dtype=torch.float64)
    value = mean([math.log(sigmoid(x)) for x in real])
    value += mean([math.log(1 - sigmoid(x)) for x in fake])
    for name in ("minimax", "non_saturating"):
        assert float(OBJECTIVES[name].discriminator(r, f)) == pytest.approx(-value, rel=1e-6)
    minimax = mean([math.log(1 - sigmoid(x)) for x in fake])
    assert float(OBJECTIVES["minimax"].generator(f)) == pytest.approx(minimax, rel=1e-6)
    heuristic = -mean([math.log(sigmoid(x)) for x in fake])
    assert float(OBJECTIVES["non_saturating"].generator(f)) == pytest.approx(heuristic, rel=1e-6)


@given(real=logits, fake=logits)
def test_least_squares_by_hand(real: list[float], fake: list[float]) -> None:
    r, f = torch.tensor(real, dtype=torch.float64), torch.tensor(fake, dtype=torch.float64)
    expected = 0.5 * mean([(x - 1) ** 2 for x in real]) + 0.5 * mean([x**2 for x in fake])
    game = OBJECTIVES["least_squares"]
    assert float(game.discriminator(r, f)) == pytest.approx(expected)
    assert float(game.generator(f)) == pytest.approx(0.5 * mean([(x - 1) ** 2 for x in fake]))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_each_side_wants_the_opposite_of_fakes(name: str) -> None:
    fake = torch.tensor([-0.5, 0.2], requires_grad=True)
    (wants_real,) = torch.autograd.grad(OBJECTIVES[name].generator(fake), fake)
    (wants_fake,) = torch.autograd.grad(
        OBJECTIVES[name].discriminator(torch.tensor([0.3]), fake - 0.0), fake
    )
    assert (wants_real < 0).all()
    if name != "least_squares":  # pulls a logit of -0.5 up to 0
        assert (wants_fake > 0).all()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_belief_is_certain_where_the_discriminator_wants_to_be(name: str) -> None:
    belief = OBJECTIVES[name].belief(torch.tensor([-1e3, 1e3]))
    assert belief.tolist() == [0, 1]


def test_only_minimax_starves_while_the_discriminator_wins() -> None:
    lost = torch.full((4,), -20.0, requires_grad=True)
    size = {
        name: torch.autograd.grad(game.generator(lost), lost)[0].abs().sum()
        for name, game in OBJECTIVES.items()
    }
    assert size["minimax"] < 1e-6
    assert size["non_saturating"] > 0.9


@pytest.mark.parametrize("name", OBJECTIVES)
def test_extreme_logits_stay_finite(name: str) -> None:
    far = torch.tensor([-1e4, 1e4])
    assert OBJECTIVES[name].discriminator(far, far).isfinite()
    assert OBJECTIVES[name].generator(far).isfinite()
