"""Keeps the discriminator about as strong as the generator."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from models.config import BalanceConfig

_MEMORY = 0.8  # of the running means, from one reading to the next
READ_EVERY = 10
"""Discriminator updates between two readings."""


@dataclass(kw_only=True)
class Balance:
    """What steers the discriminator's learning rate; goes into each checkpoint.

    A discriminator that is always right teaches nothing: where it is sure its gradient is gone,
    and all that is left is the way out of its sight. One that is right by chance knows nothing.
    In between the rate is left as it is.

    Parameters
    ----------
    factor : float
        Of the discriminator's learning rate.
    accuracy, loss : float or None
        Running means; None before the first reading.
    """

    factor: float = 1.0
    accuracy: float | None = None
    loss: float | None = None

    def read(self, config: BalanceConfig, *, accuracy: float, loss: float) -> None:
        """Take in the means of the last few updates, the same on all ranks."""
        self.accuracy = _running(self.accuracy, accuracy)
        self.loss = _running(self.loss, loss)
        if self.accuracy > config.accuracy_high:
            self.factor = max(config.least_rate, self.factor * (1 - config.speed))
        elif self.accuracy < config.accuracy_low:
            self.factor = min(config.most_rate, self.factor / (1 - config.speed))

    def rests(self, config: BalanceConfig) -> bool:
        """Whether the discriminator is so far ahead that it is not to learn now."""
        return self.loss is not None and self.loss < config.skip_below

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Balance:
        """From plain values."""
        return cls(**values)


def _running(before: float | None, value: float) -> float:
    return value if before is None else _MEMORY * before + (1 - _MEMORY) * value
