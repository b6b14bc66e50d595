"""The mean of eight turned answers, and what their spread says about the error.

Generators of `quick_generators` on held-out real aerial chips, each upsampled as a region of its
own. Gains in dB of PSNR over all pixels pooled; errors, spread and contrast in 8-bit DN, errors as
root mean squares over bands. Rank correlations (Spearman) are over pixels of all images, inside
one image at a time (their mean), and over LR pixels (root mean squares of 4 x 4 pixels). Beside the
spread stand what needs no ensemble: the local contrast of the SR image (its gradient), and the
detail that was drawn (distance from bicubic).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from geo.consistency import ConsistentUpsampler
from geo.ensemble import TURNS, EnsembleUpsampler
from geo.interpolate import upsample
from geo.scores.pixels import psnr_of
from geo.scores.sharpness import hf_power
from geo.upsampler import Upsampler
from tests.benchmarks.aerial_data import DN_PER_BYTE, SCALE, SPEC, Split
from tests.benchmarks.quick_generators import Image, inner, quick_generators, upsampled

_BINS = 10

Write = Callable[[str], None]
Plane = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Look:
    """What is known of one chip, as planes [H, W] in 8-bit DN."""

    image: str
    error: Plane
    predictors: dict[str, Plane]
    band_errors: Plane
    band_spread: Plane


def run(write: Write) -> None:
    """Print gains, rank correlations and errors by decile of the spread."""
    split, generators = quick_generators()
    write(f"{split.describe()}.\n")
    _gains(write, split, generators)
    looks = {name: _look(split, generator) for name, generator in generators.items()}
    _ranks(write, looks)
    for name in looks:
        _deciles(write, name, looks[name])


def _gains(write: Write, split: Split, generators: Mapping[str, Upsampler]) -> None:
    write("| generator | answers | PSNR dB | against one dB | detail | s a Mpx |")
    write("|---|---|---|---|---|---|")
    for name, generator in generators.items():
        ways: dict[str, Upsampler] = {
            "one": generator,
            "mean of eight": EnsembleUpsampler(generator),
        }
        first = None
        for way, upsampler in ways.items():
            psnr, detail, seconds = _score(split, upsampler)
            first = psnr if first is None else first
            write(
                f"| {name} | {way} | {psnr:.2f} | {psnr - first:+.3f} | {detail:.3f} "
                f"| {seconds:.2f} |"
            )


def _score(split: Split, upsampler: Upsampler) -> tuple[float, float, float]:
    """PSNR, detail in parts of the real image's, seconds for a million HR pixels."""
    squares = count = drawn = real = seconds = 0.0
    for pairs in split.held_by_image.values():
        for pair in pairs.read(range(len(pairs))):
            started = time.perf_counter()
            sr = upsampled(upsampler, pair.lr)[: len(pair.lr)].astype(np.float64)
            seconds += time.perf_counter() - started
            hr = pair.hr.astype(np.float64)
            squares += float(np.square(inner(sr - hr)).sum())
            count += inner(hr).size
            everything = np.ones(inner(hr).shape[1:], np.bool_)
            drawn += hf_power(inner(sr), everything, SCALE)
            real += hf_power(inner(hr), everything, SCALE)
    pixels = sum(pair.hr[0].size for pair in split.held_out.read(range(len(split.held_out))))
    return psnr_of(squares, int(count), SPEC.data_range), drawn / real, seconds / pixels * 1e6


def _look(split: Split, generator: Upsampler) -> list[Look]:
    looks = []
    for image, pairs in split.held_by_image.items():
        for pair in pairs.read(range(len(pairs))):
            lr, hr = pair.lr.astype(np.float32), pair.hr.astype(np.float32)
            looks.append(_look_at(image, generator, lr, hr))
    return looks


def _look_at(image: str, generator: Upsampler, lr: Image, hr: Image) -> Look:
    out = upsampled(EnsembleUpsampler(generator), lr)
    mean, spread = out[:-1], out[-1]
    after = upsampled(EnsembleUpsampler(ConsistentUpsampler(generator)), lr)[-1]
    error = mean - hr
    gradient = np.stack(np.gradient(mean, axis=(1, 2)))
    detail = mean - upsample(lr, SCALE, "bicubic")
    return Look(
        image=image,
        error=in_bytes(rms_of(error)),
        predictors={
            "spread": in_bytes(spread),
            "spread of consistent answers": in_bytes(after),
            "contrast": in_bytes(rms_of(gradient.reshape(-1, *spread.shape))),
            "detail": in_bytes(rms_of(detail)),
        },
        band_errors=in_bytes(np.abs(error)),
        band_spread=in_bytes(_band_spread(generator, lr)),
    )


