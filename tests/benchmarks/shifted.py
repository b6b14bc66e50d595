"""Real images of shared/data seen twice: as reference, and shifted by a known amount.

The target is displaced on its fine grid, blurred and averaged as by a sensor, given other colours
and noise, and clouds that a mask tells or does not. Where two dates are at hand, the other date
is the target; how the two lie to each other was measured over the whole scene once.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from scipy import ndimage

from geo.sensor import degrade

DATA = Path(__file__).resolve().parents[3] / "shared/data"
COVERS = ("clear", "masked", "half masked", "unmasked")


@dataclass(frozen=True)
class Source:
    """Images to make pairs of.

    Parameters
    ----------
    name : str
    reference, target : str
        Files under shared/data; the same file twice for one date.
    bands : tuple of int
    scale : int
        Fine pixels for each LR pixel.
    base_yx : tuple of float
        Where the target's content lies relative to the reference's, in fine pixels.
    fitted : bool
        Whether the reliability model has seen it.
    exact : bool
        Whether the truth is: two mosaics of aerial images lie to each other only nearly alike
        everywhere.
    """

    name: str
    reference: str
    target: str
    bands: tuple[int, ...]
    scale: int
    base_yx: tuple[float, float] = (0.0, 0.0)
    fitted: bool = False
    exact: bool = True


def _one(name: str, file: str, bands: tuple[int, ...], scale: int, fitted: bool = False) -> Source:
    return Source(name, file, file, bands, scale, fitted=fitted)


_RGB = (1, 2, 3)
_NAIP = "aerial/naip_nd_series/m_4709963_se_14_1_%s.tif"
_BOADELLA = "satellite/boadella_series/Boadella_%s.tif"
S2_REFERENCE = "pairs/arosics_s2_s2/ref_S2A_20160608T153121_T33UUU_sub.jp2"
S2_TARGET = "pairs/arosics_s2_s2/tgt_S2A_20160529T153631_T33UUU_sub.jp2"
SOURCES = (
    _one("Manila, 0.8 m", "aerial/oamtcd_manila_river_10cm.tif", _RGB, 8, fitted=True),
    _one("South African mountains, 10 m", "aerial/za_mountain_3320D_2010_315.tif", _RGB, 4, True),
    _one("Nepal, 0.3 m", "pairs/oam_pyramid_nepal1/z21.tif", _RGB, 4, fitted=True),
    Source(
        "Boadella, two summers, 20 m",
        _BOADELLA % "2020-06-21",
        _BOADELLA % "2021-07-21",
        (4, 3, 2),
        2,
        (-0.66, -0.065),
        fitted=True,
    ),
    _one("Zanzibar, 0.6 m", "aerial/oam_zanzibar1_z20.tif", _RGB, 4),
    _one("Philippines, 0.3 m", "aerial/oam_philippines1_z21.tif", _RGB, 4),
    _one("North Dakota, 20 m", _NAIP % "20200831", _RGB, 4),
    Source(
        "North Dakota, 2012 and 2020, 10 m",
        _NAIP % "20120731",
        _NAIP % "20200831",
        _RGB,
        2,
        (0.12, 0.12),
        exact=False,
    ),
    Source("Sentinel-2, two dates, 40 m", S2_REFERENCE, S2_TARGET, (1,), 4, (-1.79, 0.64)),
    _one("Lake Zurich, 2 m", "aerial/swissimage_lakeshore_50cm.tif", _RGB, 4),
)


@dataclass(frozen=True)
class Shifted:
    """An LR scene seen twice."""

    source: Source
    cover: str
    reference: Any  # [C, h, w]
    target: Any  # [C, h, w]
    valid: Any  # [h, w]
    dy: float
    dx: float


def read_source(source: Source) -> tuple[Any, Any, Any]:
    """Reference, target and where both are good, on the fine grid."""
    if "arosics" in source.reference:
        return read_sentinel_pair(east=True)
    reference, ok = _read(source.reference, source.bands)
    target, also = _read(source.target, source.bands)
    return reference, target, ok & also


def read_sentinel_pair(*, east: bool = False) -> tuple[Any, Any, Any]:
    """AROSICS' own two dates of Sentinel-2 on their common grid, whole or the eastern half."""
    (a, _), (b, _) = _read(S2_REFERENCE, (1,)), _read(S2_TARGET, (1,))
    a, b = a[:, :, 544:], b[:, 449:]
    height, width = (min(m, n) for m, n in zip(a.shape[1:], b.shape[1:], strict=True))
    left = width // 2 if east else 0
    a, b = a[:, :height, left:width], b[:, :height, left:width]
    return a, b, (a[0] > 0) & (b[0] > 0)


