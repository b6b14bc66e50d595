"""Learning without a game: one network, its loss and its mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from models.balance import Balance
from models.batch_norm import join_ranks
from models.config import TrainConfig
from models.distributed import Ranks
from models.ema import EMA
from models.errors import ConfigError
from models.generators.base import Generator
from models.player import Metrics, Player, autocast
from models.step import Growth
from models.tensors import Tensors

_Network = TypeVar("_Network", bound=nn.Module)


class SoloLearner(Generic[_Network]):
    """What strategies without a discriminator share; see `models.strategy.Strategy`.

    Parameters
    ----------
    network : Module
        With its constants set, on the right device.
    config : TrainConfig
    ranks : Ranks
    dtype : torch.dtype
        Of the convolutions.
    """

    levels: tuple[int, ...] = ()

    def __init__(
        self, network: _Network, config: TrainConfig, ranks: Ranks, dtype: torch.dtype
    ) -> None:
        self.network = network
        self.ema = EMA(network, decay=config.ema_decay)
        join_ranks(network, ranks)  # not the mean: rank 0 validates it alone
        self._config = config
        self._ranks = ranks
        self._dtype = dtype
        self._balance = Balance()
        self._player = Player(
            "generator",
            ranks.wrap(network),
            torch.optim.Adam(
                network.parameters(), lr=config.lr_content, betas=(0.9, 0.99), fused=True
            ),
            config,
            ranks,
        )

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """All that learn."""
        return (self.network,)

    @property
    def balance(self) -> Balance:
        """At rest: there is nobody to be as strong as."""
        return self._balance

    def start_as(self, exported: Generator) -> None:
        """Refused, but where there is a generator to begin as."""
        raise ConfigError(
            f"the task {self._config.task} begins from scratch: leave the generator to start from "
            "out"
        )

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {
            "generator": self.network.state_dict(),
            "ema": self.ema.state_dict(),
            "generator_optimiser": self._player.optimiser.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what `state_dict` gave."""
        self.network.load_state_dict(state["generator"])
        self.ema.load_state_dict(state["ema"])
        self._player.optimiser.load_state_dict(state["generator_optimiser"])

    def content_step(self, batch: Tensors, growth: Growth | None = None) -> Metrics:
        """Update against the loss."""
        metrics = self._player.update(batch, self._loss)
        self.ema.update(self.network)
        return metrics

    def discriminator_step(self, batch: Tensors) -> Metrics:
        """Refused: there is none."""
        raise ConfigError(self._no_game)

    def generator_step(self, batch: Tensors, adversarial_weight: float) -> Metrics:
        """Refused: there is no game."""
        raise ConfigError(self._no_game)

    def set_rates(self, generator: float, discriminator: float) -> None:
        """Learning rate of the next updates."""
        self._player.set_rate(generator)

    def _loss(self, batch: Tensors) -> tuple[Tensor, Metrics]:
        """Loss of a piece of a mini-batch, and what is told of it."""
        raise NotImplementedError

    @property
    def _no_game(self) -> str:
        return f"the task {self._config.task} has no game: set adversarial_steps to 0"

    def _autocast(self) -> torch.autocast:
        return autocast(self._ranks, self._dtype)
