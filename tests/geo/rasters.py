"""Small rasters whose right answer is known, for the tests of `geo`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from scipy import ndimage

from geo.sensor import degrade

UTM = "EPSG:32633"


def grid(
    shape: tuple[int, int] = (96, 112),
    *,
    size: float | tuple[float, float] = 10.0,
    left: float = 500_000.0,
    top: float = 5_300_000.0,
    crs: str = UTM,
    rotation: float = 0.0,
) -> GeoBox:
    """North-up grid (or turned by some degrees) with its upper left corner at a place."""
    size_y, size_x = (size, size) if isinstance(size, float | int) else size
    turned = Affine.translation(left, top) @ Affine.rotation(rotation)
    return GeoBox(shape, turned @ Affine.scale(size_x, -size_y), crs)


def upside_down(geobox: GeoBox) -> GeoBox:
    """The same ground with rows that run north."""
    flip = Affine.translation(0, geobox.shape.y) @ Affine.scale(1, -1)
    return GeoBox(geobox.shape, geobox.affine @ flip, geobox.crs)


def write(
    path: Path,
    data: npt.NDArray[Any],
    geobox: GeoBox | None,
    *,
    nodata: float | None = None,
    bands: Sequence[str] = (),
    mask: npt.NDArray[np.bool_] | None = None,
    tags: Mapping[str, str] | None = None,
    **profile: Any,
) -> str:
    """Write [C, h, w] as a GeoTIFF and return its path as text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    place = {} if geobox is None else {"crs": str(geobox.crs), "transform": geobox.affine}
    profile = {"driver": "GTiff", "nodata": nodata, "dtype": data.dtype} | place | profile
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(
            path, "w", count=len(data), height=data.shape[1], width=data.shape[2], **profile
        ) as file,
    ):
        file.write(data)
        for index, name in enumerate(bands, 1):
            file.set_band_description(index, name)
        if mask is not None:
            file.write_mask(mask)
        if tags:
            file.update_tags(**tags)
    return str(path)


def positions(geobox: GeoBox) -> npt.NDArray[np.float32]:
    """An image whose pixels are their own positions: column, row of the centre, [2, h, w]."""
    rows, cols = np.indices(geobox.shape.yx, dtype=np.float32) + 0.5
    return np.stack([cols, rows])


def positions_in(source: GeoBox, target: GeoBox) -> npt.NDArray[np.float64]:
    """Where the centres of a target's pixels fall in a source, by PROJ alone: column, row."""
    rows, cols = np.indices(target.shape.yx) + 0.5
    x, y = _apply(target.affine, cols, rows)
    project = Transformer.from_crs(str(target.crs), str(source.crs), always_xy=True)
    x, y = project.transform(x, y)
    if source.crs is not None and source.crs.geographic:  # longitudes as the source counts them
        box = source.boundingbox
        x = x - 360 * np.round((x - (box.left + box.right) / 2) / 360)
    return np.stack(_apply(~source.affine, x, y))


def _apply(affine: Affine, x: Any, y: Any) -> tuple[Any, Any]:
    return affine.a * x + affine.b * y + affine.c, affine.d * x + affine.e * y + affine.f


def ground(
    shape: tuple[int, int], *, seed: int = 0, bands: int = 3, finest_px: float = 4.0
) -> npt.NDArray[np.float32]:
    """Random ground of mean 0 and spread 1 without detail below a wavelength; wraps around."""
    rng = np.random.default_rng(seed)
    frequency = _frequency(shape)
    # Land's amplitude falls as 1/f; the cut keeps shifts and resampling free of aliases.
    coarsest = 1 / max(shape)
    amplitude = np.where(frequency < 1 / finest_px, 1 / np.maximum(frequency, coarsest), 0.0)
    spectrum = np.fft.fft2(rng.normal(size=(2, *shape))) * amplitude
    common, _ = images = np.fft.ifft2(spectrum).real
    images = [common + 0.5 * np.roll(images[1], 7 * b, axis=1) for b in range(bands)]
    stacked = np.stack(images)
    stacked -= stacked.mean(axis=(1, 2), keepdims=True)
    return np.asarray(stacked / stacked.std(axis=(1, 2), keepdims=True), np.float32)


def _frequency(shape: tuple[int, int]) -> npt.NDArray[np.float64]:
    fy, fx = np.fft.fftfreq(shape[0]), np.fft.fftfreq(shape[1])
    return np.hypot(fy[:, None], fx[None, :])


def moved(image: npt.NDArray[Any], dy: float, dx: float) -> npt.NDArray[np.float32]:
    """Content moved down and right by any amount, exactly, wrapping around: [C, h, w]."""
    fy, fx = np.fft.fftfreq(image.shape[-2]), np.fft.fftfreq(image.shape[-1])
    phase = np.exp(-2j * np.pi * (fy[:, None] * dy + fx[None, :] * dx))
    return np.asarray(np.fft.ifft2(np.fft.fft2(image) * phase).real, np.float32)


def resampled(image: npt.NDArray[Any], source: GeoBox, target: GeoBox) -> npt.NDArray[np.float32]:
    """The same picture on another grid, by spline interpolation and PROJ: no GDAL in it."""
    col, row = positions_in(source, target) - 0.5
    planes = [ndimage.map_coordinates(p, [row, col], order=3, mode="grid-wrap") for p in image]
    return np.asarray(np.stack(planes), np.float32)


# A made world: one ground, seen from the air and from orbit.
SCALE = 4
SHAPE = (544, 608)  # aerial pixels
RIM = 10  # LR pixels by which the aerial image reaches further
GAINS, OFFSETS = (12.0, 9.0, 15.0), (400.0, 300.0, 700.0)
DY, DX = 0.62, -1.37


@dataclass
class World:
    """Ground seen by both: an aerial image in place, and a satellite image off by (dy, dx)."""

    hr: Any  # [3, H, W], aerial DN
    hr_grid: GeoBox
    lr: Any  # [3, h, w], satellite DN
    lr_grid: GeoBox
    dy: float
    dx: float
    gains: tuple[float, ...]
    offsets: tuple[float, ...]
    true_hr: Any  # what `read_aligned` has to find on the refined satellite grid


def make_world(*, dy: float = DY, dx: float = DX, seed: int = 0) -> World:
    hr_grid = grid(SHAPE, size=2.5)
    # Detail finer than the satellite's pixels, for the aerial image has it.
    hr = 100 + 20 * ground(SHAPE, seed=seed, finest_px=5.0)
    seen = moved(hr, dy * SCALE, dx * SCALE)
    gain, offset = np.float32(GAINS)[:, None, None], np.float32(OFFSETS)[:, None, None]
    noise = (
        np.random.default_rng(seed)
        .normal(0, 5, (3, SHAPE[0] // SCALE, SHAPE[1] // SCALE))
        .astype(np.float32)
    )
    lr = gain * degrade(seen, SCALE) + offset + noise
    inner = (slice(RIM, -RIM), slice(RIM, -RIM))
    edge = RIM * SCALE
    return World(
        hr=hr,
        hr_grid=hr_grid,
        lr=lr[:, *inner],
        lr_grid=hr_grid.zoom_out(SCALE)[inner],
        dy=dy,
        dx=dx,
        gains=GAINS,
        offsets=OFFSETS,
        true_hr=(gain * seen + offset)[:, edge:-edge, edge:-edge],
    )
