"""The updates of learning from pairs what a satellite makes of finer ground."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from models.balance import Balance
from models.config import TrainConfig
from models.cycle_losses import distance, whole_cells
from models.data import PairSpec
from models.degrader import Degrader
from models.degrading import Degrading
from models.discriminators.base import Discriminator
from models.distributed import Ranks
from models.ema import EMA
from models.errors import ConfigError
from models.generators.base import Generator
from models.player import LossOf, Metrics, Player, autocast
from models.referee import Referee, Shown
from models.step import Growth
from models.tensors import Tensors


class DegradeLearner:
    """A degrader and who tells its LR images from real ones.

    Content is the distance of what is seen to the true LR image, of the mean of what is seen with
    a noise and with its opposite: the image has to be right, and noise costs nothing there. What
    noise has to be like, the discriminator says.

    Parameters
    ----------
    degrader : Degrader
    discriminator : Discriminator
        Of LR patches; a conditional one sees the mean of the HR image beside them. Both with their
        constants set, on the right device.
    dtype : torch.dtype
        Of the convolutions.
    """

    levels: tuple[int, ...] = ()

    def __init__(
        self,
        degrader: Degrader,
        discriminator: Discriminator,
        config: TrainConfig,
        ranks: Ranks,
        dtype: torch.dtype,
    ) -> None:
        self.degrader = degrader
        self.ema = EMA(degrader, decay=config.ema_decay)
        self._config = config
        self._ranks = ranks
        self._dtype = dtype
        self._player = Player(
            "generator",
            ranks.wrap(_Seeing(degrader)),
            torch.optim.Adam(
                degrader.parameters(), lr=config.lr_content, betas=(0.9, 0.99), fused=True
            ),
            config,
            ranks,
        )
        self._referee = Referee(discriminator, config, ranks, dtype)

    def product(self, spec: PairSpec) -> Degrading:
        """The averaged degrader."""
        return Degrading(self.ema.network, self._config.cycle, spec, self._ranks.device)

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """All that learn."""
        return self.degrader, self._referee.network

    @property
    def balance(self) -> Balance:
        """What keeps the discriminator about as strong as the degrader."""
        return self._referee.balance

    def start_as(self, exported: Generator) -> None:
        """Refuse: a generator goes the other way.

        Raises
        ------
        ConfigError
            Always.
        """
        raise ConfigError(
            "the task degrade begins from scratch, a generator goes the other way: leave the "
            "generator to start from out"
        )

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {
            "degrader": self.degrader.state_dict(),
            "ema": self.ema.state_dict(),
            "generator_optimiser": self._player.optimiser.state_dict(),
            **self._referee.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what `state_dict` gave."""
        self.degrader.load_state_dict(state["degrader"])
        self.ema.load_state_dict(state["ema"])
        self._player.optimiser.load_state_dict(state["generator_optimiser"])
        self._referee.load_state_dict(state)

    def content_step(self, batch: Tensors, growth: Growth | None = None) -> Metrics:
        """Update of the degrader against the true LR images alone."""
        if growth is not None:
            raise ConfigError("a degrader cannot grow")
        return self._update(batch, lambda piece: self._losses(piece, None))

    def discriminator_step(self, batch: Tensors) -> Metrics:
        """Update of the discriminator on as many real LR patches as derived ones."""

        def show(piece: Tensors) -> Shown:
            hr = self._filled(piece)
            with torch.no_grad(), self._autocast():
                seen = self.degrader(hr, self.degrader.noise_for(hr))
            return self._shown(seen, piece)

        return self._referee.learn(batch, show)

    def generator_step(self, batch: Tensors, adversarial_weight: float) -> Metrics:
        """Update of the degrader against true LR images and discriminator together."""
        return self._update(batch, lambda piece: self._losses(piece, adversarial_weight))

    def set_rates(self, generator: float, discriminator: float) -> None:
        """Learning rates of the next updates; `balance` has a word in the discriminator's."""
        self._player.set_rate(generator)
        self._referee.set_rate(discriminator)

    @torch.no_grad()
    def check_up(self, batch: Tensors) -> Metrics:
        """``mean_loss``, the content loss of the plain mean."""
        plain = avg_pool2d(self._filled(batch), self.degrader.scale)
        return {"mean_loss": self._distance(plain, batch)}

    def _losses(self, batch: Tensors, weight: float | None) -> tuple[Tensor, Metrics]:
        hr = self._filled(batch)
        with self._autocast():
            seen, opposite = self._player.wrapped(hr, self.degrader.noise_for(hr))
        loss = self._distance((seen + opposite) / 2, batch)
        metrics = {"content_loss": loss.detach()}
        if weight is not None:
            adversarial = self._referee.answer(self._shown(seen, batch)).adversarial
            loss = loss + weight * adversarial
            metrics["adversarial_loss"] = adversarial.detach()
        return loss, metrics

    def _distance(self, seen: Tensor, batch: Tensors) -> Tensor:
        spread = self.degrader.standardise.spread
        return distance(seen, batch.lr, self._whole(batch), spread)

    def _filled(self, batch: Tensors) -> Tensor:
        return torch.lerp(self.degrader.standardise.mean, batch.hr, batch.valid)

    def _whole(self, batch: Tensors) -> Tensor:
        return whole_cells(batch.valid, self.degrader.scale)

    def _shown(self, seen: Tensor, batch: Tensors) -> Shown:
        valid = self._whole(batch)
        beside = None
        if self._config.discriminator.conditional:
            mean = avg_pool2d(self._filled(batch), self.degrader.scale)
            beside = batch.lr_for_discriminator(mean, valid)
        real, drawn = (batch.lr_for_discriminator(x, valid) for x in (batch.lr, seen))
        return Shown(real, drawn, beside)

    def _autocast(self) -> torch.autocast:
        return autocast(self._ranks, self._dtype)

    def _update(self, batch: Tensors, loss_of: LossOf) -> Metrics:
        metrics = self._player.update(batch, loss_of)
        self.ema.update(self.degrader)
        return metrics


class _Seeing(nn.Module):
    """What a degrader sees with a noise and with its opposite, in one forward, as DDP wants it."""

    def __init__(self, degrader: Degrader) -> None:
        super().__init__()
        self.degrader = degrader

    def forward(self, hr: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        return self.degrader(hr, noise), self.degrader(hr, -noise)
