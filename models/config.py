"""What a training run can be told: frozen values that check themselves.

This module must not import torch: flows show these values as a form, and ``--help`` stays fast.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, get_type_hints

from models.errors import ConfigError

GENERATORS = ("edsr", "srresnet")
DISCRIMINATORS = ("srgan",)
OBJECTIVES = ("non_saturating", "minimax", "least_squares")
CONTENT_LOSSES = ("l1", "charbonnier")
PRECISIONS = ("auto", "float32", "bfloat16")
SCALES = (2, 4, 8)


@dataclass(frozen=True, kw_only=True)
class GeneratorConfig:
    """The network that draws.

    Parameters
    ----------
    name : str
        ``edsr`` upsamples in its last layer and does all work on LR pixels, the best per CPU
        minute; ``srresnet`` upsamples by two at a time and ends on HR pixels.
    channels : int
        Feature planes.
    blocks : int
        Residual blocks.
    """

    name: str = "edsr"
    channels: int = 32
    blocks: int = 4

    def __post_init__(self) -> None:
        _one_of("generator name", self.name, GENERATORS)
        _at_least("generator channels", self.channels, 1)
        _at_least("generator blocks", self.blocks, 1)


@dataclass(frozen=True, kw_only=True)
class DiscriminatorConfig:
    """The network that tells drawn from real.

    Parameters
    ----------
    name : str
        ``srgan``: strided convolutions with leaky ReLU, one decision per patch.
    channels : int
        Feature planes of the first layer; deeper layers have up to four times as many.
    stages : int
        Halvings of the patch.
    """

    name: str = "srgan"
    channels: int = 16
    stages: int = 4

    def __post_init__(self) -> None:
        _one_of("discriminator name", self.name, DISCRIMINATORS)
        _at_least("discriminator channels", self.channels, 1)
        if not 1 <= self.stages <= 5:
            raise ConfigError(
                f"discriminator stages must be 1 to 5 (a patch of 32 px has no more), "
                f"got {self.stages}",
                stages=self.stages,
            )


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One training run: a content warm-up, then an adversarial phase.

    Every schedule counts generator updates ("steps"). Without `max_minutes` a run is a pure
    function of this configuration and the pairs.

    Parameters
    ----------
    generator, discriminator : GeneratorConfig, DiscriminatorConfig
    seed : int
        Of weights, order of pairs, crops and flips.
    batch_size : int
        Pairs in a mini-batch, over all ranks together.
    patch_lr : int
        Side of the random crop in LR pixels; chips that are smaller are taken whole. 24 is 96 HR
        pixels at scale 4, the crop of SRGAN; more costs time and taught no more in our trials.
    balance : float
        0 shows pairs of each category as often as they are there, 1 every category as often as
        any other, those without one among them; no pair more than ten times as often as by nature.
    content_steps, adversarial_steps : int
        Generator updates of the two phases.
    content_loss : str
        ``l1`` or ``charbonnier``.
    objective : str
        ``non_saturating``, ``minimax`` or ``least_squares``.
    adversarial_weight : float
        Of the adversarial loss against the content loss, which is measured in units of the
        imagery's own contrast.
    adversarial_ramp : float
        Share of the adversarial phase in which that weight rises from zero, so that a
        discriminator that knows nothing yet teaches nothing.
    discriminator_steps : int
        Discriminator updates before each generator update, each on its own mini-batch.
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
        Steps. Validation and a checkpoint also end each phase.
    val_pairs : int
        At most so many validation pairs, evenly spread over what there is.
    precision : str
        Of the convolutions: ``auto`` takes bfloat16 where the hardware computes in it.
    device : str
        ``auto`` or a torch device.
    cache_mb : int
        Memory for pairs already read.
    """

    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    seed: int = 0
    batch_size: int = 16
    patch_lr: int = 24
    balance: float = 0.0
    content_steps: int = 20_000
    adversarial_steps: int = 4_000
    content_loss: str = "l1"
    objective: str = "non_saturating"
    adversarial_weight: float = 0.02
    adversarial_ramp: float = 0.1
    discriminator_steps: int = 2
    lr_content: float = 2e-3
    lr_generator: float = 2e-4
    lr_discriminator: float = 1e-4
    warmup_steps: int = 50
    ema_decay: float = 0.995
    grad_clip: float = 1.0
    max_minutes: float | None = None
    content_time_share: float = 0.7
    val_every: int = 1_000
    checkpoint_every: int = 1_000
    log_every: int = 50
    val_pairs: int = 64
    precision: str = "auto"
    device: str = "auto"
    cache_mb: int = 1024

    def __post_init__(self) -> None:
        _one_of("content_loss", self.content_loss, CONTENT_LOSSES)
        _one_of("objective", self.objective, OBJECTIVES)
        _one_of("precision", self.precision, PRECISIONS)
        for name in ("seed", "content_steps", "adversarial_steps", "warmup_steps", "cache_mb"):
            _at_least(name, getattr(self, name), 0)
        for name in (
            "batch_size",
            "patch_lr",
            "discriminator_steps",
            "val_every",
            "checkpoint_every",
            "log_every",
            "val_pairs",
        ):
            _at_least(name, getattr(self, name), 1)
        if not 0 <= self.balance <= 1:
            raise ConfigError(f"balance must be 0 to 1, got {self.balance}", balance=self.balance)
        if self.content_steps + self.adversarial_steps == 0:
            raise ConfigError(
                "content_steps and adversarial_steps are both 0: nothing would be trained"
            )
        for name in ("lr_content", "lr_generator", "lr_discriminator", "grad_clip"):
            _positive(name, getattr(self, name))
        if self.max_minutes is not None:
            _positive("max_minutes", self.max_minutes)
        if not (math.isfinite(self.adversarial_weight) and self.adversarial_weight >= 0):
            raise ConfigError(
                f"adversarial_weight must be 0 or more, got {self.adversarial_weight}"
            )
        _share("adversarial_ramp", self.adversarial_ramp, closed_below=True)
        _share("ema_decay", self.ema_decay, closed_below=True)
        _share("content_time_share", self.content_time_share)

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


