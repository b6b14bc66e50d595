"""What a training run can be told: frozen values that check themselves.

This module must not import torch: flows show these values as a form, and ``--help`` stays fast.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from models.config_checks import at_least, from_dict, not_negative, one_of, positive, share
from models.config_chips import ChipsConfig
from models.config_networks import DiscriminatorConfig, GeneratorConfig, LossConfig
from models.config_segment import SegmentConfig
from models.config_style import AugmentConfig, StyleConfig
from models.config_tasks import check_task
from models.config_unpaired import TASKS, CycleConfig
from models.errors import ConfigError

OBJECTIVES = (
    "non_saturating",
    "minimax",
    "least_squares",
    "hinge",
    "relativistic",
    "relativistic_paired",
)
PRECISIONS = ("auto", "float32", "bfloat16")
COMPILE = ("auto", "on", "off")
_SMOOTHED = ("non_saturating", "minimax", "least_squares")


@dataclass(frozen=True, kw_only=True)
class BalanceConfig:
    """Keeping discriminator and generator about equally strong.

    Parameters
    ----------
    accuracy_low, accuracy_high : float
        Share of patches that the discriminator tells apart rightly, real and drawn. Above the
        band its learning rate falls, below it rises, step by step. 0 and 1 leave it alone.
    speed : float
        By how much of itself the rate changes each time (every ten discriminator updates) that
        the accuracy is outside the band.
    least_rate, most_rate : float
        Factors that the rate stays within.
    skip_below : float
        No discriminator update while the running mean of its loss is lower; 0 never skips.
    """

    accuracy_low: float = 0.55
    accuracy_high: float = 0.75
    speed: float = 0.1
    least_rate: float = 0.05
    most_rate: float = 4.0
    skip_below: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.accuracy_low < self.accuracy_high <= 1:
            raise ConfigError(
                "balance_networks accuracy_low and accuracy_high must be 0 <= low < high <= 1, "
                f"got {self.accuracy_low} and {self.accuracy_high}"
            )
        share("balance_networks speed", self.speed)
        positive("balance_networks least_rate", self.least_rate)
        if not self.least_rate <= 1 <= self.most_rate:
            raise ConfigError(
                "balance_networks least_rate and most_rate must have 1 between them, got "
                f"{self.least_rate} and {self.most_rate}"
            )
        not_negative("balance_networks skip_below", self.skip_below)


@dataclass(frozen=True, kw_only=True)
class HealthConfig:
    """When a run counts as sick, and what is done then.

    Parameters
    ----------
    rollbacks : int
        How often a sick run goes back to its last healthy checkpoint before it gives up.
    rollback_rate : float
        What remains of all learning rates after each time.
    patience : int
        Reports (see `log_every`) in a row that have to be sick.
    loss_factor : float
        The content loss has diverged when it is so many times that of bicubic upsampling. Detail
        as strong as reality's and all of it wrong would cost 1.4 times as much.
    saturated_share : float
        Networks are out of balance when the discriminator is so often right, and so sure that
        its gradient is gone.
    diversity : float
        Least ratio of the variety of what is drawn to that of what is real: below, the generator
        has collapsed to few patterns.
    """

    rollbacks: int = 2
    rollback_rate: float = 0.5
    patience: int = 5
    loss_factor: float = 1.6
    saturated_share: float = 0.995
    diversity: float = 0.2

    def __post_init__(self) -> None:
        at_least("health rollbacks", self.rollbacks, 0)
        at_least("health patience", self.patience, 1)
        share("health rollback_rate", self.rollback_rate)
        if self.loss_factor <= 1:
            raise ConfigError(f"health loss_factor must be more than 1, got {self.loss_factor}")
        share("health diversity", self.diversity, closed_below=True)
        share("health saturated_share", self.saturated_share)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One training run: a content warm-up, then an adversarial phase.

    Every schedule counts generator updates ("steps"). Without `max_minutes` a run is a pure
    function of this configuration and the pairs.

    Parameters
    ----------
    task : str
        ``paired`` learns from pairs of the same ground; ``unpaired`` shows LR and HR images each
        in an order of its own, so that none need have a partner (CycleGAN); ``degrade`` learns
        from pairs how LR images come of HR ones, to make LR partners of other aerial imagery;
        ``style`` gives the HR images of one aerial campaign the look of another's; ``dcgan`` and
        ``vae`` draw HR chips of noise, by a game or by likelihood; ``segment`` learns from labels
        what each HR pixel shows, to tell what a map made of SR is worth.
    cycle : CycleConfig
        Of ``unpaired``, and the network of ``degrade``.
    style : StyleConfig
        Of ``style``.
    augment : AugmentConfig
        Of ``paired``.
    chips : ChipsConfig
        Of ``dcgan`` and ``vae``.
    segment : SegmentConfig
        Of ``segment``.
    generator, discriminator : GeneratorConfig, DiscriminatorConfig
    seed : int
        Of weights, order of pairs, crops and flips.
    batch_size : int
        Pairs in a mini-batch, over all ranks together.
    accumulate : int
        Pieces that a rank's part of a mini-batch is worked on in, one after the other; more need
        less memory and give the same gradients.
    patch_lr : int
        Side of the random crop in LR pixels; chips that are smaller are taken whole. 24 is 96 HR
        pixels at scale 4, the crop of SRGAN; more costs time and taught no more in our trials.
    balance : float
        0 shows pairs of each category as often as they are there, 1 every category as often as
        any other, those without one among them; no pair more than ten times as often as by nature.
    content_steps, adversarial_steps : int
        Generator updates of the two phases.
    growing_share : float
        Part of the content phase in which a generator that can grow works at coarser scales
        first, each faded into the next; 0 starts at the full scale.
    losses : LossConfig
        What the generator keeps to, in both phases.
    objective : str
        What the networks play for: ``non_saturating``, ``minimax``, ``least_squares``, ``hinge``,
        ``relativistic`` (against the mean of the others) or ``relativistic_paired`` (against the
        patch of the same ground), which with `r1` and `r2` gave the most detail for its price in
        our trials.
    label_smoothing : float
        Real patches count as real by one minus this (``non_saturating``, ``minimax`` and
        ``least_squares``), against a discriminator that is too sure.
    adversarial_weight : float
        Of the adversarial loss against the content loss, which is measured in units of the
        imagery's own contrast.
    adversarial_ramp : float
        Share of the adversarial phase in which that weight rises from zero, so that a
        discriminator that knows nothing yet teaches nothing.
    r1, r2 : float
        Weights of the penalties on the discriminator's gradient at real and at drawn patches,
        images in units of their spread.
    penalty_every : int
        Discriminator updates from one with penalties to the next; they count as much as if they
        were in each.
    discriminator_steps : int
        Discriminator updates before each generator update, each on its own mini-batch.
    unroll_steps : int
        The generator is judged by the discriminator as it would be after so many more updates,
        and learns through them (unrolled GAN). Costs 3.5 times a step for 1, 11 times for 3.
    balance_networks : BalanceConfig
    health : HealthConfig
    lr_content, lr_generator, lr_discriminator : float
        Learning rates: generator in the content phase, generator and discriminator in the
        adversarial phase. Cosine decay within each phase.
    warmup_steps : int
        Steps at the start of each phase in which the rates rise from zero.
    ema_decay : float
        Of the running mean of the generator's weights, which is what is validated and exported.
    grad_clip : float
        Largest norm of a gradient.
    max_minutes : float or None
        Train so long and no longer, over all sittings of a run; the last validation and the
        export come after. Both phases and their decays shrink into the time: position in a phase
        is the larger of its share of steps and its share of time.
    content_time_share : float
        Part of `max_minutes` for the content phase, when there are two phases.
    val_every, checkpoint_every, log_every : int
        Steps. Validation and a checkpoint also end each phase; in the adversarial one, where the
        best state may be any, validation is twice as frequent.
    val_pairs : int
        At most so many validation pairs, evenly spread over what there is.
    psnr_cost_db : float
        Most PSNR, over all validation pixels, that the exported generator may lose for detail
        against the most faithful state of the run (see `models.selection`). 0 exports that state.
    precision : str
        Of the convolutions: ``auto`` takes bfloat16 where the hardware computes in it.
    compile : str
        torch.compile: ``auto`` on GPUs, where it pays.
    device : str
        ``auto`` or a torch device.
    cache_mb : int
        Memory for pairs already read.
    """

    task: str = "paired"
    cycle: CycleConfig = field(default_factory=CycleConfig)
    style: StyleConfig = field(default_factory=StyleConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    chips: ChipsConfig = field(default_factory=ChipsConfig)
    segment: SegmentConfig = field(default_factory=SegmentConfig)
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    seed: int = 0
    batch_size: int = 16
    accumulate: int = 1
    patch_lr: int = 24
    balance: float = 0.0
    content_steps: int = 20_000
    adversarial_steps: int = 4_000
    growing_share: float = 0.0
    losses: LossConfig = field(default_factory=LossConfig)
    objective: str = "relativistic_paired"
    label_smoothing: float = 0.0
    adversarial_weight: float = 0.7
    adversarial_ramp: float = 0.1
    r1: float = 40.0
    r2: float = 40.0
    penalty_every: int = 4
    discriminator_steps: int = 1
    unroll_steps: int = 0
    balance_networks: BalanceConfig = field(default_factory=BalanceConfig)
    health: HealthConfig = field(default_factory=HealthConfig)
    lr_content: float = 2e-3
    lr_generator: float = 4e-4
    lr_discriminator: float = 2e-4
    warmup_steps: int = 50
    ema_decay: float = 0.995
    grad_clip: float = 1.0
    max_minutes: float | None = None
    content_time_share: float = 0.7
    val_every: int = 1_000
    checkpoint_every: int = 1_000
    log_every: int = 100
    val_pairs: int = 64
    psnr_cost_db: float = 0.9
    precision: str = "auto"
    compile: str = "auto"
    device: str = "auto"
    cache_mb: int = 1024

    def __post_init__(self) -> None:
        one_of("task", self.task, TASKS)
        one_of("objective", self.objective, OBJECTIVES)
        one_of("precision", self.precision, PRECISIONS)
        one_of("compile", self.compile, COMPILE)
        for name in (
            "seed",
            "content_steps",
            "adversarial_steps",
            "unroll_steps",
            "warmup_steps",
            "cache_mb",
        ):
            at_least(name, getattr(self, name), 0)
        for name in (
            "batch_size",
            "accumulate",
            "patch_lr",
            "penalty_every",
            "discriminator_steps",
            "val_every",
            "checkpoint_every",
            "log_every",
            "val_pairs",
        ):
            at_least(name, getattr(self, name), 1)
        if not 0 <= self.balance <= 1:
            raise ConfigError(f"balance must be 0 to 1, got {self.balance}", balance=self.balance)
        for name in ("lr_content", "lr_generator", "lr_discriminator", "grad_clip"):
            positive(name, getattr(self, name))
        if self.max_minutes is not None:
            positive("max_minutes", self.max_minutes)
        for name in ("adversarial_weight", "r1", "r2", "psnr_cost_db"):
            not_negative(name, getattr(self, name))
        for name in ("adversarial_ramp", "ema_decay", "label_smoothing", "growing_share"):
            share(name, getattr(self, name), closed_below=True)
        share("content_time_share", self.content_time_share)
        self._check_together()

    def _check_together(self) -> None:
        """Refuse settings that are good alone and not with each other."""
        if self.content_steps + self.adversarial_steps == 0:
            raise ConfigError(
                "content_steps and adversarial_steps are both 0: nothing would be trained"
            )
        if self.batch_size % self.accumulate:
            raise ConfigError(
                f"batch_size {self.batch_size} cannot be cut into {self.accumulate} equal pieces "
                "(accumulate)"
            )
        if self.label_smoothing and self.objective not in _SMOOTHED:
            raise ConfigError(
                f"label_smoothing has no meaning for the objective {self.objective}: set it to 0"
            )
        if self.growing_share and self.generator.name != "srresnet":
            raise ConfigError(
                f"growing_share is {self.growing_share}, but {self.generator.name} cannot grow; "
                "srresnet can"
            )
        if self.growing_share and self.losses.consistency:
            raise ConfigError(
                "losses.consistency compares at the full scale: set it or growing_share to 0"
            )
        check_task(self)
        if self.generator.fused:
            raise ConfigError("a fused generator cannot be trained: leave generator.fused out")

    @property
    def steps(self) -> int:
        """Generator updates of both phases."""
        return self.content_steps + self.adversarial_steps

    def to_dict(self) -> dict[str, Any]:
        """As plain values, ready for JSON or a checkpoint."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainConfig:
        """From plain values; keys left out keep their defaults.

        Raises
        ------
        ConfigError
            For a key that does not exist (the valid ones are named) or a value that cannot be.
        """
        return from_dict(cls, values)
