"""The look of another campaign: how near it comes, and whether it helps who has no pairs of it.

Two couples of campaigns: one place in two years and seasons (NAIP, North Dakota, July 2012 and
August 2020), and towns seen by two cameras (drone mosaics of Zanzibar and the Philippines). Chips
of 128 px; of each image every third one is held out. Without the folder of shared imagery nothing
is measured: made scenes have one season only.

The first table says how far held-out chips of the first campaign are from those of the second:
texture is the relative squared difference of Gram matrices with colours apart, colours the mean
distance of quantiles in spreads (1-D Wasserstein), edges the correlation of the strengths of edges
with the source's, moved the shift measured against it in pixels. Linear matching (gain and offset
of each band) is fitted on the training chips, as the restyler is.

The second table is of generators trained on pairs of the first campaign of North Dakota and scored
on held-out pairs of the second: as they are; half of them matched linearly; half of them restyled;
and, for what could be had, pairs of the second one itself. Content phase alone, equal times.

``SKYSCALE_BENCH_PICTURES`` names a folder for strips of source, linear match, restyled, target.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from flows.train_kind_style import StyleKind
from geo.pictures import encode_png, stretch_limits, strip, to_rgb8
from models.campaigns import Campaigns
from models.config import TrainConfig
from models.data import ListedPairs, Pair, PairLike, PairSpec
from models.export import load_generator
from models.features import load_features
from models.predict import Predictor
from models.restyling import score_restyled, units_of
from models.style_scores import match_linearly
from models.trainer import train
from tests.benchmarks import aerial_data
from tests.benchmarks.aerial_data import BANDS, SPEC, Split
from tests.benchmarks.training_runs import (
    Curve,
    content_config,
    folders,
    minutes,
    standing,
    train_on,
)

RESTYLER_MINUTES, GENERATOR_MINUTES = 2.0, 1.5
_DAKOTA = "aerial/naip_nd_series/m_4709963_se_14_1_"
_FEATURES = "random"
_HELD_EVERY = 3
_PICTURES = 5
_ENDLESS = 10_000_000
_ON_ONE_GRID = PairSpec(scale=1, bands=BANDS, data_range=SPEC.data_range)

Write = Callable[[str], None]
Image = npt.NDArray[Any]
Restyle = Callable[[Image], Image]


@dataclass(frozen=True, kw_only=True)
class Couple:
    """Chips of two campaigns."""

    name: str
    train: tuple[tuple[PairLike, ...], tuple[PairLike, ...]]
    held: tuple[tuple[PairLike, ...], tuple[PairLike, ...]]


def run(write: Write) -> None:
    """Print both tables."""
    if not (aerial_data._SHARED / "aerial").is_dir():
        write("no shared imagery here: nothing measured")
        return
    couples = list(_couples())
    write(f"Restylers: {minutes(RESTYLER_MINUTES):g} minutes each, features {_FEATURES}.\n")
    write("| campaigns, training and held-out chips | images | texture | colours | edges | moved |")
    write("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        fresh = folders(Path(name))
        restylers = [_restyler(couple, next(fresh)) for couple in couples]
        for couple, restyler in zip(couples, restylers, strict=True):
            _compare(write, couple, restyler)
        _train(write, couples[0], restylers[0], fresh)


def _couples() -> Iterator[Couple]:
    years = (f"{_DAKOTA}{day}.tif" for day in ("20120731", "20200831"))
    seasons = [
        tuple(aerial_data._cut(aerial_data._read(aerial_data._SHARED / file), file))
        for file in years
    ]
    cameras = [aerial_data._real_chips(n) for n in ("zanzibar 0.15 m", "philippines 0.07 m")]
    for label, chips in (("Dakota 2012 to 2020", seasons), ("Zanzibar to Philippines", cameras)):
        held = [c[_HELD_EVERY - 1 :: _HELD_EVERY] for c in chips]
        rest = [tuple(x for n, x in enumerate(c) if n % _HELD_EVERY != 2) for c in chips]
        yield Couple(name=label, train=(rest[0], rest[1]), held=(held[0], held[1]))


def _campaigns(sides: tuple[Sequence[PairLike], Sequence[PairLike]]) -> Campaigns:
    first, both = len(sides[0]), [*sides[0], *sides[1]]
    return Campaigns(ListedPairs(both), range(first), range(first, len(both)))


def _restyler(couple: Couple, folder: Path) -> Path:
    config = TrainConfig.from_dict(
        {
            **{"task": "style", "content_steps": _ENDLESS, "adversarial_steps": 0},
            **{"max_minutes": minutes(RESTYLER_MINUTES), "batch_size": 8, "patch_lr": 64},
            **{"val_every": _ENDLESS, "checkpoint_every": _ENDLESS},
            "style": {"source": "first", "target": "second"},
            "losses": {"features": _FEATURES},
            "generator": {"channels": 16, "blocks": 2},
        }
    )
    score = StyleKind().score(_ON_ONE_GRID)
    made = train(
        config,
        train_pairs=_campaigns(couple.train),
        val_pairs=_campaigns(couple.held),
        spec=_ON_ONE_GRID,
        score=score,
        folder=folder,
        listener=Curve(),
    )
    return made.exported


def _stacks(sides: tuple[Sequence[PairLike], Sequence[PairLike]]) -> tuple[Image, Image]:
    """As many images of each side: the shorter one begins again."""
    pairs = _campaigns(sides)
    chips = pairs.read(range(len(pairs)))
    source, target = (
        np.stack([np.asarray(x, np.float32) for x in s])
        for s in zip(*((c.lr, c.hr) for c in chips), strict=True)
    )
    return source, target


def _linear(couple: Couple) -> tuple[Image, Image]:
    source, target = _stacks(couple.train)
    return match_linearly(source, target, np.ones((len(source), *source.shape[2:]), np.bool_))


def _compare(write: Write, couple: Couple, folder: Path) -> None:
    gain, offset = _linear(couple)
    network, card = load_generator(folder)
    predictor = Predictor(folder)
    ways: dict[str, Restyle] = {
        "as they are": lambda image: image,
        "linear matching": lambda image: (image * gain + offset).astype(np.float32),
        "restyled": predictor,
    }
    counts = "; ".join(f"{len(a)} and {len(b)}" for a, b in (couple.train, couple.held))
    for label, restyle in ways.items():
        scores = score_restyled(
            restyle,
            _campaigns(couple.held),
            StyleKind().score(_ON_ONE_GRID),
            features=load_features(_FEATURES, bands=len(BANDS)),
            units=units_of(network.standardise, card.data_range),
        ).scores
        write(
            f"| {couple.name}, {counts} | {label} | {scores['texture']:.4f} "
            f"| {scores['colours']:.3f} | {scores['edges']:.3f} | {scores['shift_px']:.3f} |"
        )
    _draw(couple, list(ways.values()))


def _train(write: Write, couple: Couple, restyler: Path, fresh: Iterator[Path]) -> None:
    gain, offset = _linear(couple)
    (first, second), held = couple.train, ListedPairs(couple.held[1])
    matched = [
        Pair(lr=_to_dn(c.lr * gain + offset), hr=_to_dn(c.hr * gain + offset), valid=c.valid)
        for c in first
    ]
    write(f"\nGenerators: {minutes(GENERATOR_MINUTES):g} minutes each.\n")
    write("| trained on pairs of | steps | ms a step | PSNR dB | gain dB | detail |")
    write("|---|---|---|---|---|---|")
    for label, chips, settings in (
        ("2012", first, {}),
        ("2012, half matched linearly", [*first, *matched], {}),
        ("2012, half restyled", first, {"augment": {"style": str(restyler), "share": 0.5}}),
        ("2020 itself", second, {}),
    ):
        curve = Curve()
        split = Split(
            name=label,
            train=ListedPairs(chips),
            held_out=held,
            train_images=(),
            held_by_image={},
        )
        config = content_config(minutes(GENERATOR_MINUTES), log_every=20, **settings)
        result = train_on(split, config, next(fresh), curve=curve)
        s = standing(result.exported, held)
        write(
            f"| {label} | {result.clock.step} | {1000 / curve.rate('content'):.1f} | {s.psnr:.2f} "
            f"| {s.gain:+.2f} | {s.detail:.3f} |"
        )


def _to_dn(image: Image) -> npt.NDArray[np.uint16]:
    return np.clip(np.rint(image), 0, 65535).astype(np.uint16)


def _draw(couple: Couple, ways: Sequence[Restyle]) -> None:
    folder = os.environ.get("SKYSCALE_BENCH_PICTURES")
    if not folder:
        return
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    sources, targets = _stacks(couple.held)
    chosen = np.linspace(0, len(sources) - 1, _PICTURES).round().astype(int)
    everywhere = np.ones(sources.shape[2:], np.bool_)
    rows = []
    for number in chosen:
        images = [*(restyle(sources[number]) for restyle in ways), targets[number]]
        both = np.concatenate([sources[number], targets[number]], axis=2)
        limits = stretch_limits(both, np.concatenate([everywhere] * 2, axis=1))
        rows.append(strip([to_rgb8(image, limits, BANDS) for image in images]))
    name = couple.name.replace(" ", "_")
    (place / f"{name}.png").write_bytes(encode_png(np.concatenate(rows)))
