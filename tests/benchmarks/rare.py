"""Whether chips drawn of noise help what is rare, as training pairs: a port among fields.

Made regions, chips of 32 aerial pixels of 2 m at scale 4, each of the category that has most of its
ground. Of the rare category's HR chips a DCGAN and a VAE are trained, by the settings of the guide.
What they draw is seen by the model of the sensor, with its noise, and stands among the training
pairs, twice as many as true pairs of that category. Then the generator of the content phase,
equally many steps each: on the pairs as they are; with rare categories shown more often (`balance`
1), which shows the rare one about as often as with drawn pairs; with drawn pairs of either kind;
and, for what could be had at best, with true pairs of six other regions, shown as often as drawn
ones. Scores are of held-out regions: PSNR gain over bicubic of all pixels of the rare category and
of all, and how much better than the first row, with the 95 % interval over places of 2 x 2 chips,
all seeds together.

The first table says how far drawn chips are from held-out ones, beside real training chips: of the
spectrum, the mean over frequencies of the difference of log power, in dB; of the histogram, the
mean distance of quantiles, in spreads; variety, the mean distance of two chips in parts of
reality's; nearest, the median distance to the nearest training chip at 16 x 16 pixels, in spreads,
of real ones for held-out chips; and the largest step of a latent walk, the mean one being 1.

``SKYSCALE_BENCH_PICTURES`` names a folder for sheets of drawn and real chips.
"""

from __future__ import annotations

import os
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from odc.geo.geobox import GeoBox

from geo.landcover import LandCover
from geo.pictures import chips_sheet
from geo.place_draws import draw_places, interval_95
from geo.scenes.make import SatelliteDate, ScenesConfig, make_scenes
from geo.sensor import degrade
from models.chip_product import judge_chips, mean_dn
from models.chips import Chips, load_chips, read_chips
from models.config import TrainConfig
from models.data import ListedPairs, Pair
from models.evaluate import evaluate
from models.predict import Predictor
from models.trainer import train
from tests.benchmarks.aerial_data import BANDS, DN_PER_BYTE, NOISE_BYTES, SCALE, SPEC
from tests.benchmarks.training_runs import Curve, folders, score
from tests.docs.shell import toml_files_of

RARE = "port"
SEEDS = (0, 1, 2)
_SIDE, _LR, _PLACE = 32, 8, 2
_REGION_PX, _GSD_M = 768, 2.0
_TRAIN, _HELD, _MORE = range(300, 306), range(310, 316), range(320, 326)
_TIMES = 2  # drawn chips for each true one
_CHIP_STEPS = {"dcgan": 2500, "vae": 2500}
_PAIR_STEPS = 1000
_SHOWN = 12

Write = Callable[[str], None]
Image = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Placed:
    """Pairs, what is there, and where they lie."""

    pairs: tuple[Pair, ...]
    groups: tuple[str | None, ...]
    places: tuple[tuple[int, int, int], ...]

    def only(self, group: str) -> ListedPairs:
        """Pairs of one category."""
        return ListedPairs([p for p, g in zip(self.pairs, self.groups, strict=True) if g == group])


def run(write: Write) -> None:
    """Print both tables."""
    training, held, more = (_regions(seeds) for seeds in (_TRAIN, _HELD, _MORE))
    counts = Counter(training.groups)
    told = ", ".join(f"{name} {count}" for name, count in counts.most_common())
    true, new = training.only(RARE), more.only(RARE)
    write(
        f"{len(training.pairs)} training chips of {len(_TRAIN)} regions ({told}); "
        f"{len(held.only(RARE))} held-out {RARE} chips of {len(_HELD)} others; {len(new)} new true "
        f"ones.\n"
    )
    write("| chips | steps | s | spectrum dB | histogram | variety | nearest | step | ELBO | ill |")
    write("|---|---|---|---|---|---|---|---|---|---|")
    wanted = _TIMES * len(true)
    drawn: dict[str, list[Pair]] = {}
    with tempfile.TemporaryDirectory() as name:
        fresh = folders(Path(name))
        trained = {}
        for task in ("dcgan", "vae"):
            trained[task] = _train_chips(write, task, true, held.only(RARE), next(fresh))
            drawn[task] = _seen(trained[task].draw(wanted, seed=1), seed=1)
        _draw(trained, held.only(RARE))
        again = new.read([number % len(new) for number in range(wanted)])
        added: dict[str, tuple[Sequence[Any], float]] = {
            "as they are": ((), 0.0),
            "balance 1": ((), 1.0),
            "and DCGAN's": (drawn["dcgan"], 0.0),
            "and VAE's": (drawn["vae"], 0.0),
            "and new true ones": (again, 0.0),
        }
        errors = {}
        for label, (pairs, balance) in added.items():
            found = [_errors(training, pairs, balance, seed, held, next(fresh)) for seed in SEEDS]
            errors[label] = np.sum(found, axis=0)
    _compare(write, errors, held)


