"""A window of the satellite scene: what is bad is not valid, and it is told why."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy import ndimage

from geo.catalog.scene import Mask
from geo.ground import read_ground
from geo.raster_io import inspect_raster

SHAPE = (140, 150)
ROWS, COLS = slice(30, 110), slice(20, 130)


@pytest.fixture(scope="module")
def data(rasters: ModuleType) -> np.ndarray:
    """Coloured ground with a nodata corner, a saturated patch, and a thick cloud."""
    pixels = np.array([1500, 1200, 800])[:, None, None] * (1 + 0.1 * rasters.ground(SHAPE, bands=1))
    pixels[:, :40, :40] = 0
    pixels[:, 60:66, 30:37] = 65535
    pixels[:, 70:100, 80:110] = 9000 + rasters.ground((30, 30), seed=1)
    return pixels.astype("uint16")


@pytest.fixture(scope="module")
def scene(rasters: ModuleType, data: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("ground")
    return rasters.write(folder / "s.tif", data, rasters.grid(SHAPE), nodata=0)


def cloud() -> np.ndarray:
    there = np.zeros(SHAPE, bool)
    there[70:100, 80:110] = True
    return there


def mask(rasters: ModuleType, path: Path, values: np.ndarray, kind: str) -> Mask:
    href = rasters.write(path, values[None].astype("uint8"), rasters.grid(SHAPE))
    return Mask(href=href, kind=kind)


def read(rasters: ModuleType, scene: str, *masks: Mask):
    return read_ground(scene, rasters.grid(SHAPE), ROWS, COLS, masks)


class TestMasks:
    def test_every_pixel_is_good_or_bad_for_a_reason(
        self, rasters: ModuleType, scene: str, data: np.ndarray, tmp_path: Path
    ) -> None:
        got = read(rasters, scene, mask(rasters, tmp_path / "c.tif", cloud(), "cloud"))
        there = (data[0] != 0)[ROWS, COLS]
        rim = ndimage.distance_transform_cdt(~cloud(), "taxicab") <= 2
        np.testing.assert_array_equal(got.screened, rim[ROWS, COLS] & there)
        hot = (data[0] == 65535)[ROWS, COLS]
        np.testing.assert_array_equal(got.saturated, hot)
        np.testing.assert_array_equal(got.pixels.valid, there & ~got.screened & ~hot)
        assert got.cloud_fraction == pytest.approx(cloud()[ROWS, COLS][there].mean())

    def test_pixels_are_the_sensors_own(
        self, rasters: ModuleType, scene: str, data: np.ndarray
    ) -> None:
        got = read(rasters, scene)
        np.testing.assert_array_equal(got.pixels.data, data[:, ROWS, COLS])
        assert got.geobox == rasters.grid(SHAPE)[ROWS, COLS]

    def test_a_mask_is_believed_and_brightness_then_not_asked(
        self, rasters: ModuleType, scene: str, tmp_path: Path
    ) -> None:
        clear = mask(rasters, tmp_path / "scl.tif", np.full(SHAPE, 4), "scl")
        got = read(rasters, scene, clear)
        assert got.cloud_fraction == 0
        assert not got.screened.any()

    def test_a_data_mask_takes_away_without_a_cloud(
        self, rasters: ModuleType, scene: str, tmp_path: Path
    ) -> None:
        there = np.ones(SHAPE)
        there[:, 100:] = 0
        clear = mask(rasters, tmp_path / "clouds.tif", np.zeros(SHAPE), "cloud")
        got = read(rasters, scene, mask(rasters, tmp_path / "d.tif", there, "data"), clear)
        assert not got.pixels.valid[:, 80:].any()
        assert not got.screened.any()
        assert got.cloud_fraction == 0


class TestBrightness:
    def test_without_a_cloud_mask_a_thick_cloud_is_found(
        self, rasters: ModuleType, scene: str, tmp_path: Path
    ) -> None:
        everywhere = mask(rasters, tmp_path / "d.tif", np.ones(SHAPE), "data")
        for masks in ((), (everywhere,)):
            got = read(rasters, scene, *masks)
            inside = cloud()[ROWS, COLS]
            assert got.screened[inside].all()
            near = ndimage.binary_dilation(inside, iterations=4)
            assert not got.screened[~near].any()
            assert got.cloud_fraction == pytest.approx(inside.mean(), rel=0.2)

    def test_a_window_wholly_under_cloud_is_told_by_the_rest_of_the_scene(
        self, rasters: ModuleType, scene: str
    ) -> None:
        got = read_ground(scene, rasters.grid(SHAPE), slice(75, 95), slice(85, 105))
        assert got.cloud_fraction == 1
        assert not got.pixels.valid.any()

    def test_a_file_written_anew_is_learnt_anew(
        self, rasters: ModuleType, data: np.ndarray, tmp_path: Path
    ) -> None:
        grid = rasters.grid(SHAPE)
        for gain in (0.1, 1.0):  # by the first one's measure the second is all cloud
            href = rasters.write(tmp_path / "s.tif", (gain * data).astype("uint16"), grid, nodata=0)
            got = read_ground(href, grid, ROWS, COLS)
            assert 0.05 < got.cloud_fraction < 0.2


def test_zeros_that_no_tag_tells_are_nodata(
    rasters: ModuleType, data: np.ndarray, tmp_path: Path
) -> None:
    grid = rasters.grid(SHAPE)
    told, untold = (
        read_ground(
            rasters.write(tmp_path / f"{tag}.tif", data, grid, nodata=tag), grid, ROWS, COLS
        )
        for tag in (0, None)
    )
    np.testing.assert_array_equal(untold.pixels.valid, told.pixels.valid)
    assert untold.cloud_fraction == told.cloud_fraction


def test_a_real_cloudy_scene_with_and_without_its_classification(shared_data: Path) -> None:
    folder = shared_data / "trial/prairie/satellite/sat_20120805"
    href, scl = str(folder / "B04B03B02.tif"), str(folder / "SCL.tif")
    grid = inspect_raster(href).geobox
    window = (slice(0, grid.shape.y), slice(0, grid.shape.x))
    told = read_ground(href, grid, *window, [Mask(href=scl, kind="scl")])
    seen = read_ground(href, grid, *window)
    assert told.cloud_fraction == pytest.approx(0.305, abs=0.01)  # truth.json
    assert seen.cloud_fraction == pytest.approx(told.cloud_fraction, abs=0.08)
    assert seen.pixels.valid[told.pixels.valid].mean() > 0.95
