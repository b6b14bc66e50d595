"""The updates of learning what every pixel shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.balance import Balance
from models.batch_norm import join_ranks
from models.config import TrainConfig
from models.data import PairSpec
from models.distributed import Ranks
from models.ema import EMA
from models.errors import ConfigError
from models.generators.base import Generator
from models.player import Metrics, Player, autocast
from models.segmenter import Segmenter
from models.segmenting import Segmenting
from models.step import Growth
from models.tensors import Tensors

_NO_GAME = "the task segment has no game: set adversarial_steps to 0"


class SegmentLearner:
    """HR images and what their pixels show; cross-entropy, and nothing else.

    Long, Shelhamer and Darrell, 2015: every labelled pixel counts alike, whatever its class.

    Parameters
    ----------
    network : Segmenter
        With its constants set, on the right device.
    config : TrainConfig
    ranks : Ranks
    dtype : torch.dtype
        Of the convolutions.
    """

    levels: tuple[int, ...] = ()

    def __init__(
        self, network: Segmenter, config: TrainConfig, ranks: Ranks, dtype: torch.dtype
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

    def product(self, spec: PairSpec) -> Segmenting:
        """The averaged network."""
        return Segmenting(self.ema.network, self._config.segment, spec, self._ranks.device)

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """All that learn."""
        return (self.network,)

    @property
    def balance(self) -> Balance:
        """At rest: there is nobody to be as strong as."""
        return self._balance

    def start_as(self, exported: Generator) -> None:
        """Refused: what tells classes has no generator to begin as."""
        raise ConfigError(
            "the task segment begins from scratch: leave the generator to start from out"
        )

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {
            "segmenter": self.network.state_dict(),
            "ema": self.ema.state_dict(),
            "generator_optimiser": self._player.optimiser.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what `state_dict` gave."""
        self.network.load_state_dict(state["segmenter"])
        self.ema.load_state_dict(state["ema"])
        self._player.optimiser.load_state_dict(state["generator_optimiser"])

    def content_step(self, batch: Tensors, growth: Growth | None = None) -> Metrics:
        """Update against the labels."""
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
        """``mean_loss``, what it would cost to know nothing but how frequent the classes are."""
        labels = _labels(batch)
        counts = torch.bincount(labels.flatten(), minlength=self.network.classes + 1)[1:].float()
        shares = counts / counts.sum().clamp(min=1)
        return {"mean_loss": -(shares * shares.clamp(min=1e-12).log()).sum()}

    def _loss(self, batch: Tensors) -> tuple[Tensor, Metrics]:
        image = torch.lerp(self.network.standardise.mean, batch.hr, batch.valid)
        with autocast(self._ranks, self._dtype):
            scores = self._player.wrapped(image)
        labels = _labels(batch)
        # A label of 0 becomes -1, which is not counted; divided by all pixels, as many on every
        # rank, so that a pixel weighs alike on all of them.
        nats = functional.cross_entropy(scores, labels - 1, ignore_index=-1, reduction="sum")
        loss = nats / labels.numel()
        known = labels > 0
        right = ((scores.argmax(dim=1) + 1 == labels) & known).sum() / known.sum().clamp(min=1)
        return loss, {"content_loss": loss.detach(), "accuracy": right.detach()}


def _labels(batch: Tensors) -> Tensor:
    assert batch.labels is not None  # `check_pairs` has seen to it
    return batch.labels
