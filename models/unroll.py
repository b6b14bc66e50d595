"""The discriminator as it will be a few updates from now, with a gradient back to the generator.

Metz et al., "Unrolled generative adversarial networks", 2017: a generator that is judged by today's
discriminator may hop from one pattern to the next, each time caught a little later; one that is
judged by tomorrow's has nothing to gain from that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

Judge = Callable[[Tensor, Tensor | None], Sequence[Tensor]]


def unroll(
    discriminator: nn.Module,
    optimiser: torch.optim.Optimizer,
    images: Tensor,
    beside: Tensor | None,
    loss_of: Callable[[Sequence[Tensor]], Tensor],
    *,
    steps: int,
    autocast: Callable[[], Any],
    mean: Callable[[Tensor], Tensor] = lambda gradient: gradient,
) -> Judge:
    """Take the discriminator `steps` updates ahead, without changing it.

    Parameters
    ----------
    optimiser : torch.optim.Adam
        Of the discriminator. Its rate, and its second moments as they are now, scale the updates;
        they count as constants. Without these, a step of the plain gradient would be far from the
        one that the discriminator will take.
    images, beside : Tensor
        What it learns from in these updates, real and drawn together.
    loss_of : callable
        Logits to the discriminator's loss.
    autocast : callable
        Context for forward passes.
    mean : callable
        Mean of a gradient over ranks, with a gradient of its own.

    Returns
    -------
    callable
        ``(images, beside) -> logits`` of the discriminator to be. Gradients flow through the
        updates into `images`, where that has any; not into the discriminator's weights.
    """
    weights = {name: p.detach().requires_grad_() for name, p in discriminator.named_parameters()}
    scales = _scales(discriminator, optimiser)

    def judge_with(values: dict[str, Tensor]) -> Judge:
        def judge(x: Tensor, other: Tensor | None) -> Sequence[Tensor]:
            with autocast():
                logits: Sequence[Tensor] = functional_call(discriminator, values, (x, other))
            return logits

        return judge

    for _ in range(steps):
        loss = loss_of(judge_with(weights)(images, beside))
        gradients = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
        weights = {
            name: value - scales[name] * mean(gradient)
            for (name, value), gradient in zip(weights.items(), gradients, strict=True)
        }
    return judge_with(weights)


def _scales(discriminator: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """What Adam multiplies a gradient by, for each weight; zero before its first update."""
    scales = {}
    for name, parameter in discriminator.named_parameters():
        group = next(g for g in optimiser.param_groups if any(p is parameter for p in g["params"]))
        state = optimiser.state.get(parameter)
        if not state:
            scales[name] = torch.zeros_like(parameter)
            continue
        correction = 1 - group["betas"][1] ** state["step"]
        root = (state["exp_avg_sq"] / correction).sqrt()
        scales[name] = group["lr"] / (root + group["eps"])
    return scales
