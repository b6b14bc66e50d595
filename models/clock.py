"""Where a run stands, and what every schedule says there.

The clock counts generator updates. With a limit in minutes it also counts seconds, and the
position in a phase is the larger of the share of steps and the share of time, so that decays and
phases end with the time that there is.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from models.config import TrainConfig

Phase = Literal["content", "adversarial", "done"]

_FLOOR = 0.02  # what cosine decay leaves of a learning rate


@dataclass(kw_only=True)
class Clock:
    """What has been done so far; goes into each checkpoint.

    Parameters
    ----------
    content_steps, adversarial_steps : int
        Generator updates done in each phase.
    content_s, adversarial_s : float
        Seconds spent in each phase, validation included, over all sittings of a run.
    batches : int
        Mini-batches taken; the next one has this number.
    images : int
        Pairs seen by the networks.
    content_ended, ended : bool
        Set once when a phase has ended, by steps or by time; never taken back.
    rollbacks : int
        How often the run went back to a healthy state.
    rate_factor : float
        Of all learning rates, lowered by rollbacks.
    """

    content_steps: int = 0
    adversarial_steps: int = 0
    content_s: float = 0.0
    adversarial_s: float = 0.0
    batches: int = 0
    images: int = 0
    content_ended: bool = False
    ended: bool = False
    rollbacks: int = 0
    rate_factor: float = 1.0

    @property
    def step(self) -> int:
        """Generator updates done."""
        return self.content_steps + self.adversarial_steps

    @property
    def elapsed_s(self) -> float:
        """Seconds spent in both phases."""
        return self.content_s + self.adversarial_s

    @property
    def phase(self) -> Phase:
        """The phase that the next step belongs to."""
        if self.ended:
            return "done"
        return "adversarial" if self.content_ended else "content"

    def add_seconds(self, seconds: float) -> None:
        """Count time to the present phase."""
        if self.content_ended:
            self.adversarial_s += seconds
        else:
            self.content_s += seconds

    def position(self, config: TrainConfig) -> float:
        """How much of the present phase lies behind, 0 to 1 (1: the phase is over)."""
        steps, wanted = self._phase_steps(config)
        by_steps = steps / wanted if wanted else 1.0
        return min(1.0, max(by_steps, self._time_share(config)))

    def end_phase(self) -> None:
        """Go on to the next phase, or to the end."""
        if self.content_ended:
            self.ended = True
        self.content_ended = True

    def stopped_by(self, config: TrainConfig) -> Literal["steps", "time", "request"]:
        """Why there are no more steps."""
        if not self.ended:
            return "request"
        return "steps" if self.step >= config.steps else "time"

    def eta_s(self, config: TrainConfig) -> float | None:
        """Seconds left at the speed so far, or None while nothing is known.

        Before the adversarial phase has been timed, one of its steps is taken to cost as much as
        all the updates in it at the speed of the content phase.
        """
        content_step_s = self.content_s / self.content_steps if self.content_steps else None
        adversarial_step_s = (
            self.adversarial_s / self.adversarial_steps
            if self.adversarial_steps
            else content_step_s and content_step_s * (1 + config.discriminator_steps)
        )
        left = 0.0
        if not self.content_ended:
            if content_step_s is None:
                return None
            left += (config.content_steps - self.content_steps) * content_step_s
        if config.adversarial_steps:
            if adversarial_step_s is None:
                return None
            left += (config.adversarial_steps - self.adversarial_steps) * adversarial_step_s
        if config.max_minutes is not None:
            left = min(left, config.max_minutes * 60 - self.elapsed_s)
        return max(0.0, left)

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Clock:
        """From plain values."""
        return cls(**values)

    def _phase_steps(self, config: TrainConfig) -> tuple[int, int]:
        if self.content_ended:
            return self.adversarial_steps, config.adversarial_steps
        return self.content_steps, config.content_steps

    def _time_share(self, config: TrainConfig) -> float:
        if config.max_minutes is None:
            return 0.0
        limit_s = config.max_minutes * 60
        if self.content_ended:
            # All that is left, however long the content phase took.
            rest_s = limit_s - self.content_s
            return self.adversarial_s / rest_s if rest_s > 0 else 1.0
        share = config.content_time_share if config.adversarial_steps else 1.0
        return self.content_s / (limit_s * share)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the schedules say for one step."""

    lr_generator: float
    lr_discriminator: float
    adversarial_weight: float


def settings_at(config: TrainConfig, clock: Clock, position: float) -> Settings:
    """Rates and weight for the next step, `position` through the present phase."""
    steps = clock.adversarial_steps if clock.content_ended else clock.content_steps
    warmup = min(1.0, (steps + 1) / (config.warmup_steps + 1))
    rate = warmup * cosine(position) * clock.rate_factor
    if not clock.content_ended:
        return Settings(
            lr_generator=config.lr_content * rate, lr_discriminator=0.0, adversarial_weight=0.0
        )
    ramp = min(1.0, position / config.adversarial_ramp) if config.adversarial_ramp else 1.0
    return Settings(
        lr_generator=config.lr_generator * rate,
        lr_discriminator=config.lr_discriminator * rate,
        adversarial_weight=config.adversarial_weight * ramp,
    )


def growth_at(levels: Sequence[int], share: float, position: float) -> tuple[int, float] | None:
    """Scale that a growing generator works at, and how far it is faded in.

    The share of the content phase is cut into two equal parts for each scale below the full one:
    in the first it works at that scale alone, in the second the next is faded in (Karras et al.,
    "Progressive growing of GANs", 2018).

    Returns
    -------
    (int, float) or None
        None once it has grown up.
    """
    if position >= share or len(levels) < 2:
        return None
    parts = 2 * (len(levels) - 1)
    place = position / share * parts
    part = int(place)
    if part % 2 == 0:
        return levels[part // 2], 1.0
    return levels[part // 2 + 1], place - part


def cosine(position: float) -> float:
    """Half a cosine from 1 at position 0 down to a small rest at 1 (Loshchilov, SGDR, 2017)."""
    return _FLOOR + (1 - _FLOOR) * 0.5 * (1 + math.cos(math.pi * position))
