"""The door for rasters: what is described, what is read, and how the unusable is refused."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from rasterio.control import GroundControlPoint
from rasterio.enums import ColorInterp

from geo import raster_door, raster_io
from geo.errors import BandError, GeoError, GridError, SourceError
from geo.raster_door import retried
from geo.raster_io import (
    BandRef,
    add_offset,
    inspect_raster,
    open_raster,
    raster_shape,
    read_file,
    read_window,
    source_geobox,
    source_refs,
)

ALL = slice(0, 12), slice(0, 15)


@pytest.fixture
def small(rasters: ModuleType) -> GeoBox:
    return rasters.grid((12, 15))


def noise(bands: int = 3, dtype: str = "uint16", shape: tuple[int, int] = (12, 15)) -> Any:
    return np.random.default_rng(0).integers(1, 200, (bands, *shape)).astype(dtype)


# --- describing ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "float32", "float64"])
def test_a_raster_is_described_as_it_was_written(
    rasters: ModuleType, tmp_path: Path, small: GeoBox, dtype: str
) -> None:
    href = rasters.write(
        tmp_path / "a.tif",
        noise(2, dtype),
        small,
        nodata=7,
        bands=("red", "nir"),
        tags={"TIFFTAG_DATETIME": "2023:08:15 10:00:00"},
    )
    info = inspect_raster(href)
    assert info.geobox == small
    assert info.bands == ("red", "nir")
    assert info.indexes == (1, 2)
    assert info.dtype == dtype
    assert info.nodata == 7
    assert not info.has_mask
    assert info.tags["TIFFTAG_DATETIME"] == "2023:08:15 10:00:00"


@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:3857", "EPSG:4326", "EPSG:2056"])
def test_the_grid_survives_the_file(rasters: ModuleType, tmp_path: Path, crs: str) -> None:
    size = 1e-4 if crs == "EPSG:4326" else 7.5
    geobox = rasters.grid((4, 5), size=size, left=8.0, top=47.0, crs=crs)
    assert inspect_raster(
        rasters.write(tmp_path / "a.tif", noise(1)[:, :4, :5], geobox)
    ).geobox == (geobox)


def test_a_file_without_names_has_colours_and_numbers(
    rasters: ModuleType, tmp_path: Path, small: GeoBox
) -> None:
    href = rasters.write(tmp_path / "a.tif", noise(5, "uint8"), small, photometric="RGB")
    assert inspect_raster(href).bands == ("red", "green", "blue", "band4", "band5")


def test_two_bands_of_one_name_keep_apart(
    rasters: ModuleType, tmp_path: Path, small: GeoBox
) -> None:
    info = inspect_raster(rasters.write(tmp_path / "a.tif", noise(3), small, bands=("a", "a", "b")))
    assert info.bands == ("a", "band2", "b")


def test_north_up_is_neither_upside_down_nor_turned(
    rasters: ModuleType, tmp_path: Path, small: GeoBox
) -> None:
    cases = {
        "north": small,
        "south": rasters.upside_down(small),
        "turned": rasters.grid((12, 15), rotation=20),
    }
    found = {
        name: inspect_raster(rasters.write(tmp_path / f"{name}.tif", noise(), geobox)).is_north_up
        for name, geobox in cases.items()
    }
    assert found == {"north": True, "south": False, "turned": False}


def test_bands_are_found_by_name_in_the_order_asked_for(
    rasters: ModuleType, tmp_path: Path, small: GeoBox
) -> None:
    href = rasters.write(tmp_path / "a.tif", noise(3), small, bands=("red", "green", "nir"))
    assert [ref.index for ref in source_refs(href, ("nir", "red"))] == [3, 1]
    assert [ref.index for ref in source_refs(href)] == [1, 2, 3]
    with pytest.raises(BandError, match=r"has no band swir, tir; it has red, green, nir") as caught:
        source_refs(href, ("swir", "red", "tir"))
    assert caught.value.facts == {"href": href, "missing": ["swir", "tir"]}


# --- reading ------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(st.data())
def test_a_window_is_the_slice_of_the_whole(
    rasters: ModuleType, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    href = str(tmp_path_factory.getbasetemp() / "window.tif")
    pixels = noise(3)
    if not Path(href).exists():
        rasters.write(Path(href), pixels, rasters.grid((12, 15)), nodata=50, bands=("a", "b", "c"))
    y0, x0 = data.draw(st.integers(0, 11)), data.draw(st.integers(0, 14))
    y1, x1 = data.draw(st.integers(y0 + 1, 12)), data.draw(st.integers(x0 + 1, 15))
    names = data.draw(st.permutations("abc").map(lambda p: p[:2]))

    got = read_window(href, slice(y0, y1), slice(x0, x1), names)

    want = pixels[["abc".index(n) for n in names], y0:y1, x0:x1]
    assert got.data.dtype == np.uint16
    np.testing.assert_array_equal(got.data, want)
    np.testing.assert_array_equal(got.valid, (want != 50).all(axis=0))


def test_bands_may_lie_in_several_files(rasters: ModuleType, tmp_path: Path, small: GeoBox) -> None:
    a, b = noise(2), noise(1) + 300
    a[0, 3, 4], b[0, 5, 6] = 0, 0
    first = rasters.write(tmp_path / "a.tif", a, small, nodata=0)
    second = rasters.write(tmp_path / "b.tif", b, small, nodata=0)
    refs = [
        BandRef(href=first, index=2),
        BandRef(href=second, index=1),
        BandRef(href=first, index=1),
    ]

    got = read_window(refs, *ALL)

    np.testing.assert_array_equal(got.data, np.stack([a[1], b[0], a[0]]))
    assert sorted(zip(*np.nonzero(~got.valid), strict=True)) == [(3, 4), (5, 6)]
    assert source_geobox(refs) == small


def test_bands_of_one_scene_lie_on_one_grid(
    rasters: ModuleType, tmp_path: Path, small: GeoBox
) -> None:
    first = rasters.write(tmp_path / "b04.tif", noise(1), small)
    coarse = rasters.write(tmp_path / "b05.tif", noise(1), rasters.grid((12, 15), size=20))
    with pytest.raises(GridError, match=r"b05.tif lies on another grid") as caught:
        source_geobox([BandRef(href=first, index=1), BandRef(href=coarse, index=1)])
    assert caught.value.facts["href"] == coarse


@pytest.mark.parametrize(
    ("rows", "cols"),
    [
        (slice(0, 13), slice(0, 15)),
        (slice(0, 12), slice(8, 16)),
        (slice(-1, 4), slice(0, 4)),
        (slice(40, 50), slice(0, 4)),
        (slice(5, 5), slice(0, 4)),
    ],
)
def test_a_window_beyond_the_raster_is_an_error_with_numbers(
    rasters: ModuleType, tmp_path: Path, small: GeoBox, rows: slice, cols: slice
) -> None:
    href = rasters.write(tmp_path / "a.tif", noise(), small)
    with pytest.raises(SourceError, match="it has 12 rows and 15 columns") as caught:
        read_window(href, rows, cols)
    assert caught.value.facts["cause"] == "outside_raster"
    assert caught.value.facts["limit"] == (12, 15)
    assert f"rows {rows.start} to {rows.stop}" in caught.value.message


class TestOffset:
    """An offset is added to valid pixels, within the range of their type."""

    @settings(max_examples=40)
    @given(
        dtype=st.sampled_from(["uint8", "int16", "uint16", "int32", "float32"]),
        offset=st.sampled_from([-1000.0, -7.0, 0.0, 12.0, 40_000.0]),
        seed=st.integers(0, 9),
    )
    def test_it_is_plain_addition_that_never_wraps(
        self, dtype: str, offset: float, seed: int
    ) -> None:
        rng = np.random.default_rng(seed)
        plane = rng.integers(0, 250, (6, 7)).astype(dtype)
        valid = rng.random((6, 7)) < 0.7
        got = add_offset(plane, valid, offset)
        assert got.dtype == plane.dtype
        want = plane.astype(np.float64) + offset
        if np.dtype(dtype).kind != "f":
            want = np.clip(want, np.iinfo(dtype).min, np.iinfo(dtype).max)
        np.testing.assert_array_equal(got[valid], want[valid])
        np.testing.assert_array_equal(got[~valid], plane[~valid])


def test_a_reduced_read_keeps_bands_type_and_validity(rasters: ModuleType, tmp_path: Path) -> None:
    pixels = np.repeat(np.repeat(noise(3, "uint16", (10, 12)), 4, axis=1), 4, axis=2)
    pixels[0, :8, :8] = 0
    href = rasters.write(tmp_path / "a.tif", pixels, rasters.grid((40, 48)), nodata=0)
    data, good = read_file(href, [3, 1], slice(0, 40), slice(0, 48), out_shape=(10, 12))
    np.testing.assert_array_equal(data, pixels[[2, 0], ::4, ::4])
    np.testing.assert_array_equal(good, data > 0)
    assert raster_shape(href) == (40, 48)


def test_a_local_file_is_read_once_however_it_fails(tmp_path: Path) -> None:
    """Waiting heals a network, not a damaged file."""
    times = []

    def read() -> None:
        times.append(1)
        raise SourceError("no", cause="unreadable")

    with pytest.raises(SourceError):
        retried(str(tmp_path / "a.tif"), read)
    assert len(times) == 1


def test_remote_reads_are_bounded_in_time_and_local_ones_unchanged(
    rasters: ModuleType, tmp_path: Path, small: GeoBox
) -> None:
    with open_raster(rasters.write(tmp_path / "a.tif", noise(), small)):
        assert not [k for k in rasterio.env.getenv() if k.startswith("GDAL_HTTP")]
    options = raster_door._REMOTE_OPTIONS
    for name in ("CONNECTTIMEOUT", "TIMEOUT", "LOW_SPEED_TIME", "LOW_SPEED_LIMIT", "MAX_RETRY"):
        assert options[f"GDAL_HTTP_{name}"]


class TestValidity:
    """Nodata, mask, alpha and NaN all end as one thing: not valid."""

    hole = np.s_[2:5, 3:9]

    def expected(self) -> Any:
        valid = np.ones((12, 15), bool)
        valid[self.hole] = False
        return valid

    def test_nodata_in_any_band(self, rasters: ModuleType, tmp_path: Path, small: GeoBox) -> None:
        pixels = noise()
        pixels[1][self.hole] = 0
        href = rasters.write(tmp_path / "a.tif", pixels, small, nodata=0)
        np.testing.assert_array_equal(read_window(href, *ALL).valid, self.expected())

    def test_mask(self, rasters: ModuleType, tmp_path: Path, small: GeoBox) -> None:
        href = rasters.write(tmp_path / "a.tif", noise(), small, mask=self.expected())
        assert inspect_raster(href).has_mask
        np.testing.assert_array_equal(read_window(href, *ALL).valid, self.expected())

    def test_alpha_is_validity_and_no_band(
        self, rasters: ModuleType, tmp_path: Path, small: GeoBox
    ) -> None:
        alpha = np.where(self.expected(), 255, 0)[None].astype("uint8")
        pixels = np.concatenate([noise(3, "uint8"), alpha])
        href = rasters.write(tmp_path / "a.tif", pixels, small, photometric="RGB", alpha="YES")
        info = inspect_raster(href)
        assert info.bands == ("red", "green", "blue")
        assert info.has_mask
        got = read_window(href, *ALL)
        assert got.data.shape == (3, 12, 15)
        np.testing.assert_array_equal(got.valid, self.expected())

    @pytest.mark.parametrize("nodata", [None, float("nan"), -9999.0])
    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_what_is_no_number(
        self, rasters: ModuleType, tmp_path: Path, small: GeoBox, nodata: float | None, bad: float
    ) -> None:
        pixels = noise(2, "float32")
        pixels[0][self.hole] = bad
        href = rasters.write(tmp_path / "a.tif", pixels, small, nodata=nodata)
        np.testing.assert_array_equal(read_window(href, *ALL).valid, self.expected())

    def test_zero_is_a_value_where_nothing_says_otherwise(
        self, rasters: ModuleType, tmp_path: Path, small: GeoBox
    ) -> None:
        href = rasters.write(tmp_path / "a.tif", np.zeros((1, 12, 15), "uint8"), small)
        assert read_window(href, *ALL).valid.all()


# --- refusing -----------------------------------------------------------------------------------


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


def test_a_file_cut_short_is_described_but_not_read(
    rasters: ModuleType, tmp_path: Path, small: GeoBox
) -> None:
    path = tmp_path / "a.tif"
    rasters.write(
        path, noise(1, "uint16", (200, 200)), rasters.grid((200, 200)), compress="deflate"
    )
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(SourceError, match=r"a\.tif") as caught:
        read_window(str(path), slice(190, 200), slice(0, 200))
    assert caught.value.facts["cause"] == "unreadable"
    assert "\n" not in caught.value.message


def test_only_errors_of_reading_are_translated(
    rasters: ModuleType, tmp_path: Path, small: GeoBox
) -> None:
    href = rasters.write(tmp_path / "a.tif", noise(), small)
    with pytest.raises(ZeroDivisionError), open_raster(href):
        raise ZeroDivisionError


# --- real files ---------------------------------------------------------------------------------


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


def test_alpha_is_told_by_its_colour(rasters: ModuleType, tmp_path: Path, small: GeoBox) -> None:
    href = rasters.write(tmp_path / "a.tif", noise(2, "uint8"), small)
    with rasterio.open(href, "r+") as file:
        file.colorinterp = (ColorInterp.alpha, ColorInterp.gray)
    assert inspect_raster(href).indexes == (2,)


def test_a_file_is_described_anew_when_it_or_what_lies_beside_it_changes(
    rasters: ModuleType, tmp_path: Path, small: GeoBox, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    inspect = raster_io._inspect
    monkeypatch.setattr(raster_io, "_inspect", lambda href: opened.append(href) or inspect(href))
    href = rasters.write(tmp_path / "a.tif", noise(), small, bands=("a", "b", "c"))
    assert inspect_raster(href) == inspect_raster(href)
    assert len(opened) == 1
    rasters.write(tmp_path / "a.tif", noise(), small, bands=("x", "y", "z"))
    assert inspect_raster(href).bands == ("x", "y", "z")
    with rasterio.open(href, "r+") as file:
        file.write_mask(np.ones((12, 15), bool))  # in a file of its own beside it
    assert inspect_raster(href).has_mask
    Path(href).unlink()
    with pytest.raises(SourceError, match="no such file"):
        inspect_raster(href)
