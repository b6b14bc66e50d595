from __future__ import annotations

import json
import math
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
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

from geo.errors import BandError, SourceError, UpscaleError
from geo.raster_io import BandRef, inspect_raster, read_window
from geo.region_source import raster_source
from geo.upscale import (
    BuiltinUpsampler,
    Upsampler,
    UpsamplerFacts,
    UpscaleConfig,
    UpscalePlan,
    begin,
    finish,
    finished_blocks,
    plan_upscale,
    run_block,
)
from geo.upscale_plan import OUTPUT_DTYPES

SCALE = 4
TILE = 16  # the smallest; blocks are multiples of four LR pixels then


@dataclass(frozen=True)
class TinyNetwork:
    """Two 3x3 convolutions with a ReLU, then pixel shuffle: a receptive field of 2 LR pixels."""

    scale: int = SCALE
    bands: tuple[str, ...] | None = None
    extras: tuple[str, ...] = ()
    name: str = "tiny"

    @property
    def halo(self) -> int:
        return 2

    def __call__(self, lr: np.ndarray) -> np.ndarray:
        rng = np.random.default_rng(5)
        first = rng.normal(0, 0.4, (3, 3))
        hidden = np.maximum([ndimage.correlate(b.astype(float), first) for b in lr], 0)
        out = np.empty((len(lr), *(n * self.scale for n in lr.shape[1:])), np.float32)
        for y in range(self.scale):
            for x in range(self.scale):
                second = rng.normal(0, 0.4, (3, 3))
                phase = [ndimage.correlate(b, second) for b in hidden]
                out[:, y :: self.scale, x :: self.scale] = phase
        return out


@dataclass(frozen=True)
class Broken(TinyNetwork):
    """Gives nonsense where a pixel is 9000."""

    kind: str = "nan"

    def __call__(self, lr: np.ndarray) -> np.ndarray:
        sr = super().__call__(lr)
        if lr.max() >= 9000:
            return sr[:, 1:] if self.kind == "shape" else np.where(sr > 0, np.nan, sr)
        return sr


def write_raster(
    path: Path,
    data: np.ndarray,
    *,
    nodata: float | None = None,
    mask: np.ndarray | None = None,
    descriptions: Sequence[str | None] = (),
    tags: dict[str, str] | None = None,
) -> str:
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(
            path,
            "w",
            driver="GTiff",
            height=data.shape[1],
            width=data.shape[2],
            count=data.shape[0],
            dtype=str(data.dtype),
            crs="EPSG:32633",
            transform=from_origin(500000, 5000000, 10, 10),
            nodata=nodata,
        ) as dataset,
    ):
        dataset.write(data)
        for position, description in enumerate(descriptions, start=1):
            if description:
                dataset.set_band_description(position, description)
        dataset.update_tags(**(tags or {}))
        if mask is not None:
            dataset.write_mask(mask)
    return str(path)


def run(plan: UpscalePlan, upsampler: Upsampler) -> Path:
    begin(plan)
    for block in plan.blocks:
        run_block(plan, block, upsampler)
    return finish(plan)


def upscale(
    source: str,
    output: Path,
    upsampler: Upsampler,
    block_lr_px: int = 256,
    dtype: str | None = None,
) -> Path:
    config = UpscaleConfig(block_lr_px=block_lr_px, dtype=dtype, tile_px=TILE)
    return run(plan_upscale(source, output, upsampler, config), upsampler)


def read_all(path: Path | str) -> tuple[np.ndarray, np.ndarray]:
    with rasterio.open(path) as dataset:
        return dataset.read(), dataset.dataset_mask() > 0