def _train_chips(
    write: Write, task: str, true: ListedPairs, held: ListedPairs, folder: Path
) -> Chips:
    """Train by the settings of the guide, shortened; write a row, and one of real chips."""
    values = tomllib.loads(toml_files_of("docs/guides/training.md")[f"{task}.toml"])
    phase = "adversarial_steps" if task == "dcgan" else "content_steps"
    values |= {"patch_lr": _LR, phase: _CHIP_STEPS[task], "val_every": 500, "log_every": 50}
    values["chips"] = {**values.get("chips", {}), "category": None}  # all of these are
    curve, started = Curve(), time.perf_counter()
    result = train(
        TrainConfig.from_dict(values),
        train_pairs=true,
        val_pairs=held,
        spec=SPEC,
        score=score,
        folder=folder,
        listener=curve,
    )
    seconds = time.perf_counter() - started
    chips = load_chips(result.exported)
    s = judge_chips(chips, held, true, SPEC, walk=8)
    bound = f"{s['elbo']:.3f}" if "elbo" in s else ""
    write(
        f"| {task} | {result.clock.step} | {seconds:.0f} | {s['spectrum_db']:.2f} "
        f"| {s['histogram']:.3f} | {s['diversity']:.2f} | {s['nearest']:.2f} "
        f"| {s['largest_step']:.2f} | {bound} | {'; '.join(curve.events) or 'no'} |"
    )
    if task == "vae":
        write(
            f"| (real) | | | {s['real_spectrum_db']:.2f} | {s['real_histogram']:.3f} "
            f"| {s['real_diversity']:.2f} | {s['real_nearest']:.2f} | | | |"
        )
    return chips


def _errors(
    training: Placed,
    added: Sequence[Any],
    balance: float,
    seed: int,
    held: Placed,
    folder: Path,
) -> npt.NDArray[np.float64]:
    """Squared errors of held-out pairs, the generator's and bicubic's, and values, [n, 3]."""
    config = TrainConfig(
        content_steps=_PAIR_STEPS,
        adversarial_steps=0,
        patch_lr=_LR,
        balance=balance,
        seed=seed,
        val_pairs=16,
        val_every=_PAIR_STEPS,
        checkpoint_every=_PAIR_STEPS,
    )
    result = train(
        config,
        train_pairs=ListedPairs([*training.pairs, *added]),
        groups=[*training.groups, *[RARE] * len(added)],
        val_pairs=ListedPairs(held.pairs),
        spec=SPEC,
        score=score,
        folder=folder,
    )
    found = evaluate(Predictor(result.exported), ListedPairs(held.pairs), score).values
    names = ("squared_error", "bicubic_squared_error", "values")
    return np.stack([found[name] for name in names], axis=1)


def _compare(write: Write, errors: dict[str, npt.NDArray[np.float64]], held: Placed) -> None:
    rare = np.array([group == RARE for group in held.groups])
    places = [place for place, is_rare in zip(held.places, rare, strict=True) if is_rare]
    write(f"\n| training pairs | {RARE}: gain dB | better by dB, 95 % | all: gain dB |")
    write("|---|---|---|---|")
    first = errors["as they are"][rare, 0]
    for label, of in errors.items():
        gains = [_gain(chosen[:, 1], chosen[:, 0]) for chosen in (of[rare], of)]
        sums = draw_places(np.stack([first, of[rare, 0]], axis=1), places, draws=2000, seed=0)
        better = ""
        if sums is not None and label != "as they are":
            low, high = interval_95(10 * np.log10(sums[:, 0] / sums[:, 1])) or (np.nan, np.nan)
            better = f"{_gain(first, of[rare, 0]):+.3f} ({low:+.3f} to {high:+.3f})"
        write(f"| {label} | {gains[0]:+.3f} | {better} | {gains[1]:+.3f} |")


