"""Planted sickness: is it noticed, named, and survived?

Each run goes on from one content-trained generator (real aerial pairs, see `content`), but for the
broken pair and the runaway content rate, which are planted in a content phase. A classic game
without penalties, with a discriminator that learns 25 times faster than by default and four times
as often, is played after the discriminator has had a head start (*overpowered*), the same against a
generator whose rate is a tenth of the default (*overpowered for good*), and from a generator whose
last layer was replaced by one that draws one and the same pattern (*collapsed*), as it is, and with
the cures: unrolling, the controller of the networks' balance, penalties. Outcome: *finished*, or
the error that ended it; told: what the listener heard of it. Gain over bicubic (dB) and detail are
of the last state validated; accuracy (of the discriminator) and variety (of what is drawn, against
reality's) of the last tenth.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.checkpoint import list_checkpoints, load_checkpoint
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
_COMMON: dict[str, Any] = {"log_every": 10, "val_every": 200, "checkpoint_every": 100}

CLASSIC: dict[str, Any] = {
    "objective": "minimax",
    "r1": 0.0,
    "r2": 0.0,
    "adversarial_ramp": 0.0,
    "lr_discriminator": 5e-3,
    "discriminator_steps": 4,
    # A collapsed generator must have time to recover before it is given up.
    "health": {"patience": 10},
}
# What is ahead stays ahead of a generator that learns ten times as slowly, whatever is done.
HOPELESS: dict[str, Any] = CLASSIC | {"lr_generator": _DEFAULT.lr_generator / 10}
CURES: dict[str, dict[str, Any]] = {
    "plain": {"balance_networks": _NO_BALANCE},
    "unrolled once": {"balance_networks": _NO_BALANCE, "unroll_steps": 1},
    "balance": {},
    "balance, unrolled once": {"unroll_steps": 1},
}
# The same with the game in which the generator never loses its gradient.
NON_SATURATING: dict[str, Any] = CLASSIC | {"objective": "non_saturating"}
PENALISED: dict[str, dict[str, Any]] = {
    "plain": CURES["plain"],
    "balance, unrolled once": CURES["balance, unrolled once"],
    "balance, R1 and R2": {"r1": _DEFAULT.r1, "r2": _DEFAULT.r2},
}
# Steps that a discriminator learns while the generator stands still.
_HEAD_START = 250
_PATTERN = 0.2  # of the collapsed generator, in units of the imagery's spread

Write = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a sick run came to."""

    ended: str
    told: str
    steps: int
    gain: float
    detail: float
    accuracy: float
    variety: float


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
        write("| sickness | cure | steps | outcome | told | gain | detail | accuracy | variety |")
        write("|---|---|---|---|---|---|---|---|---|")
        _row(write, "none", "", _played(split, start, fresh, {}))
        for cure, more in CURES.items():
            found = _played(split, start, fresh, CLASSIC | more, head_start=True)
            _row(write, "overpowered", cure, found)
        for cure, more in (CURES | PENALISED).items():
            found = _played(split, start, fresh, HOPELESS | more, head_start=True)
            _row(write, "overpowered for good", cure, found)
        games = {"minimax": (CLASSIC, CURES), "non-saturating": (NON_SATURATING, PENALISED)}
        for game, (settings, cures) in games.items():
            for cure, more in cures.items():
                found = _played(split, start, fresh, settings | more, plant=_collapse)
                _row(write, f"collapsed, {game}", cure, found)
        patient = {"health": CLASSIC["health"]}
        found = _played(split, start, fresh, patient, plant=_collapse)
        _row(write, "collapsed", "default recipe", found)
        _row(write, "one pair of NaN", "", _drawn(_with_broken_pair(split), fresh, {}))
        fast = {"lr_content": 100 * _DEFAULT.lr_content}
        _row(write, "content rate x 100", "", _drawn(split, fresh, fast))
        fast = {
            "lr_generator": 100 * _DEFAULT.lr_generator,
            "lr_discriminator": 100 * _DEFAULT.lr_discriminator,
        }
        _row(write, "adversarial rates x 100", "", _played(split, start, fresh, fast))


def _played(
    split: Split,
    start: Path,
    fresh: Iterator[Path],
    settings: Mapping[str, Any],
    *,
    plant: Callable[[Path], None] | None = None,
    head_start: bool = False,
) -> Outcome:
    """An adversarial phase with these settings."""
    config = phase_config({**_COMMON, **settings}, minutes(MINUTES))
    config, folder = begin_adversarial(split, start, config, next(fresh))
    if plant is not None:
        plant(list_checkpoints(folder / "checkpoints")[0])
    if head_start:
        config = _overpower(split, config, folder)
    return _outcome(split, config, folder, resume=True)


def _overpower(split: Split, config: TrainConfig, folder: Path) -> TrainConfig:
    """Let the discriminator learn alone for a while; returns `config` with as much time added."""
    values = config.to_dict() | {
        "lr_generator": 1e-9,
        "adversarial_steps": _HEAD_START,
        "max_minutes": None,
        "balance_networks": _NO_BALANCE,
        "health": {"patience": 10_000},
    }
    clock = train_on(split, TrainConfig.from_dict(values), folder, resume=True).clock
    assert config.max_minutes is not None
    return dataclasses.replace(config, max_minutes=config.max_minutes + clock.adversarial_s / 60)


def _collapse(checkpoint: Path) -> None:
    """Make the generator draw one pattern whatever it is shown."""
    state = load_checkpoint(checkpoint)
    pattern = torch.Generator().manual_seed(0)
    for weights in (state["generator"], state["ema"]["network"]):
        last = [name for name in weights if name.endswith("weight")][-1]
        bias = last.removesuffix("weight") + "bias"
        weights[last] = 0.02 * weights[last]
        weights[bias] = _PATTERN * torch.randn(weights[bias].shape, generator=pattern)
        pattern.manual_seed(0)
    torch.save(state, checkpoint)


def _drawn(split: Split, fresh: Iterator[Path], settings: Mapping[str, Any]) -> Outcome:
    """A content phase with these settings."""
    config = content_config(minutes(MINUTES), **_COMMON, **settings)
    return _outcome(split, config, next(fresh), resume=False)


def _outcome(split: Split, config: TrainConfig, folder: Path, *, resume: bool) -> Outcome:
    curve = Curve()
    try:
        train_on(split, config, folder, curve=curve, resume=resume)
        ended = "finished"
    except TrainingError as error:
        ended = f"{error.facts.get('sickness', 'given up')}: {error.message.split(': ', 1)[-1]}"
    phase = curve.progress[-1][2] if curve.progress else ""
    last = curve.validations[-1][2] if curve.validations else {}
    told = [text for text in curve.events if "exported is" not in text]
    return Outcome(
        ended=ended[:160],
        told="; ".join(text[:160] for text in told) or "nothing",
        steps=curve.progress[-1][1] if curve.progress else 0,
        gain=last.get("gain_db", np.nan),
        detail=last.get("hf_power_ratio", np.nan),
        accuracy=curve.mean("train/d_accuracy", phase, last=0.1),
        variety=curve.mean("train/diversity", phase, last=0.1),
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
        f"| {o.detail:.3f} | {o.accuracy:.2f} | {o.variety:.2f} |"
    )
