"""The door through which rasters are written: Cloud Optimized GeoTIFF in bounded memory.

A COG has its overviews before its pixels, so it cannot be written in one pass. As rio-cogeo does,
a plain tiled GeoTIFF is filled window by window, given overviews, and copied in the right order.
rio-cogeo itself is not called: it reads its input through a WarpedVRT into one more full copy,
which costs time and disk, and a WarpedVRT straightens rotated and south-up grids.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
import rasterio.shutil
from affine import Affine
from rasterio._err import CPLE_BaseError  # rasterio.shutil.copy raises it bare
from rasterio.enums import ColorInterp, Resampling
from rasterio.errors import RasterioError
from rasterio.windows import Window

from geo.errors import UpscaleError
from geo.regionstore import sync_folder
from geo.tiling import Block, Tiling

TILE_PX = 512

ReadWindow = Callable[[slice, slice], tuple[npt.NDArray[Any], npt.NDArray[np.bool_] | None]]
"""Rows and columns to pixels [C, h, w] and, for masked rasters, validity [h, w]."""


@dataclass(frozen=True, kw_only=True)
class RasterProfile:
    """Everything of a raster but its pixels.

    Parameters
    ----------
    height, width : int
    dtype : str
    crs : str
        WKT.
    transform : tuple of float
        The six coefficients a, b, c, d, e, f of the affine.
    nodata : float or None
    masked : bool
        Invalid pixels are told by an internal mask.
    descriptions : tuple of (str or None)
        One for each band.
    colours : tuple of str
        GDAL's colour interpretation of each band, for example ``red``.
    scales, offsets : tuple of float
        Of each band: physical value = scale * DN + offset.
    """

    height: int
    width: int
    dtype: str
    crs: str
    transform: tuple[float, float, float, float, float, float]
    nodata: float | None
    masked: bool
    descriptions: tuple[str | None, ...]
    colours: tuple[str, ...]
    scales: tuple[float, ...]
    offsets: tuple[float, ...]

    @property
    def bands(self) -> int:
        """Number of bands."""
        return len(self.descriptions)

    @property
    def pixel_bytes(self) -> int:
        """Bytes of all pixels, uncompressed."""
        return self.bands * self.height * self.width * np.dtype(self.dtype).itemsize


def write_cog(
    path: Path,
    profile: RasterProfile,
    read: ReadWindow,
    *,
    tags: Mapping[str, str],
    scratch: Path,
    window_px: int = 1024,
    cache_mb: int = 256,
) -> Path:
    """Write a COG; it stands under its name only when it is whole.

    The bytes depend on the arguments' content alone.

    Parameters
    ----------
    path : Path
        Output; replaced if it exists.
    profile : RasterProfile
    read : callable
        Gives the pixels of a window.
    tags : mapping of str to str
        Dataset tags.
    scratch : Path
        Folder on the output's file system for the two intermediate files.
    window_px : int
        Edge of the windows read, rounded up to whole tiles.
    cache_mb : int
        GDAL's block cache.

    Raises
    ------
    UpscaleError
        If GDAL cannot write it.
    """
    plain, whole = scratch / "plain.tif", scratch / "whole.tif"
    settings = {
        "GDAL_CACHEMAX": cache_mb,
        "GDAL_NUM_THREADS": "ALL_CPUS",
        "GDAL_TIFF_INTERNAL_MASK": True,
        "GDAL_PAM_ENABLED": False,  # no .aux.xml beside the files
    }
    try:
        with rasterio.Env(**settings):
            checksums = _write_plain(plain, profile, read, tags, window_px)
            factors = _add_overviews(plain, profile)
            rasterio.shutil.copy(plain, whole, copy_src_overviews=True, **_cog_options(profile))
            _verify(whole, checksums, factors)
        with whole.open("rb") as file:
            os.fsync(file.fileno())
        whole.replace(path)
        sync_folder(path.parent)
    except (RasterioError, CPLE_BaseError, OSError) as error:
        raise UpscaleError(
            f"{path}: cannot be written ({error}); finished blocks are kept, so run again when "
            "there is room on the disk",
            output=str(path),
        ) from error
    finally:
        plain.unlink(missing_ok=True)
        whole.unlink(missing_ok=True)
    return path


def _cog_options(profile: RasterProfile) -> dict[str, Any]:
    return {
        "driver": "GTiff",
        "tiled": True,
        "blockxsize": TILE_PX,
        "blockysize": TILE_PX,
        "interleave": "pixel",
        # ZSTD is smaller and faster, but DEFLATE is what every GIS and browser reads.
        "compress": "DEFLATE",
        # On noisy 16-bit pixels level 6 takes twice the time for files 1 % smaller.
        "zlevel": 1,
        "predictor": 3 if np.dtype(profile.dtype).kind == "f" else 2,
        "bigtiff": "IF_SAFER",
        "num_threads": "ALL_CPUS",
    }


def _write_plain(
    path: Path,
    profile: RasterProfile,
    read: ReadWindow,
    tags: Mapping[str, str],
    window_px: int,
) -> list[tuple[Block, int]]:
    """Fill a GeoTIFF without overviews; returns the checksum of each window."""
    # Windows of whole tiles: each tile is written once.
    window_px = -(-window_px // TILE_PX) * TILE_PX
    checksums: list[tuple[Block, int]] = []
    colours = tuple(ColorInterp[name] for name in profile.colours)
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=profile.height,
        width=profile.width,
        count=profile.bands,
        dtype=profile.dtype,
        crs=rasterio.crs.CRS.from_wkt(profile.crs),
        transform=Affine(*profile.transform),
        nodata=profile.nodata,
        tiled=True,
        blockxsize=TILE_PX,
        blockysize=TILE_PX,
        interleave="pixel",
        bigtiff="IF_SAFER",
        photometric="RGB" if colours[:3] == _RGB else "MINISBLACK",
    ) as dataset:
        dataset.colorinterp = colours
        dataset.scales = profile.scales
        dataset.offsets = profile.offsets
        for position, description in enumerate(profile.descriptions, start=1):
            if description:
                dataset.set_band_description(position, description)
        dataset.update_tags(**tags)
        for block in Tiling(profile.height, profile.width, window_px):
            pixels, valid = read(block.rows, block.cols)
            window = Window.from_slices(block.rows, block.cols)
            dataset.write(pixels, window=window)
            if profile.masked:
                dataset.write_mask(valid, window=window)
            checksums.append((block, _checksum(pixels)))
    return checksums


_RGB = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)


def _add_overviews(path: Path, profile: RasterProfile) -> list[int]:
    factors: list[int] = []
    while min(profile.height, profile.width) // 2 ** len(factors) > TILE_PX:
        factors.append(2 ** (len(factors) + 1))
    if factors:
        with rasterio.open(path, "r+") as dataset:
            dataset.build_overviews(factors, Resampling.average)
    return factors


def _verify(path: Path, checksums: list[tuple[Block, int]], factors: list[int]) -> None:
    """Read everything back.

    On a full disk GDAL may fail while it closes a file, and nobody is told.
    """
    with rasterio.open(path) as dataset:
        if dataset.overviews(1) != factors:
            raise OSError(f"it came back with overviews {dataset.overviews(1)}, not {factors}")
        for block, wanted in checksums:
            pixels = dataset.read(window=Window.from_slices(block.rows, block.cols))
            if _checksum(pixels) != wanted:
                raise OSError(f"{block} came back other than it was written")
    for level in range(len(factors)):
        with rasterio.open(path, overview_level=level) as dataset:
            for block in Tiling(dataset.height, dataset.width, 4 * TILE_PX):
                dataset.read(window=Window.from_slices(block.rows, block.cols))


def _checksum(pixels: npt.NDArray[Any]) -> int:
    return zlib.crc32(np.ascontiguousarray(pixels).data)
