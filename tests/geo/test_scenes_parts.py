"""The parts that made scenes stand on: the sensor, the canvas, the shape of the land."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geo.scenes import canvas as canvas_module
from geo.scenes.canvas import Canvas, Sun, polygon_share, rectangle
from geo.scenes.layout import CATEGORIES, MOUNTAIN, _from_plan, _to_plan, make_layout
from geo.scenes.noise import fractal, stream
from geo.scenes.parcels import divide
from geo.scenes.satellite import Clouds, observe
from geo.scenes.terrain import _downhill, _drained, carve_mountains

# --- the sensor ---------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_flat_ground_stays_flat(scale: int) -> None:
    ground = np.full((40 * scale, 40 * scale, 3), 93.0, np.float32)
    seen = observe(
        ground, (20, 18), scale=scale, origin_px=(8.3 * scale, 9.1 * scale), shift_px=(0.4, -1.2)
    )
    assert seen.shape == (20, 18, 3)
    np.testing.assert_allclose(seen, 93.0, rtol=1e-5)


@pytest.mark.parametrize("cycles_per_lr_px", [0.1, 0.25, 0.5])
def test_waves_are_damped_as_the_transfer_function_says(cycles_per_lr_px: float) -> None:
    scale, count = 8, 40
    x = (np.arange(60 * scale) + 0.5) / scale  # in LR pixels
    wave = np.cos(2 * np.pi * cycles_per_lr_px * x)
    ground = np.broadcast_to(wave[None, :, None], (60 * scale, wave.size, 1)).astype(np.float32)
    seen = observe(ground, (4, count), scale=scale, origin_px=(80, 10 * scale), shift_px=(0, 0.5))
    # Content moved right by half a pixel: pixel j sees what lies at its left edge.
    at = 10 + np.arange(count)
    gauss = 0.3 ** ((cycles_per_lr_px / 0.5) ** 2)
    box = np.sinc(cycles_per_lr_px)
    steps = np.sinc(cycles_per_lr_px / scale)  # ground pixels are small boxes themselves
    expected = gauss * box * steps * np.cos(2 * np.pi * cycles_per_lr_px * at)
    np.testing.assert_allclose(seen[2, :, 0], expected, atol=2e-3)


def test_content_moves_down_and_right_by_the_shift() -> None:
    ground = fractal(stream(1), (200, 200), 30)[..., None]
    still = observe(ground, (20, 20), scale=4, origin_px=(50, 50), shift_px=(0, 0))
    moved = observe(ground, (20, 20), scale=4, origin_px=(50, 50), shift_px=(2, 1))
    np.testing.assert_allclose(moved[2:, 1:], still[:-2, :-1], atol=1e-5)


@pytest.mark.parametrize("fraction", [0.0, 0.3, 0.85])
def test_clouds_cover_what_was_asked_and_shade_beside_them(fraction: float) -> None:
    sun = Sun()
    clouds = Clouds.draw(stream(5), (160, 160), fraction, sun)
    assert clouds.fraction == pytest.approx(fraction, abs=0.01)
    assert (clouds.opacity[clouds.cloudy] > 0).all()
    if fraction == 0.3:
        # Moved back towards the sun, the shadows lie under the clouds.
        dx, dy = np.round(sun.towards * 0.07 * 160 / sun.slope).astype(int)
        back = np.roll(clouds.shadow, (dy, dx), axis=(0, 1))[20:-20, 20:-20]
        opacity = clouds.opacity[20:-20, 20:-20]
        assert np.corrcoef(back.ravel(), opacity.ravel())[0, 1] > 0.99


# --- the canvas ---------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(
    angle=st.floats(0, np.pi),
    length=st.floats(4, 30),
    width=st.floats(4, 30),
    gsd=st.sampled_from([0.5, 1.0, 2.0]),
)
def test_an_outline_covers_its_area(angle: float, length: float, width: float, gsd: float) -> None:
    outline = rectangle((40.3, 37.7), angle, length, width)
    _, share = polygon_share(outline, (200, 200), gsd)
    # Drawing fills fine pixels that an edge touches: up to one too many all along the rim.
    rim = 2 * (length + width) * gsd / 3
    assert share.sum() * gsd**2 == pytest.approx(length * width, abs=rim + gsd**2)


def test_shadows_fall_away_from_the_sun_as_long_as_things_are_high() -> None:
    sun = Sun(azimuth_deg=180.0, elevation_deg=45.0)  # south: shadows point north, up
    ground = np.full((100, 100, 3), 100, np.float32)
    canvas = Canvas(1.0)
    canvas.area(rectangle((50, 60), 0.0, 20, 10), (200, 200, 200), 12.0)
    canvas.render(ground, sun)
    column = ground[:, 50, 0]
    assert (column[56:64] > 195).all()  # the roof itself is lit
    assert (column[45:54] < 45).all()
    assert (column[:40] == 100).all()
    assert (column[67:] == 100).all()


def test_tiles_leave_no_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = stream(3, "seams")
    canvas = Canvas(1.0)
    for _ in range(60):
        spot, size = rng.uniform(0, 160, 2), rng.uniform(4, 25, 2)
        canvas.area(rectangle(spot, rng.uniform(0, 3), *size), (150, 120, 90), rng.uniform(0, 20))
        canvas.line(rng.uniform(0, 160, (2, 2)), rng.uniform(0.3, 6), (80, 80, 80))
    trees = rng.uniform(0, 160, (300, 2))
    canvas.trees(trees, rng.uniform(1, 4, 300), rng.uniform(3, 9, 300), rng.integers(0, 64, 300))
    pictures = []
    for tile in (1000, 64):
        monkeypatch.setattr(canvas_module, "_TILE_PX", tile)
        ground = np.full((160, 160, 3), 100, np.float32)
        canvas.render(ground, Sun())
        pictures.append(ground)
    np.testing.assert_allclose(pictures[0], pictures[1], atol=0.5)


# --- the land -----------------------------------------------------------------------------------


@given(turn=st.integers(0, 3), mirror=st.booleans(), p=st.floats(0, 1), q=st.floats(0, 1))
def test_plan_and_region_are_inverse(turn: int, mirror: bool, p: float, q: float) -> None:
    plan = np.array([[p, q]])
    back = _to_plan(_from_plan(plan, turn, mirror), turn, mirror)
    np.testing.assert_allclose(back, plan, atol=1e-12)


def test_all_rain_leaves_through_the_pits() -> None:
    height = fractal(stream(2), (40, 50), 20).astype(np.float64)
    receiver, distance = _downhill(height)
    area = _drained(receiver)
    pits = receiver == np.arange(receiver.size)
    assert area[pits].sum() == height.size
    assert area.min() == 1
    assert set(np.unique(distance)) <= {1.0, np.sqrt(2)}
    assert (height.ravel()[receiver] <= height.ravel()).all()


def test_mountains_stand_only_in_the_mountains() -> None:
    layout = make_layout(7, (3000.0, 3000.0), cells=200)
    height = carve_mountains(layout, 7)
    away = layout.inside_m(MOUNTAIN) < -0.06 * layout.size_m
    assert height.max() > 200
    assert height.min() >= 0
    assert height[away].max() < 15


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_a_division_leaves_nothing_out(seed: int) -> None:
    cells = divide(stream(seed), 300.0, largest=(90.0, 60.0), road_half_widths=(8.0, 4.0))
    assert sum(c.size[0] * c.size[1] for c in cells) == pytest.approx(600.0**2)
    corners = np.array([[c.x0, c.y0, c.x1, c.y1] for c in cells])
    assert (corners[:, 2:] > corners[:, :2]).all()
    assert np.abs(corners).max() <= 300.0


def test_streams_are_independent_and_repeatable() -> None:
    assert stream(1, "a").integers(1 << 60) == stream(1, "a").integers(1 << 60)
    draws = {int(stream(s, n).integers(1 << 60)) for s in (1, 2) for n in ("a", "b")}
    assert len(draws) == 4
    assert len(set(CATEGORIES)) == 7
