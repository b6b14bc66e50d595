from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from models.config_networks import DISCRIMINATORS, DiscriminatorConfig
from models.discriminators.base import Discriminator
from models.discriminators.registry import build_discriminator
from models.penalties import gradient_penalty, half_squared_gradients

names = pytest.mark.parametrize("name", DISCRIMINATORS)


def small(name: str, **settings: int) -> Discriminator:
    torch.manual_seed(0)
    config = DiscriminatorConfig(name=name, channels=4, stages=2, **settings)
    return build_discriminator(config, bands=2)


def test_a_linear_discriminator_has_half_its_squared_weight() -> None:
    weight = torch.randn(3, 4, 4)
    penalty = gradient_penalty(lambda x: [(x * weight).sum(dim=(1, 2, 3))], torch.rand(5, 3, 4, 4))
    torch.testing.assert_close(penalty, 0.5 * weight.square().sum())


def test_many_values_count_as_their_mean() -> None:
    weight = torch.randn(3, 4, 4)
    one = gradient_penalty(lambda x: [(x * weight).sum(dim=(1, 2, 3))], torch.rand(5, 3, 4, 4))
    many = gradient_penalty(
        lambda x: [(x * weight).sum(dim=(1, 2, 3)).reshape(-1, 1, 1, 1).expand(-1, 1, 6, 6)],
        torch.rand(5, 3, 4, 4),
    )
    torch.testing.assert_close(one, many)


def test_resolutions_are_punished_each_by_itself() -> None:
    weight = torch.randn(3, 4, 4)

    def opposed(x: Tensor) -> list[Tensor]:  # whose sum is flat
        value = (x * weight).sum(dim=(1, 2, 3))
        return [value, -value]

    penalty = gradient_penalty(opposed, torch.rand(2, 3, 4, 4))
    torch.testing.assert_close(penalty, 0.5 * weight.square().sum())


def test_the_unit_makes_radiometry_cancel() -> None:
    judge = small("srgan").eval()
    x = torch.rand(2, 2, 16, 16)
    plain = gradient_penalty(judge, x)
    judge.standardise.set(torch.zeros(2), 200.0)
    torch.testing.assert_close(gradient_penalty(judge, x * 200, torch.tensor([200.0])), plain)


@names
def test_the_penalty_is_the_slope_that_finite_differences_find(name: str) -> None:
    judge = small(name).double().eval()
    x = torch.rand(1, 2, 8, 8, dtype=torch.float64)
    step = 1e-6
    moved = torch.eye(x.numel(), dtype=torch.float64).reshape(-1, *x.shape[1:]) * step
    with torch.no_grad():
        slope = (_decisions(judge, x + moved) - _decisions(judge, x - moved)) / (2 * step)
    penalty = gradient_penalty(judge, x).detach()
    assert float(penalty) == pytest.approx(float(0.5 * slope.square().sum()), rel=1e-3)


def _decisions(judge: Discriminator, x: Tensor) -> Tensor:
    """Mean logits [N], before they are rounded to float32, too coarse for differences."""
    kept: list[Tensor] = []
    last = [m for m in judge.modules() if isinstance(m, nn.Conv2d | nn.Linear)][-1]
    hook = last.register_forward_hook(lambda *call: kept.append(call[2]))
    judge(x)
    hook.remove()
    return kept[0].flatten(1).mean(dim=1)


@names
def test_the_penalty_can_be_learned_from(name: str) -> None:
    """By the change of the penalty along its own gradient, which is autograd's second order."""
    judge = small(name, resolutions=2).double().eval()
    x = torch.rand(2, 2, 16, 16, dtype=torch.float64)
    parameters = [p for p in judge.parameters() if p.dim() > 1]
    penalty = gradient_penalty(judge, x)
    gradients = torch.autograd.grad(penalty, parameters)
    steepness = sum(float(g.square().sum()) for g in gradients)
    assert steepness > 0
    # So short that hardly a leaky ReLU passes its kink, where the penalty would jump.
    step = 1e-6 * float(penalty.detach()) / steepness
    with torch.no_grad():
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter -= step * gradient
    fallen = float(penalty.detach()) - float(gradient_penalty(judge, x).detach())
    assert fallen == pytest.approx(step * steepness, rel=0.01)


@names
def test_one_forward_serves_real_and_drawn_images(name: str) -> None:
    judge = small(name, resolutions=2).eval()
    real, fake = torch.rand(2, 3, 2, 16, 16)
    both = torch.cat([real, fake]).requires_grad_(True)
    each = half_squared_gradients(judge(both), both)
    assert each.shape == (6,)
    r1, r2 = gradient_penalty(judge, real), gradient_penalty(judge, fake)
    torch.testing.assert_close(each[:3].mean(), r1, rtol=1e-3, atol=0)
    torch.testing.assert_close(each[3:].mean(), r2, rtol=1e-3, atol=0)


@names
def test_bfloat16_and_channels_last_give_about_the_same(name: str) -> None:
    judge = small(name)
    x = torch.rand(4, 2, 32, 32)
    expected = gradient_penalty(judge.eval(), x)
    judge, x = (thing.to(memory_format=torch.channels_last) for thing in (judge, x))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        penalty = gradient_penalty(judge, x)
    assert penalty.dtype == torch.float32
    torch.testing.assert_close(penalty, expected, rtol=0.1, atol=0)
    penalty.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in judge.parameters())


def test_the_images_are_left_as_they_were() -> None:
    x = torch.rand(1, 2, 8, 8)
    gradient_penalty(small("srgan"), x)
    assert not x.requires_grad
    assert x.grad is None
