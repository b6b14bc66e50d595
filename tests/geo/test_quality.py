"""Masks to clear and cloudy pixels; saturation by the pixels themselves."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from geo.catalog.scene import Mask
from geo.errors import SourceError
from geo.quality import Screen, find_empty, find_patches, find_saturated, screen_masks

VEGETATION, WATER = 4, 6
BAD = {"saturated": 1, "shadow": 3, "cloud medium": 8, "cloud": 9, "cirrus": 10}
GOOD = {"dark": 2, "vegetation": 4, "bare": 5, "water": 6, "unclassified": 7, "snow": 11}


def write(rasters: ModuleType, path: Path, values: np.ndarray, size: float = 10.0) -> str:
    return rasters.write(path, values[None].astype("uint8"), rasters.grid(values.shape, size=size))


def screen(
    rasters: ModuleType, path: Path, values: np.ndarray, kind: str = "scl", size: float = 10.0
) -> Screen:
    mask = Mask(href=write(rasters, path / f"{kind}.tif", values, size), kind=kind)
    height, width = (int(n * size / 10) for n in values.shape)
    return screen_masks([mask], rasters.grid((height, width)))


def steps_from(spot: np.ndarray) -> np.ndarray:
    return ndimage.distance_transform_cdt(~spot, metric="taxicab")


class TestClasses:
    @pytest.mark.parametrize("name", BAD)
    def test_a_bad_class_takes_two_pixels_around_it_along(
        self, rasters: ModuleType, tmp_path: Path, name: str
    ) -> None:
        classes = np.full((20, 20), VEGETATION)
        classes[10, 10] = BAD[name]
        got = screen(rasters, tmp_path, classes)
        np.testing.assert_array_equal(~got.clear, steps_from(classes == BAD[name]) <= 2)
        is_cloud = name.startswith("c")
        np.testing.assert_array_equal(got.cloudy, (classes == BAD[name]) & is_cloud)
        assert got.known.all()

    @pytest.mark.parametrize("name", GOOD)
    def test_good_classes_are_clear(self, rasters: ModuleType, tmp_path: Path, name: str) -> None:
        got = screen(rasters, tmp_path, np.full((9, 9), GOOD[name]))
        assert got.clear.all()
        assert got.known.all()
        assert not got.cloudy.any()

    def test_no_data_is_unknown_and_no_cloud(self, rasters: ModuleType, tmp_path: Path) -> None:
        classes = np.full((12, 12), VEGETATION)
        classes[:, :3] = 0
        got = screen(rasters, tmp_path, classes)
        np.testing.assert_array_equal(got.known, classes != 0)
        assert got.clear.all()
        assert not got.cloudy.any()

    @settings(
        max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(st.integers(0, 2**32 - 1))
    def test_clear_and_cloudy_never_meet(
        self, rasters: ModuleType, tmp_path: Path, seed: int
    ) -> None:
        rng = np.random.default_rng(seed)
        classes = rng.choice([4, 5, 6, 9], (16, 18), p=[0.5, 0.3, 0.15, 0.05])
        got = screen(rasters, tmp_path, classes)
        np.testing.assert_array_equal(got.cloudy, classes == 9)
        if got.cloudy.any():
            np.testing.assert_array_equal(got.clear, steps_from(got.cloudy) > 2)

    def test_coarser_classes_cover_the_pixels_they_stand_for(
        self, rasters: ModuleType, tmp_path: Path
    ) -> None:
        classes = np.full((10, 10), WATER)
        classes[4, 6] = 9
        got = screen(rasters, tmp_path, classes, size=20.0)
        want = np.zeros((20, 20), bool)
        want[8:10, 12:14] = True
        np.testing.assert_array_equal(got.cloudy, want)
        assert not got.clear[want].any()


def test_what_no_mask_covers_is_unknown(rasters: ModuleType, tmp_path: Path) -> None:
    href = write(rasters, tmp_path / "scl.tif", np.full((10, 10), VEGETATION))
    got = screen_masks([Mask(href=href, kind="scl")], rasters.grid((10, 20)))
    assert got.known[:, :10].all()
    assert not got.known[:, 10:].any()
    assert not got.cloudy.any()


def test_without_masks_all_is_clear_and_known(rasters: ModuleType) -> None:
    got = screen_masks([], rasters.grid((5, 6)))
    assert got.clear.shape == (5, 6)
    assert got.clear.all()
    assert got.known.all()


@pytest.mark.parametrize("value", [1, 7, 255])
def test_a_cloud_mask_is_cloud_wherever_it_is_not_zero(
    rasters: ModuleType, tmp_path: Path, value: int
) -> None:
    mask = np.zeros((14, 15), int)
    mask[6:8, 5] = value
    got = screen(rasters, tmp_path, mask, kind="cloud")
    np.testing.assert_array_equal(got.cloudy, mask == value)
    np.testing.assert_array_equal(got.clear, steps_from(mask == value) > 2)
    assert got.known.all()


def test_a_data_mask_says_nothing_of_clouds(rasters: ModuleType, tmp_path: Path) -> None:
    mask = np.ones((8, 9), int)
    mask[2, 3:] = 0
    got = screen(rasters, tmp_path, mask, kind="data")
    np.testing.assert_array_equal(got.known, mask == 1)
    assert got.clear.all()
    assert not got.cloudy.any()


def test_every_mask_counts(rasters: ModuleType, tmp_path: Path) -> None:
    classes, clouds, data = np.full((9, 30), 4), np.zeros((9, 30), int), np.ones((9, 30), int)
    classes[4, 4] = 9
    clouds[4, 14] = 1
    data[4, 24] = 0
    masks = [
        Mask(href=write(rasters, tmp_path / f"{kind}.tif", values), kind=kind)
        for kind, values in (("scl", classes), ("cloud", clouds), ("data", data))
    ]
    got = screen_masks(masks, rasters.grid((9, 30)))
    np.testing.assert_array_equal(got.cloudy, (classes == 9) | (clouds == 1))
    np.testing.assert_array_equal(got.clear, steps_from(got.cloudy) > 2)
    np.testing.assert_array_equal(got.known, data == 1)


def test_a_piece_sees_the_rim_of_a_cloud_beside_it(rasters: ModuleType, tmp_path: Path) -> None:
    """Or two pieces that meet would not agree on what lies between them."""
    clouds = np.zeros((20, 20), int)
    clouds[:, 11] = 1
    mask = Mask(href=write(rasters, tmp_path / "m.tif", clouds), kind="cloud")
    whole = screen_masks([mask], rasters.grid((20, 20)))
    piece = screen_masks([mask], rasters.grid((20, 20))[:, :10])
    np.testing.assert_array_equal(piece.clear, whole.clear[:, :10])
    assert not piece.clear[:, 9].any()


def test_a_missing_mask_is_an_error(rasters: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such file"):
        screen_masks([Mask(href=str(tmp_path / "scl.tif"), kind="scl")], rasters.grid((4, 4)))


def test_the_cloudy_real_scene_is_as_cloudy_as_it_was_made(shared_data: Path) -> None:
    from geo.raster_io import inspect_raster

    href = str(shared_data / "trial/village/satellite/sat_20170921/SCL.tif")
    got = screen_masks([Mask(href=href, kind="scl")], inspect_raster(href).geobox)
    assert got.cloudy.mean() == pytest.approx(0.815, abs=0.01)  # truth.json
    assert got.clear.mean() < 1 - got.cloudy.mean()


class TestSaturation:
    def ground(self, dtype: str = "uint8", *, mean: float = 110) -> np.ndarray:
        rng = np.random.default_rng(0)
        return rng.normal(mean, mean / 5, (3, 40, 44)).astype(dtype)

    def good(self) -> np.ndarray:
        return np.ones((40, 44), bool)

    def test_ground_is_not_saturated(self) -> None:
        assert not find_saturated(self.ground(), self.good()).any()

    @pytest.mark.parametrize(("dtype", "top"), [("uint8", 255), ("uint16", 65535)])
    def test_a_patch_at_the_types_maximum_in_one_band_is(self, dtype: str, top: int) -> None:
        data = self.ground(dtype)
        data[1, 10:14, 20:25] = top
        want = np.zeros((40, 44), bool)
        want[10:14, 20:25] = True
        np.testing.assert_array_equal(find_saturated(data, self.good()), want)

    def test_single_bright_pixels_are_not(self) -> None:
        data = self.ground()
        data[:, 5, ::3] = 255
        data[:, 20:22, 7:9] = 255
        assert not find_saturated(data, self.good()).any()

    def test_a_lower_ceiling_shows_as_a_pile_at_the_top(self) -> None:
        """12 bits in a 16-bit file, a patch cut off at 4095."""
        data = self.ground("uint16", mean=1500)
        data[:, 4:12, 6:16] = 4095
        want = np.zeros((40, 44), bool)
        want[4:12, 6:16] = True
        np.testing.assert_array_equal(find_saturated(data, self.good()), want)

    def test_still_water_of_one_value_is_not_saturated(self) -> None:
        data = np.full((1, 40, 44), 23, "uint16")
        data[:, :4] = 20
        assert not find_saturated(data, self.good()).any()

    def test_what_is_not_valid_does_not_count(self) -> None:
        data, valid = self.ground("uint16"), self.good()
        data[:, 30:] = 65535  # nodata
        valid[30:] = False
        assert not find_saturated(data, valid).any()
        assert not find_saturated(data, np.zeros_like(valid)).any()

    def test_real_ground_is_not_saturated(self, shared_data: Path) -> None:
        from geo.raster_io import inspect_raster, read_window

        for path in sorted(shared_data.glob("trial/*/satellite/*/B04B03B02.tif")):
            height, width = inspect_raster(str(path)).geobox.shape.yx
            found = read_window(str(path), slice(0, height), slice(0, width))
            assert find_saturated(found.data, found.valid).mean() < 0.001, path


class TestEmpty:
    def test_a_wedge_of_zeros_is_empty_and_dark_pixels_are_not(self) -> None:
        data = np.random.default_rng(0).integers(1, 60, (3, 30, 30)).astype("uint8")
        data[:, ::7, ::5] = 0
        data[:2, 12:20] = 0  # black in two bands of three
        want = np.tri(30, k=-18, dtype=bool)
        data[:, want] = 0
        got = find_empty(data, np.ones((30, 30), bool))
        assert got[want].mean() > 0.9
        assert not got[~want].any()

    def test_reals_have_nan_for_that(self) -> None:
        assert not find_empty(np.zeros((2, 9, 9)), np.ones((9, 9), bool)).any()

    def test_a_real_image_without_a_tag_has_an_end(self, shared_data: Path) -> None:
        from geo.raster_io import read_window

        href = str(shared_data / "odd/s2_img-15bit.jp2")
        found = read_window(href, slice(0, 1830), slice(0, 1830))
        assert found.valid.all()
        assert find_empty(found.data, found.valid).mean() == pytest.approx(0.952, abs=0.001)


def test_patches_keep_their_shape_where_three_by_three_pixels_fit() -> None:
    top = np.zeros((12, 12), bool)
    top[1:5, 1:7] = True  # stays
    top[8:10, 1:9] = True  # too thin
    want = top.copy()
    want[8:10] = False
    np.testing.assert_array_equal(find_patches(top), want)