def _band_spread(generator: Upsampler, lr: Image) -> Image:
    """Standard deviation of the eight answers, band by band."""
    answers = [turn.undo(upsampled(generator, turn.apply(lr))) for turn in TURNS]
    return np.std(answers, axis=0)


def rms_of(planes: Image) -> Image:
    """Root mean square over the first axis."""
    return np.asarray(np.sqrt(np.square(planes).mean(axis=0)))


def in_bytes(plane: Image) -> Plane:
    """What counts of a plane of DN, in 8-bit DN."""
    return inner(plane).astype(np.float64) / DN_PER_BYTE


def _ranks(write: Write, looks: Mapping[str, list[Look]]) -> None:
    write("\n| generator | what | all pixels | inside an image | LR pixels |")
    write("|---|---|---|---|---|")
    for name, seen in looks.items():
        error = [look.error for look in seen]
        for what in seen[0].predictors:
            told = [look.predictors[what] for look in seen]
            within = []
            for image in dict.fromkeys(look.image for look in seen):
                chosen = [i for i, look in enumerate(seen) if look.image == image]
                within.append(
                    rank_correlation([told[i] for i in chosen], [error[i] for i in chosen])
                )
            coarse = rank_correlation(
                [over_lr_pixels(p) for p in told], [over_lr_pixels(p) for p in error]
            )
            write(
                f"| {name} | {what} | {rank_correlation(told, error):.3f} "
                f"| {np.mean(within):.3f} | {coarse:.3f} |"
            )
        _partial(write, name, seen)
        own = rank_correlation(
            [look.band_spread for look in seen], [look.band_errors for look in seen]
        )
        pooled = [np.broadcast_to(k.predictors["spread"], k.band_errors.shape) for k in seen]
        shared = rank_correlation(pooled, [look.band_errors for look in seen])
        write(f"| {name} | a band's error by its own spread | {own:.3f} | | |")
        write(f"| {name} | a band's error by the spread of all | {shared:.3f} | | |")


def _partial(write: Write, name: str, seen: list[Look]) -> None:
    """What the spread tells beyond contrast: Spearman's partial correlation."""
    columns = []
    for change in (lambda plane: plane, over_lr_pixels):
        spread, contrast, error = (
            [change(plane) for plane in planes]
            for planes in (
                [look.predictors["spread"] for look in seen],
                [look.predictors["contrast"] for look in seen],
                [look.error for look in seen],
            )
        )
        both, own, other = (
            rank_correlation(*two)
            for two in ((spread, contrast), (spread, error), (contrast, error))
        )
        columns.append((own - other * both) / np.sqrt((1 - other**2) * (1 - both**2)))
    write(
        f"| {name} | spread, among pixels of one contrast | {columns[0]:.3f} | | {columns[1]:.3f} |"
    )


def rank_correlation(told: Sequence[Plane], error: Sequence[Plane]) -> float:
    """Spearman's, over the pixels of all planes together."""
    a, b = (np.concatenate([plane.ravel() for plane in planes]) for planes in (told, error))
    return float(stats.spearmanr(a, b).statistic)


def over_lr_pixels(plane: Plane) -> Plane:
    """Root mean squares over LR pixels."""
    height, width = (side // SCALE for side in plane.shape)
    return np.asarray(
        np.sqrt(np.square(plane).reshape(height, SCALE, width, SCALE).mean(axis=(1, 3)))
    )


def _deciles(write: Write, name: str, looks: list[Look]) -> None:
    spread = np.concatenate([look.predictors["spread"].ravel() for look in looks])
    error = np.concatenate([look.error.ravel() for look in looks])
    order = np.argsort(spread)
    write(f"\n{name}: pixels by decile of their spread.\n")
    write("| decile | spread up to | spread | error | error / spread | share of squared error |")
    write("|---|---|---|---|---|---|")
    whole = np.square(error).sum()
    for number, part in enumerate(np.array_split(order, _BINS), start=1):
        own, missed = (float(np.sqrt(np.square(v[part]).mean())) for v in (spread, error))
        share = float(np.square(error[part]).sum() / whole)
        write(
            f"| {number} | {spread[part].max():.2f} | {own:.2f} | {missed:.2f} "
            f"| {missed / own:.1f} | {share:.1%} |"
        )
    overall = float(np.sqrt(whole / np.square(spread).sum()))
    write(f"\nOver all pixels the error is {overall:.1f} times the spread.")
