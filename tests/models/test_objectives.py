from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.errors import ConfigError
from models.objectives import OBJECTIVES

logits = st.lists(st.floats(-15, 15), min_size=1, max_size=8)
pairs = st.lists(st.tuples(st.floats(-15, 15), st.floats(-15, 15)), min_size=1, max_size=8)
smoothings = st.sampled_from([0.0, 0.1, 0.3])
games = pytest.mark.parametrize("name", OBJECTIVES)
SMOOTHABLE = ("non_saturating", "minimax", "least_squares")


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def tensors(*lists: list[float]) -> list[torch.Tensor]:
    return [torch.tensor(values, dtype=torch.float64) for values in lists]


@given(real=logits, fake=logits, smoothing=smoothings)
def test_binary_objectives_are_the_formulas_of_the_paper(
    real: list[float], fake: list[float], smoothing: float
) -> None:
    r, f = tensors(real, fake)
    value = mean(
        [
            (1 - smoothing) * math.log(sigmoid(x)) + smoothing * math.log(1 - sigmoid(x))
            for x in real
        ]
    )
    value += mean([math.log(1 - sigmoid(x)) for x in fake])
    for name in ("minimax", "non_saturating"):
        loss = OBJECTIVES[name].discriminator(r, f, smoothing)
        assert float(loss) == pytest.approx(-value, rel=1e-6)
    minimax = mean([math.log(1 - sigmoid(x)) for x in fake])
    assert float(OBJECTIVES["minimax"].generator(f, r)) == pytest.approx(minimax, rel=1e-6)
    heuristic = -mean([math.log(sigmoid(x)) for x in fake])
    assert float(OBJECTIVES["non_saturating"].generator(f, r)) == pytest.approx(heuristic, rel=1e-6)


@given(real=logits, fake=logits, smoothing=smoothings)
def test_least_squares_by_hand(real: list[float], fake: list[float], smoothing: float) -> None:
    r, f = tensors(real, fake)
    expected = 0.5 * mean([(x - 1 + smoothing) ** 2 for x in real])
    expected += 0.5 * mean([x**2 for x in fake])
    game = OBJECTIVES["least_squares"]
    assert float(game.discriminator(r, f, smoothing)) == pytest.approx(expected)
    assert float(game.generator(f, r)) == pytest.approx(0.5 * mean([(x - 1) ** 2 for x in fake]))


@given(real=logits, fake=logits)
def test_hinge_by_hand(real: list[float], fake: list[float]) -> None:
    r, f = tensors(real, fake)
    expected = mean([max(0, 1 - x) for x in real]) + mean([max(0, 1 + x) for x in fake])
    game = OBJECTIVES["hinge"]
    assert float(game.discriminator(r, f)) == pytest.approx(expected)
    assert float(game.generator(f, r)) == pytest.approx(-mean(fake))


@given(real=logits, fake=logits)
def test_relativistic_average_by_hand(real: list[float], fake: list[float]) -> None:
    r, f = tensors(real, fake)
    expected = -mean([math.log(sigmoid(x - mean(fake))) for x in real])
    expected -= mean([math.log(sigmoid(mean(real) - x)) for x in fake])
    game = OBJECTIVES["relativistic"]
    assert float(game.discriminator(r, f)) == pytest.approx(expected, rel=1e-6)
    wanted = -mean([math.log(sigmoid(mean(fake) - x)) for x in real])
    wanted -= mean([math.log(sigmoid(x - mean(real))) for x in fake])
    assert float(game.generator(f, r)) == pytest.approx(wanted, rel=1e-6)


@given(pairs=pairs)
def test_relativistic_pairing_by_hand(pairs: list[tuple[float, float]]) -> None:
    r, f = tensors([a for a, _ in pairs], [b for _, b in pairs])
    game = OBJECTIVES["relativistic_paired"]
    expected = -mean([math.log(sigmoid(a - b)) for a, b in pairs])
    assert float(game.discriminator(r, f)) == pytest.approx(expected, rel=1e-6)
    wanted = -mean([math.log(sigmoid(b - a)) for a, b in pairs])
    assert float(game.generator(f, r)) == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("name", ["relativistic", "relativistic_paired"])
@given(pairs=pairs, constant=st.floats(-5, 5))
def test_relativistic_games_know_differences_only(
    name: str, pairs: list[tuple[float, float]], constant: float
) -> None:
    r, f = tensors([a for a, _ in pairs], [b for _, b in pairs])
    game = OBJECTIVES[name]
    torch.testing.assert_close(
        game.discriminator(r, f), game.discriminator(r + constant, f + constant)
    )
    torch.testing.assert_close(game.generator(f, r), game.generator(f + constant, r + constant))


