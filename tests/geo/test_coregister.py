"""Co-registration: known sub-pixel shifts come back, and only those that deserve belief."""

from __future__ import annotations

from itertools import pairwise
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from geo.coregister import (
    RegistrationRules,
    WindowShift,
    agree,
    measure_window,
    spread_windows,
)

RULES = RegistrationRules()
ALL = np.ones((128, 128), bool)
shifts = st.floats(-3.9, 3.9)


def land(rasters: ModuleType, shape: tuple[int, int] = (192, 192), *, seed: int = 0) -> Any:
    """Ground with detail up to where a sensor sees any, as real images have."""
    return rasters.ground(shape, seed=seed, finest_px=2.2)


def cut(image: Any, margin: int = 32) -> Any:
    """The middle of wrapping ground, whose edges do not wrap any more."""
    return image[:, margin:-margin, margin:-margin]


def off(shift: WindowShift, dy: float, dx: float) -> float:
    return float(np.hypot(shift.dy_px - dy, shift.dx_px - dx))


def recolour(image: Any, *, noise: float, seed: int = 0) -> Any:
    """Another sensor, another day: gain, offset, gamma and noise of each band."""
    rng = np.random.default_rng(seed)
    bands = [
        gain * 800 * (plane - plane.min()) ** gamma + offset
        for plane, gain, gamma, offset in zip(
            image, (0.4, 0.5, 0.35), (1.2, 0.85, 1.0), (300, 200, 500), strict=True
        )
    ]
    stacked = np.stack(bands)
    spread = stacked.std(axis=(1, 2), keepdims=True)
    return (stacked + noise * spread * rng.normal(size=stacked.shape)).astype(np.float32)


# --- one window ---------------------------------------------------------------------------------


def test_content_lower_and_further_right_is_a_positive_shift(rasters: ModuleType) -> None:
    """The sign: where the target's content lies relative to the reference's."""
    reference = np.zeros((1, 64, 64), np.float32)
    rng = np.random.default_rng(0)
    reference[0, 10:50, 10:50] = ndimage.gaussian_filter(rng.normal(size=(40, 40)), 1.5)
    target = np.roll(reference, (2, -3), axis=(1, 2))  # row 2 down, column 3 to the left
    found = measure_window(reference, target, np.ones((64, 64), bool))
    assert off(found, dy=2, dx=-3) < 0.02


@settings(max_examples=15, deadline=None)
@given(shifts, shifts, st.integers(0, 999))
def test_any_shift_is_found_to_a_fiftieth_of_a_pixel(
    rasters: ModuleType, dy: float, dx: float, seed: int
) -> None:
    ground = land(rasters, seed=seed)
    found = measure_window(cut(ground), cut(rasters.moved(ground, dy, dx)), ALL)
    assert off(found, dy, dx) < 0.02
    assert found.peak_ratio > 2
    assert found.disagreement_px < 0.1


@pytest.mark.parametrize(("dy", "dx"), [(0.031, -0.049), (0.25, 0.5), (-0.509, 0.113)])
def test_small_shifts_are_found_between_the_steps_of_the_search(
    rasters: ModuleType, dy: float, dx: float
) -> None:
    ground = land(rasters, seed=1)
    found = measure_window(cut(ground), cut(rasters.moved(ground, dy, dx)), ALL)
    assert off(found, dy, dx) < 0.004


@settings(max_examples=8, deadline=None)
@given(shifts, shifts, st.integers(0, 99))
def test_other_colours_and_noise_do_not_matter(
    rasters: ModuleType, dy: float, dx: float, seed: int
) -> None:
    ground = land(rasters, seed=seed)
    target = recolour(rasters.moved(ground, dy, dx), noise=0.1, seed=seed)
    found = measure_window(cut(ground), cut(target), ALL)
    assert off(found, dy, dx) < 0.06
    assert found.peak_ratio > RULES.min_peak_ratio


@settings(max_examples=8, deadline=None)
@given(shifts, shifts, st.integers(0, 99), st.sampled_from([0.0, 9000.0, 1e6]))
def test_what_is_masked_is_not_looked_at(
    rasters: ModuleType, dy: float, dx: float, seed: int, wrong: float
) -> None:
    """Clouds cast in the target, nodata in the reference, each fixed in its own frame."""
    ground = land(rasters, seed=seed)
    target, reference = recolour(rasters.moved(ground, dy, dx), noise=0.02), ground.copy()
    rows, cols = np.indices((192, 192))
    cloud = np.hypot(rows - 70, cols - 120) < 28
    nodata = cols + rows < 110
    target[:, cloud] = wrong
    reference[:, nodata] = -9999
    found = measure_window(cut(reference), cut(target), ~(cloud | nodata)[32:-32, 32:-32])
    assert off(found, dy, dx) < 0.08
    assert found.peak_ratio > RULES.min_peak_ratio


@settings(max_examples=8, deadline=None)
@given(shifts, shifts)
def test_the_way_back_is_the_way_there_turned_round(
    rasters: ModuleType, dy: float, dx: float
) -> None:
    ground = land(rasters, seed=5)
    a, b = cut(ground), cut(recolour(rasters.moved(ground, dy, dx), noise=0.05))
    there, back = measure_window(a, b, ALL), measure_window(b, a, ALL)
    assert off(back, -there.dy_px, -there.dx_px) < 1e-3


@pytest.mark.parametrize("shape", [(64, 64), (96, 61), (40, 128)])
def test_windows_may_have_any_shape(rasters: ModuleType, shape: tuple[int, int]) -> None:
    ground = land(rasters, (shape[0] + 64, shape[1] + 64), seed=2)
    target = rasters.moved(ground, -0.4, 0.7)
    found = measure_window(cut(ground), cut(target), np.ones(shape, bool))
    assert off(found, -0.4, 0.7) < 0.05


