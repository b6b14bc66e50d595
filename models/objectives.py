"""What discriminator and generator are playing for, as pure functions of logits.

With sigma the sigmoid, r the logits of real patches and f those of drawn ones, of any shape. All
logistic ones are written with softplus, since log sigma(x) = -softplus(-x) stays finite where
sigma underflows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import relu, softplus

from models.errors import ConfigError

Beliefs = tuple[Tensor, Tensor]


class DiscriminatorLoss(Protocol):
    """What the discriminator minimises."""

    def __call__(self, real: Tensor, fake: Tensor, smoothing: float = 0.0) -> Tensor:
        """Loss of logits of real and of drawn patches."""


@dataclass(frozen=True, kw_only=True)
class Objective:
    """The two sides of a game.

    Parameters
    ----------
    discriminator : callable
        ``(real_logits, fake_logits, smoothing) -> loss``. With smoothing, real patches count as
        real by one minus it; drawn ones stay drawn (one-sided: Salimans et al., 2016).
    generator : callable
        ``(fake_logits, real_logits) -> loss``. `real_logits` need no gradient.
    beliefs : callable
        ``(real_logits, fake_logits) -> (of real patches, of drawn ones)``: how far each is
        believed to be real, 0 to 1 in the shape of the logits, above 1/2 where it is taken for
        real, so that accuracies of different games can be compared.
    compares : bool
        Whether the generator's loss depends on `real_logits`.
    """

    discriminator: DiscriminatorLoss
    generator: Callable[[Tensor, Tensor], Tensor]
    beliefs: Callable[[Tensor, Tensor], Beliefs]
    compares: bool = False


# --- logistic -----------------------------------------------------------------------------------


def binary_discriminator(real: Tensor, fake: Tensor, smoothing: float = 0.0) -> Tensor:
    """-E[(1 - s) log sigma(r) + s log(1 - sigma(r))] - E log(1 - sigma(f)).

    Goodfellow et al., 2014, eq. 1; smoothing s after Salimans et al., 2016, section 3.4.
    """
    return (softplus(-real) + smoothing * real).mean() + softplus(fake).mean()


def minimax_generator(fake: Tensor, real: Tensor) -> Tensor:
    """E log(1 - sigma(f)), what the discriminator maximises; Goodfellow et al., 2014, eq. 1."""
    return -softplus(fake).mean()


def non_saturating_generator(fake: Tensor, real: Tensor) -> Tensor:
    """-E log sigma(f): the same fixed point with a gradient while the discriminator wins.

    Goodfellow et al., 2014, section 3.
    """
    return softplus(-fake).mean()


def sigmoid_beliefs(real: Tensor, fake: Tensor) -> Beliefs:
    """sigma(r) and sigma(f), the probabilities that logistic losses are about."""
    return real.sigmoid(), fake.sigmoid()


# --- least squares ------------------------------------------------------------------------------


def least_squares_discriminator(real: Tensor, fake: Tensor, smoothing: float = 0.0) -> Tensor:
    """1/2 E (r - (1 - s))^2 + 1/2 E f^2; Mao et al., LSGAN, 2017, eq. 9."""
    return 0.5 * (real - (1 - smoothing)).square().mean() + 0.5 * fake.square().mean()


def least_squares_generator(fake: Tensor, real: Tensor) -> Tensor:
    """1/2 E (f - 1)^2; Mao et al., LSGAN, 2017, eq. 9."""
    return 0.5 * (fake - 1).square().mean()


def least_squares_beliefs(real: Tensor, fake: Tensor) -> Beliefs:
    """Logits themselves, which are drawn to 1 for real and to 0 for drawn."""
    return real.clamp(0, 1), fake.clamp(0, 1)


# --- hinge --------------------------------------------------------------------------------------


def hinge_discriminator(real: Tensor, fake: Tensor, smoothing: float = 0.0) -> Tensor:
    """E max(0, 1 - r) + E max(0, 1 + f): who is right by a margin learns no more from it.

    Lim and Ye, "Geometric GAN", 2017; Miyato et al., 2018, eq. 16.
    """
    _refuse(smoothing, "hinge")
    return relu(1 - real).mean() + relu(1 + fake).mean()


def hinge_generator(fake: Tensor, real: Tensor) -> Tensor:
    """-E f; Lim and Ye, "Geometric GAN", 2017; Miyato et al., 2018, eq. 17."""
    return -fake.mean()


def hinge_beliefs(real: Tensor, fake: Tensor) -> Beliefs:
    """(1 + logit) / 2 within the margins, where logits are drawn to 1 and -1."""
    return ((1 + real) / 2).clamp(0, 1), ((1 + fake) / 2).clamp(0, 1)


# --- relativistic -------------------------------------------------------------------------------


def average_discriminator(real: Tensor, fake: Tensor, smoothing: float = 0.0) -> Tensor:
    """-E log sigma(r - E f) - E log(1 - sigma(f - E r)): more real than the mean drawn patch is.

    Jolicoeur-Martineau, "The relativistic discriminator", 2019, RaSGAN. The inner means are those
    of the logits given, so the loss of a mini-batch is not quite the mean of those of its parts.
    """
    _refuse(smoothing, "relativistic")
    return softplus(fake.mean() - real).mean() + softplus(fake - real.mean()).mean()


def average_generator(fake: Tensor, real: Tensor) -> Tensor:
    """-E log(1 - sigma(r - E f)) - E log sigma(f - E r).

    Jolicoeur-Martineau, "The relativistic discriminator", 2019, RaSGAN. Where the discriminator
    wins, neither term saturates.
    """
    return average_discriminator(fake, real)


def average_beliefs(real: Tensor, fake: Tensor) -> Beliefs:
    """sigma(r - E f) and sigma(f - E r): more real than the mean of the others."""
    return (real - fake.mean()).sigmoid(), (fake - real.mean()).sigmoid()


def paired_discriminator(real: Tensor, fake: Tensor, smoothing: float = 0.0) -> Tensor:
    """-E log sigma(r - f), each drawn patch against the real one of the same ground.

    Jolicoeur-Martineau, "The relativistic discriminator", 2019, RSGAN; Huang et al., R3GAN, 2024,
    eq. 2, whose proof of convergence wants R1 and R2 beside it.
    """
    _refuse(smoothing, "relativistic_paired")
    return softplus(fake - real).mean()


def paired_generator(fake: Tensor, real: Tensor) -> Tensor:
    """-E log sigma(f - r); Jolicoeur-Martineau, "The relativistic discriminator", 2019, RSGAN."""
    return softplus(real - fake).mean()


def paired_beliefs(real: Tensor, fake: Tensor) -> Beliefs:
    """sigma(r - f) and sigma(f - r): more real than the other one of the pair."""
    belief = torch.sigmoid(real - fake)
    return belief, 1 - belief


def _refuse(smoothing: float, name: str) -> None:
    if smoothing:
        raise ConfigError(
            f"label_smoothing has no meaning for the objective {name}: set it to 0, got {smoothing}"
        )


OBJECTIVES: dict[str, Objective] = {
    "non_saturating": Objective(
        discriminator=binary_discriminator,
        generator=non_saturating_generator,
        beliefs=sigmoid_beliefs,
    ),
    "minimax": Objective(
        discriminator=binary_discriminator,
        generator=minimax_generator,
        beliefs=sigmoid_beliefs,
    ),
    "least_squares": Objective(
        discriminator=least_squares_discriminator,
        generator=least_squares_generator,
        beliefs=least_squares_beliefs,
    ),
    "hinge": Objective(
        discriminator=hinge_discriminator,
        generator=hinge_generator,
        beliefs=hinge_beliefs,
    ),
    "relativistic": Objective(
        discriminator=average_discriminator,
        generator=average_generator,
        beliefs=average_beliefs,
        compares=True,
    ),
    "relativistic_paired": Objective(
        discriminator=paired_discriminator,
        generator=paired_generator,
        beliefs=paired_beliefs,
        compares=True,
    ),
}
