"""Pairs for training benchmarks: aerial imagery seen by the model of the satellite's sensor.

Real orthophotos where the folder of shared imagery is there, made scenes anywhere. Each image is
degraded as a whole (`geo.sensor.degrade`, slightly other colours, noise) and cut into chips of 32
LR pixels side by side; training and held-out chips never share an image.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import rasterio

from geo.scenes.make import SatelliteDate, ScenesConfig, make_scenes
from geo.sensor import degrade
from models.data import ListedPairs, Pair, PairSpec

SCALE, LR = 4, 32
BANDS = ("red", "green", "blue")
DN_PER_BYTE = 16  # noise and rounding then lie well below a step of the 8-bit imagery
SPEC = PairSpec(scale=SCALE, bands=BANDS, data_range=255.0 * DN_PER_BYTE)
# Of the satellite, as in the trial regions (25 DN of reflectance x 10000 at a gain of 0.42).
NOISE_BYTES = 1.5
# What harmonisation leaves of another sensor's colours, standard deviations of image and band.
_GAIN_LEFT, _OFFSET_LEFT_BYTES = 0.01, 1.0
# Drone mosaics from tile servers are smoother than their pixels; the finest are averaged first, to
# about this.
_FINEST_M = 0.14

_SHARED = Path(__file__).resolve().parents[2].parent / "shared/data"
# Several files of one entry are bands or dates of one place: they stay together. Satellites that
# look like aerial imagery, and second copies of a place, are left out.
_PLACES: dict[str, tuple[str, ...]] = {
    "colorado 0.15 m": ("aerial/hro_colorado_15cm.tif",),
    "california 0.6 m": ("aerial/naip_ca_60cm_m_3211605.tif",),
    "carolina 1 m": ("aerial/naip_ncva_border_a_1m.tif", "aerial/naip_ncva_border_b_1m.tif"),
    "dakota 5 m": (
        "aerial/naip_nd_series/m_4709963_se_14_1_20120731.tif",
        "aerial/naip_nd_series/m_4709963_se_14_1_20200831.tif",
    ),
    "virginia 1 m": ("aerial/naip_va_1m/NAIP-VA-b{band}.tiff",),
    "philippines 0.07 m": ("aerial/oam_philippines1_z21.tif",),
    "zanzibar 0.15 m": ("aerial/oam_zanzibar1_z20.tif",),
    "manila 0.1 m": ("aerial/oamtcd_manila_river_10cm.tif",),
    "zurich 0.5 m": ("aerial/swissimage_lakeshore_50cm.tif",),
    "cape 2.5 m": ("aerial/za_mountain_3320D_2010_315.tif",),
    "nepal 0.07 m": ("pairs/oam_pyramid_nepal1/z21.tif",),
}
_HELD_EVERY, _HELD_FIRST = 3, 2  # by place in the list, not by what is easy
_FLAT_BYTES = 1.0  # water painted in one colour has nothing to draw and its PSNR has no bound
_MOST_CHIPS = 96  # of an image, so that the largest ones are not all there is
_MADE, _MADE_HELD, _MADE_PX = 8, 2, 1024
_ORDER_SEED = 3

Image = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Split:
    """Training and held-out pairs of different images."""

    name: str
    train: ListedPairs
    held_out: ListedPairs
    train_images: tuple[str, ...]
    held_by_image: dict[str, ListedPairs]

    @property
    def held_images(self) -> tuple[str, ...]:
        """Names of the images of `held_out`."""
        return tuple(self.held_by_image)

    def describe(self) -> str:
        """What there is, in a line."""
        return (
            f"{self.name}: {len(self.train)} training chips of {len(self.train_images)} images, "
            f"{len(self.held_out)} held-out chips of {len(self.held_images)} "
            f"({', '.join(self.held_images)})"
        )


def aerial_pairs(share: float = 1.0) -> Split:
    """Pairs of real imagery, or of made scenes where there is none.

    Parameters
    ----------
    share : float
        Part of the training images, the same held-out ones.
    """
    if not (_SHARED / "aerial").is_dir():
        return made_pairs(share)
    names = list(_PLACES)
    held = names[_HELD_FIRST::_HELD_EVERY]
    return _split("real aerial", [n for n in names if n not in held], held, _real_chips, share)


def made_pairs(share: float = 1.0) -> Split:
    """Pairs of made scenes, each image a region of its own."""
    seeds = [str(seed) for seed in range(_MADE)]
    held = [f"region {seed}" for seed in seeds[-_MADE_HELD:]]
    train = [f"region {seed}" for seed in seeds[:-_MADE_HELD]]
    return _split("made scenes", train, held, _made_chips, share)


def _split(
    name: str,
    train: Sequence[str],
    held: Sequence[str],
    chips_of: Callable[[str], tuple[Pair, ...]],
    share: float,
) -> Split:
    # Nested: half of the images holds the quarter.
    order = np.random.default_rng(_ORDER_SEED).permutation(len(train))
    chosen = [train[place] for place in order[: max(1, round(share * len(train)))]]
    return Split(
        name=name,
        train=ListedPairs([pair for image in chosen for pair in chips_of(image)]),
        held_out=ListedPairs([pair for image in held for pair in chips_of(image)]),
        train_images=tuple(chosen),
        held_by_image={image: ListedPairs(chips_of(image)) for image in held},
    )


@cache
def _real_chips(place: str) -> tuple[Pair, ...]:
    gsd = float(place.split()[-2])
    images = [_coarser(_read(_SHARED / file), gsd) for file in _PLACES[place]]
    chips = [pair for image in images for pair in _cut(image, place)]
    return _thinned(chips, _MOST_CHIPS)


@cache
def _made_chips(region: str) -> tuple[Pair, ...]:
    config = ScenesConfig(
        seed=100 + int(region.split()[-1]),
        width_px=_MADE_PX,
        height_px=_MADE_PX,
        dates=(SatelliteDate(gap_days=3),),
    )
    with tempfile.TemporaryDirectory() as folder:
        make_scenes(Path(folder), config)
        image = _read(next(Path(folder).rglob("aerial*/visual.tif")))
    return _thinned(_cut(image, region), _MOST_CHIPS)


def _read(path: Path) -> Image:
    """Red, green and blue as float bytes [3, H, W], zero where there is nothing."""
    if "{band}" in path.name:
        files = [Path(str(path).format(band=band)) for band in (1, 2, 3)]
        return np.concatenate([_read_bands(file, [1]) for file in files])
    return _read_bands(path, [1, 2, 3])


def _read_bands(path: Path, bands: list[int]) -> Image:
    with rasterio.open(path) as dataset:
        return dataset.read(bands).astype(np.float32)


def _coarser(image: Image, gsd_m: float) -> Image:
    """Image with pixels of about `_FINEST_M` or more, by means over whole squares."""
    factor = max(1, round(_FINEST_M / gsd_m))
    bands, height, width = image.shape
    cut = image[:, : height // factor * factor, : width // factor * factor]
    return cut.reshape(bands, height // factor, factor, width // factor, factor).mean((2, 4))


def _cut(image: Image, name: str) -> list[Pair]:
    """Chips of an image side by side; those that touch missing parts or are flat are left out."""
    fine = LR * SCALE
    height, width = (side // fine * fine for side in image.shape[1:])
    image = image[:, :height, :width]
    rng = np.random.default_rng([*name.encode(), *image.shape])
    seen = degrade(image, SCALE)
    gain = rng.normal(1, _GAIN_LEFT, (len(image), 1, 1)).astype(np.float32)
    offset = rng.normal(0, _OFFSET_LEFT_BYTES, (len(image), 1, 1)).astype(np.float32)
    noise = rng.standard_normal(seen.shape, np.float32)
    lr = _to_dn(seen * gain + offset + NOISE_BYTES * noise)
    hr = _to_dn(image)
    there = (image > 0).any(axis=0)
    chips = []
    for y in range(0, height, fine):
        for x in range(0, width, fine):
            square = np.s_[y : y + fine, x : x + fine]
            flat = image[:, *square].std(axis=(1, 2)).mean() < _FLAT_BYTES
            if there[square].mean() < 0.999 or flat:
                continue
            coarse = np.s_[:, y // SCALE : y // SCALE + LR, x // SCALE : x // SCALE + LR]
            chips.append(
                Pair(
                    lr=lr[coarse].copy(),
                    hr=hr[:, *square].copy(),
                    valid=np.ones((fine, fine), np.bool_),
                )
            )
    return chips


def _to_dn(image: Image) -> npt.NDArray[np.uint16]:
    return np.clip(np.rint(image * DN_PER_BYTE), 0, 65535).astype(np.uint16)


def _thinned(chips: list[Pair], most: int) -> tuple[Pair, ...]:
    places = np.linspace(0, len(chips) - 1, min(len(chips), most)).round().astype(int)
    return tuple(chips[place] for place in places)