def _read(file: str, bands: tuple[int, ...]) -> tuple[Any, Any]:
    with rasterio.open(DATA / file) as dataset:
        data = dataset.read(list(bands)).astype(np.float32)
        return data, (dataset.read_masks(list(bands)) > 0).all(axis=0)


def shift_scenes(
    source: Source, *, covers: tuple[str, ...] = COVERS, count: int = 2, side: int = 240
) -> Iterator[Shifted]:
    """Pairs of at most `side` LR pixels, `count` for each kind of cover."""
    s = source.scale
    images = read_source(source)
    height, width = (n // s for n in images[2].shape)
    for cover in covers:
        for number in range(count):
            rng = np.random.default_rng(zlib.crc32(f"{source.name}{cover}{number}".encode()))
            h, w = min(side, height), min(side, width)
            top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
            part = (..., slice(top * s, (top + h) * s), slice(left * s, (left + w) * s))
            yield _shift(source, cover, [image[part] for image in images], rng)


def _shift(source: Source, cover: str, images: list[Any], rng: np.random.Generator) -> Shifted:
    reference, target, ok = images
    s = source.scale
    # Half of them a few pixels off, half nearly in place, as on a second look.
    reach = rng.choice([4.0, 0.5]) * np.sqrt(rng.random())
    angle = rng.uniform(0, 2 * np.pi)
    dy, dx = float(reach * np.sin(angle)), float(reach * np.cos(angle))
    by = (dy * s - source.base_yx[0], dx * s - source.base_yx[1])
    moved = np.stack([ndimage.shift(p, by, order=3, mode="nearest") for p in target])
    lr = _recolour(degrade(moved, s, rng.uniform(0.15, 0.4)), rng)
    spread = lr.std(axis=(1, 2), keepdims=True)
    lr = lr + np.exp(rng.uniform(*np.log([0.01, 0.2]))) * spread * rng.normal(size=lr.shape)
    valid = _whole(ok, s)
    if cover != "clear":
        opacity = _clouds(lr.shape[1:], rng)
        white = lr.mean(axis=(1, 2), keepdims=True) + rng.uniform(2, 6) * spread
        lr = lr * (1 - opacity) + white * opacity
        lr = lr * (1 - 0.5 * np.roll(opacity, rng.integers(-12, 13, 2), axis=(0, 1)))  # shadows
        if cover == "masked":
            valid = valid & ~ndimage.binary_dilation(opacity > 0.03, iterations=2)
        elif cover == "half masked":
            valid = valid & ~(ndimage.gaussian_filter(opacity, 2) > 0.5)
    return Shifted(source, cover, degrade(reference, s), lr.astype(np.float32), valid, dy=dy, dx=dx)


def _whole(ok: Any, s: int) -> Any:
    """LR pixels all of whose fine pixels, and their neighbours', are good."""
    whole = ok.reshape(ok.shape[0] // s, s, ok.shape[1] // s, s).all(axis=(1, 3))
    return whole if whole.all() else ndimage.binary_erosion(whole, iterations=2, border_value=1)


def _recolour(image: Any, rng: np.random.Generator) -> Any:
    """Another day and sensor: gamma, gain and offset of each band, bands mixed a little."""
    low, high = np.quantile(image, [0.001, 0.999], axis=(1, 2))[..., None, None]
    bands = len(image)
    unit = np.clip((image - low) / (high - low + 1e-6), 0, 1.5)
    unit = unit ** np.exp(rng.normal(0, 0.25, (bands, 1, 1)))
    mixed = np.tensordot(np.eye(bands) + rng.uniform(-0.15, 0.25, (bands, bands)), unit, (1, 0))
    return mixed * rng.uniform(1000, 4000, (bands, 1, 1)) + rng.uniform(100, 800, (bands, 1, 1))


def _clouds(shape: tuple[int, int], rng: np.random.Generator, fraction: float = 0.3) -> Any:
    """Opacity 0 to 1 of soft clouds over a share of the scene."""
    field = sum(a * _field(shape, rng, size) for a, size in ((1, 10), (0.5, 4), (0.25, 1.5)))
    edge = np.quantile(field, 1 - fraction)
    return np.clip((field - edge) / 0.6 + 0.15, 0, 1) * (field > edge - 0.09)


def _field(shape: tuple[int, int], rng: np.random.Generator, size: float) -> Any:
    field = ndimage.gaussian_filter(rng.normal(size=shape), size, mode="wrap")
    return (field - field.mean()) / field.std()
