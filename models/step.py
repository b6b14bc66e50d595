"""The updates that training on pairs is made of, each a function of networks and a mini-batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from models.balance import Balance
from models.config import TrainConfig
from models.content import Content
from models.content_losses import lattice
from models.data import PairSpec
from models.discriminators.base import Discriminator
from models.distributed import Ranks
from models.ema import EMA
from models.generators.base import Generator
from models.player import LossOf, Metrics, Player, autocast
from models.product import Upsampling
from models.referee import Referee, Shown
from models.tensors import Tensors

Growth = tuple[int, float]
"""Scale that the generator works at, and how far that is faded in."""


class Learner:
    """Both networks with their optimisers, and the updates of each.

    Losses are measured in units of the imagery's spread (`Standardise`), so that rates and
    weights do not depend on its radiometry. An update whose gradient is not finite is left out.

    Parameters
    ----------
    generator : Generator
    discriminator : Discriminator
        Both with their constants set, on the right device.
    dtype : torch.dtype
        Of the convolutions.
    """

    def __init__(
        self,
        generator: Generator,
        discriminator: Discriminator,
        config: TrainConfig,
        ranks: Ranks,
        dtype: torch.dtype,
    ) -> None:
        self.generator = generator
        self.ema = EMA(generator, decay=config.ema_decay)
        self._config = config
        self._ranks = ranks
        self._dtype = dtype
        self._content = Content(config.losses, generator, ranks.device)
        # The wrapped ones average gradients over ranks; they share weights with the bare ones.
        self._player = Player(
            "generator",
            ranks.wrap(_Drawing(generator), partly=config.growing_share > 0),
            torch.optim.Adam(
                generator.parameters(), lr=config.lr_content, betas=(0.9, 0.99), fused=True
            ),
            config,
            ranks,
        )
        self._referee = Referee(discriminator, config, ranks, dtype)

    @property
    def discriminator(self) -> Discriminator:
        """The network that judges."""
        return self._referee.network

    @property
    def levels(self) -> tuple[int, ...]:
        """Scales that the generator can work at while it grows up."""
        return self.generator.levels

    def product(self, spec: PairSpec) -> Upsampling:
        """The averaged generator."""
        return Upsampling(
            self.ema.network, self._config.generator, spec, self._ranks.device, self._dtype
        )

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """All that learn."""
        return self.generator, self.discriminator

    @property
    def balance(self) -> Balance:
        """What keeps the discriminator about as strong as the generator."""
        return self._referee.balance

    @property
    def generator_optimiser(self) -> torch.optim.Optimizer:
        """What moves the generator."""
        return self._player.optimiser

    @property
    def discriminator_optimiser(self) -> torch.optim.Optimizer:
        """What moves the discriminator."""
        return self._referee.optimiser

    def start_as(self, exported: Generator) -> None:
        """Let the generator and its mean begin as one that is trained; the rest begins anew."""
        self.generator.start_as(exported)
        self.ema.begin_at(self.generator)
        # Both networks see the imagery in the units that the generator has learned in.
        self.discriminator.standardise.load_state_dict(self.generator.standardise.state_dict())

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {
            "generator": self.generator.state_dict(),
            "ema": self.ema.state_dict(),
            "generator_optimiser": self.generator_optimiser.state_dict(),
            **self._referee.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what `state_dict` gave."""
        self.generator.load_state_dict(state["generator"])
        self.ema.load_state_dict(state["ema"])
        self.generator_optimiser.load_state_dict(state["generator_optimiser"])
        self._referee.load_state_dict(state)

    def content_step(self, batch: Tensors, growth: Growth | None = None) -> Metrics:
        """Generator update against the content losses alone."""

        def loss_of(piece: Tensors) -> tuple[Tensor, Metrics]:
            with self._autocast():
                sr = self._player.wrapped(piece.lr, growth)  # [n, C, s*p, s*p]
            level = growth[0] if growth else self.generator.scale
            return self._content_loss(sr, piece.coarser(self.generator.scale // level))

        return self._update_generator(batch, loss_of)

    def discriminator_step(self, batch: Tensors) -> Metrics:
        """Discriminator update on as many real patches as drawn ones, unless it is to rest."""

        def show(piece: Tensors) -> Shown:
            with torch.no_grad(), self._autocast():
                drawn = self.generator(piece.lr)
            return self._shown(drawn, piece)

        return self._referee.learn(batch, show)

    def generator_step(self, batch: Tensors, adversarial_weight: float) -> Metrics:
        """Generator update against content losses and discriminator together."""
        return self._update_generator(
            batch, lambda piece: self._generator_loss(piece, adversarial_weight)
        )

    def set_rates(self, generator: float, discriminator: float) -> None:
        """Learning rates of the next updates; `balance` has a word in the discriminator's."""
        self._player.set_rate(generator)
        self._referee.set_rate(discriminator)

    @torch.no_grad()
    def check_up(self, batch: Tensors) -> Metrics:
        """What health is judged by; see `Content.check_up`."""
        with self._autocast():
            sr = self.generator(batch.lr)
        return self._content.check_up(sr, batch.hr, batch.valid, batch.lr)

    def _content_loss(self, sr: Tensor, batch: Tensors) -> tuple[Tensor, Metrics]:
        return self._content.loss(sr, batch.hr, batch.valid, batch.lr)

    def _generator_loss(self, batch: Tensors, weight: float) -> tuple[Tensor, Metrics]:
        weights = self._config.losses
        with self._autocast():
            sr = self._player.wrapped(batch.lr, None)  # [n, C, s*p, s*p]
        loss, metrics = self._content_loss(sr, batch)
        answer = self._referee.answer(self._shown(sr, batch), matching=weights.feature_matching > 0)
        loss = loss + weight * answer.adversarial
        metrics["adversarial_loss"] = answer.adversarial.detach()
        if weights.lattice:
            pattern = lattice(sr, batch.hr, batch.valid, batch.lr)
            pattern = (pattern / self.generator.standardise.spread).sum()
            loss = loss + weights.lattice * pattern
            metrics["loss_lattice"] = pattern.detach()
        if answer.matching is not None:
            loss = loss + weights.feature_matching * answer.matching
            metrics["loss_feature_matching"] = answer.matching.detach()
        return loss, metrics

    def _shown(self, drawn: Tensor, batch: Tensors) -> Shown:
        """Real and drawn patches; a conditional discriminator sees the LR image beside them."""
        beside = None
        if self._config.discriminator.conditional:
            beside = batch.for_discriminator(self.generator.base(batch.lr))
        return Shown(batch.for_discriminator(batch.hr), batch.for_discriminator(drawn), beside)

    def _autocast(self) -> torch.autocast:
        return autocast(self._ranks, self._dtype)

    def _update_generator(self, batch: Tensors, loss_of: LossOf) -> Metrics:
        metrics = self._player.update(batch, loss_of)
        self.ema.update(self.generator)
        return metrics


class _Drawing(nn.Module):
    """A generator whose forward can also work at a coarser scale, as DDP wants it."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, x: Tensor, growth: Growth | None = None) -> Tensor:
        sr: Tensor = self.generator(x) if growth is None else self.generator.draw(x, *growth)
        return sr
