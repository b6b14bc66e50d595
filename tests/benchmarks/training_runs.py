"""What training benchmarks share: timed runs, curves, scores of a generator, time to spend.

``SKYSCALE_BENCH_TIME`` shortens all runs alike, for a try: 0.05 makes three seconds of a minute.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from geo.interpolate import upsample
from geo.scores.consistency import lr_consistency
from geo.scores.pixels import psnr_db, psnr_of, squared_error
from geo.scores.sharpness import hf_power
from models.checkpoint import list_checkpoints, load_checkpoint
from models.config import TrainConfig
from models.data import ListedPairs, PairSource
from models.evaluate import Evaluation, evaluate
from models.predict import Predictor
from models.trainer import TrainResult, train
from tests.benchmarks.aerial_data import SCALE, SPEC, Split

_RANGE = SPEC.data_range
_ENDLESS = 10_000_000  # steps that no run comes to before its time is up
_CURVE_S = 30.0
_CURVE_PAIRS = 32
_RIM = SCALE


def minutes(full: float) -> float:
    """Minutes to spend on what should take `full`."""
    return full * float(os.environ.get("SKYSCALE_BENCH_TIME", "1"))


@dataclass
class Curve:
    """A `Listener` that keeps all it hears, with the seconds since the start."""

    progress: list[tuple[float, int, str, dict[str, float]]] = field(default_factory=list)
    validations: list[tuple[float, int, dict[str, float]]] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    started: float = field(default_factory=time.perf_counter)

    def on_progress(self, *, step: int, phase: str, metrics: Mapping[str, float], **_: Any) -> None:
        self.progress.append((self._now(), step, phase, dict(metrics)))

    def on_validation(self, *, step: int, evaluation: Evaluation, **_: Any) -> None:
        self.validations.append((self._now(), step, dict(evaluation.scores)))

    def on_checkpoint(self, **_: Any) -> None:
        """Nothing to keep."""

    def on_event(self, *, step: int, text: str) -> None:
        self.events.append(f"step {step}: {text}")

    def mean(self, metric: str, phase: str, last: float = 1.0) -> float:
        """Mean of a metric over the last part of a phase; NaN when nothing was told."""
        values = [m[metric] for _, _, p, m in self.progress if p == phase and metric in m]
        values = values[-max(1, round(last * len(values))) :] if values else []
        return float(np.mean(values)) if values else float("nan")

    def rate(self, phase: str, after: int = 0) -> float:
        """Steps a second of a phase, from its first report at step `after` or later."""
        told = [(at, step) for at, step, p, _ in self.progress if p == phase and step >= after]
        if len(told) < 2:
            return float("nan")
        return (told[-1][1] - told[0][1]) / (told[-1][0] - told[0][0])

    def _now(self) -> float:
        return time.perf_counter() - self.started


def score(
    sr: npt.NDArray[Any], hr: npt.NDArray[Any], lr: npt.NDArray[Any], valid: npt.NDArray[np.bool_]
) -> dict[str, float]:
    """Some scores of a chip with bicubic beside them: what a choice of states needs, and faster."""
    counted = valid.copy()
    counted[:_RIM] = counted[-_RIM:] = counted[:, :_RIM] = counted[:, -_RIM:] = False
    fine, ground, coarse = (np.asarray(a, np.float64) for a in (sr, hr, lr))
    base = np.asarray(upsample(lr.astype(np.float32), SCALE, "bicubic"), np.float64)
    psnr, plain = (psnr_db(a, ground, counted, _RANGE) for a in (fine, base))
    return {
        "psnr_db": psnr,
        "bicubic_psnr_db": plain,
        "gain_db": psnr - plain,
        "squared_error": squared_error(fine, ground, counted)[0],
        "bicubic_squared_error": squared_error(base, ground, counted)[0],
        "values": float(counted.sum() * len(ground)),
        "hf_power": hf_power(fine, counted, SCALE),
        "bicubic_hf_power": hf_power(base, counted, SCALE),
        "real_hf_power": hf_power(ground, counted, SCALE),
        "lr_consistency": lr_consistency(fine, coarse, valid, SCALE, _RANGE),
        "bicubic_lr_consistency": lr_consistency(base, coarse, valid, SCALE, _RANGE),
    }


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How good a generator is on held-out pairs.

    Gains in dB are the mean over chips and pooled over all pixels; detail is the high-frequency
    power in parts of the real image's; consistencies are RMSE in 8-bit DN.
    """

    psnr: float
    gain: float
    pooled_gain: float
    detail: float
    bicubic_psnr: float
    bicubic_detail: float
    consistency: float
    bicubic_consistency: float


