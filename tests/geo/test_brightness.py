"""Thick clouds without a mask: found where they are plain, and clear ground is left alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from geo.brightness import BrightnessScreen, learn_brightness

SHAPE = (80, 90)
ALL = np.ones(SHAPE, bool)
CLEAR = BrightnessScreen(float("inf"))


def ground(seed: int = 0, colour: tuple[float, ...] = (1400, 1100, 800)) -> np.ndarray:
    """Coloured ground as land is, DN."""
    rng = np.random.default_rng(seed)
    light = ndimage.gaussian_filter(rng.normal(size=SHAPE), 3)
    light = 1 + 0.25 * light / light.std()
    return (np.array(colour)[:, None, None] * np.clip(light, 0.2, 2)).astype("uint16")


def clouded(data: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A cloud with a soft edge, and where it hides more than half of the ground."""
    rng = np.random.default_rng(seed)
    rows, cols = np.indices(SHAPE)
    radius = np.hypot(rows - rng.integers(25, 55), cols - rng.integers(25, 65))
    opacity = np.clip((16 - radius) / 4, 0, 1)
    return (data * (1 - opacity) + 8000 * opacity).astype("uint16"), opacity > 0.5


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 999), st.floats(0.02, 3))
def test_a_thick_cloud_is_found_whatever_the_units(seed: int, unit: float) -> None:
    data, cloud = clouded(ground(seed), seed)
    data = data * unit
    got = learn_brightness([(data, ALL)]).find_clouds(data, ALL)
    assert got[cloud].mean() > 0.85
    assert not got[~ndimage.binary_dilation(cloud, iterations=6)].any()


def test_clear_ground_has_no_clouds() -> None:
    for seed in range(5):
        data = ground(seed)
        assert not learn_brightness([(data, ALL)]).find_clouds(data, ALL).any()


def test_white_roofs_are_too_small_to_be_clouds() -> None:
    data = ground()
    data[:, 10:70:12, 10:70:12] = 9000
    data[:, 40:46, 40:46] = 9000
    assert not learn_brightness([(data, ALL)]).find_clouds(data, ALL).any()


def test_bright_sand_has_a_colour() -> None:
    data = ground()
    data[:, :40] = np.array([5200, 4300, 3300])[:, None, None]
    assert not learn_brightness([(data, ALL)]).find_clouds(data, ALL).any()


def test_a_scene_mostly_under_cloud_is_still_told_by_its_clear_part() -> None:
    data = np.full((3, *SHAPE), 8500, "uint16")
    data[:, :, :15] = ground()[:, :, :15]
    got = learn_brightness([(data, ALL)]).find_clouds(data, ALL)
    assert got[:, 15:].all()
    assert not got[:, :15].any()


@pytest.mark.parametrize(
    "samples",
    [
        [],
        [(ground()[:1], ALL)],
        [(np.full((3, *SHAPE), 700, "uint16"), ALL)],
        [(ground(), np.zeros(SHAPE, bool))],
    ],
    ids=["nothing", "one band", "grey all over", "nothing valid"],
)
def test_who_cannot_tell_screens_nothing(samples: list) -> None:
    data, _ = clouded(ground())
    assert learn_brightness(samples) == CLEAR
    assert not CLEAR.find_clouds(data, ALL).any()


def test_what_is_not_valid_does_not_count() -> None:
    data, cloud = clouded(ground().astype("float32").astype("uint16"))
    data = data.astype("float32")
    data[:, cloud] = np.nan
    screen = learn_brightness([(data, ~cloud)])
    assert np.isfinite(screen.ground_dn)
    assert not screen.find_clouds(data, ~cloud).any()


CLEAR_SCENES = [
    "trial/*/satellite/sat_20120726/B04B03B02.tif",
    "trial/*/satellite/sat_20200906/B04B03B02.tif",
    "trial/*/satellite/sat_20170911/B04B03B02.tif",
    "trial/*/satellite/sat_20190623/B04B03B02.tif",
    "satellite/boadella_series/*.tif",
    "satellite/s2_ports_ocean/*.tif",
    "satellite/jaca_citadel_1.tif",
    "satellite/eurosat_*.tif",
    "pairs/satellogic_s2_uae/lr_sentinel2_l2a_10m.tif",
]


@pytest.mark.parametrize("pattern", CLEAR_SCENES)
def test_clear_real_scenes_stay_clear(shared_data: Path, pattern: str) -> None:
    """Deserts, ports, towns, forests."""
    for path in sorted(shared_data.glob(pattern)):
        data, valid = read(path)
        got = learn_brightness([(data, valid)]).find_clouds(data, valid)
        assert got.mean() < 0.01, path


@pytest.mark.parametrize(
    "scene", ["prairie/satellite/sat_20120805", "village/satellite/sat_20170921"]
)
def test_clouds_of_real_scenes_are_mostly_found(shared_data: Path, scene: str) -> None:
    folder = shared_data / "trial" / scene
    data, valid = read(folder / "B04B03B02.tif")
    classes, _ = read(folder / "SCL.tif")
    cloud = np.isin(classes[0], (8, 9))
    got = learn_brightness([(data, valid)]).find_clouds(data, valid)
    assert got[cloud].mean() > 0.75
    assert got[~ndimage.binary_dilation(cloud, iterations=2)].mean() < 0.015


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    from geo.raster_io import inspect_raster, read_window

    info = inspect_raster(str(path))
    bands = [info.bands[i] for i in (3, 2, 1)] if len(info.bands) > 4 else None
    height, width = info.geobox.shape.yx
    found = read_window(str(path), slice(0, height), slice(0, width), bands)
    return found.data, found.valid
