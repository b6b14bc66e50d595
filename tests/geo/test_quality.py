"""Scene classification to clear and cloudy pixels."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from geo.errors import SourceError
from geo.quality import screen_clouds

VEGETATION, WATER = 4, 6
BAD = {"no data": 0, "saturated": 1, "shadow": 3, "cloud medium": 8, "cloud": 9, "cirrus": 10}
GOOD = {"dark": 2, "vegetation": 4, "bare": 5, "water": 6, "unclassified": 7, "snow": 11}


def write_classes(rasters: ModuleType, path: Path, classes: np.ndarray, size: float = 10.0) -> str:
    return rasters.write(
        path, classes[None].astype("uint8"), rasters.grid(classes.shape, size=size)
    )


@pytest.mark.parametrize("name", BAD)
def test_a_bad_class_takes_two_pixels_around_it_along(
    rasters: ModuleType, tmp_path: Path, name: str
) -> None:
    classes = np.full((20, 20), VEGETATION)
    classes[10, 10] = BAD[name]
    clear, cloudy = screen_clouds(
        write_classes(rasters, tmp_path / "scl.tif", classes), rasters.grid((20, 20))
    )
    rows, cols = np.indices((20, 20))
    np.testing.assert_array_equal(~clear, abs(rows - 10) + abs(cols - 10) <= 2)
    np.testing.assert_array_equal(cloudy, (classes == BAD[name]) & ("c" in name and name != "sat"))


@pytest.mark.parametrize("name", GOOD)
def test_good_classes_are_clear(rasters: ModuleType, tmp_path: Path, name: str) -> None:
    href = write_classes(rasters, tmp_path / "scl.tif", np.full((9, 9), GOOD[name]))
    clear, cloudy = screen_clouds(href, rasters.grid((9, 9)))
    assert clear.all()
    assert not cloudy.any()


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**32 - 1))
def test_clear_and_cloudy_never_meet(rasters: ModuleType, tmp_path: Path, seed: int) -> None:
    classes = np.random.default_rng(seed).choice([4, 5, 6, 9], (16, 18), p=[0.5, 0.3, 0.15, 0.05])
    href = write_classes(rasters, tmp_path / "scl.tif", classes)
    clear, cloudy = screen_clouds(href, rasters.grid((16, 18)))
    np.testing.assert_array_equal(cloudy, classes == 9)
    if cloudy.any():
        steps = ndimage.distance_transform_cdt(~cloudy, metric="taxicab")
        np.testing.assert_array_equal(clear, steps > 2)


def test_a_coarser_classification_covers_the_pixels_it_stands_for(
    rasters: ModuleType, tmp_path: Path
) -> None:
    classes = np.full((10, 10), WATER)
    classes[4, 6] = 9
    href = write_classes(rasters, tmp_path / "scl.tif", classes, size=20.0)
    clear, cloudy = screen_clouds(href, rasters.grid((20, 20)))
    want = np.zeros((20, 20), bool)
    want[8:10, 12:14] = True
    np.testing.assert_array_equal(cloudy, want)
    assert not clear[want].any()


def test_what_was_not_classified_is_not_trusted(rasters: ModuleType, tmp_path: Path) -> None:
    href = write_classes(rasters, tmp_path / "scl.tif", np.full((10, 10), VEGETATION))
    clear, cloudy = screen_clouds(href, rasters.grid((10, 20)))
    assert clear[:, :8].all()
    assert not clear[:, 8:].any()
    assert not cloudy.any()


def test_a_missing_classification_is_an_error(rasters: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such file"):
        screen_clouds(str(tmp_path / "scl.tif"), rasters.grid((4, 4)))


def test_the_cloudy_real_scene_is_as_cloudy_as_it_was_made(shared_data: Path) -> None:
    from geo.raster_io import inspect_raster

    href = str(shared_data / "trial/village/satellite/sat_20170921/SCL.tif")
    clear, cloudy = screen_clouds(href, inspect_raster(href).geobox)
    assert cloudy.mean() == pytest.approx(0.815, abs=0.01)  # truth.json
    assert clear.mean() < 1 - cloudy.mean()