def random_raster(seed: int, dtype: str, shape: tuple[int, int, int], holes: float) -> np.ndarray:
    """Values with blobs of zeros."""
    rng = np.random.default_rng(seed)
    data = rng.integers(1, 120, shape).astype(dtype)
    blobs = ndimage.uniform_filter(rng.random(shape[1:]), 3)
    data[:, blobs < np.quantile(blobs, holes)] = 0
    return data


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
    source = write_raster(tmp_path / "lr.tif", data, nodata=0)
    path = upscale(source, tmp_path / "sr.tif", BuiltinUpsampler("nearest", scale), block)
    got, valid = read_all(path)
    assert got.dtype == data.dtype
    np.testing.assert_array_equal(got, data.repeat(scale, 1).repeat(scale, 2))
    np.testing.assert_array_equal(valid, (data != 0).all(axis=0).repeat(scale, 0).repeat(scale, 1))


def test_blocks_of_one_pixel(tmp_path: Path) -> None:
    data = random_raster(1, "uint16", (2, 5, 6), 0.2)
    source = write_raster(tmp_path / "lr.tif", data, nodata=0)
    got, _ = read_all(upscale(source, tmp_path / "sr.tif", BuiltinUpsampler("nearest", 4), 1))
    np.testing.assert_array_equal(got, data.repeat(4, 1).repeat(4, 2))


