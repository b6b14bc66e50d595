from __future__ import annotations

import json
import math
import multiprocessing
import os
import pickle
import resource
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import odc.geo.xr  # noqa: F401  # gives xarray its `.odc`
import pytest
import rasterio
import xarray
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.env import GDALVersion
from scipy import ndimage

from geo.errors import UpscaleError
from geo.geozarr import level_transform
from geo.overviews import halve, overview_shapes
from geo.raster_profile import RasterProfile
from geo.region_sink import RegionSink
from geo.region_zarr import ZarrRegion, check_zarr_output
from geo.tiling import Tiling

SCALE, CHUNK = 4, 16
BANDS = ("red", "green", "blue")


def region_of(
    height: int = 15,
    width: int = 22,
    *,
    block_lr_px: int = 8,
    dtype: str = "uint16",
    nodata: float | None = 7.0,
    masked: bool = False,
    **changes: object,
) -> ZarrRegion:
    profile = RasterProfile(
        height=height * SCALE,
        width=width * SCALE,
        dtype=dtype,
        crs=CRS.from_epsg(32633).to_wkt(),
        transform=(2.5, 0, 500000.125, 0, -2.5, 4999999.875),
        nodata=nodata,
        masked=masked,
        descriptions=BANDS,
        colours=BANDS,
        scales=(1.0,) * 3,
        offsets=(0.0,) * 3,
    )
    profile = replace(profile, **changes)
    return ZarrRegion(
        profile=profile, bands=BANDS, scale=SCALE, block_lr_px=block_lr_px, chunk_px=CHUNK
    )


