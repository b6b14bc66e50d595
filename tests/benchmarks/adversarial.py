"""Adversarial phase from one content-trained generator: detail won, fidelity paid, who is winning.

Default generator on real aerial pairs (see `content`); the content phase is trained once, then each
row goes on from it. Detail: power beyond the LR Nyquist frequency, in parts of real imagery's.
Consistency: RMSE against the LR input of what the sensor would see, 8-bit DN. Accuracy: share of
patches that the discriminator tells apart rightly, over the last tenth. Trouble: given up by the
trainer, not finite, worse than bicubic, or what the trainer told of the run's health. What is
scored is the exported generator, a share of the way from the content phase to the game's last
state: PSNR as the mean over chips, and its difference from the content phase also over all pixels
pooled.

``SKYSCALE_BENCH_PICTURES`` names a folder for strips of LR, bicubic, content, GAN and HR.
"""

from __future__ import annotations

import dataclasses
import os
import tempfile
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from geo.interpolate import upsample
from geo.pictures import encode_png, stretch_limits, strip, to_rgb8
from models.config import TrainConfig
from models.errors import ConfigError, ModelError
from models.export import load_card, load_generator, save_generator
from models.predict import Predictor
from models.selection import Selection
from tests.benchmarks.aerial_data import BANDS, SCALE, Split, aerial_pairs
from tests.benchmarks.training_runs import (
    Curve,
    Standing,
    begin_adversarial,
    content_config,
    folders,
    held,
    minutes,
    standing,
    train_on,
)

