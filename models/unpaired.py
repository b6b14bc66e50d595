"""The updates of training on places without partners: two piles of images, there and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

from models.balance import Balance
from models.config import TrainConfig
from models.content import Content
from models.content_losses import lattice
from models.cycle_losses import distance, whole_cells
from models.data import PairSpec
from models.degrader import Degrader
from models.degrading import BothWays, Degrading
from models.discriminators.base import Discriminator
from models.distributed import Ranks
from models.ema import EMA
from models.errors import ConfigError
from models.generators.base import Generator
from models.image_pool import ImagePool
from models.player import LossOf, Metrics, Player, autocast
from models.product import Upsampling
from models.referee import Referee, Shown
from models.step import Growth
from models.tensors import Tensors

_OF_LR = "_of_lr"  # of the discriminator that judges LR images


class UnpairedLearner:
    """CycleGAN between two grids: LR to HR and back, each judged by what is real on its own side.

    Zhu et al., "Unpaired image-to-image translation using cycle-consistent adversarial networks",
    2017. Each generator is to deceive its discriminator; to go there and back is to come to where
    one began; and what is of the other side already is to stay what it is. On two grids that last
    one means: an HR image, averaged to LR pixels, is drawn as itself, and an LR image, upsampled
    by bicubic, is seen as itself, as far as `identity_lr` asks for it. The content phase is that
    alone: training on HR images and their means, measured as `losses` says.

    Parameters
    ----------
    generator : Generator
        LR to HR; what is exported.
    degrader : Degrader
        HR to LR.
    fine, coarse : Discriminator
        Of HR and of LR patches. All four with their constants set, on the right device.
    dtype : torch.dtype
        Of the convolutions.
    """

    def __init__(
        self,
        generator: Generator,
        degrader: Degrader,
        fine: Discriminator,
        coarse: Discriminator,
        config: TrainConfig,
        ranks: Ranks,
        dtype: torch.dtype,
    ) -> None:
        self.generator = generator
        self.degrader = degrader
        self.ema = EMA(generator, decay=config.ema_decay)
        self.degrader_ema = EMA(degrader, decay=config.ema_decay)
        self._config = config
        self._ranks = ranks
        self._dtype = dtype
        self._content = Content(config.losses, generator, ranks.device)
        both = _ThereAndBack(generator, degrader)
        self._player = Player(
            "generator",
            ranks.wrap(both),
            torch.optim.Adam(
                both.parameters(), lr=config.lr_content, betas=(0.9, 0.99), fused=True
            ),
            config,
            ranks,
        )
        self._fine = Referee(fine, config, ranks, dtype)
        self._coarse = Referee(coarse, config, ranks, dtype, of=_OF_LR)
        self._drawn, self._seen = (ImagePool(config.cycle.pool) for _ in range(2))

    @property
    def levels(self) -> tuple[int, ...]:
        """Scales that the generator can work at while it grows up."""
        return self.generator.levels

    def product(self, spec: PairSpec) -> BothWays:
        """The averaged generator, and beside it the averaged degrader."""
        config, device = self._config, self._ranks.device
        return BothWays(
            Upsampling(self.ema.network, config.generator, spec, device, self._dtype),
            Degrading(self.degrader_ema.network, config.cycle, spec, device),
        )

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """All that learn."""
        return self.generator, self.degrader, self._fine.network, self._coarse.network

    @property
    def balance(self) -> Balance:
        """What keeps the judge of HR patches about as strong as the generator."""
        return self._fine.balance

    def start_as(self, exported: Generator) -> None:
        """Let the generator and its mean begin as one that is trained; the rest begins anew."""
        self.generator.start_as(exported)
        self.ema.begin_at(self.generator)
        units = self.generator.standardise.state_dict()
        for network in (self.degrader, self._fine.network, self._coarse.network):
            network.standardise.load_state_dict(units)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps. Of several ranks the first one's pools are kept, for all."""
        return {
            "generator": self.generator.state_dict(),
            "degrader": self.degrader.state_dict(),
            "ema": self.ema.state_dict(),
            "degrader_ema": self.degrader_ema.state_dict(),
            "generator_optimiser": self._player.optimiser.state_dict(),
            "fine": self._fine.state_dict(),
            "coarse": self._coarse.state_dict(),
            "drawn": self._drawn.state_dict(),
            "seen": self._seen.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what `state_dict` gave."""
        self.generator.load_state_dict(state["generator"])
        self.degrader.load_state_dict(state["degrader"])
        self.ema.load_state_dict(state["ema"])
        self.degrader_ema.load_state_dict(state["degrader_ema"])
        self._player.optimiser.load_state_dict(state["generator_optimiser"])
        self._fine.load_state_dict(state["fine"])
        self._coarse.load_state_dict(state["coarse"])
        self._drawn.load_state_dict(state["drawn"], self._ranks.device)
        self._seen.load_state_dict(state["seen"], self._ranks.device)

    def content_step(self, batch: Tensors, growth: Growth | None = None) -> Metrics:
        """Update of generator and degrader against the identity losses alone."""
        if growth is not None:
            raise ConfigError("what is trained on places without partners cannot grow")
        return self._update_both(batch, self._identity)

    def discriminator_step(self, batch: Tensors) -> Metrics:
        """Update of both discriminators, each on what is real and on new and past drawings."""

        def show_fine(piece: Tensors) -> Shown:
            with torch.no_grad(), self._autocast():
                drawn = self.generator(piece.lr)
            return self._fine_shown(self._drawn.mixed(drawn), piece)

        def show_coarse(piece: Tensors) -> Shown:
            hr = self._filled(piece)
            with torch.no_grad(), self._autocast():
                seen = self.degrader(hr, self.degrader.noise_for(hr))
            return self._coarse_shown(self._seen.mixed(seen), piece)

        return {
            **self._fine.learn(batch, show_fine),
            **self._coarse.learn(batch, show_coarse),
        }

    def generator_step(self, batch: Tensors, adversarial_weight: float) -> Metrics:
        """Update of generator and degrader against all losses together."""
        return self._update_both(batch, lambda piece: self._both_losses(piece, adversarial_weight))

    def set_rates(self, generator: float, discriminator: float) -> None:
        """Learning rates of the next updates; each discriminator's balance has a word in its."""
        self._player.set_rate(generator)
        self._fine.set_rate(discriminator)
        self._coarse.set_rate(discriminator)

    @torch.no_grad()
    def check_up(self, batch: Tensors) -> Metrics:
        """What health is judged by, of HR images' means; see `Content.check_up`."""
        lr = avg_pool2d(self._filled(batch), self.generator.scale)
        with self._autocast():
            sr = self.generator(lr)
        return self._content.check_up(sr, batch.hr, batch.valid, lr)

    def _identity(self, batch: Tensors) -> tuple[Tensor, Metrics]:
        """What is of the other side already is to stay what it is."""
        hr, up = self._filled(batch), self.generator.base(batch.lr)
        mean = avg_pool2d(hr, self.generator.scale)
        with self._autocast():
            sr, lr = self._player.wrapped(mean, up)
        return self._identity_losses(batch, mean, sr, lr, weight=1.0)

    def _identity_losses(
        self, batch: Tensors, mean: Tensor, sr: Tensor, lr: Tensor, weight: float
    ) -> tuple[Tensor, Metrics]:
        loss, metrics = self._content.loss(sr, batch.hr, batch.valid, mean)
        of_lr = distance(lr, batch.lr, _lr_valid(batch), self.generator.standardise.spread)
        both = weight * loss + self._config.cycle.identity_lr * of_lr
        return both, {**metrics, "loss_identity_lr": of_lr.detach()}

    def _both_losses(self, batch: Tensors, weight: float) -> tuple[Tensor, Metrics]:
        config, spread = self._config.cycle, self.generator.standardise.spread
        hr, up = self._filled(batch), self.generator.base(batch.lr)
        mean = avg_pool2d(hr, self.generator.scale)
        with self._autocast():
            out = self._player.wrapped(mean, up, batch.lr, hr)
        sr_same, lr_same, drawn, seen, lr_again, hr_again = out
        identity, metrics = self._identity_losses(
            batch, mean, sr_same, lr_same, weight=config.identity
        )
        fine = self._fine.answer(self._fine_shown(drawn, batch)).adversarial
        coarse = self._coarse.answer(self._coarse_shown(seen, batch)).adversarial
        cycle_lr = distance(lr_again, batch.lr, _lr_valid(batch), spread)
        cycle_hr = distance(hr_again, batch.hr, batch.valid, spread)
        loss = identity + weight * (fine + coarse) + config.cycle * (cycle_lr + cycle_hr)
        if self._config.losses.lattice:
            # The one pair at hand: an HR image, and what the degrader sees of it.
            pattern = (lattice(hr_again, batch.hr, batch.valid, seen.detach()) / spread).sum()
            loss = loss + self._config.losses.lattice * pattern
            metrics["loss_lattice"] = pattern.detach()
        return loss, {
            **metrics,
            "adversarial_loss": fine.detach(),
            f"adversarial{_OF_LR}_loss": coarse.detach(),
            "loss_cycle_lr": cycle_lr.detach(),
            "loss_cycle_hr": cycle_hr.detach(),
        }

    def _filled(self, batch: Tensors) -> Tensor:
        """HR images with the mean of the imagery where they are not valid: no edge to be seen."""
        return torch.lerp(self.generator.standardise.mean, batch.hr, batch.valid)

    def _fine_shown(self, drawn: Tensor, batch: Tensors) -> Shown:
        """Holes of either side are holes of both: else they would tell drawn from real."""
        holes = interpolate(_lr_valid(batch), scale_factor=self.generator.scale)
        real, drawn = (batch.for_discriminator(x * holes) for x in (batch.hr, drawn))
        return Shown(real, drawn)

    def _coarse_shown(self, seen: Tensor, batch: Tensors) -> Shown:
        valid = _lr_valid(batch) * whole_cells(batch.valid, self.generator.scale)
        real, drawn = (batch.lr_for_discriminator(x, valid) for x in (batch.lr, seen))
        return Shown(real, drawn)

    def _autocast(self) -> torch.autocast:
        return autocast(self._ranks, self._dtype)

    def _update_both(self, batch: Tensors, loss_of: LossOf) -> Metrics:
        metrics = self._player.update(batch, loss_of)
        self.ema.update(self.generator)
        self.degrader_ema.update(self.degrader)
        return metrics


def _lr_valid(batch: Tensors) -> Tensor:
    assert batch.lr_valid is not None, "LR images of their own ground say where they are valid"
    return batch.lr_valid


class _ThereAndBack(nn.Module):
    """All that the two networks draw for a mini-batch, in one forward, as DDP wants it."""

    def __init__(self, generator: Generator, degrader: Degrader) -> None:
        super().__init__()
        self.generator = generator
        self.degrader = degrader

    def forward(
        self, mean: Tensor, up: Tensor, lr: Tensor | None = None, hr: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """What is drawn of each side's like, and, given images, there and there and back again.

        Returns
        -------
        tuple of Tensor
            HR of `mean`, LR of `up`; then HR of `lr`, LR of `hr`, LR of that HR, HR of that LR.
        """
        same = self.generator(mean), self._see(up)
        if lr is None or hr is None:
            return same
        drawn, seen = self.generator(lr), self._see(hr)
        return *same, drawn, seen, self._see(drawn), self.generator(seen)

    def _see(self, image: Tensor) -> Tensor:
        seen: Tensor = self.degrader(image, self.degrader.noise_for(image))
        return seen
