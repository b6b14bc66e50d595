"""What drawing chips from noise can be told.

This module must not import torch: flows show these values as a form, and ``--help`` stays fast.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from models.config_checks import at_least, positive
from models.errors import ConfigError

_SMALLEST, _LARGEST = 4, 7  # sides of the first planes, in pixels
_WIDEST = 8  # times the planes of the last layer


@dataclass(frozen=True, kw_only=True)
class ChipsConfig:
    """Of the tasks ``dcgan`` and ``vae``: what draws HR chips of nothing but noise.

    Parameters
    ----------
    category : str or None
        Learn from chips of this category alone; of all by default.
    latent : int
        Random numbers that a chip is drawn of.
    channels : int
        Feature planes at the full size; twice as many at each halving, up to eight times.
    kl : float
        Of ``vae``: weight of the distance between what the encoder says and what is drawn of. 1 is
        the bound of the likelihood itself.
    walk : int
        Pictures of a walk from one chip to the next, in each leg.
    """

    category: str | None = None
    latent: int = 64
    channels: int = 16
    kl: float = 1.0
    walk: int = 8

    def __post_init__(self) -> None:
        if self.category is not None and not self.category.strip():
            raise ConfigError("chips category is empty: name one, or leave it out for all")
        for name in ("latent", "channels"):
            at_least(f"chips {name}", getattr(self, name), 1)
        at_least("chips walk", self.walk, 2)
        positive("chips kl", self.kl)

    def planes(self, halvings: int) -> int:
        """Feature planes at the full size halved so often."""
        return self.channels * min(1 << halvings, _WIDEST)


def halvings_of(side: int) -> int:
    """How often a chip's side is halved to come to the first planes, of 4 to 7 pixels.

    Raises
    ------
    ConfigError
        When it cannot be halved so often.
    """
    halvings = max(0, (side // _SMALLEST).bit_length() - 1)
    if halvings == 0 or side % (1 << halvings):
        fitting = sorted(sides(max(2 * side, 16)), key=lambda found: abs(found - side))[:2]
        raise ConfigError(
            f"chips of {side} HR pixels cannot be drawn by doubling planes of "
            f"{_SMALLEST} to {_LARGEST}: choose patch_lr so that patch_lr times the scale is "
            f"{' or '.join(map(str, sorted(fitting)))}, for example",
            side=side,
        )
    return halvings


def sides(most: int) -> Iterator[int]:
    """Sides of chips that can be drawn."""
    for first in range(_SMALLEST, _LARGEST + 1):
        side = 2 * first
        while side <= most:
            yield side
            side *= 2
