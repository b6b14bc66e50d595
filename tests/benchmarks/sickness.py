"""Planted sickness: is it noticed, named, and survived?

Each run goes on from one content-trained generator (real aerial pairs, see `content`), but for the
broken pair and the runaway rate, which are planted in a content phase. Outcome: *finished*, or the
error that ended it; told: what the listener heard of it. Gain over bicubic (dB) and detail are of
the exported generator on held-out images; *last* is the gain at the last validation, sick or not.
Accuracy: of the discriminator, over the last tenth. The cures run on the first two sicknesses:
unrolling, and the controller of the networks' balance, which the plain rows have switched off.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.config import TrainConfig
from models.data import ListedPairs, Pair
from models.errors import TrainingError
from tests.benchmarks.adversarial import phase_config
from tests.benchmarks.aerial_data import Split, aerial_pairs
from tests.benchmarks.training_runs import (
    Curve,
    begin_adversarial,
    content_config,
    folders,
    minutes,
    standing,
    train_on,
)

CONTENT_MINUTES, MINUTES = 2.0, 2.0
_DEFAULT = TrainConfig()
_NO_BALANCE = {"accuracy_low": 0.0, "accuracy_high": 1.0}
# Against a running start: half a minute has many chances to be read as sick, or to recover.
_COMMON: dict[str, Any] = {"log_every": 10, "val_every": 200, "checkpoint_every": 100}

OVERPOWERED: dict[str, Any] = {
    "lr_discriminator": 50 * _DEFAULT.lr_discriminator,
    "discriminator_steps": 8,
}
COLLAPSED: dict[str, Any] = {
    "adversarial_weight": 50.0,
    "adversarial_ramp": 0.0,
    "lr_generator": 10 * _DEFAULT.lr_generator,
    "losses": {"l1": 1e-3},
}
CURES: dict[str, dict[str, Any]] = {
    "plain": {"balance_networks": _NO_BALANCE},
    "unrolled 1": {"balance_networks": _NO_BALANCE, "unroll_steps": 1},
    "unrolled 2": {"balance_networks": _NO_BALANCE, "unroll_steps": 2},
    "unrolled 3": {"balance_networks": _NO_BALANCE, "unroll_steps": 3},
    "balance": {},
    "balance, unrolled 1": {"unroll_steps": 1},
}

Write = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a sick run came to."""

    ended: str
    told: str
    steps: int
    gain: float
    detail: float
    last_gain: float
    accuracy: float


def run(write: Write) -> None:
    """Print a row for each sickness and each cure."""
    split = aerial_pairs()
    write(f"{split.describe()}; {minutes(MINUTES):g} minutes each.\n")
    with tempfile.TemporaryDirectory() as name:
        fresh = folders(Path(name))
        start = next(fresh)
        train_on(split, content_config(minutes(CONTENT_MINUTES)), start)
        healthy = standing(start / "generator", split.held_out)
        write(f"Before: gain {healthy.gain:+.2f} dB, detail {healthy.detail:.3f}.\n")
        write("| sickness | cure | steps | outcome | told | gain | detail | last | accuracy |")
        write("|---|---|---|---|---|---|---|---|---|")
        _row(write, "none", "", _played(split, start, fresh, {}))
        for sickness, settings in (("overpowered", OVERPOWERED), ("collapsed", COLLAPSED)):
            for cure, more in CURES.items():
                _row(write, sickness, cure, _played(split, start, fresh, settings | more))
        _row(write, "one pair of NaN", "", _drawn(_with_broken_pair(split), fresh, {}))
        fast = {"lr_content": 100 * _DEFAULT.lr_content}
        _row(write, "content rate x 100", "", _drawn(split, fresh, fast))
        fast = {
            "lr_generator": 100 * _DEFAULT.lr_generator,
            "lr_discriminator": 100 * _DEFAULT.lr_discriminator,
        }
        _row(write, "adversarial rates x 100", "", _played(split, start, fresh, fast))


def _played(
    split: Split, start: Path, fresh: Iterator[Path], settings: Mapping[str, Any]
) -> Outcome:
    """An adversarial phase with these settings."""
    config = phase_config({**_COMMON, **settings}, minutes(MINUTES))
    config, folder = begin_adversarial(split, start, config, next(fresh))
    return _outcome(split, config, folder, resume=True)


def _drawn(split: Split, fresh: Iterator[Path], settings: Mapping[str, Any]) -> Outcome:
    """A content phase with these settings."""
    config = content_config(minutes(MINUTES), **_COMMON, **settings)
    return _outcome(split, config, next(fresh), resume=False)


def _outcome(split: Split, config: TrainConfig, folder: Path, *, resume: bool) -> Outcome:
    curve = Curve()
    gain = detail = float("nan")
    try:
        result = train_on(split, config, folder, curve=curve, resume=resume)
        reached = standing(result.generator, split.held_out)
        gain, detail = reached.gain, reached.detail
        ended = "finished" if np.isfinite(gain) else "finished, not finite"
    except TrainingError as error:
        ended = f"{error.facts.get('sickness', 'given up')}: {error.message.split(': ', 1)[-1]}"
    phase = curve.progress[-1][2] if curve.progress else ""
    return Outcome(
        ended=ended[:160],
        told="; ".join(text[:160] for text in curve.events) or "nothing",
        steps=curve.progress[-1][1] if curve.progress else 0,
        gain=gain,
        detail=detail,
        last_gain=curve.validations[-1][2].get("gain_db", np.nan) if curve.validations else np.nan,
        accuracy=curve.mean("train/d_accuracy", phase, last=0.1),
    )


def _with_broken_pair(split: Split) -> Split:
    """The same, but one training pair has no number in it and says it is valid."""
    pairs = split.train.read(range(len(split.train)))
    lost = pairs[0]
    broken = Pair(
        lr=lost.lr, hr=np.full(lost.hr.shape, np.nan, np.float32), valid=np.ones_like(lost.valid)
    )
    return Split(
        name=f"{split.name}, one pair broken",
        train=ListedPairs([broken, *pairs[1:]]),
        held_out=split.held_out,
        train_images=split.train_images,
        held_by_image=split.held_by_image,
    )


def _row(write: Write, sickness: str, cure: str, o: Outcome) -> None:
    write(
        f"| {sickness} | {cure} | {o.steps} | {o.ended} | {o.told} | {o.gain:+.2f} "
        f"| {o.detail:.3f} | {o.last_gain:+.2f} | {o.accuracy:.2f} |"
    )
