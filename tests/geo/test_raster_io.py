"""The door for rasters: what is described and what is read, window by window."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from rasterio.enums import ColorInterp

from geo import raster_door, raster_io
from geo.errors import BandError, GridError, SourceError
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
