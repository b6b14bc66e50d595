from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rio_cogeo import cog_validate

from geo.cog import CogSink
from geo.errors import UpscaleError
from geo.overviews import halve
from tests.geo.cogs import assert_same_picture, begin, picture, profile_of, write, write_blocks


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "float32"])
def test_pixels_and_metadata_come_back(tmp_path: Path, dtype: str) -> None:
    pixels = picture(dtype, bands=4)
    profile = profile_of(
        pixels, nodata=7.0, scales=(0.5, 1.0, 1.0, 2.0), offsets=(0.0, 0.0, -3.0, 0.0)
    )
    path = write(tmp_path / "a.tif", pixels, profile)

    assert cog_validate(path, strict=True) == (True, [], [])
    with rasterio.open(path) as dataset:
        np.testing.assert_array_equal(dataset.read(), pixels)
        assert dataset.crs == CRS.from_epsg(32633)
        assert dataset.transform == Affine(*profile.transform)
        assert dataset.nodata == 7.0
        assert dataset.descriptions == profile.descriptions
        assert tuple(c.name for c in dataset.colorinterp) == profile.colours
        assert dataset.scales == profile.scales
        assert dataset.offsets == profile.offsets
        assert dataset.tags()["SKYSCALE_MODEL"] == "test"
        assert dataset.compression.name == "deflate"
        assert dataset.overviews(1) == [2]
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["a.tif"]  # no .aux.xml


def test_overviews_average_valid_pixels_only(tmp_path: Path) -> None:
    pixels = np.full((1, 1100, 1100), 100, np.uint16)
    pixels[:, :551] = 0
    path = write(tmp_path / "a.tif", pixels, profile_of(pixels, nodata=0.0))
    with rasterio.open(path, overview_level=0) as dataset:
        overview = dataset.read(1)
    # Row 275 covers one invalid and one valid row: nodata does not darken it.
    assert set(np.unique(overview[:275])) == {0}
    assert set(np.unique(overview[275:])) == {100}


def test_validity_without_nodata_is_an_internal_mask(tmp_path: Path) -> None:
    pixels = picture("uint8")
    valid = np.random.default_rng(0).random(pixels.shape[1:]) > 0.3
    path = write(tmp_path / "a.tif", pixels, profile_of(pixels, masked=True), valid)
    assert cog_validate(path, strict=True) == (True, [], [])
    with rasterio.open(path) as dataset:
        assert dataset.nodata is None
        np.testing.assert_array_equal(dataset.dataset_mask() > 0, valid)
        np.testing.assert_array_equal(dataset.read(), pixels)
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["a.tif"]  # no .msk


def test_same_input_gives_same_file(tmp_path: Path) -> None:
    pixels = picture("uint16")
    first = write(tmp_path / "a.tif", pixels, profile_of(pixels, nodata=0.0))
    second = write(tmp_path / "b.tif", pixels, profile_of(pixels, nodata=0.0))
    assert_same_picture(first, second)


@pytest.mark.parametrize(
    "transform",
    [
        (10.0, 0.0, 500.0, 0.0, 10.0, 900.0),  # south-up
        (7.0, -7.0, 500.0, 7.0, 7.0, 900.0),  # rotated
        (1 / 3, 0.0, 0.1, 0.0, -1 / 7, 0.2),  # no round numbers
    ],
)
def test_any_affine_grid_is_kept_exactly(
    tmp_path: Path, transform: tuple[float, float, float, float, float, float]
) -> None:
    pixels = picture("uint8", bands=1, height=40, width=50)
    profile = profile_of(pixels, transform=transform, colours=("gray",))
    path = write(tmp_path / "a.tif", pixels, profile)
    with rasterio.open(path) as dataset:
        assert dataset.transform == Affine(*transform)
        np.testing.assert_array_equal(dataset.read(), pixels)


def test_nan_is_a_nodata_value(tmp_path: Path) -> None:
    pixels = picture("float32", bands=1, height=1200, width=1200)
    pixels[:, 100:300, 50:800] = np.nan
    path = write(tmp_path / "a.tif", pixels, profile_of(pixels, nodata=math.nan))
    assert cog_validate(path, strict=True)[0]
    with rasterio.open(path) as dataset:
        assert math.isnan(dataset.nodata)
        np.testing.assert_array_equal(dataset.read(), pixels)
        np.testing.assert_array_equal(dataset.read_masks(1) > 0, np.isfinite(pixels[0]))


