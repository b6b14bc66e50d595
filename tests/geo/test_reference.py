"""The aerial image as the satellite sees it: blurred as its sensor blurs, at any shift."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geo.reference import ReferenceWindow, read_reference
from geo.sensor import degrade

SCALE, REACH = 4, 3.0
shifts = st.floats(-REACH, REACH)


@pytest.fixture(scope="module")
def window(world: Any, aerial: str) -> ReferenceWindow:
    """The world's aerial image over the whole satellite image."""
    return read_reference(aerial, world.lr_grid, reach_px=REACH)


def error(seen: Any, truth: Any) -> float:
    """Root mean square, in units of the image's spread."""
    return float(np.sqrt(((seen - truth) ** 2).mean()) / truth.std())


@settings(max_examples=12, deadline=None)
@given(shifts, shifts)
def test_it_is_what_the_sensor_makes_of_the_moved_ground(
    rasters: ModuleType, world: Any, window: ReferenceWindow, dy: float, dx: float
) -> None:
    """Against blurring the finest pixels; the way there over coarser ones is hardly seen."""
    seen = window.seen((dy, dx))
    inner = slice(rasters.RIM, -rasters.RIM)
    truth = degrade(rasters.moved(world.hr, dy * SCALE, dx * SCALE), SCALE)[:, inner, inner]
    assert seen.valid.all()
    assert error(seen.data, truth) < 0.02


def test_a_field_of_one_shift_is_that_shift(window: ReferenceWindow) -> None:
    field = np.broadcast_to(np.array([0.7, -1.2])[:, None, None], (2, *window.shape_yx))
    one, many = window.seen((0.7, -1.2)), window.seen(field)
    np.testing.assert_allclose(one.data, many.data, atol=2e-3)
    np.testing.assert_array_equal(one.valid, many.valid)


def test_every_pixel_follows_its_own_shift(window: ReferenceWindow) -> None:
    height, width = window.shape_yx
    field = np.zeros((2, height, width), np.float32)
    field[0, :, width // 2 :] = 1.5
    seen = window.seen(field)
    half = (..., slice(None, width // 2))
    other = (..., slice(width // 2, None))
    np.testing.assert_allclose(seen.data[half], window.seen((0, 0)).data[half], atol=2e-3)
    np.testing.assert_allclose(seen.data[other], window.seen((1.5, 0)).data[other], atol=2e-3)


def test_beyond_the_rim_nothing_is_valid(window: ReferenceWindow) -> None:
    seen = window.seen((60.0, 0.0))
    assert not seen.valid[:40].any()
    assert (seen.data[:, ~seen.valid] == 0).all()


def test_bad_ground_does_not_bleed(rasters: ModuleType, world: Any, tmp_path: Path) -> None:
    """Whatever stands in nodata pixels, valid samples are the same."""
    seen = []
    for fill in (-9999, 60000):
        hr = world.hr.copy()
        hr[:, 200:300, 150:380] = fill
        href = rasters.write(tmp_path / f"{fill}.tif", hr, world.hr_grid, nodata=fill)
        seen.append(read_reference(href, world.lr_grid, reach_px=REACH).seen((0.3, -0.4)))
    whole = read_reference(
        rasters.write(tmp_path / "whole.tif", world.hr, world.hr_grid),
        world.lr_grid,
        reach_px=REACH,
    ).seen((0.3, -0.4))
    hole = ~seen[0].valid
    assert 0.05 < hole.mean() < 0.2
    np.testing.assert_array_equal(seen[0].valid, seen[1].valid)
    np.testing.assert_allclose(seen[0].data, seen[1].data, atol=1e-3)
    assert error(seen[0].data[:, ~hole], whole.data[:, ~hole]) < 0.02
