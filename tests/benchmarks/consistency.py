"""Ways to make means over LR pixels right: what they cost, and whether the LR lattice shows.

Every way adds to the SR image what its mean over each LR pixel lacks; they differ in how that is
spread. *Steps*: mean squared step between neighbouring HR pixels across borders of LR pixels
against those inside, median over chips; the HR images have 1. *Beyond*: part of the power of what
is added that lies beyond the LR Nyquist frequency, where no LR image says anything. *Reach*: LR
pixels farther that an output pixel looks. PSNR over all pixels pooled, against the image as it was.

LR images of held-out real aerial chips: their plain means, of which the constraint is true,
upsampled by bicubic; and what the sensor sees of them (blur beyond the pixel, noise, other
colours), upsampled by generators of `quick_generators`. *Off by*: mean of the output over an LR
pixel against the LR image, root mean square in 8-bit DN.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from geo.consistency import REACH, ConsistentUpsampler, missing_means, spreading_weights
from geo.ensemble import EnsembleUpsampler
from geo.interpolate import Weights, keys_cubic, stretch, upsample
from geo.scores.pixels import psnr_of
from geo.scores.sharpness import hf_power
from geo.sensor import degrade
from geo.upsampler import BuiltinUpsampler, Upsampler
from geo.upscale import to_dtype
from models.data import Pair
from tests.benchmarks.aerial_data import DN_PER_BYTE, LR, SCALE, SPEC, Split
from tests.benchmarks.quick_generators import Image, inner, quick_generators, upsampled

_PAD = 12  # LR pixels: more than any way reaches

Write = Callable[[str], None]


@dataclass(frozen=True)
class Way:
    """How missing means [C, h, w] become what is added, [C, s*h, s*w]."""

    name: str
    reach: int
    spread: Callable[[Image], Image]


def ways() -> tuple[Way, ...]:
    """From nothing to the one that is used, and farther."""
    cubic = running_sum(keys_cubic, 1)
    lanczos = running_sum(lambda x: np.where(abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0.0), 2)
    tent = 1 - np.abs(np.arange(-1, 2) - (np.arange(SCALE)[:, None] + 0.5) / SCALE + 0.5)
    bilinear = np.maximum(tent, 0.0)
    return (
        Way("none", 0, lambda missing: 0 * box(missing)),
        Way("box", 0, box),
        Way("bilinear twice, box", 3, lambda m: iterated(m, lambda x: stretch(x, bilinear), 2)),
        Way("bicubic twice, box", 6, lambda m: iterated(m, _bicubic, 2)),
        Way("bicubic four times, box", 12, lambda m: iterated(m, _bicubic, 4)),
        Way("running sum, cubic", 1, lambda m: stretch(m, cubic)),
        Way("running sum, fourth order", REACH, lambda m: stretch(m, spreading_weights(SCALE))),
        Way("running sum, Lanczos 3", 2, lambda m: stretch(m, lanczos)),
    )


def running_sum(kernel: Callable[[Weights], Weights], radius: int) -> Weights:
    """Weights that interpolate the running sum by a kernel; see `geo.consistency`."""
    edges = np.arange(SCALE + 1) / SCALE
    at_edges = kernel(edges[:, None] - np.arange(-radius, radius + 2))
    at_edges /= at_edges.sum(axis=1, keepdims=True)
    return np.diff(at_edges[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:], axis=0) * SCALE


def box(missing: Image) -> Image:
    """The same for all HR pixels of an LR pixel."""
    return missing.repeat(SCALE, axis=1).repeat(SCALE, axis=2)


def iterated(missing: Image, smooth: Callable[[Image], Image], times: int) -> Image:
    """Upsample what is missing still, some times, and the rest as a box."""
    added = np.zeros_like(box(missing))
    for _ in range(times):
        added += smooth(missing_means(added, missing))
    return added + box(missing_means(added, missing))


def _bicubic(image: Image) -> Image:
    return upsample(image, SCALE, "bicubic")


def run(write: Write) -> None:
    """Print the ways, ensembles and consistency together, and what rounding does."""
    split, generators = quick_generators()
    write(f"{split.describe()}.\n")
    write("| LR, upsampler | way | reach | PSNR dB | off by | steps | beyond | ms a Mpx |")
    write("|---|---|---|---|---|---|---|---|")
    bicubic = BuiltinUpsampler("bicubic", SCALE)
    _compare(write, "plain means, bicubic", list(_chips(split, bicubic, plain=True)))
    _compare(write, "sensor's, bicubic", list(_chips(split, bicubic)))
    for name, generator in generators.items():
        _compare(write, f"sensor's, {name}", list(_chips(split, generator)))
    _together(write, split, generators)
    _rounding(write, split, generators)


@dataclass(frozen=True)
class Chip:
    """LR, HR and SR image of one ground."""

    lr: Image
    hr: Image
    sr: Image


def _chips(split: Split, upsampler: Upsampler, *, plain: bool = False) -> Iterator[Chip]:
    for pair in _pairs(split):
        hr = pair.hr.astype(np.float32)
        lr = _means(hr) if plain else pair.lr.astype(np.float32)
        yield Chip(lr=lr, hr=hr, sr=upsampled(upsampler, lr))


def _pairs(split: Split) -> Iterator[Pair]:
    for index in range(len(split.held_out)):
        yield from split.held_out.read([index])


def _means(image: Image) -> Image:
    return image.reshape(len(image), LR, SCALE, LR, SCALE).mean(axis=(2, 4))


@dataclass
class Tally:
    """Sums over chips of what is scored."""

    squares: float = 0.0
    values: int = 0
    off: float = 0.0
    lr_values: int = 0
    added: float = 0.0
    beyond: float = 0.0
    ratios: list[float] = field(default_factory=list)

    def add(self, chip: Chip, sr: Image, added: Image) -> None:
        """Score one chip."""
        self.squares += float(np.square(inner(sr - chip.hr), dtype=np.float64).sum())
        self.values += inner(chip.hr).size
        off = _means(sr) - chip.lr
        self.off += float(np.square(off, dtype=np.float64).sum())
        self.lr_values += off.size
        steps = np.square(np.diff(sr, axis=2), dtype=np.float64).mean(axis=(0, 1))
        border = np.arange(1, len(steps) + 1) % SCALE == 0
        self.ratios.append(float(steps[border].mean() / steps[~border].mean()))
        everything = np.ones(added.shape[1:], np.bool_)
        added = added - added.mean(axis=(1, 2), keepdims=True)
        self.beyond += hf_power(added.astype(np.float64), everything, SCALE)
        window = np.hanning(added.shape[1])[:, None] * np.hanning(added.shape[2])
        self.added += float(np.square(added * window).sum() / np.square(window).sum() / len(added))

    @property
    def psnr(self) -> float:
        """PSNR in dB over all pixels."""
        return psnr_of(self.squares, self.values, SPEC.data_range)

    @property
    def steps(self) -> float:
        """Squared steps at borders of LR pixels against those inside, of a usual chip."""
        return float(np.median(self.ratios))

    @property
    def off_by(self) -> float:
        """Root mean square of what means over LR pixels are off by, 8-bit DN."""
        return float(np.sqrt(self.off / self.lr_values)) / DN_PER_BYTE


def _compare(write: Write, label: str, chips: list[Chip]) -> None:
    before = float("nan")
    for way in ways():
        tally, seconds = Tally(), 0.0
        for chip in chips:
            missing = missing_means(chip.sr, chip.lr)
            around = np.pad(missing, ((0, 0), (_PAD, _PAD), (_PAD, _PAD)), mode="reflect")
            started = time.perf_counter()
            added = way.spread(around)
            seconds += time.perf_counter() - started
            margin = _PAD * SCALE
            added = added[:, margin:-margin, margin:-margin]
            tally.add(chip, chip.sr + added, added)
        if way.name == "none":
            before = tally.psnr
        pixels = len(chips) * ((LR + 2 * _PAD) * SCALE) ** 2 / 1e6
        shown = f"{before:.2f}" if way.name == "none" else f"{tally.psnr - before:+.3f}"
        beyond = "" if way.name == "none" else f"{tally.beyond / tally.added:.3f}"
        write(
            f"| {label} | {way.name} | {way.reach} | {shown} | {tally.off_by:.3f} "
            f"| {tally.steps:.2f} | {beyond} | {seconds * 1e3 / pixels:.0f} |"
        )
    real = Tally()
    for chip in chips:
        real.add(chip, chip.hr, chip.hr)
    write(f"| {label} | the HR image itself | | | {real.off_by:.3f} | {real.steps:.2f} | | |")


def _together(write: Write, split: Split, generators: Mapping[str, Upsampler]) -> None:
    write("\n*Seen*: what the sensor would make of the output against the LR image, in the same")
    write(
        "measure. The last rows ask for that instead: what it lacks is added once, as smoothly.\n"
    )
    write("| generator | | PSNR dB | off by | seen | steps |")
    write("|---|---|---|---|---|---|")
    for name, generator in generators.items():
        chosen: dict[str, Upsampler] = {
            "plain": generator,
            "ensemble": EnsembleUpsampler(generator),
            "consistent": ConsistentUpsampler(generator),
            "both": ConsistentUpsampler(EnsembleUpsampler(generator)),
        }
        for way, upsampler in chosen.items():
            srs = [chip.sr[: len(chip.lr)] for chip in _chips(split, upsampler)]
            _row_of(write, split, f"| {name} | {way} |", srs)
        for way in ("plain", "ensemble"):
            srs = [_seen_alike(chip) for chip in _chips(split, chosen[way])]
            _row_of(write, split, f"| {name} | {way}, as the sensor sees |", srs)


def _seen_alike(chip: Chip) -> Image:
    """SR image with what the sensor would miss in it."""
    sr = chip.sr[: len(chip.lr)]
    return sr + stretch(chip.lr - degrade(sr, SCALE), spreading_weights(SCALE))


def _row_of(write: Write, split: Split, head: str, srs: list[Image]) -> None:
    tally, seen = Tally(), []
    for pair, sr in zip(_pairs(split), srs, strict=True):
        lr, hr = pair.lr.astype(np.float32), pair.hr.astype(np.float32)
        tally.add(Chip(lr=lr, hr=hr, sr=sr), sr, sr)
        seen.append(np.square(degrade(sr, SCALE) - lr)[:, 1:-1, 1:-1].mean())
    rms = float(np.sqrt(np.mean(seen))) / DN_PER_BYTE
    write(f"{head} {tally.psnr:.2f} | {tally.off_by:.3f} | {rms:.3f} | {tally.steps:.2f} |")


def _rounding(write: Write, split: Split, generators: Mapping[str, Upsampler]) -> None:
    write("\nMeans over LR pixels after rounding to whole DN, off by, in DN of the output:\n")
    write("| generator | dtype | root mean square | 99.9 % below | most | clipped LR pixels |")
    write("|---|---|---|---|---|---|")
    for name, generator in generators.items():
        for dtype, unit in (("uint16", 1.0), ("uint8", float(DN_PER_BYTE))):
            off, clipped = [], []
            for pair in _pairs(split):
                lr = np.rint(pair.lr / np.float32(unit))
                sr = upsampled(ConsistentUpsampler(_InUnits(generator, unit)), lr)
                whole = to_dtype(sr, dtype, None).astype(np.float32)
                touched = np.abs(whole - sr).reshape(len(sr), LR, SCALE, LR, SCALE)
                out = touched.max(axis=(2, 4)) > 0.51
                clipped.append(out.mean())
                off.append(np.abs(_means(whole) - lr)[~out])
            values = np.concatenate(off)
            write(
                f"| {name} | {dtype} | {np.sqrt(np.square(values).mean()):.3f} "
                f"| {np.quantile(values, 0.999):.3f} | {values.max():.3f} "
                f"| {np.mean(clipped):.2%} |"
            )


@dataclass(frozen=True)
class _InUnits:
    """A generator for images whose DN are so many of its own."""

    generator: Upsampler
    unit: float
    extras: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.generator.name

    @property
    def scale(self) -> int:
        return self.generator.scale

    @property
    def halo(self) -> int:
        return self.generator.halo

    @property
    def bands(self) -> tuple[str, ...] | None:
        return self.generator.bands

    def __call__(self, lr: Image, /) -> Image:
        return self.generator(lr * np.float32(self.unit)) / np.float32(self.unit)