def standing(generator: Path, pairs: PairSource) -> Standing:
    """Score an exported generator on all held-out pairs, in float32."""
    s = evaluate(Predictor(generator), pairs, score).scores
    pooled = [
        psnr_of(s[name], int(s["values"]), _RANGE)
        for name in ("squared_error", "bicubic_squared_error")
    ]
    return Standing(
        psnr=s["psnr_db"],
        gain=s["gain_db"],
        pooled_gain=pooled[0] - pooled[1],
        detail=s["hf_power_ratio"],
        bicubic_psnr=s["bicubic_psnr_db"],
        bicubic_detail=s["bicubic_hf_power_ratio"],
        consistency=255 * s["lr_consistency"],
        bicubic_consistency=255 * s["bicubic_lr_consistency"],
    )


def train_on(
    split: Split, config: TrainConfig, folder: Path, *, curve: Curve | None = None, **options: Any
) -> TrainResult:
    """`models.trainer.train` on pairs in memory, scored by `score`."""
    return train(
        config,
        train_pairs=split.train,
        val_pairs=split.held_out,
        spec=SPEC,
        score=score,
        folder=folder,
        listener=curve or Curve(),
        **options,
    )


def content_config(length: float, **settings: Any) -> TrainConfig:
    """Default settings for so many minutes of the content phase."""
    values = {
        "content_steps": _ENDLESS,
        "adversarial_steps": 0,
        "max_minutes": length,
        "val_pairs": _CURVE_PAIRS,
        "val_every": _ENDLESS,
        "checkpoint_every": _ENDLESS,
    }
    return TrainConfig.from_dict(values | settings)


def every_curve_point(split: Split, config: TrainConfig, folder: Path) -> int:
    """Steps in half a minute of the content phase, by a short try."""
    trial = dataclasses.replace(config, max_minutes=0.08, adversarial_steps=0, log_every=10)
    curve = Curve()
    train_on(split, trial, folder, curve=curve)
    seconds = min(_CURVE_S, (config.max_minutes or 1.0) * 60 / 4)
    rate = curve.rate("content")
    return max(1, round(rate * seconds)) if np.isfinite(rate) else 100


def begin_adversarial(
    split: Split, content: Path, config: TrainConfig, folder: Path
) -> tuple[TrainConfig, Path]:
    """Lay out a run that goes on adversarially from a finished content phase.

    The generator, its running mean and the clock are those of the run in `content`; the
    discriminator is that of `config`, fresh, so that recipes of any network, objective or seed
    start from one and the same generator.

    Parameters
    ----------
    config : TrainConfig
        Its `max_minutes` are those of the adversarial phase alone.
    """
    seedling = dataclasses.replace(
        config, content_steps=1, adversarial_steps=0, max_minutes=None, val_pairs=1
    )
    fresh_folder = folder.with_name(folder.name + "-fresh")
    train_on(split, seedling, fresh_folder)
    fresh = load_checkpoint(list_checkpoints(fresh_folder / "checkpoints")[0])
    shutil.rmtree(fresh_folder)
    shutil.copytree(content, folder)
    path = list_checkpoints(folder / "checkpoints")[0]
    state = load_checkpoint(path)
    for key in ("config", "discriminator", "discriminator_optimiser"):
        state[key] = fresh[key]
    torch.save(state, path)
    for older in list_checkpoints(folder / "checkpoints")[1:]:
        older.unlink()
    length = None
    if config.max_minutes is not None:
        length = config.max_minutes + state["clock"]["content_s"] / 60
    return dataclasses.replace(config, max_minutes=length), folder


def judge_size(folder: Path) -> int:
    """Parameters of the discriminator of a run that has played."""
    state = load_checkpoint(list_checkpoints(folder / "checkpoints")[0])
    moments = state["discriminator_optimiser"]["state"].values()
    return sum(moment["exp_avg"].numel() for moment in moments)


def held(split: Split, count: int) -> ListedPairs:
    """The first few held-out pairs, evenly spread."""
    places = np.linspace(0, len(split.held_out) - 1, count).round().astype(int)
    return ListedPairs(split.held_out.read([int(place) for place in places]))


def folders(root: Path) -> Iterator[Path]:
    """New folders, one after the other."""
    number = 0
    while True:
        yield root / f"run{number}"
        number += 1