def _gain(before: npt.NDArray[np.float64], after: npt.NDArray[np.float64]) -> float:
    return float(10 * np.log10(before.sum() / after.sum()))


def _regions(seeds: Sequence[int]) -> Placed:
    chips = [chip for seed in seeds for chip in _region(seed)]
    pairs, groups, places = zip(*chips, strict=True)
    return Placed(pairs=pairs, groups=groups, places=places)


@cache
def _region(seed: int) -> tuple[tuple[Pair, str | None, tuple[int, int, int]], ...]:
    config = ScenesConfig(
        seed=seed,
        width_px=_REGION_PX,
        height_px=_REGION_PX,
        aerial_gsd_m=_GSD_M,
        dates=(SatelliteDate(gap_days=3),),
    )
    with tempfile.TemporaryDirectory() as folder:
        make_scenes(Path(folder), config)
        cover = LandCover.read(Path(folder) / "landcover.geojson")
        with rasterio.open(next(Path(folder).rglob("aerial*/visual.tif"))) as dataset:
            image = dataset.read([1, 2, 3]).astype(np.float32)
            grid = GeoBox.from_rio(dataset)
    seen = _noisy(degrade(image, SCALE), seed)
    chips = []
    for y in range(0, _REGION_PX, _SIDE):
        for x in range(0, _REGION_PX, _SIDE):
            fine = np.s_[y : y + _SIDE, x : x + _SIDE]
            coarse = np.s_[:, y // SCALE : y // SCALE + _LR, x // SCALE : x // SCALE + _LR]
            pair = _pair(_to_dn(seen[coarse]), _to_dn(image[:, *fine]))
            place = (seed, y // _SIDE // _PLACE, x // _SIDE // _PLACE)
            chips.append((pair, cover.category_of(grid[fine]), place))
    return tuple(chips)


def _seen(chips: Image, *, seed: int) -> list[Pair]:
    """Drawn chips in DN with what the satellite would see of them."""
    hr = [_to_dn(chip / DN_PER_BYTE) for chip in chips]
    bytes_ = (np.asarray(chip / DN_PER_BYTE, np.float32) for chip in hr)
    seen = _noisy(np.stack([degrade(chip, SCALE) for chip in bytes_]), seed)
    return [_pair(_to_dn(lr), chip) for lr, chip in zip(seen, hr, strict=True)]


def _noisy(image: Image, seed: int) -> Image:
    noise = np.random.default_rng(seed).standard_normal(image.shape, np.float32)
    return image + np.float32(NOISE_BYTES) * noise


def _to_dn(image: Image) -> npt.NDArray[np.uint16]:
    return np.clip(np.rint(image * DN_PER_BYTE), 0, 255 * DN_PER_BYTE).astype(np.uint16)


def _pair(lr: npt.NDArray[np.uint16], hr: npt.NDArray[np.uint16]) -> Pair:
    return Pair(lr=lr, hr=hr, valid=np.ones(hr.shape[1:], np.bool_))


def _draw(trained: dict[str, Chips], held: ListedPairs) -> None:
    target = os.environ.get("SKYSCALE_BENCH_PICTURES")
    if not target:
        return
    place = Path(target)
    place.mkdir(parents=True, exist_ok=True)
    mean = mean_dn(trained["dcgan"], SPEC)
    real, _ = read_chips(held, SPEC, side=_SIDE, mean=mean, limit=2 * _SHOWN)
    walks = [chips.walk(_SHOWN - 1)[:_SHOWN] for chips in trained.values()]
    shown = [real, *(chips.draw(2 * _SHOWN) for chips in trained.values()), *walks]
    sheet = chips_sheet(np.concatenate(shown), like=real, bands=BANDS, columns=_SHOWN)
    (place / "chips.png").write_bytes(sheet)