@games
def test_the_generators_need_for_real_logits_is_told(name: str) -> None:
    game = OBJECTIVES[name]
    fake, real = torch.tensor([0.3, -0.2]), torch.tensor([0.1, 0.4])
    differs = bool(game.generator(fake, real) != game.generator(fake, real + 1))
    assert differs is game.compares


@games
def test_each_side_wants_the_opposite_of_fakes(name: str) -> None:
    fake = torch.tensor([-0.5, 0.2], requires_grad=True)
    real = torch.tensor([0.3, 0.1])
    (wants_real,) = torch.autograd.grad(OBJECTIVES[name].generator(fake, real), fake)
    (wants_fake,) = torch.autograd.grad(OBJECTIVES[name].discriminator(real, fake - 0.0), fake)
    assert (wants_real < 0).all()
    if name != "least_squares":  # pulls a logit of -0.5 up to 0
        assert (wants_fake > 0).all()


@games
def test_beliefs_are_certain_where_the_discriminator_wants_to_be(name: str) -> None:
    high, low = torch.full((3,), 1e3), torch.full((3,), -1e3)
    of_real, of_fake = OBJECTIVES[name].beliefs(high, low)
    assert of_real.tolist() == [1, 1, 1]
    assert of_fake.tolist() == [0, 0, 0]


@games
@given(pairs=pairs)
def test_beliefs_are_shares_in_the_shape_of_the_logits(
    name: str, pairs: list[tuple[float, float]]
) -> None:
    r, f = tensors([a for a, _ in pairs], [b for _, b in pairs])
    for belief in OBJECTIVES[name].beliefs(r, f):
        assert belief.shape == r.shape
        assert ((belief >= 0) & (belief <= 1)).all()


@games
def test_who_cannot_tell_believes_half_where_the_game_has_its_fixed_point(name: str) -> None:
    undecided = torch.full((4,), 0.5 if name == "least_squares" else 0.0)
    for belief in OBJECTIVES[name].beliefs(undecided, undecided):
        torch.testing.assert_close(belief, torch.full((4,), 0.5))
    # No step of the discriminator away from it gains anything.
    both = undecided.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(OBJECTIVES[name].discriminator(both, both), both)
    torch.testing.assert_close(gradient, torch.zeros(4))


def test_only_minimax_starves_while_the_discriminator_wins() -> None:
    lost = torch.full((4,), -20.0, requires_grad=True)
    real = torch.full((4,), 20.0)
    size = {
        name: float(torch.autograd.grad(game.generator(lost, real), lost)[0].abs().sum())
        for name, game in OBJECTIVES.items()
    }
    assert size.pop("minimax") < 1e-6
    assert min(size.values()) > 0.9


@pytest.mark.parametrize("name", SMOOTHABLE)
def test_smoothing_moves_the_best_logit_of_real_patches_alone(name: str) -> None:
    at = 0.9 if name == "least_squares" else math.log(0.9 / 0.1)
    real = torch.full((2,), at, requires_grad=True)
    fake = torch.zeros(2, requires_grad=True)
    loss = OBJECTIVES[name].discriminator(real, fake, 0.1)
    of_real, of_fake = torch.autograd.grad(loss, (real, fake))
    torch.testing.assert_close(of_real, torch.zeros(2), atol=1e-6, rtol=0)
    plain = OBJECTIVES[name].discriminator(real, fake)
    torch.testing.assert_close(of_fake, torch.autograd.grad(plain, fake)[0])


@pytest.mark.parametrize("name", sorted(set(OBJECTIVES) - set(SMOOTHABLE)))
def test_smoothing_is_refused_where_it_means_nothing(name: str) -> None:
    with pytest.raises(ConfigError, match="label_smoothing"):
        OBJECTIVES[name].discriminator(torch.zeros(1), torch.zeros(1), 0.1)


@games
def test_extreme_logits_stay_finite(name: str) -> None:
    far = torch.tensor([-1e4, 1e4], requires_grad=True)
    other = far.detach().flip(0)
    for loss in (
        OBJECTIVES[name].discriminator(far, other),
        OBJECTIVES[name].discriminator(other, far),
        OBJECTIVES[name].generator(far, other),
    ):
        assert loss.isfinite()
        assert torch.autograd.grad(loss, far)[0].isfinite().all()


@games
def test_maps_of_logits_are_games_of_all_their_values(name: str) -> None:
    real, fake = torch.randn(2, 2, 1, 3, 3)
    game = OBJECTIVES[name]
    torch.testing.assert_close(
        game.discriminator(real, fake), game.discriminator(real.flatten(), fake.flatten())
    )
    torch.testing.assert_close(
        game.generator(fake, real), game.generator(fake.flatten(), real.flatten())
    )
