"""Every objective with every discriminator, and every generator: do they train, and how well?

First 200 steps each (100 of the content phase, 100 of the adversarial one, on real aerial pairs):
all losses finite, and better than bicubic, which untrained generators are, after the content phase.
Then equal time for each: from nothing with each generator, and, with each game, from one generator
trained for as long. Gain over bicubic in dB and detail (see `adversarial`) on held-out images.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.config import OBJECTIVES, TrainConfig
from models.config_networks import (
    DISCRIMINATORS,
    GENERATORS,
)
from models.generators.registry import build_generator
from models.predict import Predictor
from tests.benchmarks.adversarial import go_on
from tests.benchmarks.aerial_data import BANDS, SCALE, Split, aerial_pairs
from tests.benchmarks.training_runs import (
    Curve,
    content_config,
    folders,
    judge_size,
    minutes,
    standing,
    train_on,
)

STEPS = 200
MINUTES = 1.0
# Beside the plain ones: settings that make another network or another step of it.
VARIANTS: dict[str, dict[str, Any]] = {
    "conditional": {"discriminator": {"name": "patchgan", "conditional": True}},
    "two resolutions": {"discriminator": {"name": "patchgan", "resolutions": 2}},
    "R1 + R2": {"r1": 1.0, "r2": 1.0},
    "unrolled once": {"unroll_steps": 1},
    "smoothed labels": {"objective": "non_saturating", "label_smoothing": 0.1},
    "all losses": {
        "losses": {"ssim": 0.1, "frequency": 0.1, "total_variation": 0.01, "consistency": 0.5}
    },
    "feature matching": {"losses": {"feature_matching": 1.0}},
    "growing": {"generator": {"name": "srresnet"}, "growing_share": 0.5},
}

Write = Callable[[str], None]


def run(write: Write) -> None:
    """Print what trains, then what it comes to in equal time."""
    split = aerial_pairs()
    write(f"{split.describe()}.\n")
    with tempfile.TemporaryDirectory() as name:
        fresh = folders(Path(name))
        _all_train(write, split, fresh)
        _generators(write, split, fresh)
        _games(write, split, fresh)


def _combinations() -> dict[str, dict[str, Any]]:
    games = {
        f"{objective}, {judge}": {"objective": objective, "discriminator": {"name": judge}}
        for objective, judge in product(OBJECTIVES, DISCRIMINATORS)
    }
    drawers: dict[str, dict[str, Any]] = {
        f"generator {name}": {"generator": {"name": name}} for name in GENERATORS
    }
    return games | drawers | VARIANTS


def _all_train(write: Write, split: Split, fresh: Iterator[Path]) -> None:
    write(f"| {STEPS} steps | gain dB | adversarial loss | finite | improved | s |")
    write("|---|---|---|---|---|---|")
    failed = 0
    for label, settings in _combinations().items():
        started = time.perf_counter()
        curve = Curve()
        try:
            values = _plain(settings)
            train_on(split, TrainConfig.from_dict(values), next(fresh), curve=curve)
        except Exception as error:  # one that fails must not hide the others
            failed += 1
            write(f"| {label} | | | {type(error).__name__}: {error} | no | |")
            continue
        played = [m for _, _, p, m in curve.progress if p == "adversarial"]
        finite = all(np.isfinite(list(m.values())).all() for _, _, _, m in curve.progress)
        gain = curve.validations[0][2]["gain_db"]  # at the end of the content phase
        improved = gain > 0
        failed += not (finite and improved)
        write(
            f"| {label} | {gain:+.3f} | {played[0]['train/adversarial_loss']:.3f} to "
            f"{played[-1]['train/adversarial_loss']:.3f} | {'yes' if finite else 'no'} "
            f"| {'yes' if improved else 'no'} | {time.perf_counter() - started:.0f} |"
        )
    write(f"\n{len(_combinations()) - failed} of {len(_combinations())} train.")


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "content_steps": STEPS // 2,
        "adversarial_steps": STEPS // 2,
        "log_every": 10,
        "val_every": 10 * STEPS,
        "val_pairs": 16,
        **settings,
    }


def _generators(write: Write, split: Split, fresh: Iterator[Path]) -> None:
    write(f"\n| generator | parameters | steps in {minutes(MINUTES):g} min | gain dB | detail |")
    write("|---|---|---|---|---|")
    for name in GENERATORS:
        try:
            config = content_config(minutes(MINUTES), generator={"name": name})
            result = train_on(split, config, next(fresh))
        except Exception as error:  # as above
            write(f"| {name} | | | {type(error).__name__}: {error} | |")
            continue
        s = standing(result.exported, split.held_out)
        write(
            f"| {name} | {_size(result.parameters, result.exported)} "
            f"| {result.clock.content_steps} | {s.gain:+.3f} | {s.detail:.3f} |"
        )


def _games(write: Write, split: Split, fresh: Iterator[Path]) -> None:
    start = next(fresh)
    train_on(split, content_config(minutes(MINUTES)), start)
    before = standing(start / "generator", split.held_out)
    write(
        f"\n| game | parameters | steps in {minutes(MINUTES):g} min | gain dB | detail "
        "| accuracy | trouble |"
    )
    write("|---|---|---|---|---|---|---|")
    write(f"| before | | | {before.gain:+.3f} | {before.detail:.3f} | | |")
    for objective, judge in product(OBJECTIVES, DISCRIMINATORS):
        settings = {"objective": objective, "discriminator": {"name": judge}}
        label = f"{objective}, {judge}"
        try:
            outcome = go_on(split, start, next(fresh), settings, minutes(MINUTES))
        except Exception as error:  # as above
            write(f"| {label} | | | | | | {type(error).__name__}: {error} |")
            continue
        s = outcome.standing
        size = judge_size(outcome.generator.parent) if outcome.generator else ""
        reached = f"{s.gain:+.3f} | {s.detail:.3f}" if s else " | "
        write(
            f"| {label} | {size} | {outcome.steps} | {reached} "
            f"| {outcome.accuracy:.2f} | {outcome.trouble} |"
        )


def _size(trained: int, folder: Path) -> str:
    """Parameters while training and, where they differ, as exported."""
    card = Predictor(folder).card
    exported = _count(build_generator(card.architecture, bands=len(BANDS), scale=SCALE))
    return str(trained) if exported == trained else f"{trained} ({exported} exported)"


def _count(network: torch.nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())
