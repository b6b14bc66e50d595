"""Small rasters whose right answer is known, for the tests of `geo`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer

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
    return np.stack(_apply(~source.affine, *project.transform(x, y)))


def _apply(affine: Affine, x: Any, y: Any) -> tuple[Any, Any]:
    return affine.a * x + affine.b * y + affine.c, affine.d * x + affine.e * y + affine.f


def ground(
    shape: tuple[int, int], *, seed: int = 0, bands: int = 3, finest_px: float = 4.0
) -> npt.NDArray[np.float32]:
    """Random ground of mean 0 and spread 1 without detail below a wavelength; wraps around."""
    rng = np.random.default_rng(seed)
    frequency = _frequency(shape)
    # Land has a falling spectrum; the cut keeps shifts and resampling free of aliases.
    amplitude = np.where(frequency < 1 / finest_px, 1 / np.maximum(frequency, 0.02), 0.0)
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