_T = TypeVar("_T")


def from_dict(cls: type[_T], values: Mapping[str, Any], *, where: str = "") -> _T:
    """Build a configuration from nested mappings, refusing unknown keys by name."""
    hints = get_type_hints(cls)
    known = {item.name for item in dataclasses.fields(cls)}  # type: ignore[arg-type]  # of a class variable
    unknown = sorted(set(values) - known)
    if unknown:
        named = ", ".join(where + key for key in unknown)
        raise ConfigError(
            f"unknown key{'s' if len(unknown) > 1 else ''} {named}; "
            f"known are {', '.join(sorted(known))}",
            unknown=unknown,
            known=sorted(known),
        )
    arguments: dict[str, Any] = {}
    for key, value in values.items():
        kind = hints[key]
        if isinstance(kind, type) and dataclasses.is_dataclass(kind) and isinstance(value, Mapping):
            value = from_dict(kind, value, where=f"{where}{key}.")
        arguments[key] = _checked(where + key, value, kind)
    return cls(**arguments)


def _checked(name: str, value: Any, kind: Any) -> Any:
    """Value as the annotation wants it; an int is a float, a bool is not an int."""
    wanted = tuple(getattr(kind, "__args__", (kind,)))
    if float in wanted and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
        names = " or ".join(getattr(item, "__name__", str(item)) for item in wanted)
        raise ConfigError(
            f"{name} must be {names.replace('NoneType', 'none')}, got {value!r}",
            name=name,
            value=value,
        )
    return value


def _one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(
            f"{name} must be one of {', '.join(choices)}, got {value!r}", name=name, value=value
        )


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise ConfigError(f"{name} must be {least} or more, got {value}", name=name, value=value)


def _positive(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise ConfigError(f"{name} must be more than 0, got {value}", name=name, value=value)


def _share(name: str, value: float, *, closed_below: bool = False) -> None:
    if not (0 <= value < 1) or (value == 0 and not closed_below):
        raise ConfigError(
            f"{name} must be {'at least' if closed_below else 'more than'} 0 and less than 1, "
            f"got {value}",
            name=name,
            value=value,
        )