def test_other_ground_is_not_believed(rasters: ModuleType) -> None:
    """Of wrongly paired windows hardly one passes the gates."""
    passed = 0
    for seed in range(25):
        a = cut(land(rasters, seed=seed))
        b = cut(land(rasters, seed=seed + 1000))
        passed += agree([measure_window(a, b, ALL)], RULES).agreeing
    assert passed <= 1


@pytest.mark.parametrize("level", [0.0, 500.0])
def test_flat_ground_gives_no_answer(rasters: ModuleType, level: float) -> None:
    flat = np.full((3, 128, 128), level, np.float32)
    for reference in (flat, cut(land(rasters))):
        found = measure_window(reference, flat, ALL)
        assert np.isfinite([found.dy_px, found.dx_px, found.disagreement_px]).all()
        assert not agree([found], RULES).accepted


def test_nothing_valid_gives_no_answer(rasters: ModuleType) -> None:
    ground = cut(land(rasters))
    found = measure_window(ground, ground, ~ALL)
    assert not agree([found], RULES).accepted


# --- windows spread over the common ground ------------------------------------------------------


@given(st.tuples(st.integers(1, 700), st.integers(1, 700)), st.integers(16, 256), st.integers(1, 6))
def test_windows_lie_inside_and_reach_every_side(
    shape: tuple[int, int], window_px: int, most: int
) -> None:
    rules = RegistrationRules(window_px=window_px, max_windows=most)
    windows = spread_windows(shape, rules)
    assert 1 <= len(windows) <= most**2
    assert len({(r.start, c.start) for r, c in windows}) == len(windows)
    for axis in (0, 1):
        spans = sorted({(w[axis].start, w[axis].stop) for w in windows})
        assert all(stop - start == min(window_px, shape[axis]) for start, stop in spans)
        assert spans[0][0] == 0
        if most > 1:
            assert spans[-1][1] == shape[axis]
        if len(spans) < most:  # enough windows to leave no gap
            assert all(later[0] <= earlier[1] for earlier, later in pairwise(spans))


# --- consensus ----------------------------------------------------------------------------------


def window(dy: float, dx: float, ratio: float = 3.0, disagreement: float = 0.05) -> WindowShift:
    return WindowShift(dy_px=dy, dx_px=dx, peak_ratio=ratio, disagreement_px=disagreement)


def test_windows_that_agree_are_accepted() -> None:
    found = agree([window(0.4, -0.6), window(0.42, -0.58), window(0.38, -0.62)], RULES)
    assert found.accepted
    assert found.reason is None
    assert (found.dy_px, found.dx_px) == pytest.approx((0.4, -0.6))
    assert (found.windows, found.agreeing) == (3, 3)
    assert found.reliability == 1


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.floats(-7, 7), st.floats(-7, 7)), max_size=3),
    st.permutations(range(10)),
)
def test_a_few_gross_errors_change_little(wrong: list[Any], order: list[int]) -> None:
    rng = np.random.default_rng(0)
    right = [window(1 + e[0], -2 + e[1]) for e in rng.normal(0, 0.03, (7, 2))]
    every = right + [window(dy, dx) for dy, dx in wrong]
    found = agree([every[i] for i in order if i < len(every)], RULES)
    assert found.accepted
    assert np.hypot(found.dy_px - 1, found.dx_px + 2) < 0.1
    assert found.agreeing >= 7
    assert found.reliability <= 1


@pytest.mark.parametrize(
    "doubtful",
    [
        window(0.4, 0.4, ratio=1.29),
        window(0.4, 0.4, disagreement=0.51),
        window(9.0, 0.0),
    ],
)
def test_a_window_that_fails_a_gate_is_not_believed(doubtful: WindowShift) -> None:
    alone = agree([doubtful], RULES)
    assert not alone.accepted
    assert alone.reason == "unreliable_registration"
    assert alone.agreeing == 0
    among = agree([doubtful, window(0.1, 0.1), window(0.1, 0.1)], RULES)
    assert among.agreeing == 2
    assert among.reliability == pytest.approx(2 / 3)


def test_windows_at_odds_are_unreliable() -> None:
    scattered = [window(y, x) for y, x in ((-3, -3), (-3, 3), (3, -3), (3, 3), (0, 3.5), (2, 0))]
    found = agree(scattered, RULES)
    assert not found.accepted
    assert found.reason == "unreliable_registration"


def test_a_weak_peak_makes_less_reliable() -> None:
    strong, weak = (agree([window(0, 0, ratio=r)] * 4, RULES).reliability for r in (2.5, 1.4))
    assert strong == 1
    assert weak == pytest.approx(0.4)


def test_a_shift_beyond_the_limit_is_refused_with_its_value() -> None:
    found = agree([window(3, 4)] * 3, RegistrationRules(max_shift_px=4.9))
    assert not found.accepted
    assert found.reason == "shift_beyond_limit"
    assert np.hypot(found.dy_px, found.dx_px) == pytest.approx(5)
    assert agree([window(3, 4)] * 3, RegistrationRules(max_shift_px=5.1)).accepted


def test_no_windows_is_too_little_ground() -> None:
    found = agree([], RULES)
    assert not found.accepted
    assert found.reason == "too_little_ground"
    assert found.reliability == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"window_px": 8}, "window_px is 8; wanted 16 or more"),
        ({"max_shift_px": 0}, "max_shift_px is 0; wanted more than 0"),
    ],
)
def test_rules_check_themselves(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        RegistrationRules(**options)
