from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.crs import CRS
from rio_cogeo import cog_validate

from geo.cog import RasterProfile, write_cog
from geo.errors import UpscaleError

UTM = CRS.from_epsg(32633).to_wkt()


def profile_of(pixels: np.ndarray, **changes: object) -> RasterProfile:
    bands, height, width = pixels.shape
    profile = RasterProfile(
        height=height,
        width=width,
        dtype=str(pixels.dtype),
        crs=UTM,
        transform=(2.5, 0, 500000.125, 0, -2.5, 4999999.875),
        nodata=None,
        masked=False,
        descriptions=("red", "green", "blue", None)[:bands],
        colours=("red", "green", "blue", "undefined")[:bands],
        scales=(1.0,) * bands,
        offsets=(0.0,) * bands,
    )
    return replace(profile, **changes)


def write(
    path: Path, pixels: np.ndarray, profile: RasterProfile, valid: np.ndarray | None = None
) -> Path:
    scratch = path.with_suffix(".scratch")
    scratch.mkdir(exist_ok=True)

    def read(rows: slice, cols: slice) -> tuple[np.ndarray, np.ndarray | None]:
        return pixels[:, rows, cols], None if valid is None else valid[rows, cols]

    written = write_cog(path, profile, read, tags={"SKYSCALE_MODEL": "test"}, scratch=scratch)
    assert not list(scratch.iterdir())
    return written


def picture(dtype: str, bands: int = 3, height: int = 700, width: int = 1300) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    wave = 60 + 50 * np.sin(x / 17) * np.cos(y / 23)
    return np.stack([wave + 5 * band for band in range(bands)]).astype(dtype)


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


def test_same_input_gives_same_bytes(tmp_path: Path) -> None:
    pixels = picture("uint16")
    first = write(tmp_path / "a.tif", pixels, profile_of(pixels, nodata=0.0))
    second = write(tmp_path / "b.tif", pixels, profile_of(pixels, nodata=0.0))
    assert first.read_bytes() == second.read_bytes()


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


def test_nothing_stands_under_the_name_when_writing_fails(tmp_path: Path) -> None:
    pixels = picture("uint8")
    path = tmp_path / "a.tif"
    with pytest.raises(UpscaleError, match="cannot be written"):
        write_cog(
            path,
            profile_of(pixels),
            lambda rows, cols: (pixels[:, rows, cols], None),
            tags={},
            scratch=tmp_path / "nowhere",
        )
    assert not path.exists()


@pytest.mark.parametrize("damage", ["cut", "zeros"])
def test_a_file_that_came_out_damaged_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    """A disk that fills up while GDAL closes its file is reported to nobody."""
    copy = rasterio.shutil.copy

    def failing_copy(source: Path, target: Path, **options: object) -> None:
        copy(source, target, **options)
        size = target.stat().st_size
        with target.open("r+b") as file:
            if damage == "cut":
                file.truncate(size - 5000)
            else:
                file.seek(size // 2)
                file.write(bytes(5000))

    monkeypatch.setattr(rasterio.shutil, "copy", failing_copy)
    path = tmp_path / "a.tif"
    pixels = picture("uint16", height=1300)
    with pytest.raises(UpscaleError, match="cannot be written"):
        write(path, pixels, profile_of(pixels))
    assert not path.exists()
    assert not list(path.with_suffix(".scratch").iterdir())
