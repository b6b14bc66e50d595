"""Scores of an upsampler on pairs: the same code for validation, test and comparison."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from models.data import PairSource, evenly_spaced

Upsample = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]
# (sr, hr, lr, valid) in DN to named scores; [C, H, W], [C, H, W], [C, h, w], [H, W].
Score = Callable[
    [npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[np.bool_]],
    Mapping[str, float],
]

# Power of fine detail against that of real imagery.
POOLED_RATIOS = {
    "hf_power_ratio": ("hf_power", "real_hf_power"),
    "bicubic_hf_power_ratio": ("bicubic_hf_power", "real_hf_power"),
}
_TOGETHER = 16


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A pair and what was drawn for it, float32 DN."""

    lr: npt.NDArray[np.float32]  # [C, h, w]
    sr: npt.NDArray[np.float32]  # [C, H, W]
    hr: npt.NDArray[np.float32]  # [C, H, W]
    valid: npt.NDArray[np.bool_]  # [H, W]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Scores of many pairs.

    Parameters
    ----------
    scores : mapping
        Mean of each score over the pairs where it is finite. A tile without valid pixels has no
        score, and that of an identical one is infinite: neither belongs in a mean. And the
        ratios of `POOLED_RATIOS`, of sums over all pairs.
    pairs : int
        Pairs scored.
    not_finite : mapping
        For each score, in how many pairs it was not finite.
    values : mapping
        Each score of each pair, in the order of the pairs; NaN where a pair has no such score.
    samples : tuple of Sample
        The first few of them, always the same.
    sheets : mapping
        Images [n, C, H, W] that belong together, DN, where there are no pairs to look at.
    """

    scores: Mapping[str, float]
    pairs: int
    not_finite: Mapping[str, int]
    values: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    samples: tuple[Sample, ...] = ()
    sheets: Mapping[str, npt.NDArray[np.float32]] = field(default_factory=dict)


def evaluate(
    upsample: Upsample,
    pairs: PairSource,
    score: Score,
    *,
    limit: int | None = None,
    samples: int = 0,
) -> Evaluation:
    """Upsample and score pairs.

    Parameters
    ----------
    upsample : callable
        DN [C, h, w] to DN [C, s*h, s*w]; a `Predictor` for example.
    score : callable
        ``(sr, hr, lr, valid) -> {name: value}`` on DN.
    limit : int, optional
        At most so many pairs, evenly spread; all by default.
    samples : int
        Pictures to hand back, evenly spread over the pairs scored.
    """
    places = evenly_spaced(len(pairs), len(pairs) if limit is None else limit)
    shown = {places[index] for index in evenly_spaced(len(places), samples)} if samples else set()
    values: dict[str, list[float]] = {}
    pictures = []
    for number, (place, (lr, hr, valid)) in enumerate(
        zip(places, _images(pairs, places), strict=True)
    ):
        sr = upsample(lr)
        for name, value in score(sr, hr, lr, valid).items():
            column = values.setdefault(name, [math.nan] * len(places))
            column[number] = float(value)
        if place in shown:
            pictures.append(Sample(lr=lr, sr=sr, hr=hr, valid=valid))
    finite = {name: [v for v in found if math.isfinite(v)] for name, found in values.items()}
    means = {name: math.fsum(v) / len(v) for name, v in finite.items() if v}
    return Evaluation(
        scores={**means, **_pooled_ratios(means)},
        pairs=len(places),
        not_finite={name: len(values[name]) - len(v) for name, v in finite.items()},
        values={name: tuple(found) for name, found in values.items()},
        samples=tuple(pictures),
    )


def _pooled_ratios(means: Mapping[str, float]) -> dict[str, float]:
    """Ratios of sums over all pairs: those of single ones say nothing where there is no detail."""
    return {
        ratio: means[part] / means[whole]
        for ratio, (part, whole) in POOLED_RATIOS.items()
        if part in means and means.get(whole, 0.0) > 0
    }


def _images(
    pairs: PairSource, places: list[int]
) -> Iterable[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.bool_]]]:
    for first in range(0, len(places), _TOGETHER):
        for pair in pairs.read(places[first : first + _TOGETHER]):
            yield (
                np.asarray(pair.lr, np.float32),
                np.asarray(pair.hr, np.float32),
                np.asarray(pair.valid, np.bool_),
            )
