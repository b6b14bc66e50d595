"""The updates of a game without any input: chips drawn of noise against real ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from models.balance import Balance
from models.batch_norm import join_ranks
from models.chip_networks import ChipGenerator
from models.chip_product import DrawnChips
from models.chip_scores import mean_distance
from models.config import TrainConfig
from models.data import PairSpec
from models.discriminators.base import Discriminator
from models.distributed import Ranks
from models.ema import EMA
from models.errors import ConfigError
from models.generators.base import Generator
from models.latents import batch_latents, fixed_latents
from models.player import Metrics, Player, autocast
from models.referee import Referee, Shown
from models.step import Growth
from models.tensors import Tensors


class DCGANLearner:
    """Noise to HR chips, judged beside real ones; LR images are not looked at.

    Radford, Metz and Chintala, 2016; see `ChipGenerator`. The discriminator is one of this
    project's, without batch normalisation. It sees chips as they are: there is no LR grid to keep
    step with, so none is rolled, and holes of real chips are holes of drawn ones.

    Parameters
    ----------
    generator : ChipGenerator
    discriminator : Discriminator
        Both with their constants set, on the right device.
    config : TrainConfig
    ranks : Ranks
    dtype : torch.dtype
        Of the convolutions.
    """

    levels: tuple[int, ...] = ()

    def __init__(
        self,
        generator: ChipGenerator,
        discriminator: Discriminator,
        config: TrainConfig,
        ranks: Ranks,
        dtype: torch.dtype,
    ) -> None:
        self.generator = generator
        self.ema = EMA(generator, decay=config.ema_decay)
        join_ranks(generator, ranks)  # not the mean: rank 0 validates it alone
        self._config = config
        self._ranks = ranks
        self._dtype = dtype
        self._player = Player(
            "generator",
            ranks.wrap(generator),
            torch.optim.Adam(
                generator.parameters(), lr=config.lr_generator, betas=(0.5, 0.99), fused=True
            ),
            config,
            ranks,
        )
        self._referee = Referee(discriminator, config, ranks, dtype)

    def product(self, spec: PairSpec) -> DrawnChips:
        """The averaged generator."""
        return DrawnChips(self.ema.network, self._config, spec, self._ranks.device)

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """All that learn."""
        return self.generator, self._referee.network

    @property
    def balance(self) -> Balance:
        """What keeps the discriminator about as strong as the generator."""
        return self._referee.balance

    def start_as(self, exported: Generator) -> None:
        """Refused: what draws of noise has no generator to begin as."""
        raise ConfigError("the task dcgan draws of noise and begins from scratch")

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {
            "generator": self.generator.state_dict(),
            "ema": self.ema.state_dict(),
            "generator_optimiser": self._player.optimiser.state_dict(),
            **self._referee.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what `state_dict` gave."""
        self.generator.load_state_dict(state["generator"])
        self.ema.load_state_dict(state["ema"])
        self._player.optimiser.load_state_dict(state["generator_optimiser"])
        self._referee.load_state_dict(state)

    def content_step(self, batch: Tensors, growth: Growth | None = None) -> Metrics:
        """Refused: there is nothing but the game."""
        raise ConfigError("the task dcgan has no content phase: set content_steps to 0")

    def discriminator_step(self, batch: Tensors) -> Metrics:
        """Update of the discriminator on as many real chips as drawn ones."""

        def show(piece: Tensors) -> Shown:
            with torch.no_grad(), self._autocast():
                drawn = self.generator(self._noise(piece))
            return self._shown(drawn, piece)

        return self._referee.learn(batch, show)

    def generator_step(self, batch: Tensors, adversarial_weight: float) -> Metrics:
        """Update of the generator. There is nothing that the game has a weight against."""

        def loss_of(piece: Tensors) -> tuple[Tensor, Metrics]:
            with self._autocast():
                drawn = self._player.wrapped(self._noise(piece))  # [n, C, side, side]
            loss = self._referee.answer(self._shown(drawn, piece)).adversarial
            return loss, {"adversarial_loss": loss.detach()}

        metrics = self._player.update(batch, loss_of)
        self.ema.update(self.generator)
        return metrics

    def set_rates(self, generator: float, discriminator: float) -> None:
        """Learning rates of the next updates; `balance` has a word in the discriminator's."""
        self._player.set_rate(generator)
        self._referee.set_rate(discriminator)

    @torch.no_grad()
    def check_up(self, batch: Tensors) -> Metrics:
        """``diversity``: how far drawn chips are from each other, against real ones."""
        noise = fixed_latents(len(batch.hr), self.generator.latent, self._ranks.rank)
        with self._autocast():
            drawn = self.generator(noise.to(self._ranks.device))
        shown = self._shown(drawn, batch)
        of_real, of_drawn = (
            mean_distance(images.float().cpu().numpy()) for images in (shown.real, shown.drawn)
        )
        varied = of_drawn / of_real if of_real > 0 else 1.0
        return {"diversity": torch.tensor(varied, device=self._ranks.device)}

    def _noise(self, batch: Tensors) -> Tensor:
        return batch_latents(len(batch.hr), self.generator.latent, self._ranks)

    def _shown(self, drawn: Tensor, batch: Tensors) -> Shown:
        mean = self.generator.standardise.mean
        return Shown(*(torch.lerp(mean, images, batch.valid) for images in (batch.hr, drawn)))

    def _autocast(self) -> torch.autocast:
        return autocast(self._ranks, self._dtype)
