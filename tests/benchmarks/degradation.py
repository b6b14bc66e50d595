"""LR partners for an archive that has none: how real they are, and what a generator learns of them.

Real aerial chips (made scenes where there are none, see `aerial_data`) seen by a satellite whose
sensor is not the fixed model's: more blur (MTF 0.12 at Nyquist instead of 0.3), a tone curve and
gains of its own, noise that grows with brightness and runs along lines. HR images are brought into
the satellite's colours as ``skyscale ingest --degrade`` does, by gain and offset of each band over
both piles (`geo.harmonise.fit_collections`). LR images are derived by the plain mean; by the fixed
model (`geo.derive.SensorModel`) with noise as strong as the satellite's; by a degrader trained
without partners (`task = "unpaired"`), on LR images of half of the chips and HR images of the other
half; and by one trained on a few pairs (`task = "degrade"`).

Distances to the satellite's own images of held-out ground (`geo.scores.likeness`), spectrum in dB,
histogram in real spreads; RMSE pixel by pixel in 8-bit DN. Then a generator (content phase) trained
on derived pairs of all training chips, scored on true pairs of held-out ground, beside one trained
on true pairs: PSNR, gain over bicubic, and detail in parts of reality's.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from geo.cut import to_dtype
from geo.derive import SensorModel
from geo.harmonise import fit_collections
from geo.scores.likeness import histogram_distance, spectrum_distance_db
from geo.sensor import degrade, estimate_noise
from models.config import TrainConfig
from models.data import ListedPairs, Pair, PairLike
from models.degrade import DegraderModel
from models.evaluate import Score
from models.trainer import train
from tests.benchmarks.aerial_data import LR, SCALE, SPEC, Split, aerial_pairs
from tests.benchmarks.training_runs import content_config, folders, minutes, standing, train_on
from tests.benchmarks.unpaired import UNPAIRED

UNPAIRED_MINUTES, FEW_MINUTES, GENERATOR_MINUTES = 4.0, 1.5, 1.5
FEW = 32
_GAME: dict[str, Any] = {
    **{"objective": "least_squares", "r1": 1.0, "r2": 1.0},
    **{"content_steps": 10_000_000, "adversarial_steps": 10_000_000, "val_pairs": 16},
    **{"val_every": 400, "checkpoint_every": 400, "log_every": 20},
    "discriminator": {"name": "patchgan"},
}
_MTF, _GAMMA = 0.12, 1.15
_GAINS, _OFFSET = (0.95, 0.85, 0.75), 0.04
_NOISE, _SHOT = 0.004, 0.012  # of the data range, the latter times the root of brightness
_LINES = 0.5  # share of the noise's variance that a row has in common

Write = Callable[[str], None]
Image = npt.NDArray[Any]
Derive = Callable[[Image, int], Image]


def run(write: Write) -> None:
    """Print a row for each way of making LR images."""
    split = _in_its_colours(_seen_anew(aerial_pairs()))
    chips = split.train.read(range(len(split.train)))
    held = split.held_out.read(range(len(split.held_out)))
    write(
        f"{split.describe()}. Unpaired {minutes(UNPAIRED_MINUTES):g} minutes, {FEW} pairs "
        f"{minutes(FEW_MINUTES):g}, each generator {minutes(GENERATOR_MINUTES):g}.\n"
    )
    write("| LR images by | spectrum dB | histogram | RMSE DN | PSNR dB | gain dB | detail |")
    write("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        fresh = folders(Path(name))
        ways: dict[str, Derive | None] = {
            "the mean": _mean,
            "the fixed model": _fixed(chips),
            "a degrader without partners": _unpaired(split, chips, next(fresh)),
            f"a degrader of {FEW} pairs": _of_few(split, chips, next(fresh)),
            "the satellite": None,
        }
        for label, derive in ways.items():
            data = split if derive is None else _with(split, _derived(chips, derive))
            length = minutes(GENERATOR_MINUTES)
            result = train_on(data, content_config(length, val_pairs=16), next(fresh))
            s = standing(result.exported, split.held_out)
            likeness = "| | |" if derive is None else _likeness(held, derive)
            write(f"| {label} {likeness} {s.psnr:.2f} | {s.gain:+.2f} | {s.detail:.3f} |")


def _observe(hr: Image, seed: int) -> Image:
    """What the satellite makes of HR DN."""
    rng = np.random.default_rng(seed)
    ground = degrade(hr.astype(np.float32), SCALE, _MTF) / SPEC.data_range
    gains = np.array(_GAINS, np.float32)[:, None, None]
    seen = _OFFSET + gains * np.clip(ground, 0, None) ** _GAMMA
    rows = rng.standard_normal((*seen.shape[:2], 1)) * np.sqrt(_LINES)
    noise = rows + rng.standard_normal(seen.shape) * np.sqrt(1 - _LINES)
    seen = seen + (_NOISE + _SHOT * np.sqrt(np.clip(seen, 0, None))) * noise
    return np.clip(np.rint(seen * SPEC.data_range), 0, 65535).astype(np.uint16)


def _seen_anew(split: Split) -> Split:
    """The same chips, seen by that satellite."""

    def again(pairs: ListedPairs, first: int) -> ListedPairs:
        chips = pairs.read(range(len(pairs)))
        return ListedPairs(_derived(chips, lambda hr, number: _observe(hr, first + number)))

    return replace(split, train=again(split.train, 0), held_out=again(split.held_out, 1_000_000))


def _derived(chips: Sequence[PairLike], derive: Derive) -> list[PairLike]:
    def stored(image: Image) -> Image:
        return np.clip(np.rint(image), 0, 65535).astype(np.uint16)

    return [
        Pair(lr=stored(derive(chip.hr, number)), hr=chip.hr, valid=chip.valid)
        for number, chip in enumerate(chips)
    ]


def _with(split: Split, pairs: Sequence[PairLike]) -> Split:
    return replace(split, train=ListedPairs(pairs))


def _mean(hr: Image, _: int) -> Image:
    cells = hr.astype(np.float32).reshape(len(hr), LR, SCALE, LR, SCALE)
    return np.asarray(cells.mean(axis=(2, 4)))


def _in_its_colours(split: Split) -> Split:
    """HR images in the colours of LR images of other ground, as an ingest brings them there."""
    chips = split.train.read(range(len(split.train)))
    archive, seen = (
        _pile(images)
        for images in (
            [degrade(c.hr.astype(np.float32), SCALE) for c in chips[1::2]],
            [c.lr for c in chips[::2]],
        )
    )
    colours = fit_collections(archive, seen, noise_dn=_noise(chips))

    def brought(pairs: ListedPairs) -> ListedPairs:
        return ListedPairs(
            [
                Pair(
                    lr=c.lr,
                    hr=to_dtype(colours.apply(c.hr.astype(np.float32)), "uint16"),
                    valid=c.valid,
                )
                for c in pairs.read(range(len(pairs)))
            ]
        )

    return replace(split, train=brought(split.train), held_out=brought(split.held_out))


def _pile(images: Sequence[Image]) -> Image:
    """Pixels [C, n] of images."""
    return np.concatenate([i.reshape(len(i), -1) for i in images], axis=1).astype(np.float32)


def _noise(chips: Sequence[PairLike]) -> tuple[float, ...]:
    """Of the satellite, for each band, as an ingest estimates it."""
    whole = np.ones(chips[0].lr.shape[1:], np.bool_)
    found = [estimate_noise(c.lr.astype(np.float32), whole) for c in chips[::2]]
    return tuple(float(value) for value in np.mean(found, axis=0))


def _fixed(chips: Sequence[PairLike]) -> Derive:
    model = SensorModel(scale=SCALE, noise_dn=_noise(chips))
    return lambda hr, number: model(hr[None].astype(np.float32), [number])[0]


def _unpaired(split: Split, chips: Sequence[PairLike], folder: Path) -> Derive:
    apart = [
        Pair(lr=a.lr, hr=b.hr, valid=b.valid) for a, b in zip(chips[::2], chips[1::2], strict=False)
    ]
    config = _config(UNPAIRED, UNPAIRED_MINUTES)
    train_on(_with(split, apart), config, folder)
    return _by(folder / "degrader")


def _of_few(split: Split, chips: Sequence[PairLike], folder: Path) -> Derive:
    places = np.linspace(0, len(chips) - 1, FEW).round().astype(int)
    score: Score = _lr_psnr
    result = train(
        _config({"task": "degrade"}, FEW_MINUTES),
        train_pairs=ListedPairs([chips[place] for place in places]),
        val_pairs=split.held_out,
        spec=SPEC,
        score=score,
        folder=folder,
    )
    return _by(result.exported)


def _config(settings: dict[str, Any], full: float) -> TrainConfig:
    return TrainConfig.from_dict(_GAME | {"max_minutes": minutes(full)} | settings)


def _by(folder: Path) -> Derive:
    model = DegraderModel(folder)
    return lambda hr, number: model(hr[None], number)[0]


def _lr_psnr(seen: Image, lr: Image, hr: Image, valid: Image) -> dict[str, float]:
    error = float(np.square(seen - lr)[:, valid].mean(dtype=np.float64))
    return {"psnr_db": float(20 * np.log10(SPEC.data_range) - 10 * np.log10(error))}


def _likeness(held: Sequence[PairLike], derive: Derive) -> str:
    real = [np.asarray(c.lr, np.float32) for c in held]
    made = [derive(c.hr, number) for number, c in enumerate(held)]
    rmse = np.sqrt(np.mean([np.square(a - b).mean() for a, b in zip(made, real, strict=True)]))
    return (
        f"| {spectrum_distance_db(made, real):.2f} | {histogram_distance(made, real):.3f} "
        f"| {rmse * 255 / SPEC.data_range:.2f} |"
    )
