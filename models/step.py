"""The three updates that training is made of, each a function of networks and a mini-batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from models.balance import READ_EVERY, Balance
from models.config import TrainConfig
from models.content_losses import build_losses, feature_matching, lattice
from models.discriminators.base import Discriminator
from models.distributed import Ranks
from models.diversity import diversity
from models.ema import EMA
from models.generators.base import Generator
from models.objectives import OBJECTIVES
from models.penalties import half_squared_gradients
from models.tensors import Tensors
from models.unroll import unroll

Metrics = dict[str, Tensor]

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
        self.discriminator = discriminator
        self.ema = EMA(generator, decay=config.ema_decay)
        self._config = config
        self._ranks = ranks
        self._dtype = dtype
        self._losses = build_losses(config.losses, scale=generator.scale, bands=generator.bands).to(
            ranks.device
        )
        self._objective = OBJECTIVES[config.objective]
        # The wrapped ones average gradients over ranks; they share weights with the bare ones.
        self._generator = ranks.wrap(_Drawing(generator), partly=config.growing_share > 0)
        self._discriminator = ranks.wrap(discriminator)
        self.generator_optimiser = torch.optim.Adam(
            generator.parameters(), lr=config.lr_content, betas=(0.9, 0.99), fused=True
        )
        self.discriminator_optimiser = torch.optim.Adam(
            discriminator.parameters(), lr=config.lr_discriminator, betas=(0.5, 0.99), fused=True
        )
        self.balance = Balance()
        self._discriminator_updates = 0
        self._told = torch.zeros(2, device=ranks.device)  # accuracy and loss since last read

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
            "discriminator": self.discriminator.state_dict(),
            "ema": self.ema.state_dict(),
            "generator_optimiser": self.generator_optimiser.state_dict(),
            "discriminator_optimiser": self.discriminator_optimiser.state_dict(),
            "discriminator_updates": self._discriminator_updates,
            "balance": self.balance.to_dict(),
            "told": self._told.clone(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what `state_dict` gave."""
        self.generator.load_state_dict(state["generator"])
        self.discriminator.load_state_dict(state["discriminator"])
        self.ema.load_state_dict(state["ema"])
        self.generator_optimiser.load_state_dict(state["generator_optimiser"])
        self.discriminator_optimiser.load_state_dict(state["discriminator_optimiser"])
        self._discriminator_updates = int(state["discriminator_updates"])
        self.balance = Balance.from_dict(state["balance"])
        self._told.copy_(state["told"])

    def content_step(self, batch: Tensors, growth: Growth | None = None) -> Metrics:
        """Generator update against the content losses alone."""

        def loss_of(piece: Tensors) -> tuple[Tensor, Metrics]:
            with self._autocast():
                sr = self._generator(piece.lr, growth)  # [n, C, s*p, s*p]
            level = growth[0] if growth else self.generator.scale
            return self._content(sr, piece.coarser(self.generator.scale // level))

        return self._update_generator(batch, loss_of)

    def discriminator_step(self, batch: Tensors) -> Metrics:
        """Discriminator update on as many real patches as drawn ones, unless it is to rest."""
        if self.balance.rests(self._config.balance_networks):
            with torch.no_grad(), _frozen(self.discriminator):
                metrics = self._discriminator_loss(batch, penalised=False)[1]
        else:
            penalised = (
                self._config.r1 + self._config.r2 > 0
                and self._discriminator_updates % self._config.penalty_every == 0
            )
            metrics = self._update(
                "discriminator",
                self._discriminator,
                self.discriminator_optimiser,
                batch,
                lambda piece: self._discriminator_loss(piece, penalised=penalised),
            )
        self._discriminator_updates += 1
        self._told += torch.stack([metrics["d_accuracy"], metrics["discriminator_loss"]])
        if self._discriminator_updates % READ_EVERY == 0:
            accuracy, loss = (self._ranks.mean(self._told) / READ_EVERY).tolist()
            self.balance.read(self._config.balance_networks, accuracy=accuracy, loss=loss)
            self._told.zero_()
        return metrics

    def generator_step(self, batch: Tensors, adversarial_weight: float) -> Metrics:
        """Generator update against content losses and discriminator together."""
        return self._update_generator(
            batch, lambda piece: self._generator_loss(piece, adversarial_weight)
        )

    def set_rates(self, generator: float, discriminator: float) -> None:
        """Learning rates of the next updates; `balance` has a word in the discriminator's."""
        for group in self.generator_optimiser.param_groups:
            group["lr"] = generator
        for group in self.discriminator_optimiser.param_groups:
            group["lr"] = discriminator * self.balance.factor

    @torch.no_grad()
    def check_up(self, batch: Tensors) -> Metrics:
        """What health is judged by, beside what each update tells.

        Returns
        -------
        dict
            ``bicubic_loss``, the content loss of bicubic upsampling, and ``diversity``, the
            variety of what is drawn for a mini-batch against that of what is real.
        """
        with self._autocast():
            sr = self.generator(batch.lr)
        base = self.generator.base(batch.lr)
        return {
            "bicubic_loss": self._content(base, batch)[1]["content_loss"],
            "diversity": torch.tensor(
                diversity(sr, batch.hr, base, batch.valid, scale=self.generator.scale),
                device=base.device,
            ),
        }

    def _content(self, sr: Tensor, batch: Tensors) -> tuple[Tensor, Metrics]:
        spread = self.generator.standardise.spread
        loss, parts = self._losses(sr, batch.hr, batch.valid, batch.lr, spread)
        told = {f"loss_{name}": part.detach() for name, part in parts.items()}
        return loss, {"content_loss": loss.detach(), **(told if len(told) > 1 else {})}

    def _discriminator_loss(self, batch: Tensors, *, penalised: bool) -> tuple[Tensor, Metrics]:
        config = self._config
        with torch.no_grad(), self._autocast():
            fake = batch.for_discriminator(self.generator(batch.lr))
        real, beside = batch.for_discriminator(batch.hr), self._beside(batch)
        images = torch.cat([real, fake]).requires_grad_(penalised)
        # One forward over both: with several ranks each forward would average gradients anew.
        with self._autocast():
            logits = self._discriminator(
                images, None if beside is None else torch.cat([beside] * 2)
            )
        pairs = [values.chunk(2) for values in logits]
        loss = _mean(self._objective.discriminator(r, f, config.label_smoothing) for r, f in pairs)
        beliefs = [self._objective.beliefs(r.detach(), f.detach()) for r, f in pairs]
        metrics = {
            "discriminator_loss": loss.detach(),
            "d_real": _mean(r.mean() for r, _ in beliefs),
            "d_fake": _mean(f.mean() for _, f in beliefs),
            "d_accuracy": _mean(
                torch.stack([(r > 0.5).float().mean(), (f < 0.5).float().mean()]).mean()
                for r, f in beliefs
            ),
        }
        if penalised:
            squares = half_squared_gradients(logits, images, self.generator.standardise.spread)
            for name, weight, part in zip(
                ("r1", "r2"), (config.r1, config.r2), squares.chunk(2), strict=True
            ):
                loss = loss + weight * config.penalty_every * part.mean()
                metrics[name] = part.detach().mean()
        return loss, metrics

    def _generator_loss(self, batch: Tensors, weight: float) -> tuple[Tensor, Metrics]:
        with self._autocast():
            sr = self._generator(batch.lr, None)  # [n, C, s*p, s*p]
        loss, metrics = self._content(sr, batch)
        fake, real = batch.for_discriminator(sr), batch.for_discriminator(batch.hr)
        beside = self._beside(batch)
        # The bare discriminator, frozen: its gradients are neither wanted nor to be averaged.
        with _frozen(self.discriminator):
            with self._autocast():
                judged = self.discriminator.judge(fake, beside)
            judged_real = judged
            if self._objective.compares or self._config.losses.feature_matching:
                with torch.no_grad(), self._autocast():
                    judged_real = self.discriminator.judge(real, beside)
            logits = judged.logits, judged_real.logits
            if self._config.unroll_steps:
                logits = self._unrolled(fake, real, beside)
        adversarial = _mean(self._objective.generator(f, r) for f, r in zip(*logits, strict=True))
        loss = loss + weight * adversarial
        metrics["adversarial_loss"] = adversarial.detach()
        if self._config.losses.lattice:
            pattern = lattice(sr, batch.hr, batch.valid, batch.lr)
            pattern = (pattern / self.generator.standardise.spread).sum()
            loss = loss + self._config.losses.lattice * pattern
            metrics["loss_lattice"] = pattern.detach()
        if self._config.losses.feature_matching:
            matching = feature_matching(judged_real.features, judged.features)
            loss = loss + self._config.losses.feature_matching * matching
            metrics["loss_feature_matching"] = matching.detach()
        return loss, metrics

    def _beside(self, batch: Tensors) -> Tensor | None:
        """What a conditional discriminator sees beside a patch: the LR image, upsampled."""
        if not self._config.discriminator.conditional:
            return None
        return batch.for_discriminator(self.generator.base(batch.lr))

    def _autocast(self) -> torch.autocast:
        return torch.autocast(
            self._ranks.device.type, dtype=self._dtype, enabled=self._dtype != torch.float32
        )

    def _unrolled(
        self, fake: Tensor, real: Tensor, beside: Tensor | None
    ) -> tuple[list[Tensor], list[Tensor]]:
        """What the discriminator will say after a few more updates; see `models.unroll`."""

        def loss_of(logits: Sequence[Tensor]) -> Tensor:
            pairs = (values.chunk(2) for values in logits)
            return _mean(
                self._objective.discriminator(r, f, self._config.label_smoothing) for r, f in pairs
            )

        both = None if beside is None else torch.cat([beside, beside])
        judge = unroll(
            self.discriminator,
            self.discriminator_optimiser,
            torch.cat([real, fake]),
            both,
            loss_of,
            steps=self._config.unroll_steps,
            clip=self._config.grad_clip,
            autocast=self._autocast,
            mean=self._ranks.mean_with_gradient,
        )
        logits = [values.chunk(2) for values in judge(torch.cat([real, fake]), both)]
        return [f for _, f in logits], [r for r, _ in logits]

    def _update_generator(
        self, batch: Tensors, loss_of: Callable[[Tensors], tuple[Tensor, Metrics]]
    ) -> Metrics:
        metrics = self._update(
            "generator", self._generator, self.generator_optimiser, batch, loss_of
        )
        self.ema.update(self.generator)
        return metrics

    def _update(
        self,
        who: str,
        network: nn.Module,
        optimiser: torch.optim.Optimizer,
        batch: Tensors,
        loss_of: Callable[[Tensors], tuple[Tensor, Metrics]],
    ) -> Metrics:
        optimiser.zero_grad(set_to_none=True)
        pieces = batch.pieces(self._config.accumulate)
        told = []
        for number, piece in enumerate(pieces, 1):
            # Ranks average their gradients once, with the last piece.
            wait = number < len(pieces) and self._ranks.world > 1
            with network.no_sync() if wait else nullcontext():  # type: ignore[operator]  # of DDP
                loss, metrics = loss_of(piece)
                (loss / len(pieces)).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            told.append(metrics)
        parameters = [p for group in optimiser.param_groups for p in group["params"]]
        norm = nn.utils.clip_grad_norm_(parameters, self._config.grad_clip)
        broken = (~torch.isfinite(norm)).float()
        # Fused optimisers leave a step out by this flag, as they do for `GradScaler`.
        optimiser.found_inf = broken  # type: ignore[attr-defined]
        optimiser.grad_scale = None  # type: ignore[attr-defined]
        optimiser.step()
        means = (
            told[0]
            if len(told) == 1
            else {name: _mean(metrics[name] for metrics in told) for name in told[0]}
        )
        return {
            **means,
            f"{who}_grad_norm": torch.where(broken > 0, 0.0, norm.detach()),
            f"{who}_skipped": broken,
        }


class _Drawing(nn.Module):
    """A generator whose forward can also work at a coarser scale, as DDP wants it."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, x: Tensor, growth: Growth | None = None) -> Tensor:
        sr: Tensor = self.generator(x) if growth is None else self.generator.draw(x, *growth)
        return sr


def _mean(values: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(values)).mean()


@contextmanager
def _frozen(network: nn.Module) -> Iterator[None]:
    """Without gradients for its weights, and without anything it learns in passing."""
    network.requires_grad_(False).eval()
    try:
        yield
    finally:
        network.requires_grad_(True).train()