CONTENT_MINUTES, MINUTES, LONG_MINUTES = 3.0, 10.0, 30.0
SEEDS = (0, 1, 2)
SHARES = (0.25, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
# Any price, so that what is exported is as sharp as reality if the game has come so far.
LONG: dict[str, Any] = {"psnr_cost_db": 10.0}
_PICTURES = 6
_VALIDATIONS = 8  # in a phase, for the trainer to choose from

Write = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What an adversarial phase has come to."""

    standing: Standing | None
    accuracy: float
    steps: int
    trouble: str
    share: float = float("nan")
    generator: Path | None = None
    curve: Curve = field(default_factory=Curve)


def run(write: Write) -> None:
    """Print a row for each seed, the trade-off, and a long run with its states."""
    split = aerial_pairs()
    write(f"{split.describe()}.\n")
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        pictures = Path(os.environ.get("SKYSCALE_BENCH_PICTURES") or root / "pictures")
        fresh = folders(root)
        start = next(fresh)
        config = content_config(minutes(CONTENT_MINUTES))
        train_on(split, config, start)
        content = standing(start / "generator", split.held_out)
        _head(write, content)
        ended = []
        for seed in SEEDS:
            outcome = go_on(split, start, next(fresh), {"seed": seed}, minutes(MINUTES))
            _row(write, f"default, seed {seed}", outcome, content)
            _draw(split, start / "generator", outcome, pictures / f"default-{seed}")
            ended.append(outcome)
        for label, settings in _chosen().items():
            outcome = go_on(split, start, next(fresh), settings, minutes(MINUTES))
            _row(write, label, outcome, content)
            _draw(split, start / "generator", outcome, pictures / "chosen")
        _trade_off(write, split, ended[0], content)
        write(f"\n{minutes(LONG_MINUTES):g} minutes, with {LONG}:\n")
        _head(write, content)
        outcome = go_on(split, start, next(fresh), LONG, minutes(LONG_MINUTES))
        _row(write, "long", outcome, content)
        _draw(split, start / "generator", outcome, pictures / "long")
        _path(write, outcome)
        _trade_off(write, split, outcome, content)


def _chosen() -> dict[str, dict[str, Any]]:
    """One more recipe from ``SKYSCALE_BENCH_RECIPE``, TOML in a line, for trying things out."""
    text = os.environ.get("SKYSCALE_BENCH_RECIPE")
    return {text: tomllib.loads(text.replace(";", "\n"))} if text else {}


def go_on(
    split: Split, start: Path, folder: Path, settings: Mapping[str, Any], length: float
) -> Outcome:
    """Go on from a content-trained generator for so many minutes."""
    curve = Curve()
    try:
        config = phase_config(settings, length)
        config, folder = begin_adversarial(split, start, config, folder)
        steps = _phase_steps(split, config, start, folder)
        config = dataclasses.replace(config, val_every=steps)
        result = train_on(split, config, folder, curve=curve, resume=True)
    except ModelError as error:
        kind = "refused" if isinstance(error, ConfigError) else "diverged"
        return Outcome(standing=None, accuracy=np.nan, steps=0, trouble=f"{kind}: {error}")
    reached = standing(result.exported, split.held_out)
    told = [text for text in curve.events if "exported is" not in text]
    share = load_card(result.exported).training["sharp_share"]
    bad = "diverged: not finite" if not np.isfinite(reached.psnr) else "worse than bicubic"
    broken = not reached.gain >= 0
    return Outcome(
        standing=reached,
        accuracy=curve.mean("train/d_accuracy", "adversarial", last=0.1),
        steps=result.clock.adversarial_steps,
        trouble="; ".join([*([bad] if broken else []), *told]) or "no",
        share=share,
        generator=result.exported,
        curve=curve,
    )


def phase_config(settings: Mapping[str, Any], length: float) -> TrainConfig:
    """Settings of an adversarial phase of so many minutes."""
    endless = {"content_steps": 1, "adversarial_steps": 10_000_000, "log_every": 20}
    config = content_config(length, **endless)
    return TrainConfig.from_dict(config.to_dict() | dict(settings))


def _phase_steps(split: Split, config: TrainConfig, start: Path, folder: Path) -> int:
    """Steps from one validation to the next, by a short try."""
    curve = Curve()
    assert config.max_minutes is not None
    trial, place = begin_adversarial(
        split,
        start,
        dataclasses.replace(config, max_minutes=0.1, log_every=5),
        folder.with_name(folder.name + "-trial"),
    )
    done = train_on(split, trial, place, curve=curve, resume=True).clock
    rate = done.adversarial_steps / max(done.adversarial_s, 1e-9)
    phase_s = 60 * config.max_minutes - done.content_s
    return max(1, round(rate * phase_s / _VALIDATIONS))


def _head(write: Write, content: Standing) -> None:
    write(
        "| run | steps | share | PSNR dB | against content, chips | pooled | detail | consistency "
        "| accuracy | trouble |"
    )
    write("|---|---|---|---|---|---|---|---|---|---|")
    write(
        f"| bicubic | | | {content.bicubic_psnr:.2f} | {-content.gain:+.2f} "
        f"| {-content.pooled_gain:+.2f} "
        f"| {content.bicubic_detail:.3f} | {content.bicubic_consistency:.2f} | | |"
    )
    write(
        f"| content | | | {content.psnr:.2f} | | | {content.detail:.3f} "
        f"| {content.consistency:.2f} | | |"
    )


def _row(write: Write, label: str, outcome: Outcome, content: Standing) -> None:
    s = outcome.standing
    if s is None:
        write(f"| {label} | | | | | | | | | {outcome.trouble} |")
        return
    write(
        f"| {label} | {outcome.steps} | {outcome.share:.0%} | {s.psnr:.2f} "
        f"| {s.psnr - content.psnr:+.2f} "
        f"| {s.pooled_gain - content.pooled_gain:+.2f} "
        f"| {s.detail:.3f} | {s.consistency:.2f} | {outcome.accuracy:.2f} | {outcome.trouble} |"
    )


def _trade_off(write: Write, split: Split, outcome: Outcome, content: Standing) -> None:
    """All held-out chips at several shares of the way from faithful to sharp."""
    if outcome.generator is None:
        return
    write("\nIts trade-off, by the share of the way from the content phase to the last state:\n")
    write("| share | PSNR dB | against content, chips | pooled | detail | consistency |")
    write("|---|---|---|---|---|---|")
    selection = Selection(outcome.generator.parent / "checkpoints")
    selection.load()
    network, card = load_generator(outcome.generator)
    for share in SHARES:
        network.load_state_dict(selection.blend(share))
        place = outcome.generator.with_name(f"share-{share:g}")
        save_generator(place, network, card)
        s = standing(place, split.held_out)
        write(
            f"| {share:.0%} | {s.psnr:.2f} | {s.psnr - content.psnr:+.2f} "
            f"| {s.pooled_gain - content.pooled_gain:+.2f} | {s.detail:.3f} "
            f"| {s.consistency:.2f} |"
        )


def _path(write: Write, outcome: Outcome) -> None:
    """The states that a run went through, of which one was exported."""
    write("\nIts states, scored on 32 held-out chips:\n")
    write("| minutes | steps | gain dB | detail | consistency | accuracy |")
    write("|---|---|---|---|---|---|")
    begun = 0.0
    for at, step, scores in outcome.curve.validations:
        accuracies = [
            metrics["train/d_accuracy"]
            for when, _, _, metrics in outcome.curve.progress
            if begun < when <= at and "train/d_accuracy" in metrics
        ]
        begun = at
        accuracy = float(np.mean(accuracies)) if accuracies else np.nan
        write(
            f"| {at / 60:.1f} | {step} | {scores['gain_db']:+.2f} | {scores['hf_power_ratio']:.3f} "
            f"| {255 * scores['lr_consistency']:.2f} | {accuracy:.2f} |"
        )


def _draw(split: Split, content: Path, outcome: Outcome, target: Path) -> None:
    """Strips of LR, bicubic, content, GAN, HR."""
    if outcome.generator is None:
        return
    target.mkdir(parents=True, exist_ok=True)
    before, after = Predictor(content), Predictor(outcome.generator)
    pairs = held(split, _PICTURES)
    for number, pair in enumerate(pairs.read(range(len(pairs)))):
        lr, hr = np.asarray(pair.lr, np.float32), np.asarray(pair.hr, np.float32)
        limits = stretch_limits(hr, pair.valid)
        images = (
            upsample(lr, SCALE, "nearest"),
            upsample(lr, SCALE, "bicubic"),
            before(lr),
            after(lr),
            hr,
        )
        picture = strip([to_rgb8(image, limits, BANDS) for image in images])
        (target / f"place{number}.png").write_bytes(encode_png(picture))
