"""Training without partners against training on pairs, on images that none of them has seen.

Real aerial images, or made scenes (see `aerial_data`), in two piles: of one the LR chips are shown,
of the other the HR chips, so that no place is there twice. Pairs are those of the second pile, so
that both kinds of training see as many HR chips. All rows have the same time. Scores are those of
all held-out true pairs: detail is power beyond the LR Nyquist frequency in parts of reality's,
consistency the RMSE against the LR input of what the sensor would see, 8-bit DN, and improvement,
omission and hallucination are the shares of opensr-test.

The second table asks how real the LR images are that are made of held-out HR ones: by the mean, by
the model of the sensor, and as the degrader sees them. Distances to the real LR images of the same
places: of the spectrum, the mean over frequencies of the difference of log power, in dB; of the
histogram, Wasserstein's in units of the real spread, bands apart (`geo.scores.likeness`).

``SKYSCALE_BENCH_PICTURES`` names a folder for strips of LR, bicubic, paired, unpaired and HR.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from geo.interpolate import upsample
from geo.pictures import encode_png, stretch_limits, strip, to_rgb8
from geo.scores.correctness import NAMES, Correctness
from geo.scores.likeness import histogram_distance, spectrum_distance_db
from geo.sensor import degrade
from models.config import TrainConfig
from models.data import ListedPairs, Pair, PairLike
from models.degrade import DegraderModel
from models.predict import Predictor
from tests.benchmarks.aerial_data import BANDS, SCALE, SPEC, Split, aerial_pairs
from tests.benchmarks.training_runs import Curve, folders, held, minutes, standing, train_on

MINUTES = 6.0
UNPAIRED: dict[str, Any] = {
    **{"task": "unpaired", "objective": "least_squares", "r1": 0.05, "r2": 0.05},
    **{"adversarial_weight": 3.0, "lr_generator": 2e-3, "lr_discriminator": 1e-3},
    "content_time_share": 0.3,
    "discriminator": {"name": "patchgan"},
}
_PICTURES, _RIM = 6, SCALE
_BYTE = SPEC.data_range / 255

Write = Callable[[str], None]
Image = npt.NDArray[Any]


def run(write: Write) -> None:
    """Print both tables."""
    split = aerial_pairs()
    pairs, piles = _piles(split)
    write(f"{split.describe()}; {minutes(MINUTES):g} minutes each.\n")
    write(
        "| training | steps | PSNR dB | gain dB | detail | consistency | improvement | omission "
        "| hallucination | trouble |"
    )
    write("|---|---|---|---|---|---|---|---|---|---|")
    chips = split.held_out.read(range(len(split.held_out)))
    bicubic = [upsample(np.asarray(c.lr, np.float32), SCALE, "bicubic") for c in chips]
    trained: dict[str, Path] = {}
    with tempfile.TemporaryDirectory() as name:
        fresh = folders(Path(name))
        for label, data, settings in (
            ("pairs, content alone", pairs, {"adversarial_steps": 0}),
            ("pairs", pairs, {}),
            ("no partners, identity alone", piles, {**UNPAIRED, "adversarial_steps": 0}),
            ("no partners", piles, UNPAIRED),
        ):
            folder, curve = next(fresh), Curve()
            result = train_on(data, _config(settings), folder, curve=curve)
            trained[label] = folder
            s = standing(result.exported, split.held_out)
            if len(trained) == 1:
                write(
                    f"| (bicubic) | | {s.bicubic_psnr:.2f} | | {s.bicubic_detail:.3f} "
                    f"| {s.bicubic_consistency:.2f} | {_shares(chips, bicubic)} | |"
                )
            drawn = list(map(Predictor(result.exported), (c.lr for c in chips)))
            troubles = "; ".join(t for t in curve.events if "exported is" not in t)
            write(
                f"| {label} | {result.clock.step} | {s.psnr:.2f} | {s.gain:+.2f} | {s.detail:.3f} "
                f"| {s.consistency:.2f} | {_shares(chips, drawn)} | {troubles or 'no'} |"
            )
        _degraded(write, chips, trained["no partners"])
        _draw(split, trained)


def _config(settings: dict[str, Any]) -> TrainConfig:
    values = {
        **{"content_steps": 10_000_000, "adversarial_steps": 10_000_000},
        **{"max_minutes": minutes(MINUTES), "val_every": 400, "val_pairs": 16},
        **{"checkpoint_every": 400, "log_every": 20},
    }
    return TrainConfig.from_dict(values | settings)


def _piles(split: Split) -> tuple[Split, Split]:
    """Pairs of the second half of the images; and its HR chips beside LR chips of the first."""
    chips = split.train.read(range(len(split.train)))
    first, second = chips[: len(chips) // 2], chips[len(chips) // 2 :]
    apart = [
        Pair(lr=a.lr, hr=b.hr, valid=b.valid)
        for a, b in zip(first, second[: len(first)], strict=True)
    ]
    return _with(split, second), _with(split, apart)


def _with(split: Split, pairs: Sequence[PairLike]) -> Split:
    return Split(
        name=split.name,
        train=ListedPairs(pairs),
        held_out=split.held_out,
        train_images=split.train_images,
        held_by_image=split.held_by_image,
    )


def _shares(chips: Sequence[PairLike], drawn: Sequence[Image]) -> str:
    """Means of opensr-test's shares, as cells."""
    rim = np.s_[_RIM:-_RIM, _RIM:-_RIM]
    found = []
    for chip, sr in zip(chips, drawn, strict=True):
        valid = np.zeros(chip.valid.shape, np.bool_)
        valid[rim] = chip.valid[rim]
        scores = Correctness(chip.hr, chip.lr, valid, scale=SCALE, data_range=SPEC.data_range).of(
            sr
        )
        found.append([scores[name] for name in NAMES])
    return " | ".join(f"{share:.3f}" for share in np.nanmean(found, axis=0))


