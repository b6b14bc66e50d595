"""The updates of an autoencoder of chips: the bound of the likelihood, and no game."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from models.balance import Balance
from models.batch_norm import join_ranks
from models.chip_networks import Autoencoder
from models.chip_product import DrawnChips
from models.config import TrainConfig
from models.data import PairSpec
from models.distributed import Ranks
from models.elbo import gaussian_nats, kl_nats
from models.ema import EMA
from models.errors import ConfigError
from models.generators.base import Generator
from models.latents import batch_latents
from models.player import Metrics, Player, autocast
from models.step import Growth
from models.tensors import Tensors

_NO_GAME = "the task vae has no game: set adversarial_steps to 0"


class VAELearner:
    """HR chips to noise and back, by the likelihood of what is there.

    Kingma and Welling, 2014; the decoder is the generator of DCGAN, so that the two differ in what
    they are trained for and in nothing else. All of it is the content phase.

    Parameters
    ----------
    network : Autoencoder
        With its constants set, on the right device.
    config : TrainConfig
    ranks : Ranks
    dtype : torch.dtype
        Of the convolutions.
    """

    levels: tuple[int, ...] = ()

    def __init__(
        self, network: Autoencoder, config: TrainConfig, ranks: Ranks, dtype: torch.dtype
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

    def product(self, spec: PairSpec) -> DrawnChips:
        """The averaged network; its encoder tells the likelihood of other chips."""
        return DrawnChips(self.ema.network, self._config, spec, self._ranks.device)

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """All that learn."""
        return (self.network,)

    @property
    def balance(self) -> Balance:
        """At rest: there is nobody to be as strong as."""
        return self._balance

    def start_as(self, exported: Generator) -> None:
        """Refused: what draws of noise has no generator to begin as."""
        raise ConfigError("the task vae draws of noise and begins from scratch")

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
        """Update against the bound of the likelihood."""
        metrics = self._player.update(batch, self._loss)
        self.ema.update(self.network)
        return metrics

    def discriminator_step(self, batch: Tensors) -> Metrics:
        """Refused: there is none."""
        raise ConfigError(_NO_GAME)

    def generator_step(self, batch: Tensors, adversarial_weight: float) -> Metrics:
        """Refused: there is no game."""
        raise ConfigError(_NO_GAME)

    def set_rates(self, generator: float, discriminator: float) -> None:
        """Learning rate of the next updates."""
        self._player.set_rate(generator)

    @torch.no_grad()
    def check_up(self, batch: Tensors) -> Metrics:
        """``mean_loss``: what it would cost to draw the mean, as likely as the spread says."""
        units = self.network.standardise
        image, one = units(self._filled(batch)), torch.zeros((), device=batch.hr.device)
        nats = gaussian_nats(image, torch.zeros_like(image), one, batch.valid)
        return {"mean_loss": nats.sum() / batch.hr.numel()}

    def _loss(self, batch: Tensors) -> tuple[Tensor, Metrics]:
        image, units = self._filled(batch), self.network.standardise
        noise = batch_latents(len(image), self._config.chips.latent, self._ranks)
        with self._autocast():
            decoded, mean, log_variance, of_pixels = self._player.wrapped(image, noise)
        count = image.numel()  # on all ranks the same, however many are valid
        nats = gaussian_nats(units(image), units(decoded), of_pixels, batch.valid).sum() / count
        kl = kl_nats(mean, log_variance).sum() / count
        loss = nats + self._config.chips.kl * kl
        return loss, {
            "content_loss": loss.detach(),
            "elbo": -(nats + kl).detach(),
            "kl": kl.detach(),
            "kl_per_image": kl.detach() * math.prod(image.shape[1:]),
            "pixel_spread": (of_pixels / 2).exp().detach(),
        }

    def _filled(self, batch: Tensors) -> Tensor:
        """HR chips with the mean of the imagery where they are not valid."""
        return torch.lerp(self.network.standardise.mean, batch.hr, batch.valid)

    def _autocast(self) -> torch.autocast:
        return autocast(self._ranks, self._dtype)
