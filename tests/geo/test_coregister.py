"""Co-registration: known sub-pixel shifts come back, and only those that deserve belief."""

from __future__ import annotations

from dataclasses import replace
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
    believe,
    measure_window,
    spread_windows,
)
from geo.evidence import Evidence, reliability_of, standard_error

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
    assert believe([found], RULES).all()


@pytest.mark.parametrize(("dy", "dx"), [(0.031, -0.049), (0.25, 0.5), (-0.509, 0.113)])
def test_small_shifts_are_found_between_the_steps_of_the_search(
    rasters: ModuleType, dy: float, dx: float
) -> None:
    ground = land(rasters, seed=1)
    found = measure_window(cut(ground), cut(rasters.moved(ground, dy, dx)), ALL)
    assert off(found, dy, dx) < 0.006


@settings(max_examples=8, deadline=None)
@given(shifts, shifts, st.integers(0, 99))
def test_other_colours_and_noise_do_not_matter(
    rasters: ModuleType, dy: float, dx: float, seed: int
) -> None:
    ground = land(rasters, seed=seed)
    target = recolour(rasters.moved(ground, dy, dx), noise=0.1, seed=seed)
    found = measure_window(cut(ground), cut(target), ALL)
    assert off(found, dy, dx) < 0.06
    assert believe([found], RULES).all()


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
    assert believe([found], RULES).all()


@pytest.mark.parametrize("blur_px", [2.0, 3.0])
def test_masks_do_not_hold_the_shift_of_smooth_ground_back(
    rasters: ModuleType, blur_px: float
) -> None:
    """A mask that stays where it is would be content common to both images."""
    pulled = []
    for seed in range(6):
        ground = ndimage.gaussian_filter(land(rasters, seed=seed), (0, blur_px, blur_px))
        target = recolour(rasters.moved(ground, 1.6, -1.2), noise=0.01, seed=seed)
        rows, cols = np.indices((192, 192))
        clouds = (np.hypot(rows - 70, cols - 120) < 24) | (np.hypot(rows - 120, cols - 60) < 20)
        found = measure_window(cut(ground), cut(target), ~clouds[32:-32, 32:-32])
        pulled.append(1 - (1.6 * found.dy_px - 1.2 * found.dx_px) / (1.6**2 + 1.2**2))
    assert abs(np.median(pulled)) < 0.03


@pytest.mark.parametrize("wrong", [np.nan, np.inf, 65535.0])
def test_what_bad_pixels_hold_does_not_matter(rasters: ModuleType, wrong: float) -> None:
    ground = land(rasters, seed=4)
    target = rasters.moved(ground, 0.3, -0.7)
    bad = np.random.default_rng(0).random((128, 128)) < 0.01  # dead pixels, everywhere
    bad[:40, 90:] = True
    a, b = cut(ground).copy(), cut(target).copy()
    plain = measure_window(a, b, ~bad)
    a[:, bad], b[:, bad] = wrong, wrong
    assert measure_window(a, b, ~bad) == plain


def test_contrast_may_be_turned_round_in_a_band(rasters: ModuleType) -> None:
    """As vegetation between red and near infrared, or snow between the seasons."""
    ground = land(rasters, seed=6)
    target = rasters.moved(ground, -0.45, 0.85)
    target[1:] *= -1
    found = measure_window(cut(ground), cut(target), ALL)
    assert off(found, -0.45, 0.85) < 0.05


def test_clouds_that_no_mask_tells_are_survived_or_not_believed(rasters: ModuleType) -> None:
    believed = 0
    for seed in range(12):
        ground = land(rasters, seed=seed)
        target = recolour(rasters.moved(ground, 0.8, -0.5), noise=0.03, seed=seed)
        haze = rasters.ground((192, 192), seed=seed + 50, bands=1, finest_px=24)[0]
        cover = np.clip(haze - np.quantile(haze, 0.7), 0, 1)  # 30 % of the window
        target = target * (1 - cover) + 3000 * cover
        found = measure_window(cut(ground), cut(target), ALL)
        if believe([found], RULES)[0]:
            believed += 1
            assert off(found, 0.8, -0.5) < 0.15
    assert believed >= 9


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
    shifts = [
        measure_window(cut(land(rasters, seed=s)), cut(land(rasters, seed=s + 1000)), ALL)
        for s in range(25)
    ]
    assert not believe(shifts, RULES).any()
    assert max(s.reliability for s in shifts) < 0.5
    assert not agree(shifts, RULES).accepted


def test_noise_is_not_believed() -> None:
    for seed, smooth_px in enumerate([0, 0.7, 1.5, 3, 6]):
        rng = np.random.default_rng(seed)
        a, b = (
            ndimage.gaussian_filter(rng.normal(size=(3, 128, 128)), (0, smooth_px, smooth_px))
            for _ in range(2)
        )
        assert not believe([measure_window(a, b, ALL)], RULES).any()


@pytest.mark.parametrize("level", [0.0, 500.0])
def test_flat_ground_gives_no_answer(rasters: ModuleType, level: float) -> None:
    flat = np.full((3, 128, 128), level, np.float32)
    for reference in (flat, cut(land(rasters))):
        found = measure_window(reference, flat, ALL)
        assert np.isfinite([found.dy_px, found.dx_px, found.disagreement_px]).all()
        assert found.reliability < 0.05
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


