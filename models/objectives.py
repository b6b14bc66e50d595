"""What discriminator and generator are playing for, as pure functions of logits.

With sigma the sigmoid, r the logits of real patches and f those of drawn ones. All are written
with softplus, since log sigma(x) = -softplus(-x) stays finite where sigma underflows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus


@dataclass(frozen=True, kw_only=True)
class Objective:
    """The two sides of a game.

    Parameters
    ----------
    discriminator : callable
        ``(real_logits, fake_logits) -> loss``.
    generator : callable
        ``(fake_logits) -> loss``.
    belief : callable
        Logits to the belief that a patch is real, 0 to 1, so that accuracies of different games
        can be compared.
    """

    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]
    belief: Callable[[Tensor], Tensor] = torch.sigmoid


def binary_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """-E log sigma(r) - E log(1 - sigma(f)); Goodfellow et al., 2014, eq. 1."""
    return softplus(-real).mean() + softplus(fake).mean()


def minimax_generator(fake: Tensor) -> Tensor:
    """E log(1 - sigma(f)), what the discriminator maximises; Goodfellow et al., 2014, eq. 1."""
    return -softplus(fake).mean()


def non_saturating_generator(fake: Tensor) -> Tensor:
    """-E log sigma(f): the same fixed point with a gradient while the discriminator wins.

    Goodfellow et al., 2014, section 3.
    """
    return softplus(-fake).mean()


def least_squares_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """1/2 E (r - 1)^2 + 1/2 E f^2; Mao et al., LSGAN, 2017, eq. 9."""
    return 0.5 * (real - 1).square().mean() + 0.5 * fake.square().mean()


def least_squares_generator(fake: Tensor) -> Tensor:
    """1/2 E (f - 1)^2; Mao et al., LSGAN, 2017, eq. 9."""
    return 0.5 * (fake - 1).square().mean()


def least_squares_belief(logits: Tensor) -> Tensor:
    """Logits themselves, which are drawn to 1 for real and to 0 for fake."""
    return logits.clamp(0, 1)


OBJECTIVES: dict[str, Objective] = {
    "non_saturating": Objective(
        discriminator=binary_discriminator, generator=non_saturating_generator
    ),
    "minimax": Objective(discriminator=binary_discriminator, generator=minimax_generator),
    "least_squares": Objective(
        discriminator=least_squares_discriminator,
        generator=least_squares_generator,
        belief=least_squares_belief,
    ),
}
