"""The discriminator as it will be a few updates from now, with a gradient back to the generator.

Metz et al., "Unrolled generative adversarial networks", 2017: a generator that is judged by today's
discriminator may hop from one pattern to the next, each time caught a little later; one that is
judged by tomorrow's has nothing to gain from that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

_TINY = 1e-24  # below it roots have no gradient: at zero, where a weight is dead, it is infinite

Judge = Callable[[Tensor, Tensor | None], Sequence[Tensor]]


def unroll(
    discriminator: nn.Module,
    optimiser: torch.optim.Optimizer,
    images: Tensor,
    beside: Tensor | None,
    loss_of: Callable[[Sequence[Tensor]], Tensor],
    *,
    steps: int,
    clip: float,
    autocast: Callable[[], Any],
    mean: Callable[[Tensor], Tensor] = lambda gradient: gradient,
) -> Judge:
    """Take the discriminator `steps` updates ahead, without changing it.

    Parameters
    ----------
    optimiser : torch.optim.Adam
        Of the discriminator: what it would do is done, from its moments as they are now.
    images, beside : Tensor
        What it learns from in these updates, real and drawn together.
    loss_of : callable
        Logits to the discriminator's loss.
    clip : float
        Largest norm of its gradient.
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
    moments = {name: _Moments.of(p, optimiser) for name, p in discriminator.named_parameters()}

    def judge_with(values: dict[str, Tensor]) -> Judge:
        def judge(x: Tensor, other: Tensor | None) -> Sequence[Tensor]:
            with autocast():
                logits: Sequence[Tensor] = functional_call(discriminator, values, (x, other))
            return logits

        return judge

    for _ in range(steps):
        loss = loss_of(judge_with(weights)(images, beside))
        found = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
        gradients = _clip([mean(gradient) for gradient in found], clip)
        for name, gradient in zip(list(weights), gradients, strict=True):
            moments[name], change = moments[name].step(gradient)
            weights[name] = weights[name] - change
    return judge_with(weights)


@dataclass(frozen=True, kw_only=True)
class _Moments:
    """What Adam remembers of a weight; Kingma and Ba, 2015, algorithm 1."""

    first: Tensor
    second: Tensor
    updates: Tensor
    rate: float
    betas: tuple[float, float]
    eps: float

    @classmethod
    def of(cls, parameter: nn.Parameter, optimiser: torch.optim.Optimizer) -> _Moments:
        group = next(g for g in optimiser.param_groups if any(p is parameter for p in g["params"]))
        state = optimiser.state.get(parameter) or {}
        return cls(
            first=state.get("exp_avg", torch.zeros_like(parameter)),
            second=state.get("exp_avg_sq", torch.zeros_like(parameter)),
            updates=state.get("step", torch.zeros((), device=parameter.device)),
            rate=float(group["lr"]),
            betas=group["betas"],
            eps=group["eps"],
        )

    def step(self, gradient: Tensor) -> tuple[_Moments, Tensor]:
        """The moments after an update, and what it takes off the weight."""
        (b1, b2), updates = self.betas, self.updates + 1
        first = torch.lerp(self.first, gradient, 1 - b1)
        second = torch.lerp(self.second, gradient.square(), 1 - b2)
        root = (second / (1 - b2**updates)).clamp(min=_TINY).sqrt()
        change = self.rate * first / (1 - b1**updates) / (root + self.eps)
        return replace(self, first=first, second=second, updates=updates), change


def _clip(gradients: Sequence[Tensor], most: float) -> list[Tensor]:
    """As `torch.nn.utils.clip_grad_norm_`, with a gradient."""
    squares = torch.stack([gradient.square().sum() for gradient in gradients]).sum()
    factor = (most / (squares.clamp(min=_TINY).sqrt() + 1e-6)).clamp(max=1.0)
    return [gradient * factor for gradient in gradients]
