from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.enums import Resampling
from rasterio.transform import from_origin

from geo.nodata import step_off
from geo.overviews import halve, overview_shapes

DTYPES = ["uint8", "int8", "uint16", "int16", "float32"]


def noise(seed: int, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """Values over the whole range of the type, so that sums would overflow it."""
    rng = np.random.default_rng(seed)
    if dtype == "float32":
        return rng.normal(0, 1000, shape).astype(dtype)
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)


def holes(seed: int, shape: tuple[int, int], fraction: float) -> np.ndarray:
    return np.random.default_rng(seed + 1).random(shape) >= fraction


def gdal_overviews(
    path: Path, pixels: np.ndarray, nodata: float | None, valid: np.ndarray | None, levels: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pixels and validity of GDAL's own average overviews; by a mask where nodata is None."""
    profile = {
        "driver": "GTiff",
        "count": pixels.shape[0],
        "height": pixels.shape[1],
        "width": pixels.shape[2],
        "dtype": str(pixels.dtype),
        "nodata": nodata,
        "tiled": True,
        "blockxsize": 64,
        "blockysize": 64,
        "interleave": "pixel",
        "transform": from_origin(0, 0, 1, 1),
    }
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        with rasterio.open(path, "w", **profile) as dataset:
            dataset.write(pixels)
            if valid is not None and nodata is None:
                dataset.write_mask(valid)
        with rasterio.open(path, "r+") as dataset:
            dataset.build_overviews([2**k for k in range(1, levels + 1)], Resampling.average)
    found = []
    for level in range(levels):
        with rasterio.open(path, overview_level=level) as dataset:
            found.append((dataset.read(), dataset.dataset_mask() > 0))
    return found


def plain_halve(
    pixels: np.ndarray, valid: np.ndarray, nodata: float | None
) -> tuple[np.ndarray, np.ndarray]:
    """The same rule, pixel by pixel."""
    bands, height, width = pixels.shape
    shape = (-(-height // 2), -(-width // 2))
    out = np.full((bands, *shape), 0 if nodata is None else nodata, pixels.dtype)
    some = np.zeros(shape, bool)
    for row, col in np.ndindex(shape):
        window = np.s_[2 * row : 2 * row + 2, 2 * col : 2 * col + 2]
        good = valid[window]
        some[row, col] = good.any()
        for band in range(bands if good.any() else 0):
            mean = float(pixels[band][window][good].astype(float).mean())
            if pixels.dtype.kind != "f":
                mean = math.copysign(math.floor(abs(mean) + 0.5), mean)
            value = np.array([mean]).astype(pixels.dtype)
            step_off(value, nodata)
            out[band, row, col] = value[0]
    return out, some


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("told_by", ["nothing", "nodata", "mask"])
def test_overviews_are_those_of_gdal(tmp_path: Path, dtype: str, told_by: str) -> None:
    nodata = {"float32": -9999.0, "int8": -128.0}.get(dtype, 7.0) if told_by == "nodata" else None
    pixels = noise(0, dtype, (3, 160, 224))
    valid = holes(0, (160, 224), 0.4) if told_by != "nothing" else None
    if valid is not None:
        valid[:50, :90] = False
    if nodata is not None:
        step_off(pixels, nodata)
        pixels[:, ~valid] = nodata
    for gdal, gdal_valid in gdal_overviews(tmp_path / "a.tif", pixels, nodata, valid, levels=4):
        pixels, valid = halve(pixels, valid, nodata)
        if valid is not None:
            np.testing.assert_array_equal(valid, gdal_valid)
        seen = np.broadcast_to(gdal_valid, pixels.shape)
        if dtype == "float32":
            np.testing.assert_allclose(pixels[seen], gdal[seen], rtol=1e-5, atol=1e-3)
        else:
            np.testing.assert_array_equal(pixels[seen], gdal[seen])
        assert nodata is None or (pixels[~seen] == nodata).all()


def test_nan_is_nodata_like_any_other(tmp_path: Path) -> None:
    valid = holes(3, (64, 64), 0.5)
    pixels = np.where(valid, noise(3, "float32", (2, 64, 64)), np.float32(np.nan))
    (gdal, gdal_valid), *_ = gdal_overviews(tmp_path / "a.tif", pixels, math.nan, valid, levels=1)
    halved, some = halve(pixels, valid, math.nan)
    np.testing.assert_array_equal(some, gdal_valid)
    np.testing.assert_allclose(halved, gdal, rtol=1e-5, atol=1e-3)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    dtype=st.sampled_from(DTYPES),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    fraction=st.sampled_from([0.0, 0.3, 0.7, 1.0]),
    nodata=st.sampled_from([None, 0.0, 5.0, 127.0]),
)
def test_every_pixel_is_the_mean_of_its_valid_ones(
    seed: int, dtype: str, height: int, width: int, fraction: float, nodata: float | None
) -> None:
    pixels = noise(seed, dtype, (2, height, width))
    if seed % 2:  # close values, whose means often are nodata
        pixels = (pixels.astype(np.int64) % 3 + 4).astype(dtype)
    valid = holes(seed, (height, width), fraction)
    before = pixels.copy(), valid.copy()
    halved, some = halve(pixels, valid, nodata)
    wanted, wanted_some = plain_halve(pixels, valid, nodata)
    assert halved.dtype == pixels.dtype
    np.testing.assert_array_equal(some, wanted_some)
    if dtype == "float32":
        np.testing.assert_allclose(halved, wanted, rtol=1e-5, atol=1e-3)
    else:
        np.testing.assert_array_equal(halved, wanted)
    np.testing.assert_array_equal(pixels, before[0])
    np.testing.assert_array_equal(valid, before[1])


@pytest.mark.parametrize("dtype", DTYPES)
def test_halves_of_blocks_are_halves_of_the_whole(dtype: str) -> None:
    pixels, valid = noise(1, dtype, (2, 37, 51)), holes(1, (37, 51), 0.3)
    whole, whole_valid = halve(pixels, valid, 3.0)
    for top in range(0, 37, 16):
        for left in range(0, 51, 16):
            window = np.s_[top : top + 16, left : left + 16]
            part, part_valid = halve(pixels[:, *window], valid[window], 3.0)
            there = np.s_[top // 2 : top // 2 + 8, left // 2 : left // 2 + 8]
            np.testing.assert_array_equal(part, whole[:, *there])
            np.testing.assert_array_equal(part_valid, whole_valid[there])


def test_without_validity_all_pixels_count() -> None:
    pixels = noise(2, "uint16", (1, 8, 8))
    halved, valid = halve(pixels, None)
    assert valid is None
    np.testing.assert_array_equal(halved, halve(pixels, np.ones((8, 8), bool))[0])


@pytest.mark.parametrize(
    ("height", "width", "wanted"),
    [
        (512, 9000, []),
        (513, 1024, [(257, 512)]),
        (5000, 3001, [(2500, 1501), (1250, 751), (625, 376)]),
    ],
)
def test_overviews_end_at_one_tile(height: int, width: int, wanted: list[tuple[int, int]]) -> None:
    assert overview_shapes(height, width, 512) == wanted