EVIDENCE = Evidence(
    peak_ratio=4.0,
    disagreement_px=0.05,
    scatter_px=0.005,
    similarity=0.9,
    similarity_gained=0.2,
    valid_share=1.0,
)


def window(dy: float, dx: float, *, reliability: float = 0.99, sigma: float = 0.02) -> WindowShift:
    return WindowShift(
        dy_px=dy, dx_px=dx, reliability=reliability, sigma_px=sigma, evidence=EVIDENCE
    )


def test_windows_that_agree_are_accepted() -> None:
    found = agree([window(0.4, -0.6), window(0.42, -0.58), window(0.38, -0.62)], RULES)
    assert found.accepted
    assert found.reason is None
    assert (found.dy_px, found.dx_px) == pytest.approx((0.4, -0.6))
    assert (found.windows, found.agreeing) == (3, 3)
    assert found.reliability > 0.999
    assert found.sigma_px < 0.05


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
    "doubtful", [window(0.4, 0.4, reliability=0.89), window(9.0, 0.0), window(-6.0, -6.0)]
)
def test_a_window_that_fails_a_gate_is_not_believed(doubtful: WindowShift) -> None:
    assert believe([doubtful, window(0.1, 0.1)], RULES).tolist() == [False, True]
    alone = agree([doubtful], RULES)
    assert not alone.accepted
    assert alone.reason == "unreliable_registration"


def test_a_window_at_odds_with_itself_is_not_believed() -> None:
    """Intensity says one thing, orientation of edges another."""
    at_odds = replace(window(0, 0), evidence=replace(EVIDENCE, disagreement_px=0.51))
    assert not believe([at_odds], RULES).any()


def test_a_window_that_does_not_know_well_is_not_believed() -> None:
    assert believe([window(0, 0, sigma=s) for s in (0.15, 0.17)], RULES).tolist() == [True, False]


def test_windows_are_believed_one_by_one_even_where_they_disagree() -> None:
    """Distorted ground: each is right about its own place."""
    assert believe([window(0, y) for y in (-1.5, -0.7, 0.1, 0.9, 1.6)], RULES).all()
    assert believe([], RULES).shape == (0,)


def test_distorted_ground_has_a_consensus_and_two_places_have_none() -> None:
    bent = agree([window(0, x) for x in (-0.9, -0.4, 0.0, 0.1, 0.2, 0.7, 1.3)], RULES)
    assert bent.accepted
    assert abs(bent.dx_px) < 0.4
    split = agree([window(0, -2)] * 4 + [window(0, 2)] * 4, RULES)
    assert not split.accepted
    assert split.reason == "unreliable_registration"


def test_weak_windows_that_agree_are_strong_together() -> None:
    rng = np.random.default_rng(3)
    weak = [window(1 + e[0], -1 + e[1], reliability=0.4) for e in rng.normal(0, 0.05, (9, 2))]
    assert not believe(weak, RULES).any()
    found = agree(weak, RULES)
    assert found.accepted
    assert np.hypot(found.dy_px - 1, found.dx_px + 1) < 0.06
    assert not agree(weak[:2], RULES).accepted


def test_doubtful_windows_at_odds_are_unreliable() -> None:
    places = ((-3, -3), (-3, 3), (3, -3), (3, 3), (0, 3.5), (2, 0))
    for reliability in (0.3, 0.99):
        found = agree([window(y, x, reliability=reliability) for y, x in places], RULES)
        assert not found.accepted
        assert found.reason == "unreliable_registration"


def test_a_window_that_knows_more_counts_for_more() -> None:
    found = agree([window(0, 0, sigma=0.01), window(0, 0.3, sigma=0.3)], RULES)
    assert abs(found.dx_px) < 0.01


def test_one_good_window_is_enough_and_one_weak_one_is_not() -> None:
    assert agree([window(0.5, 0.5, reliability=0.97)], RULES).accepted
    assert not agree([window(0.5, 0.5, reliability=0.9)], RULES).accepted


# --- evidence -----------------------------------------------------------------------------------


def test_better_evidence_is_more_reliable() -> None:
    assert reliability_of(EVIDENCE) > 0.95
    for worse in (
        {"peak_ratio": 1.2},
        {"disagreement_px": 1.0},
        {"scatter_px": 0.2},
        {"scatter_px": np.inf},
    ):
        assert reliability_of(replace(EVIDENCE, **worse)) < reliability_of(EVIDENCE) - 0.01
    assert reliability_of(replace(EVIDENCE, scatter_px=np.inf)) == 0


@given(st.floats(0, 1e6), st.floats(0, 100), st.floats(0, np.inf))
def test_reliability_is_a_probability(ratio: float, apart: float, scatter: float) -> None:
    evidence = replace(EVIDENCE, peak_ratio=ratio, disagreement_px=apart, scatter_px=scatter)
    assert 0 <= reliability_of(evidence) <= 1
    assert standard_error(evidence) > 0


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
        ({"min_reliability": 1.5}, "min_reliability is 1.5; wanted 0 to 1"),
    ],
)
def test_rules_check_themselves(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        RegistrationRules(**options)
