"""What is upscaled: the picture does not depend on the blocks, values and metadata are kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.transform import from_origin
from rio_cogeo import cog_validate
from scipy import ndimage

from geo.raster_io import inspect_raster, read_window
from geo.upscale import BuiltinUpsampler, Upsampler, UpscaleConfig, plan_upscale
from tests.geo.cogs import assert_same_picture
from tests.geo.upsamplers import Crooked
from tests.geo.upscales import NETWORK, SCALE, TILE, random_raster, read_all, run, upscale, write_lr

# --- the picture does not depend on the blocks ----------------------------------------------------

_SLOW_FILES = settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@_SLOW_FILES
@given(
    seed=st.integers(0, 2**32 - 1),
    dtype=st.sampled_from(["uint8", "uint16", "int16", "float32"]),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 40), st.integers(1, 40)),
    holes=st.sampled_from([0.0, 0.2, 0.7, 1.0]),
    scale=st.integers(1, 4),
    block=st.integers(1, 40),
)
def test_nearest_is_repetition_whatever_the_block(
    tmp_path: Path,
    seed: int,
    dtype: str,
    shape: tuple[int, int, int],
    holes: float,
    scale: int,
    block: int,
) -> None:
    data = random_raster(seed, dtype, shape, holes)
    source = write_lr(tmp_path / "lr.tif", data, nodata=0)
    path = upscale(source, tmp_path / "sr.tif", BuiltinUpsampler("nearest", scale), block)
    got, valid = read_all(path)
    assert got.dtype == data.dtype
    np.testing.assert_array_equal(got, data.repeat(scale, 1).repeat(scale, 2))
    np.testing.assert_array_equal(valid, (data != 0).all(axis=0).repeat(scale, 0).repeat(scale, 1))


def test_blocks_of_one_pixel(tmp_path: Path) -> None:
    data = random_raster(1, "uint16", (2, 5, 6), 0.2)
    source = write_lr(tmp_path / "lr.tif", data, nodata=0)
    got, _ = read_all(upscale(source, tmp_path / "sr.tif", BuiltinUpsampler("nearest", 4), 1))
    np.testing.assert_array_equal(got, data.repeat(4, 1).repeat(4, 2))


@_SLOW_FILES
@given(
    seed=st.integers(0, 2**32 - 1),
    height=st.integers(1, 30),
    width=st.integers(1, 30),
    holes=st.sampled_from([0.0, 0.1, 0.5, 0.9]),
    block=st.integers(1, 30),
    upsampler=st.sampled_from([NETWORK, BuiltinUpsampler("lanczos", SCALE)]),
)
def test_no_seams_and_no_bleeding_from_holes(
    tmp_path: Path,
    seed: int,
    height: int,
    width: int,
    holes: float,
    block: int,
    upsampler: Upsampler,
) -> None:
    data = random_raster(seed, "float32", (2, height, width), holes)
    source = write_lr(tmp_path / "lr.tif", data, nodata=0)
    whole = upscale(source, tmp_path / "whole.tif", upsampler, 1000)
    parts = upscale(source, tmp_path / "parts.tif", upsampler, block)
    assert_same_picture(whole, parts)


def test_a_hole_changes_nothing_beyond_its_halo_and_its_value_nothing_at_all(
    tmp_path: Path,
) -> None:
    data = random_raster(2, "float32", (1, 24, 24), 0.0)
    holed = data.copy()
    holed[:, 8:13, 9:15] = 0
    poisoned = data.copy()
    poisoned[:, 8:13, 9:15] = -32768  # the same hole under another nodata value
    full, _ = read_all(upscale(write_lr(tmp_path / "a.tif", data), tmp_path / "A", NETWORK))
    got, valid = read_all(
        upscale(write_lr(tmp_path / "b.tif", holed, nodata=0), tmp_path / "B", NETWORK, 10)
    )
    other, _ = read_all(
        upscale(write_lr(tmp_path / "c.tif", poisoned, nodata=-32768), tmp_path / "C", NETWORK, 7)
    )
    hole = np.zeros((24, 24), bool)
    hole[8:13, 9:15] = True
    np.testing.assert_array_equal(~valid, hole.repeat(SCALE, 0).repeat(SCALE, 1))
    assert (got[:, ~valid] == 0).all()
    # The network makes zeros too; beside the nodata value 0 they become the next number.
    np.testing.assert_allclose(got[:, valid], other[:, valid], rtol=0, atol=1e-37)
    touched = ndimage.binary_dilation(hole, np.ones((5, 5))).repeat(SCALE, 0).repeat(SCALE, 1)
    np.testing.assert_allclose(got[:, ~touched], full[:, ~touched], rtol=0, atol=1e-37)


@pytest.mark.parametrize(
    "name",
    [
        "trial/village/satellite/sat_20170921/B04B03B02.tif",
        "trial/prairie/satellite/sat_20120726/B04B03B02.tif",
        "trial/prairie/satellite/sat_20120726/SCL.tif",
        "trial/lakeshore/satellite/sat_20190623/B04B03B02.tif",
        "trial/lakeshore/aerial/swissimage/visual.tif",
        "odd/riotiler_cog_rgb_mask.tif",
        "odd/riotiler_inverted_lat.tif",
        "odd/riotiler_cog_scale.tif",
        "odd/odcgeo_au-3577-rotated.tif",
        "odd/gdalraster_south-up.tif",
        "odd/rasterio_float_raster_with_nodata.tif",
        "odd/rasterio_test_esri_wkt.tif",
        "odd/geotiffjs_utm.tif",
        "odd/gdal_float16.tif",
        "odd/rasterio_all-nodata.tif",
        "pairs/oam_pyramid_nepal1/z19.tif",
        "pairs/s2_landsat9_unalakleet/landsat9_15m_20230630.tif",
    ],
)
def test_nearest_of_real_rasters(shared_data: Path, tmp_path: Path, name: str) -> None:
    source = str(shared_data / name)
    path = upscale(source, tmp_path / "sr.tif", BuiltinUpsampler("nearest", 2), 190)
    info, wanted = inspect_raster(source), inspect_raster(str(path))
    lr = read_window(source, *(slice(0, n) for n in info.geobox.shape))
    got = read_window(str(path), *(slice(0, n) for n in wanted.geobox.shape))
    valid = lr.valid.repeat(2, 0).repeat(2, 1)
    np.testing.assert_array_equal(got.valid, valid)
    np.testing.assert_array_equal(got.data[:, valid], lr.data.repeat(2, 1).repeat(2, 2)[:, valid])
    if info.bands != ("band1",):  # GeoTIFF calls a single band without a name gray
        assert wanted.bands == info.bands
    assert wanted.dtype == info.dtype
    assert wanted.geobox.crs == info.geobox.crs
    assert wanted.geobox.zoom_out(2).affine.almost_equals(info.geobox.affine, 0)
    assert cog_validate(path, strict=False)[0]


# --- values and metadata --------------------------------------------------------------------------


def test_georeference_names_colours_and_tags(tmp_path: Path) -> None:
    source = write_lr(
        tmp_path / "lr.tif",
        random_raster(3, "uint16", (3, 20, 30), 0.1),
        nodata=0,
        bands=("B04", "B03"),
        tags={"TIFFTAG_DATETIME": "2020:06:21 10:00:00"},
    )
    upsampler = BuiltinUpsampler("bicubic", 4)
    config = UpscaleConfig(block_lr_px=8, tile_px=TILE)
    plan = plan_upscale(source, tmp_path / "sr.tif", upsampler, config)
    path = run(plan, upsampler, {"SKYSCALE_RUN": "7"})
    with rasterio.open(path) as dataset:
        assert dataset.shape == (80, 120)
        assert dataset.crs == CRS.from_epsg(32633)
        assert dataset.transform == from_origin(500_000, 5_300_000, 2.5, 2.5)
        assert dataset.descriptions == ("B04", "B03", None)
        assert dataset.colorinterp[0] == ColorInterp.gray
        assert dataset.nodata == 0
        tags = dataset.tags()
    assert tags["SKYSCALE_SOURCE"] == source
    assert tags["SKYSCALE_MODEL"] == "bicubic"
    assert tags["SKYSCALE_SCALE"] == "4"
    assert tags["SKYSCALE_VERSION"]
    assert tags["SKYSCALE_RUN"] == "7"
    assert tags["TIFFTAG_DATETIME"] == "2020:06:21 10:00:00"
    assert cog_validate(path, strict=True) == (True, [], [])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["lr.tif", "sr.tif"]


def test_a_mask_without_nodata_stays_a_mask(tmp_path: Path) -> None:
    data = random_raster(4, "uint8", (3, 13, 17), 0.0)
    data[:, 2, 2] = 0  # a valid black pixel
    mask = ndimage.uniform_filter(np.random.default_rng(1).random((13, 17)), 3) > 0.45
    source = write_lr(tmp_path / "lr.tif", data, mask=mask)
    path = upscale(source, tmp_path / "sr.tif", BuiltinUpsampler("nearest", 4), 4)
    got, valid = read_all(path)
    assert inspect_raster(str(path)).nodata is None
    np.testing.assert_array_equal(valid, mask.repeat(4, 0).repeat(4, 1))
    np.testing.assert_array_equal(got[:, valid], data.repeat(4, 1).repeat(4, 2)[:, valid])


def test_nan_in_a_float_without_nodata_is_a_hole(tmp_path: Path) -> None:
    data = random_raster(5, "float32", (2, 9, 9), 0.0)
    data[0, 3:5, 2] = np.nan
    got, valid = read_all(
        upscale(write_lr(tmp_path / "lr.tif", data), tmp_path / "sr.tif", NETWORK, 4)
    )
    assert np.isnan(got[:, ~valid]).all()
    assert np.isfinite(got[:, valid]).all()
    assert (~valid).sum() == 2 * SCALE**2


@dataclass(frozen=True)
class Constant(Crooked):
    scale: int = SCALE
    value: float = 0.0

    def __call__(self, lr: np.ndarray) -> np.ndarray:
        return np.full((len(lr), lr.shape[1] * self.scale, lr.shape[2] * self.scale), self.value)


@pytest.mark.parametrize(
    ("dtype", "nodata", "value", "wanted"),
    [
        ("uint16", 0, -3.2, 1),  # clipped onto nodata, then moved off it
        ("uint16", 65535, 1e9, 65534),
        ("uint8", None, 300, 255),
        ("uint8", None, 12.6, 13),
        ("int16", -9999, -9999.4, -9998),
        ("int16", None, -1e6, -32768),
        ("float32", -9999, -9999, np.float32(-9999 * (1 - 6 * 2**-23))),
        ("float32", 0, 0, -np.finfo("float32").tiny),
    ],
)
def test_valid_pixels_are_rounded_clipped_and_never_nodata(
    tmp_path: Path, dtype: str, nodata: float | None, value: float, wanted: float
) -> None:
    source = write_lr(tmp_path / "lr.tif", np.full((1, 4, 4), 50, dtype), nodata=nodata)
    got, valid = read_all(upscale(source, tmp_path / "sr.tif", Constant(value=value)))
    assert valid.all()
    np.testing.assert_array_equal(got, np.full_like(got, wanted))


def test_another_dtype_by_choice(tmp_path: Path) -> None:
    source = write_lr(tmp_path / "lr.tif", np.full((1, 4, 4), 50, "uint8"))
    got, _ = read_all(upscale(source, tmp_path / "o.tif", Constant(value=0.25), dtype="float32"))
    assert got.dtype == np.float32
    assert (got == 0.25).all()
