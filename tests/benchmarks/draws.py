"""Thinned networks of a generator with dropout: what their spread says about the error.

The pix2pix of docs/guides/training.md on real aerial pairs (made scenes where there are none);
some held-out chips, each upsampled as a region of its own. Asked are the exported network itself,
its eight turns, eight draws of its dropout, and eight draws in each of the eight turns. Rank
correlation (Spearman) of error and spread over pixels of all images and over LR pixels; *contrast*
is that of the error with the gradient of the mean, which needs no spread. *Kept* is the error that
is left when the half of all pixels with the largest spread is taken out, in parts of what is left
when the half with the largest error is (1 is the best there is); *by chance* is what leaving out
any half does. Error over spread is that of root mean squares; PSNR is over all pixels pooled.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from geo.ensemble import EnsembleUpsampler
from geo.scores.pixels import psnr_of
from geo.scores.sharpness import hf_power
from geo.upsampler import Upsampler
from models.config import TrainConfig
from models.data import PairLike
from models.predict import Predictor
from tests.benchmarks.aerial_data import SCALE, aerial_pairs
from tests.benchmarks.ensemble import Plane, in_bytes, over_lr_pixels, rank_correlation, rms_of
from tests.benchmarks.quick_generators import inner, upsampled
from tests.benchmarks.training_runs import held, minutes, train_on

MINUTES = 2.0
DROPOUTS = (0.5, 0.2)
PIX2PIX: dict[str, Any] = {
    **{"objective": "non_saturating", "content_steps": 0, "adversarial_steps": 10_000_000},
    **{"adversarial_ramp": 0.0, "adversarial_weight": 0.02, "r1": 0.0, "r2": 0.0},
    "discriminator": {"name": "patchgan", "conditional": True},
    "losses": {"l1": 1.0, "lattice": 0.0},
    **{"val_every": 400, "val_pairs": 16, "checkpoint_every": 400, "log_every": 20},
}
_DRAWS, _CHIPS = 8, 12

Write = Callable[[str], None]


def run(write: Write) -> None:
    """Print a row for each way of asking."""
    split = aerial_pairs()
    chips = held(split, _CHIPS).read(range(_CHIPS))
    write(f"{split.describe()}, of which {_CHIPS}; {minutes(MINUTES):g} minutes each.\n")
    write(
        "| dropout | answers | PSNR dB | detail | pixels | LR pixels | contrast | kept, by chance "
        "| error / spread |"
    )
    write("|---|---|---|---|---|---|---|---|---|")
    for dropout in DROPOUTS:
        with tempfile.TemporaryDirectory() as folder:
            config = TrainConfig.from_dict(
                PIX2PIX
                | {"generator": {"name": "unet", "dropout": dropout}}
                | {"max_minutes": minutes(MINUTES)}
            )
            network = Predictor.load(train_on(split, config, Path(folder)).exported)
            draws = network.draws(_DRAWS)
            ways: dict[str, Upsampler] = {
                "one": network,
                "eight turns": EnsembleUpsampler(network),
                "eight draws": EnsembleUpsampler(network, draws, turned=False),
                "eight draws in eight turns": EnsembleUpsampler(network, draws),
            }
            for way, upsampler in ways.items():
                write(f"| {dropout} | {way} | {' | '.join(_row(chips, upsampler))} |")


def _row(chips: Sequence[PairLike], upsampler: Upsampler) -> list[str]:
    errors: list[Plane] = []
    spreads: list[Plane] = []
    contrasts: list[Plane] = []
    drawn = real = 0.0
    for chip in chips:
        out, hr = upsampled(upsampler, chip.lr), np.asarray(chip.hr, np.float32)
        mean = out[: len(hr)]
        errors.append(in_bytes(rms_of(mean - hr)))
        gradient = np.stack(np.gradient(mean, axis=(1, 2)))
        contrasts.append(in_bytes(rms_of(gradient.reshape(-1, *hr.shape[1:]))))
        spreads += [in_bytes(plane) for plane in out[len(hr) :]]
        everything = np.ones(inner(hr).shape[1:], np.bool_)
        drawn += hf_power(inner(mean), everything, SCALE)
        real += hf_power(inner(hr), everything, SCALE)
    squares = float(np.square(errors).mean())
    scores = [f"{psnr_of(squares, 1, 255.0):.2f}", f"{drawn / real:.3f}"]
    if not spreads:
        return [*scores, "", "", f"{rank_correlation(contrasts, errors):.3f}", "", ""]
    coarse = [[over_lr_pixels(plane) for plane in planes] for planes in (spreads, errors)]
    kept, by_chance = _kept(spreads, errors)
    return [
        *scores,
        f"{rank_correlation(spreads, errors):.3f}",
        f"{rank_correlation(*coarse):.3f}",
        f"{rank_correlation(contrasts, errors):.3f}",
        f"{kept:.2f}, {by_chance:.2f}",
        f"{np.sqrt(squares / np.square(spreads).mean()):.1f}",
    ]


def _kept(spreads: Sequence[Plane], errors: Sequence[Plane]) -> tuple[float, float]:
    """A point of the sparsification curve (Ilg et al., 2018), and what chance makes of it."""
    spread, squares = (
        np.concatenate([plane.ravel() for plane in planes])
        for planes in (spreads, [np.square(error) for error in errors])
    )
    half = len(squares) // 2
    best = np.sqrt(np.sort(squares)[:half].mean())
    told = np.sqrt(squares[np.argsort(spread)[:half]].mean())
    return float(told / best), float(np.sqrt(squares.mean()) / best)