@pytest.mark.parametrize("compression", ["deflate", "zstd", "none"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_every_compression_and_type_is_read_by_others(
    tmp_path: Path, compression: str, dtype: str
) -> None:
    pixels = picture(dtype, bands=4, height=600, width=530)
    profile = profile_of(pixels, nodata=7.0)
    path = write(tmp_path / "a.tif", pixels, profile, compression=compression)
    assert cog_validate(path, strict=True) == (True, [], [])
    with rasterio.open(path) as dataset:
        np.testing.assert_array_equal(dataset.read(), pixels)
        assert dataset.interleaving.name == "pixel"


@given(
    height=st.integers(1, 150),
    width=st.integers(1, 150),
    tiles=st.integers(1, 9),
    holes=st.sampled_from([0.0, 0.5, 0.95]),
    masked=st.booleans(),
    seed=st.integers(0, 1000),
)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_the_file_is_the_same_whatever_the_blocks(
    tmp_path: Path, height: int, width: int, tiles: int, holes: float, masked: bool, seed: int
) -> None:
    random = np.random.default_rng(seed)
    pixels = random.integers(1, 250, (2, height, width)).astype(np.uint8)
    valid = random.random((-(-height // 16), -(-width // 16))) >= holes
    valid = valid.repeat(16, 0).repeat(16, 1)[:height, :width]
    pixels[:, ~valid] = 0
    profile = profile_of(pixels, nodata=None if masked else 0.0, masked=masked)
    options: dict[str, Any] = {"tile_px": 16}
    whole = write(tmp_path / "whole.tif", pixels, profile, valid, block_px=160, **options)
    parts = write(tmp_path / "parts.tif", pixels, profile, valid, block_px=16 * tiles, **options)
    assert_same_picture(whole, parts)
    with rasterio.open(parts) as dataset:
        np.testing.assert_array_equal(dataset.read(), pixels)
        np.testing.assert_array_equal(dataset.dataset_mask() > 0, valid)
    shutil.rmtree(tmp_path / "whole.run")
    shutil.rmtree(tmp_path / "parts.run")


def test_every_level_is_the_half_of_the_one_before(tmp_path: Path) -> None:
    pixels = picture("uint16", height=1500, width=1300)
    path = write(tmp_path / "a.tif", pixels, profile_of(pixels), tile_px=64, block_px=192)
    level, wanted = 0, pixels
    while min(wanted.shape[1:]) > 64:
        wanted = halve(wanted, None)[0]
        with rasterio.open(path, overview_level=level) as dataset:
            np.testing.assert_array_equal(dataset.read(), wanted)
        level += 1
    assert level == 5


def test_blocks_that_are_no_whole_tiles_are_refused() -> None:
    with pytest.raises(ValueError, match="block_lr_px is 100; wanted a multiple of 128"):
        CogSink(profile=profile_of(picture("uint8")), scale=4, block_lr_px=100)


def test_nothing_stands_under_the_name_when_writing_fails(tmp_path: Path) -> None:
    pixels = picture("uint8")
    path = tmp_path / "nowhere" / "a.tif"
    sink, folder = begin(tmp_path / "a.tif", profile_of(pixels))
    write_blocks(sink, folder, pixels, None)
    with pytest.raises(UpscaleError, match="cannot be written"):
        sink.finish(folder, path, {})
    assert not path.exists()


@pytest.mark.parametrize("damage", ["cut", "zeros", "lost", "index"])
def test_a_block_that_was_damaged_is_named_and_can_be_written_again(
    tmp_path: Path, damage: str
) -> None:
    pixels = picture("uint16", height=1300)
    path = tmp_path / "a.tif"
    sink, folder = begin(path, profile_of(pixels))
    write_blocks(sink, folder, pixels, None)
    file = folder / "blocks" / "1"
    content = file.read_bytes()
    half = len(content) // 2
    damaged = {
        "cut": content[:half],
        "zeros": content[:half] + bytes(5000) + content[half + 5000 :],
        "index": content[:-40] + bytes(20) + content[-20:],
    }
    if damage == "lost":
        file.unlink()
    else:
        file.write_bytes(damaged[damage])
    with pytest.raises(UpscaleError, match="damaged on the disk") as caught:
        sink.finish(folder, path, {})
    assert caught.value.facts["damaged"] == 1
    assert not path.exists()
    write_blocks(sink, folder, pixels, None)
    with rasterio.open(sink.finish(folder, path, {})) as dataset:
        np.testing.assert_array_equal(dataset.read(), pixels)