def _degraded(write: Write, chips: Sequence[PairLike], folder: Path) -> None:
    network = DegraderModel(folder / "degrader")

    def see(hr: Image) -> Image:
        return network(hr[None], 0)[0]

    real = [np.asarray(c.lr, np.float32) for c in chips]
    sources = [np.asarray(c.hr, np.float32) for c in chips]
    write("\n| LR of held-out HR by | spectrum dB | histogram | RMSE DN |")
    write("|---|---|---|---|")
    for label, how in (
        ("the mean", lambda hr: hr.reshape(len(hr), 32, SCALE, 32, SCALE).mean(axis=(2, 4))),
        ("the sensor's model", lambda hr: degrade(hr, SCALE)),
        ("the degrader", see),
    ):
        made = [how(hr) for hr in sources]
        rmse = np.sqrt(np.mean([np.square(a - b).mean() for a, b in zip(made, real, strict=True)]))
        write(
            f"| {label} | {spectrum_distance_db(made, real):.2f} "
            f"| {histogram_distance(made, real):.2f} | {rmse / _BYTE:.2f} |"
        )


def _draw(split: Split, trained: dict[str, Path]) -> None:
    target = os.environ.get("SKYSCALE_BENCH_PICTURES")
    if not target:
        return
    place = Path(target)
    place.mkdir(parents=True, exist_ok=True)
    models = [Predictor(trained[label] / "generator") for label in ("pairs", "no partners")]
    some = held(split, _PICTURES)
    for number, pair in enumerate(some.read(range(len(some)))):
        lr, hr = np.asarray(pair.lr, np.float32), np.asarray(pair.hr, np.float32)
        limits = stretch_limits(hr, pair.valid)
        images = (
            upsample(lr, SCALE, "nearest"),
            upsample(lr, SCALE, "bicubic"),
            *(model(lr) for model in models),
            hr,
        )
        picture = strip([to_rgb8(image, limits, BANDS) for image in images])
        (place / f"place{number}.png").write_bytes(encode_png(picture))
