"""Content phase of the default settings: gain over bicubic on held-out images, by time and images.

Real aerial imagery and made scenes, degraded 4x by the model of the sensor with noise of one 8-bit
DN; chips of 32 LR pixels; no image is in both splits. Gains in dB of PSNR: mean over chips, and
pooled over all pixels. Curves are of 32 held-out chips, scored with the averaged weights while the
learning rate is still high: the last point is what the decay gives. Targets: 1.2 dB in 3 minutes,
1.25 dB in 10, on two cores.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.benchmarks.aerial_data import Split, aerial_pairs, made_pairs
from tests.benchmarks.training_runs import (
    Curve,
    content_config,
    every_curve_point,
    folders,
    minutes,
    standing,
    train_on,
)

LENGTHS = (3.0, 10.0)
TARGETS = {3.0: 1.2, 10.0: 1.25}
SHARES = (0.25, 0.5, 1.0)
SHARE_MINUTES = 3.0

Write = Callable[[str], None]


def run(write: Write) -> None:
    """Print gains by time, by images, and the curves."""
    with tempfile.TemporaryDirectory() as name:
        fresh = folders(Path(name))
        _by_time(write, fresh)
        _by_images(write, fresh)


def _by_time(write: Write, fresh: Iterator[Path]) -> None:
    splits = made_pairs(), aerial_pairs()
    for split in splits:
        write(f"{split.describe()}.\n")
    write("| imagery | minutes | steps | bicubic dB | gain dB | pooled gain dB | target |")
    write("|---|---|---|---|---|---|---|")
    curves: list[tuple[str, float, Curve]] = []
    last: dict[str, Path] = {}
    for split in splits:
        for length in LENGTHS:
            curve = Curve()
            last[split.name] = next(fresh)
            row = _row(split, minutes(length), next(fresh), last[split.name], curve)
            target = f">= {TARGETS[length]}" if split.name == "real aerial" else ""
            write(f"| {split.name} | {minutes(length):g} | {row} | {target} |")
            curves.append((split.name, length, curve))
    write("\n| held-out image | chips | bicubic dB | gain dB | pooled gain dB |")
    write("|---|---|---|---|---|")
    for split in splits:
        for image, pairs in split.held_by_image.items():
            s = standing(last[split.name] / "generator", pairs)
            write(
                f"| {image} | {len(pairs)} | {s.bicubic_psnr:.2f} | {s.gain:+.3f} "
                f"| {s.pooled_gain:+.3f} |"
            )
    write("\n| imagery | minutes | gain dB at seconds |")
    write("|---|---|---|")
    for name, length, curve in curves:
        points = ", ".join(f"{at:.0f} s {s['gain_db']:+.2f}" for at, _, s in curve.validations)
        write(f"| {name} | {minutes(length):g} | {points} |")


def _by_images(write: Write, fresh: Iterator[Path]) -> None:
    write("\n| training images | chips | steps | bicubic dB | gain dB | pooled gain dB |")
    write("|---|---|---|---|---|---|")
    for share in SHARES:
        split = aerial_pairs(share)
        row = _row(split, minutes(SHARE_MINUTES), next(fresh), next(fresh), Curve())
        write(f"| {len(split.train_images)} ({share:g}) | {len(split.train)} | {row} |")


def _row(split: Split, length: float, trial: Path, folder: Path, curve: Curve) -> str:
    config = content_config(length)
    config = dataclasses.replace(config, val_every=every_curve_point(split, config, trial))
    curve.__init__()  # type: ignore[misc]  # the clock starts now
    result = train_on(split, config, folder, curve=curve)
    s = standing(result.exported, split.held_out)
    return (
        f"{result.clock.content_steps} | {s.bicubic_psnr:.2f} | {s.gain:+.3f} "
        f"| {s.pooled_gain:+.3f}"
    )