def picture(region: ZarrRegion, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Pixels [C, H, W] on the HR grid, and validity [h, w] on the LR grid."""
    profile = region.profile
    rng = np.random.default_rng(seed)
    pixels = rng.integers(8, 120, (3, profile.height, profile.width)).astype(profile.dtype)
    blobs = ndimage.uniform_filter(rng.random((profile.height // SCALE, profile.width // SCALE)), 5)
    valid = blobs > 0.47
    valid[:9, :10] = False  # whole blocks without data
    if profile.nodata is None and not profile.masked:
        valid[:] = True
    hole = ~valid.repeat(SCALE, 0).repeat(SCALE, 1)
    pixels[:, hole] = 0 if profile.nodata is None else profile.nodata
    return pixels, valid


def blocks_of(region: ZarrRegion) -> Tiling:
    profile = region.profile
    return Tiling(profile.height // SCALE, profile.width // SCALE, region.block_lr_px)


def write_blocks(
    region: RegionSink, folder: Path, seed: int = 0, indexes: Sequence[int] | None = None
) -> None:
    pixels, valid = picture(region, seed)
    blocks = blocks_of(region)
    for index in range(len(blocks)) if indexes is None else indexes:
        block = blocks[index]
        hr, good = block.scaled(SCALE), valid[block.rows, block.cols]
        part = pixels[:, hr.rows, hr.cols] if good.any() else None
        region.write(folder, block, None if part is None else [part], good)


def make(region: ZarrRegion, output: Path, seed: int = 0) -> Path:
    folder = output.with_name(output.name + ".skyscale")
    folder.mkdir()
    region.create(folder)
    write_blocks(region, folder, seed)
    written = region.finish(folder, output, {"SKYSCALE_MODEL": "test"})
    assert not list(folder.iterdir())
    folder.rmdir()
    return written


def levels_of(region: ZarrRegion, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    """What each level should hold: the whole picture, halved again and again."""
    pixels, valid = picture(region, seed)
    valid = valid.repeat(SCALE, 0).repeat(SCALE, 1)
    levels = [(pixels, valid)]
    for _ in overview_shapes(region.profile.height, region.profile.width, CHUNK):
        levels.append(halve(*levels[-1], region.profile.nodata))
    return levels


@pytest.mark.parametrize("block_lr_px", [4, 16, 64])
@pytest.mark.parametrize(
    ("dtype", "nodata", "masked"),
    [
        ("uint8", 7.0, False),
        ("int8", -128.0, False),
        ("uint16", None, True),
        ("int16", None, False),
        ("float32", math.nan, False),
        ("float32", -9999.0, False),
    ],
)
def test_all_levels_are_the_whole_halved(
    tmp_path: Path, block_lr_px: int, dtype: str, nodata: float | None, masked: bool
) -> None:
    region = region_of(block_lr_px=block_lr_px, dtype=dtype, nodata=nodata, masked=masked)
    group = zarr.open_group(make(region, tmp_path / "out.zarr"), mode="r")
    wanted = levels_of(region)
    assert sorted(group.group_keys()) == [str(level) for level in range(len(wanted))]
    for level, (pixels, valid) in enumerate(wanted):
        found = group[f"{level}/data"]
        assert found.dtype == pixels.dtype
        np.testing.assert_array_equal(found[:], pixels)
        if masked:
            np.testing.assert_array_equal(group[f"{level}/valid"][:], valid)
        else:
            assert "valid" not in group[str(level)]


@settings(deadline=None, max_examples=6)
@given(
    height=st.integers(1, 24),
    width=st.integers(1, 24),
    order=st.randoms(use_true_random=False),
    masked=st.booleans(),
)
def test_neither_order_nor_repetition_of_blocks_matters(
    tmp_path_factory: pytest.TempPathFactory, height: int, width: int, order: object, masked: bool
) -> None:
    region = region_of(height, width, nodata=None if masked else 7.0, masked=masked)
    folder = tmp_path_factory.mktemp("work")
    region.create(folder)
    indexes = [*range(len(blocks_of(region))), *range(0, len(blocks_of(region)), 3)]
    order.shuffle(indexes)
    write_blocks(region, folder, indexes=indexes)
    group = zarr.open_group(region.finish(folder, folder / "out.zarr", {}), mode="r")
    for level, (pixels, _) in enumerate(levels_of(region)):
        np.testing.assert_array_equal(group[f"{level}/data"][:], pixels)


def test_no_two_blocks_write_one_file(tmp_path: Path) -> None:
    region = region_of(block_lr_px=16)
    region.create(tmp_path)
    writers: dict[str, int] = {}
    seen: set[str] = set()
    for block in blocks_of(region):
        write_blocks(region, tmp_path, indexes=[block.index])
        files = {str(p): p.stat().st_mtime_ns for p in tmp_path.rglob("c/**/*") if p.is_file()}
        assert all(writers.get(name, stamp) == stamp for name, stamp in files.items())
        writers = files
        seen |= files.keys()
    # Two overviews are the blocks' own: 64 px are 4, 2 and 1 chunk.
    levels = {
        Path(name).relative_to(tmp_path / "region.zarr").parts[0] for name in seen if "data" in name
    }
    assert levels == {"0", "1", "2"}


def test_blocks_have_to_be_whole_chunks() -> None:
    assert region_of().block_multiple_lr_px == CHUNK // SCALE
    assert replace(region_of(), scale=3, block_lr_px=16).block_multiple_lr_px == CHUNK
    with pytest.raises(ValueError, match="wanted a multiple of 4"):
        region_of(block_lr_px=6)


def test_a_region_is_plain_data() -> None:
    region = region_of(nodata=math.nan, dtype="float32")
    assert pickle.loads(pickle.dumps(region)).facts == region.facts
    json.dumps(region.facts, allow_nan=False)


# --- what others see ------------------------------------------------------------------------------


@pytest.mark.skipif(
    GDALVersion.runtime() < GDALVersion.parse("3.11"),
    reason="GDAL reads the final Zarr v3 from 3.11 on",
)
@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
def test_gdal_finds_pixels_place_and_nodata(tmp_path: Path, dtype: str) -> None:
    region = region_of(dtype=dtype)
    output = make(region, tmp_path / "out.zarr")
    for level, (pixels, _) in enumerate(levels_of(region)):
        with rasterio.open(f'ZARR:"{output}":/{level}/data') as dataset:
            assert dataset.crs == CRS.from_epsg(32633)
            assert dataset.transform.almost_equals(level_transform(region.profile, level), 1e-6)
            assert dataset.nodata == 7
            np.testing.assert_array_equal(dataset.read(), pixels)


@pytest.mark.parametrize("epsg", [32633, 4326, 3413, 2056])
def test_odc_geo_finds_the_grid_of_each_level(tmp_path: Path, epsg: int) -> None:
    region = region_of(crs=CRS.from_epsg(epsg).to_wkt())
    output = make(region, tmp_path / "out.zarr")
    with xarray.open_datatree(output, engine="zarr") as tree:
        for level, (pixels, _) in enumerate(levels_of(region)):
            found = tree[str(level)].to_dataset()["data"].odc.geobox
            assert found.shape == pixels.shape[1:]
            assert found.crs == f"EPSG:{epsg}"
            wanted = level_transform(region.profile, level)
            np.testing.assert_allclose(found.affine, wanted, rtol=0, atol=1e-6)


def test_xarray_finds_coordinates_and_holes(tmp_path: Path) -> None:
    region = region_of(nodata=7.0, scales=(0.5,) * 3, offsets=(-2.0,) * 3)
    output = make(region, tmp_path / "out.zarr")
    pixels, valid = picture(region)
    tree = xarray.open_datatree(output, engine="zarr")
    level = tree["0"].to_dataset()
    assert level["data"].dims == ("band", "y", "x")
    np.testing.assert_allclose(level["x"][:2], [500001.375, 500003.875])
    np.testing.assert_allclose(level["y"][:2], [4999998.625, 4999996.125])
    assert level["data"].attrs["grid_mapping"] == "spatial_ref"
    assert "spatial_ref" in level.coords
    assert "EPSG" in level["spatial_ref"].attrs["crs_wkt"]
    assert level["data"].attrs["long_name"] == list(BANDS)
    holes = ~valid.repeat(SCALE, 0).repeat(SCALE, 1)
    np.testing.assert_array_equal(
        np.isnan(level["data"].values), np.broadcast_to(holes, pixels.shape)
    )
    np.testing.assert_allclose(level["data"].values[:, ~holes], pixels[:, ~holes] * 0.5 - 2)
    tree.close()
    with xarray.open_zarr(output / "1") as alone:
        assert alone["data"].shape == (3, 30, 44)


def test_conventions_are_declared(tmp_path: Path) -> None:
    region = region_of()
    attributes = zarr.open_group(make(region, tmp_path / "out.zarr"), mode="r").attrs.asdict()
    assert [c["name"] for c in attributes["zarr_conventions"]] == ["multiscales", "proj", "spatial"]
    assert attributes["proj:code"] == "EPSG:32633"
    assert attributes["spatial:bbox"] == [500000.125, 4999849.875, 500220.125, 4999999.875]
    assert attributes["SKYSCALE_MODEL"] == "test"
    layout = attributes["multiscales"]["layout"]
    assert [level["asset"] for level in layout] == ["0", "1", "2"]
    assert layout[2]["derived_from"] == "1"
    assert layout[2]["transform"]["scale"] == [2.0, 2.0]
    assert layout[2]["spatial:transform"] == [10.0, 0.0, 500000.125, 0.0, -10.0, 4999999.875]
    assert layout[2]["spatial:shape"] == [15, 22]


@pytest.mark.parametrize(
    "crs",
    [
        CRS.from_epsg(4326),
        CRS.from_epsg(3413),
        CRS.from_epsg(2056),
        CRS.from_proj4("+proj=laea +lat_0=47 +lon_0=13 +datum=WGS84 +units=m"),
    ],
)
def test_any_crs_and_a_grid_that_is_turned(tmp_path: Path, crs: CRS) -> None:
    turned = (1e-5, 2e-6, 8.0, 1e-6, -1e-5, 47.0)
    region = region_of(crs=crs.to_wkt(), transform=turned)
    output = make(region, tmp_path / "out.zarr")
    group = zarr.open_group(output, mode="r")
    assert "x" not in group["0"]
    assert group["0/data"].attrs["spatial:transform"] == list(turned)
    told = group.attrs.get("proj:code") or group.attrs["proj:wkt2"]
    assert CRS.from_string(told) == crs


# --- crashes --------------------------------------------------------------------------------------


def test_an_older_output_is_replaced_and_a_stranger_is_not(tmp_path: Path) -> None:
    output = tmp_path / "out.zarr"
    make(region_of(), output, seed=1)
    make(region_of(height=11), output, seed=2)
    found = zarr.open_group(output, mode="r")["0/data"]
    np.testing.assert_array_equal(found[:], picture(region_of(height=11), 2)[0])

    stranger = tmp_path / "photos"
    stranger.mkdir()
    (stranger / "a.jpg").touch()
    with pytest.raises(UpscaleError, match="is no Zarr v3"):
        make(region_of(), stranger)
    assert (stranger / "a.jpg").exists()
    check_zarr_output(tmp_path / "free.zarr")


def test_finish_goes_on_after_it_was_cut_off_behind_the_rename(tmp_path: Path) -> None:
    region, folder, output = region_of(), tmp_path / "work", tmp_path / "out.zarr"
    folder.mkdir()
    region.create(folder)
    write_blocks(region, folder)
    region.finish(folder, output, {})
    assert region.finish(folder, output, {}) == output
    with pytest.raises(UpscaleError, match="pixels are gone"):
        region_of(height=7).finish(folder, output, {})


def test_finish_goes_on_between_its_two_renames(tmp_path: Path) -> None:
    region, folder, output = region_of(), tmp_path / "work", tmp_path / "out.zarr"
    make(region, output, seed=1)
    folder.mkdir()
    region.create(folder)
    write_blocks(region, folder)
    output.rename(folder / "replaced.zarr")  # here it was killed
    region.finish(folder, output, {})
    found = zarr.open_group(output, mode="r")["0/data"]
    np.testing.assert_array_equal(found[:], picture(region)[0])
    assert not list(folder.iterdir())


@contextmanager
def full_disk() -> Iterator[None]:
    """No file grows beyond some bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_on_a_full_disk_nothing_is_lost(tmp_path: Path) -> None:
    region, folder, output = region_of(), tmp_path / "work", tmp_path / "out.zarr"
    folder.mkdir()
    region.create(folder)
    with full_disk(), pytest.raises((OSError, ValueError)):
        write_blocks(region, folder)
    write_blocks(region, folder)
    with full_disk(), pytest.raises(UpscaleError, match="finished blocks are kept"):
        region.finish(folder, output, {})
    assert not output.exists()
    region.finish(folder, output, {})
    for level, (pixels, _) in enumerate(levels_of(region)):
        np.testing.assert_array_equal(zarr.open_array(output / str(level) / "data")[:], pixels)


def write_for_ever(region: ZarrRegion, folder: Path) -> None:
    while True:
        write_blocks(region, folder)


def test_killed_writers_leave_nothing_half(tmp_path: Path) -> None:
    region = region_of(masked=True, nodata=None)
    folder = tmp_path / "work"
    folder.mkdir()
    region.create(folder)
    context = multiprocessing.get_context("spawn")
    writer = context.Process(target=write_for_ever, args=(region, folder))
    writer.start()
    while not list(folder.rglob("data/c/*/*/*")) and writer.is_alive():
        time.sleep(0.01)
    time.sleep(0.2)
    os.kill(writer.pid, signal.SIGKILL)
    writer.join()
    write_blocks(region, folder)
    output = region.finish(folder, tmp_path / "out.zarr", {})
    group = zarr.open_group(output, mode="r")
    for level, (pixels, valid) in enumerate(levels_of(region)):
        np.testing.assert_array_equal(group[f"{level}/data"][:], pixels)
        np.testing.assert_array_equal(group[f"{level}/valid"][:], valid)
    assert not list(output.rglob("*lock*"))