@_SLOW_FILES
@given(
    seed=st.integers(0, 2**32 - 1),
    height=st.integers(1, 30),
    width=st.integers(1, 30),
    holes=st.sampled_from([0.0, 0.1, 0.5, 0.9]),
    block=st.integers(1, 30),
    upsampler=st.sampled_from([TinyNetwork(), BuiltinUpsampler("lanczos", SCALE)]),
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
    source = write_raster(tmp_path / "lr.tif", data, nodata=0)
    whole = upscale(source, tmp_path / "whole.tif", upsampler, 1000)
    parts = upscale(source, tmp_path / "parts.tif", upsampler, block)
    assert whole.read_bytes() == parts.read_bytes()


def test_a_hole_changes_nothing_beyond_its_halo_and_its_value_nothing_at_all(
    tmp_path: Path,
) -> None:
    data = random_raster(2, "float32", (1, 24, 24), 0.0)
    holed = data.copy()
    holed[:, 8:13, 9:15] = 0
    poisoned = data.copy()
    poisoned[:, 8:13, 9:15] = -32768  # the same hole under another nodata value
    network = TinyNetwork()
    full, _ = read_all(upscale(write_raster(tmp_path / "a.tif", data), tmp_path / "A", network))
    got, valid = read_all(
        upscale(write_raster(tmp_path / "b.tif", holed, nodata=0), tmp_path / "B", network, 10)
    )
    other, _ = read_all(
        upscale(
            write_raster(tmp_path / "c.tif", poisoned, nodata=-32768), tmp_path / "C", network, 7
        )
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
    source = write_raster(
        tmp_path / "lr.tif",
        random_raster(3, "uint16", (3, 20, 30), 0.1),
        nodata=0,
        descriptions=("B04", "B03", None),
        tags={"TIFFTAG_DATETIME": "2020:06:21 10:00:00"},
    )
    upsampler = BuiltinUpsampler("bicubic", 4)
    plan = plan_upscale(
        source, tmp_path / "sr.tif", upsampler, UpscaleConfig(block_lr_px=8, tile_px=TILE)
    )
    begin(plan)
    for block in plan.blocks:
        run_block(plan, block, upsampler)
    path = finish(plan, {"SKYSCALE_RUN": "7"})
    with rasterio.open(path) as dataset:
        assert dataset.shape == (80, 120)
        assert dataset.crs == CRS.from_epsg(32633)
        assert dataset.transform == from_origin(500000, 5000000, 2.5, 2.5)
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
    source = write_raster(tmp_path / "lr.tif", data, mask=mask)
    path = upscale(source, tmp_path / "sr.tif", BuiltinUpsampler("nearest", 4), 4)
    got, valid = read_all(path)
    assert inspect_raster(str(path)).nodata is None
    np.testing.assert_array_equal(valid, mask.repeat(4, 0).repeat(4, 1))
    np.testing.assert_array_equal(got[:, valid], data.repeat(4, 1).repeat(4, 2)[:, valid])


def test_nan_in_a_float_without_nodata_is_a_hole(tmp_path: Path) -> None:
    data = random_raster(5, "float32", (2, 9, 9), 0.0)
    data[0, 3:5, 2] = np.nan
    got, valid = read_all(
        upscale(write_raster(tmp_path / "lr.tif", data), tmp_path / "sr.tif", TinyNetwork(), 4)
    )
    assert np.isnan(got[:, ~valid]).all()
    assert np.isfinite(got[:, valid]).all()
    assert (~valid).sum() == 2 * SCALE**2


@dataclass(frozen=True)
class Constant(TinyNetwork):
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
    source = write_raster(tmp_path / "lr.tif", np.full((1, 4, 4), 50, dtype), nodata=nodata)
    got, valid = read_all(upscale(source, tmp_path / "sr.tif", Constant(value=value)))
    assert valid.all()
    np.testing.assert_array_equal(got, np.full_like(got, wanted))


def test_another_dtype_by_choice(tmp_path: Path) -> None:
    source = write_raster(tmp_path / "lr.tif", np.full((1, 4, 4), 50, "uint8"))
    got, _ = read_all(upscale(source, tmp_path / "o.tif", Constant(value=0.25), dtype="float32"))
    assert got.dtype == np.float32
    assert (got == 0.25).all()


# --- planning -------------------------------------------------------------------------------------


def facts_of(*bands: str) -> UpsamplerFacts:
    return UpsamplerFacts(name="net", scale=4, halo=9, bands=bands or None)


@pytest.fixture
def named(tmp_path: Path) -> str:
    data = random_raster(6, "uint16", (4, 6, 7), 0.0)
    return write_raster(tmp_path / "lr.tif", data, descriptions=("blue", "green", "red", "nir"))


@pytest.fixture
def nameless(tmp_path: Path) -> str:
    return write_raster(tmp_path / "lr.tif", random_raster(6, "uint16", (2, 6, 7), 0.0))


def test_bands_are_taken_by_name_in_the_models_order(named: str, tmp_path: Path) -> None:
    plan = plan_upscale(named, tmp_path / "o.tif", facts_of("red", "green"))
    assert plan.source.bands == ("red", "green")
    assert [ref.index for ref in plan.source.reference] == [3, 2]
    plan = plan_upscale(named, tmp_path / "o.tif", facts_of("B08", "B02"), bands=("nir", "blue"))
    assert [ref.index for ref in plan.source.reference] == [4, 1]
    plan = plan_upscale(named, tmp_path / "o.tif", facts_of())
    assert [ref.index for ref in plan.source.reference] == [1, 2, 3, 4]


def test_bands_without_names_are_taken_by_count(nameless: str, tmp_path: Path) -> None:
    plan = plan_upscale(nameless, tmp_path / "o.tif", facts_of("red", "green"))
    assert [ref.index for ref in plan.source.reference] == [1, 2]
    with pytest.raises(BandError, match=r"band1, band2; net wants red, green, blue"):
        plan_upscale(nameless, tmp_path / "o.tif", facts_of("red", "green", "blue"))


def test_wrong_bands_are_refused(named: str, tmp_path: Path) -> None:
    output = tmp_path / "o.tif"
    with pytest.raises(BandError, match="has bands blue, green, red, nir; net wants B04, B03"):
        plan_upscale(named, output, facts_of("B04", "B03"))
    with pytest.raises(BandError, match="no band swir; it has blue, green, red, nir"):
        plan_upscale(named, output, facts_of(), bands=("red", "swir"))
    with pytest.raises(BandError, match=r"got 1 bands \(red\); net wants 2"):
        plan_upscale(named, output, facts_of("red", "green"), bands=("red",))
    with pytest.raises(BandError, match="wants them in the order red, green"):
        plan_upscale(named, output, facts_of("red", "green"), bands=("green", "red"))


def test_bands_of_several_files(tmp_path: Path) -> None:
    data = random_raster(7, "uint16", (2, 9, 8), 0.1)
    refs = [
        BandRef(href=write_raster(tmp_path / f"{i}.tif", data[i : i + 1], nodata=0), index=1)
        for i in range(2)
    ]
    upsampler = BuiltinUpsampler("nearest", 2)
    region = raster_source(refs, ("red", "nir"))
    plan = plan_upscale(region, tmp_path / "sr.tif", upsampler)
    got, _ = read_all(run(plan, upsampler))
    np.testing.assert_array_equal(got, data.repeat(2, 1).repeat(2, 2))
    assert plan.source.bands == ("red", "nir")
    by_name = replace(UpsamplerFacts.of(upsampler), bands=("nir",))
    plan = plan_upscale(region, tmp_path / "sr.tif", by_name)
    assert plan.source.reference == (refs[1],)


def test_a_plan_travels(named: str, tmp_path: Path) -> None:
    plan = plan_upscale(named, tmp_path / "o.tif", facts_of("red", "green"))
    assert pickle.loads(pickle.dumps(plan)) == plan
    assert UpscalePlan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan
    floats = write_raster(tmp_path / "f.tif", np.ones((1, 3, 3), np.float32), nodata=math.nan)
    plan = plan_upscale(floats, tmp_path / "o.tif", facts_of())
    again = UpscalePlan.from_dict(json.loads(json.dumps(plan.to_dict(), allow_nan=False)))
    assert again.fingerprint == plan.fingerprint
    assert math.isnan(again.profile.fill)


def test_a_dry_run_tells_the_facts_and_writes_nothing(named: str, tmp_path: Path) -> None:
    plan = plan_upscale(
        named, tmp_path / "o.tif", facts_of(), UpscaleConfig(block_lr_px=4, tile_px=TILE)
    )
    summary = plan.summary()
    assert summary["blocks"] == 4
    assert summary["output_shape"] == [4, 24, 28]
    assert summary["estimated_bytes"] == 4 * 24 * 28 * 2
    assert [p.name for p in tmp_path.iterdir()] == ["lr.tif"]


def test_what_cannot_be_planned(named: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such file"):
        plan_upscale(str(tmp_path / "none.tif"), tmp_path / "o.tif", facts_of())
    with pytest.raises(UpscaleError, match="is the source itself"):
        plan_upscale(named, Path(named), facts_of())
    wide = write_raster(tmp_path / "wide.tif", np.ones((1, 3, 3), np.int32))
    with pytest.raises(UpscaleError, match="holds int32"):
        plan_upscale(wide, tmp_path / "o.tif", facts_of())
    with pytest.raises(ValueError, match="block_lr_px is 0"):
        UpscaleConfig(block_lr_px=0)
    with pytest.raises(ValueError, match=", ".join(OUTPUT_DTYPES)):
        UpscaleConfig(dtype="int64")
    with pytest.raises(ValueError, match="scale is 0"):
        BuiltinUpsampler("nearest", 0)


# --- failure and resumption -----------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "message"), [("nan", "NaN or infinite"), ("shape", "wanted")])
def test_a_model_that_gives_nonsense(tmp_path: Path, kind: str, message: str) -> None:
    data = np.full((1, 8, 12), 100, np.uint16)
    data[0, 2, 10] = 9000
    source = write_raster(tmp_path / "lr.tif", data)
    broken = Broken(kind=kind)
    plan = plan_upscale(
        source, tmp_path / "sr.tif", broken, UpscaleConfig(block_lr_px=4, tile_px=TILE)
    )
    begin(plan)
    run_block(plan, plan.blocks[0], broken)
    with pytest.raises(UpscaleError, match=message) as caught:
        run_block(plan, plan.blocks[2], broken)
    assert "block 2 (rows 0-3, cols 8-11)" in str(caught.value)
    assert caught.value.facts["block"] == 2
    assert finished_blocks(plan) == {0}
    with pytest.raises(UpscaleError, match="5 of 6 blocks"):
        finish(plan)
    assert not (tmp_path / "sr.tif").exists()
    # A model of the same name that is sound takes up the work.
    assert begin(plan).finished == {0}
    for block in plan.blocks[1:]:
        run_block(plan, block, TinyNetwork())
    finish(plan)


def test_blocks_without_data_are_not_computed(tmp_path: Path) -> None:
    data = np.zeros((1, 8, 8), np.uint16)
    data[0, 0, 0] = 5
    source = write_raster(tmp_path / "lr.tif", data, nodata=0)
    calls = []

    class Counting(TinyNetwork):
        def __call__(self, lr: np.ndarray) -> np.ndarray:
            calls.append(lr.shape)
            return super().__call__(lr)

    plan = plan_upscale(
        source, tmp_path / "sr.tif", Counting(), UpscaleConfig(block_lr_px=4, tile_px=TILE)
    )
    begin(plan)
    results = [run_block(plan, block, Counting()) for block in plan.blocks]
    assert calls == [(1, 8, 8)]
    assert [r.valid_fraction for r in results] == [1 / 16, 0, 0, 0]


def test_a_changed_source_or_upsampler_is_never_mixed_in(tmp_path: Path) -> None:
    data = random_raster(8, "uint16", (1, 16, 16), 0.0)
    source = write_raster(tmp_path / "lr.tif", data)
    nearest = BuiltinUpsampler("nearest", 2)
    config = UpscaleConfig(block_lr_px=4, tile_px=TILE)
    plan = plan_upscale(source, tmp_path / "sr.tif", nearest, config)
    assert begin(plan).state == "new"
    run_block(plan, plan.blocks[0], nearest)
    with pytest.raises(UpscaleError, match="the plan is for"):
        run_block(plan, plan.blocks[1], BuiltinUpsampler("bicubic", 2))

    write_raster(tmp_path / "lr.tif", data + 1)
    for block in plan.blocks[1:]:
        run_block(plan, block, nearest)
    with pytest.raises(UpscaleError, match="has changed while it was upscaled"):
        finish(plan)
    plan = plan_upscale(source, tmp_path / "sr.tif", nearest, config)
    assert begin(plan).state == "discarded"
    got, _ = read_all(run(plan, nearest))
    np.testing.assert_array_equal(got, (data + 1).repeat(2, 1).repeat(2, 2))


_SLOW_RUN = """
import sys, time
from dataclasses import dataclass
from pathlib import Path
from geo.upscale import *

@dataclass(frozen=True)
class Slow(BuiltinUpsampler):
    def __call__(self, lr):
        with open({log!r}, "a") as log:
            log.write(".")
        time.sleep({delay})
        return super().__call__(lr)

upsampler = Slow("bicubic", 4)
config = UpscaleConfig(block_lr_px=12, tile_px=16)
plan = plan_upscale({source!r}, Path({output!r}), upsampler, config)
finished = begin(plan).finished
print(len(finished), flush=True)
for block in plan.blocks:
    if block.index not in finished:
        run_block(plan, block, upsampler)
finish(plan)
"""


def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    data = random_raster(9, "uint16", (3, 60, 47), 0.2)
    source = write_raster(tmp_path / "lr.tif", data, nodata=0)
    undisturbed = upscale(source, tmp_path / "a.tif", BuiltinUpsampler("bicubic", 4), 12)
    output, log = tmp_path / "b.tif", tmp_path / "calls"
    blocks = 5 * 4

    def start(delay: float) -> subprocess.Popen[str]:
        script = _SLOW_RUN.format(source=source, output=str(output), log=str(log), delay=delay)
        root = Path(__file__).resolve().parents[2]
        return subprocess.Popen(
            [sys.executable, "-c", script], cwd=root, stdout=subprocess.PIPE, text=True
        )

    process = start(delay=0.1)
    done = tmp_path / "b.tif.skyscale" / "done"
    deadline = time.monotonic() + 60
    while not (done.is_dir() and len(os.listdir(done)) >= 7):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not output.exists()
    done_before = len(os.listdir(done))
    calls_before = len(log.read_text())
    assert 7 <= done_before <= calls_before < blocks

    process = start(delay=0.0)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert int(printed) == done_before
    assert len(log.read_text()) - calls_before == blocks - done_before
    assert output.read_bytes() == undisturbed.read_bytes()
    assert not done.parent.exists()
