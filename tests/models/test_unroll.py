"""Unrolled gradients against finite differences, and against what the updates really do."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from models.unroll import unroll

CLIP = 0.3  # less than the gradients here


class Judge(nn.Module):
    """Two layers, smooth, in double precision."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 1)).double()

    def forward(self, x: Tensor, beside: Tensor | None = None) -> list[Tensor]:
        return [self.layers(x).flatten()]


def loss_of(logits: Sequence[Tensor]) -> Tensor:
    real, fake = logits[0].chunk(2)
    return softplus(-real).mean() + softplus(fake).mean()


@pytest.fixture
def game() -> tuple[Judge, torch.optim.Adam, Tensor, Tensor]:
    """A discriminator that has learned a little, real data, and what was drawn."""
    judge = Judge()
    optimiser = torch.optim.Adam(judge.parameters(), lr=0.05, betas=(0.5, 0.9))
    real, fake = torch.randn(2, 6, 4, dtype=torch.float64)
    for _ in range(3):
        optimiser.zero_grad()
        loss_of(judge(torch.cat([real, fake]))).backward()
        optimiser.step()
    return judge, optimiser, real, fake


def generator_loss(
    game: tuple[Judge, torch.optim.Adam, Tensor, Tensor], fake: Tensor, steps: int
) -> Tensor:
    judge, optimiser, real, _ = game
    ahead = unroll(
        judge,
        optimiser,
        torch.cat([real, fake]),
        None,
        loss_of,
        steps=steps,
        clip=CLIP,
        autocast=nullcontext,
    )
    return softplus(-ahead(fake, None)[0]).mean()


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_the_gradient_is_that_of_finite_differences(
    game: tuple[Judge, torch.optim.Adam, Tensor, Tensor], steps: int
) -> None:
    fake = game[3].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: generator_loss(game, x, steps), (fake,))


def test_it_flows_through_the_updates(
    game: tuple[Judge, torch.optim.Adam, Tensor, Tensor],
) -> None:
    judge, optimiser, real, fake = game
    x = fake.clone().requires_grad_()
    through = torch.autograd.grad(generator_loss(game, x, 2), x)[0]
    ahead = unroll(
        judge,
        optimiser,
        torch.cat([real, fake]),
        None,
        loss_of,
        steps=2,
        clip=CLIP,
        autocast=nullcontext,
    )
    around = torch.autograd.grad(softplus(-ahead(x, None)[0]).mean(), x)[0]
    assert not torch.allclose(through, around)


def test_the_discriminator_to_be_is_better_and_that_of_today_is_left_alone(
    game: tuple[Judge, torch.optim.Adam, Tensor, Tensor],
) -> None:
    judge, optimiser, real, fake = game
    images = torch.cat([real, fake])
    before = [p.detach().clone() for p in judge.parameters()]
    losses = [
        float(
            loss_of(
                unroll(
                    judge,
                    optimiser,
                    images,
                    None,
                    loss_of,
                    steps=k,
                    clip=CLIP,
                    autocast=nullcontext,
                )(images, None)
            ).detach()
        )
        for k in range(4)
    ]
    assert losses[0] == pytest.approx(float(loss_of(judge(images)).detach()))
    assert losses == sorted(losses, reverse=True)
    assert all(torch.equal(a, b) for a, b in zip(before, judge.parameters(), strict=True))
    assert all(p.grad is not None for p in judge.parameters())  # those of the last real update


def test_steps_ahead_are_the_steps_that_the_optimiser_then_takes(
    game: tuple[Judge, torch.optim.Adam, Tensor, Tensor],
) -> None:
    judge, optimiser, real, fake = game
    images = torch.cat([real, fake])
    ahead = unroll(
        judge, optimiser, images, None, loss_of, steps=3, clip=CLIP, autocast=nullcontext
    )(images, None)[0]
    for _ in range(3):
        optimiser.zero_grad()
        loss_of(judge(images)).backward()
        nn.utils.clip_grad_norm_(judge.parameters(), CLIP)
        optimiser.step()
    torch.testing.assert_close(judge(images)[0], ahead)


def test_weights_without_a_gradient_stay_and_break_nothing(
    game: tuple[Judge, torch.optim.Adam, Tensor, Tensor],
) -> None:
    judge, _, real, fake = game
    with torch.no_grad():
        judge.layers[2].weight[:, :2] = 0
    fresh = torch.optim.Adam(judge.parameters(), lr=0.05)
    x = fake.clone().requires_grad_()
    ahead = unroll(
        judge, fresh, torch.cat([real, x]), None, loss_of, steps=2, clip=CLIP, autocast=nullcontext
    )
    gradient = torch.autograd.grad(softplus(-ahead(x, None)[0]).mean(), x)[0]
    assert torch.isfinite(gradient).all()
