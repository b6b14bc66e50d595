"""A discriminator in training: how it learns, and what it tells a generator."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from models.balance import READ_EVERY, Balance
from models.config import TrainConfig
from models.content_losses import feature_matching
from models.discriminators.base import Discriminator
from models.distributed import Ranks
from models.objectives import OBJECTIVES
from models.penalties import half_squared_gradients
from models.player import Metrics, Player, autocast, frozen, mean_of
from models.tensors import Tensors
from models.unroll import unroll


class Shown(NamedTuple):
    """What a discriminator is shown of a mini-batch: as many real images as drawn ones."""

    real: Tensor
    drawn: Tensor
    beside: Tensor | None = None  # LR images on the same grid, where it is conditional


class Answer(NamedTuple):
    """What it tells a generator.

    Parameters
    ----------
    adversarial : Tensor
    matching : Tensor or None
        How far what it sees in drawn images is from what it sees in real ones, where that is
        asked for.
    """

    adversarial: Tensor
    matching: Tensor | None


class Referee:
    """A discriminator with its optimiser, its game and what keeps it in balance.

    Parameters
    ----------
    network : Discriminator
        With its constants set, on the right device.
    config : TrainConfig
    ranks : Ranks
    dtype : torch.dtype
        Of the convolutions.
    of : str
        Added to the names of what is told, when there are several.
    """

    def __init__(
        self,
        network: Discriminator,
        config: TrainConfig,
        ranks: Ranks,
        dtype: torch.dtype,
        *,
        of: str = "",
    ) -> None:
        self.network = network
        self.balance = Balance()
        self._of = of
        self._config = config
        self._ranks = ranks
        self._dtype = dtype
        self._objective = OBJECTIVES[config.objective]
        self._player = Player(
            f"discriminator{of}",
            ranks.wrap(network),
            torch.optim.Adam(
                network.parameters(), lr=config.lr_discriminator, betas=(0.5, 0.99), fused=True
            ),
            config,
            ranks,
        )
        self._updates = 0
        self._told = torch.zeros(2, device=ranks.device)  # accuracy and loss since last read

    @property
    def optimiser(self) -> torch.optim.Optimizer:
        """What moves it."""
        return self._player.optimiser

    def set_rate(self, rate: float) -> None:
        """Learning rate of the next updates; `balance` has a word in it."""
        self._player.set_rate(rate * self.balance.factor)

    def learn(self, batch: Tensors, show: Callable[[Tensors], Shown]) -> Metrics:
        """One update, unless it is to rest.

        Parameters
        ----------
        batch : Tensors
        show : callable
            What it is shown of a piece of it; no gradient goes there.
        """
        config = self._config
        if self.balance.rests(config.balance_networks):
            with torch.no_grad(), frozen(self.network):
                metrics = self._loss(show(batch), penalised=False)[1]
        else:
            penalised = config.r1 + config.r2 > 0 and self._updates % config.penalty_every == 0
            metrics = self._player.update(
                batch, lambda piece: self._loss(show(piece), penalised=penalised)
            )
        self._updates += 1
        of = self._of
        self._told += torch.stack([metrics[f"d{of}_accuracy"], metrics[f"discriminator{of}_loss"]])
        if self._updates % READ_EVERY == 0:
            accuracy, loss = (self._ranks.mean(self._told) / READ_EVERY).tolist()
            self.balance.read(config.balance_networks, accuracy=accuracy, loss=loss)
            self._told.zero_()
        return metrics

    def answer(self, shown: Shown, *, matching: bool = False) -> Answer:
        """What the game asks of the generator that drew; gradients go to `shown.drawn` alone."""
        config, (real, drawn, beside) = self._config, shown
        # The bare network, frozen: its gradients are neither wanted nor to be averaged.
        with frozen(self.network):
            with autocast(self._ranks, self._dtype):
                judged = self.network.judge(drawn, beside)
            judged_real = judged
            if self._objective.compares or matching:
                with torch.no_grad(), autocast(self._ranks, self._dtype):
                    judged_real = self.network.judge(real, beside)
            logits = judged.logits, judged_real.logits
            if config.unroll_steps:
                logits = self._unrolled(shown)
        return Answer(
            mean_of(self._objective.generator(f, r) for f, r in zip(*logits, strict=True)),
            feature_matching(judged_real.features, judged.features) if matching else None,
        )

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {
            "discriminator": self.network.state_dict(),
            "discriminator_optimiser": self.optimiser.state_dict(),
            "discriminator_updates": self._updates,
            "balance": self.balance.to_dict(),
            "told": self._told.clone(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what `state_dict` gave."""
        self.network.load_state_dict(state["discriminator"])
        self.optimiser.load_state_dict(state["discriminator_optimiser"])
        self._updates = int(state["discriminator_updates"])
        self.balance = Balance.from_dict(state["balance"])
        self._told.copy_(state["told"])

    def _loss(self, shown: Shown, *, penalised: bool) -> tuple[Tensor, Metrics]:
        config, of, (real, drawn, beside) = self._config, self._of, shown
        images = torch.cat([real, drawn]).requires_grad_(penalised)
        # One forward over both: with several ranks each forward would average gradients anew.
        with autocast(self._ranks, self._dtype):
            logits = self._player.wrapped(
                images, None if beside is None else torch.cat([beside] * 2)
            )
        pairs = [values.chunk(2) for values in logits]
        loss = self._game(pairs)
        beliefs = [self._objective.beliefs(r.detach(), f.detach()) for r, f in pairs]
        metrics = {
            f"discriminator{of}_loss": loss.detach(),
            f"d{of}_real": mean_of(r.mean() for r, _ in beliefs),
            f"d{of}_fake": mean_of(f.mean() for _, f in beliefs),
            f"d{of}_accuracy": mean_of(
                torch.stack([(r > 0.5).float().mean(), (f < 0.5).float().mean()]).mean()
                for r, f in beliefs
            ),
        }
        if penalised:
            squares = half_squared_gradients(logits, images, self.network.standardise.spread)
            for name, weight, part in zip(
                ("r1", "r2"), (config.r1, config.r2), squares.chunk(2), strict=True
            ):
                loss = loss + weight * config.penalty_every * part.mean()
                metrics[f"{name}{of}"] = part.detach().mean()
        return loss, metrics

    def _game(self, pairs: Sequence[Sequence[Tensor]]) -> Tensor:
        """The discriminator's loss of real and drawn logits at each resolution."""
        smoothing = self._config.label_smoothing
        return mean_of(self._objective.discriminator(r, f, smoothing) for r, f in pairs)

    def _unrolled(self, shown: Shown) -> tuple[list[Tensor], list[Tensor]]:
        """What it will say of drawn and real after a few more updates; see `models.unroll`."""
        images = torch.cat([shown.real, shown.drawn])
        both = None if shown.beside is None else torch.cat([shown.beside] * 2)
        judge = unroll(
            self.network,
            self.optimiser,
            images,
            both,
            lambda logits: self._game([values.chunk(2) for values in logits]),
            steps=self._config.unroll_steps,
            clip=self._config.grad_clip,
            autocast=lambda: autocast(self._ranks, self._dtype),
            mean=self._ranks.mean_with_gradient,
        )
        logits = [values.chunk(2) for values in judge(images, both)]
        return [f for _, f in logits], [r for r, _ in logits]
