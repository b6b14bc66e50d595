"""Rasters that cannot be used are refused in one line; real odd ones are read or refused."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.control import GroundControlPoint
from rasterio.enums import ColorInterp

from geo.errors import GeoError, SourceError
from geo.raster_io import (
    inspect_raster,
    open_raster,
    read_window,
)


def noise(bands: int = 3, dtype: str = "uint16", shape: tuple[int, int] = (12, 15)) -> Any:
    return np.random.default_rng(0).integers(1, 200, (bands, *shape)).astype(dtype)


def write_unusable(kind: str, rasters: ModuleType, folder: Path) -> Path:
    small, path = rasters.grid((12, 15)), folder / f"{kind}.tif"
    if kind == "missing":
        return path
    if kind == "text":
        path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 99\n")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "folder":
        path.mkdir()
    elif kind == "no_crs":
        with rasterio.open(
            path, "w", driver="GTiff", width=15, height=12, count=3, dtype="uint16",
            transform=small.affine,
        ) as file:  # fmt: skip
            file.write(noise())
    elif kind == "no_transform":
        rasters.write(path, noise(), GeoBox((12, 15), Affine.identity(), "EPSG:32633"))
    elif kind == "nothing":
        rasters.write(path, noise(), None)
    elif kind == "gcps":
        rasters.write(path, noise(), None)
        corners = [(0, 0, 13.0, 47.0), (0, 15, 13.1, 47.0), (12, 0, 13.0, 46.9)]
        with rasterio.open(path, "r+") as file:
            file.gcps = [GroundControlPoint(r, c, x, y) for r, c, x, y in corners], "EPSG:4326"
    elif kind == "only_alpha":
        rasters.write(path, noise(1, "uint8"), small)
        with rasterio.open(path, "r+") as file:
            file.colorinterp = (ColorInterp.alpha,)
    elif kind == "complex":
        rasters.write(path, noise(1).astype("complex64"), small)
    return path


@pytest.mark.parametrize(
    ("kind", "cause", "words"),
    [
        ("missing", "missing", "no such file"),
        ("text", "unreadable", "not a raster that GDAL can open"),
        ("empty", "unreadable", "not a raster that GDAL can open"),
        ("folder", "unreadable", "not a raster that GDAL can open"),
        ("no_crs", "no_georeference", "has no CRS; wanted a georeferenced raster"),
        ("no_transform", "no_georeference", "has a CRS but no geotransform"),
        ("nothing", "no_georeference", "has no CRS"),
        ("gcps", "no_georeference", "has only ground control points"),
        ("only_alpha", "unreadable", "has only an alpha band; wanted pixels"),
        ("complex", "complex", "holds complex numbers; wanted integers or reals"),
    ],
)
def test_the_unusable_is_refused_in_one_line(
    rasters: ModuleType, tmp_path: Path, kind: str, cause: str, words: str
) -> None:
    href = str(write_unusable(kind, rasters, tmp_path))
    with pytest.raises(SourceError) as caught:
        inspect_raster(href)
    assert caught.value.message.startswith(f"{href}: ")
    assert words in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.facts == {"href": href, "cause": cause}


def test_a_file_cut_short_is_described_but_not_read(rasters: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    rasters.write(
        path, noise(1, "uint16", (200, 200)), rasters.grid((200, 200)), compress="deflate"
    )
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(SourceError, match=r"a\.tif") as caught:
        read_window(str(path), slice(190, 200), slice(0, 200))
    assert caught.value.facts["cause"] == "unreadable"
    assert "\n" not in caught.value.message


def test_only_errors_of_reading_are_translated(rasters: ModuleType, tmp_path: Path) -> None:
    href = rasters.write(tmp_path / "a.tif", noise(), rasters.grid((12, 15)))
    with pytest.raises(ZeroDivisionError), open_raster(href):
        raise ZeroDivisionError


def test_every_odd_file_is_described_and_read_or_refused(shared_data: Path) -> None:
    """Never anything but `SourceError`, and pixels only with their validity."""
    described, causes = set(), set()
    for path in sorted((shared_data / "odd").iterdir()):
        try:
            info = inspect_raster(str(path))
        except SourceError as error:
            causes.add(error.facts["cause"])
            continue
        described.add(path.name)
        assert len(info.bands) == len(set(info.bands)) == len(info.indexes) >= 1
        height, width = info.geobox.shape.yx
        rows, cols = slice(height // 2, height // 2 + 1), slice(0, min(width, 64))
        pixels = read_window(str(path), rows, cols)
        assert pixels.data.shape == (len(info.bands), 1, cols.stop)
        assert np.isfinite(pixels.data[:, pixels.valid].astype(float)).all()
    assert causes == {
        "unreadable",
        "no_georeference",
        "complex",
        "forbidden_href",
        "block_too_large",
    }
    assert {"rasterio_goes.tif", "odcgeo_au-3577-rotated.tif", "s2_img-15bit.jp2"} <= described
    assert not described & {
        "riotiler_cog_gcps.tif",
        "gdalraster_complex.tif",
        "riotiler_no_geo2.jpg",
    }


def test_what_real_files_say_of_validity(shared_data: Path) -> None:
    odd = shared_data / "odd"
    empty = read_window(str(odd / "rasterio_all-nodata.tif"), slice(0, 50), slice(0, 71))
    assert not empty.valid.any()
    assert inspect_raster(str(odd / "riotiler_cog_rgb_mask.tif")).has_mask


def test_a_damaged_real_file_is_a_source_error(shared_data: Path) -> None:
    for name in ("nodegdal_truncated.tiff", "rasterio_compdcs.vrt"):
        with (
            pytest.raises(GeoError),
            open_raster(str(shared_data / "odd" / name)) as dataset,
        ):
            dataset.read(1)
