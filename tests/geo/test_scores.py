"""Scores against hand-computed cases, and what they must not depend on."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from geo.interpolate import upsample
from geo.scores.consistency import lr_consistency
from geo.scores.pair import score_pair
from geo.scores.pixels import psnr_db, psnr_of, squared_error
from geo.scores.pooling import bootstrap_interval, group_places, pooled_gain
from geo.scores.shifted import cpsnr_db
from geo.scores.spectra import ergas, sam_deg
from geo.scores.structure import ssim
from geo.sensor import degrade
from tests.geo.score_tiles import made_tile

RANGE = 10000.0


def ground(seed: int = 0, size: int = 48, bands: int = 3) -> np.ndarray:
    """Smooth random ground in DN."""
    noise = np.random.default_rng(seed).normal(size=(bands, size, size))
    smooth = ndimage.gaussian_filter(noise, (0, 1.5, 1.5))
    return 2000 + 800 * smooth / smooth.std()


def all_valid(size: int = 48) -> np.ndarray:
    return np.ones((size, size), bool)


def test_psnr_by_hand() -> None:
    hr = np.zeros((1, 2, 2))
    sr = np.array([[[1.0, 1.0], [1.0, 7.0]]])
    # MSE over three valid pixels is 1, so PSNR is 20 log10(10).
    valid = np.array([[True, True], [True, False]])
    assert psnr_db(sr, hr, valid, 10.0) == pytest.approx(20.0)
    assert psnr_db(sr, hr, ~valid, 10.0) == pytest.approx(20 - 10 * math.log10(49))


def test_identical_is_infinite_and_nothing_is_nan() -> None:
    hr = ground()
    assert psnr_db(hr, hr, all_valid(), RANGE) == math.inf
    assert math.isnan(psnr_db(hr, hr, ~all_valid(), RANGE))
    scores = score_pair(hr, hr, None, all_valid(), scale=4, data_range=RANGE)
    assert scores["psnr_db"] == math.inf
    assert math.isnan(scores["gain_db"])


@given(st.integers(1, 47), st.integers(1, 47))
def test_pooled_psnr_is_the_same_however_it_is_tiled(row: int, col: int) -> None:
    hr, sr = ground(1), ground(1) + ground(2) / 50
    valid = np.random.default_rng(3).random((48, 48)) > 0.2
    whole = psnr_db(sr, hr, valid, RANGE)
    error, count = 0.0, 0
    for rows in (slice(0, row), slice(row, 48)):
        for cols in (slice(0, col), slice(col, 48)):
            part = squared_error(sr[:, rows, cols], hr[:, rows, cols], valid[rows, cols])
            error, count = error + part[0], count + part[1]
    assert psnr_of(error, count, RANGE) == pytest.approx(whole)


@pytest.mark.parametrize("side", [16, 32, 48])
def test_pooled_psnr_of_a_report_does_not_depend_on_its_tiles(side: int) -> None:
    tile = made_tile(40, holes=True)
    whole = psnr_db(tile.sr, tile.hr, tile.valid, RANGE)
    rows = []
    for top in range(0, 96, side):
        for left in range(0, 96, side):
            fine = np.s_[..., top : top + side, left : left + side]
            coarse = np.s_[..., top // 4 : (top + side) // 4, left // 4 : (left + side) // 4]
            part = (tile.sr[fine], tile.hr[fine], tile.lr[coarse], tile.valid[fine])
            rows.append(score_pair(*part, scale=4, data_range=RANGE, crop_px=0))
    columns = ([r[n] for r in rows] for n in ("squared_error", "bicubic_squared_error", "values"))
    assert pooled_gain(*columns, data_range=RANGE)["psnr_db"] == pytest.approx(whole)


@pytest.mark.parametrize("shift", [(0, 2), (-3, 1), (2, -2)])
def test_cpsnr_forgives_a_shift_and_a_brightness_that_psnr_sees(shift: tuple[int, int]) -> None:
    hr = ground(4, 64)
    sr = np.roll(hr, shift, axis=(1, 2)) + 150
    assert psnr_db(sr, hr, all_valid(64), RANGE) < 30
    assert cpsnr_db(sr, hr, all_valid(64), RANGE) > 100


def test_cpsnr_by_brute_force_under_a_mask() -> None:
    hr, sr = ground(5, 24), ground(6, 24)
    valid = np.random.default_rng(7).random((24, 24)) > 0.3
    best = -math.inf
    for dy in range(7):
        for dx in range(7):
            good = valid[dy : dy + 18, dx : dx + 18] & valid[3:21, 3:21]
            difference = (hr[:, dy : dy + 18, dx : dx + 18] - sr[:, 3:21, 3:21])[:, good]
            mse = np.mean((difference - difference.mean(axis=1, keepdims=True)) ** 2)
            best = max(best, 20 * math.log10(RANGE) - 10 * math.log10(mse))
    assert cpsnr_db(sr, hr, valid, RANGE) == pytest.approx(best)


def test_cpsnr_never_looks_at_holes_and_is_unknown_where_little_is_left() -> None:
    hr, sr, valid = ground(5, 32), ground(6, 32), all_valid(32)
    valid[8:20, 8:20] = False
    spoiled_sr, spoiled_hr = sr.copy(), hr.copy()
    # A hole that agrees with itself under every shift would win the search if it were seen.
    spoiled_sr[:, ~valid] = spoiled_hr[:, ~valid] = 0
    wanted = cpsnr_db(sr, hr, valid, RANGE)
    assert cpsnr_db(spoiled_sr, spoiled_hr, valid, RANGE) == pytest.approx(wanted)
    sliver = np.zeros_like(valid)
    sliver[10, 10:14] = True
    assert math.isnan(cpsnr_db(sr, hr, sliver, RANGE))


def test_ssim_by_its_formula_at_one_pixel() -> None:
    hr, sr = ground(8, 11, 1), ground(9, 11, 1)
    # In an 11 x 11 image exactly one window is whole.
    line = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    weights = np.outer(line, line) / line.sum() ** 2
    mx, my = (weights * sr[0]).sum(), (weights * hr[0]).sum()
    vx, vy = (weights * sr[0] ** 2).sum() - mx**2, (weights * hr[0] ** 2).sum() - my**2
    cov = (weights * sr[0] * hr[0]).sum() - mx * my
    c1, c2 = (0.01 * RANGE) ** 2, (0.03 * RANGE) ** 2
    wanted = (2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    assert ssim(sr, hr, all_valid(11), RANGE) == pytest.approx(wanted, rel=1e-9)


def test_invalid_pixels_never_count() -> None:
    hr, sr = ground(10), ground(10) + 5
    valid = all_valid()
    valid[20:28, 20:28] = False
    spoiled = sr.copy()
    spoiled[:, ~valid] = 1e6
    spoiled[0, 24, 24] = np.nan
    for score in (psnr_db, ssim, cpsnr_db):
        assert score(spoiled, hr, valid, RANGE) == pytest.approx(score(sr, hr, valid, RANGE))
    assert sam_deg(spoiled, hr, valid) == pytest.approx(sam_deg(sr, hr, valid))
    assert ergas(spoiled, hr, valid, 4) == pytest.approx(ergas(sr, hr, valid, 4))


def test_spectral_angle_by_hand() -> None:
    a = np.array([1.0, 0.0]).reshape(2, 1, 1)
    b = np.array([1.0, 1.0]).reshape(2, 1, 1)
    assert sam_deg(a, b, all_valid(1)) == pytest.approx(45.0)
    assert sam_deg(3 * a, a, all_valid(1)) == pytest.approx(0.0)
    assert math.isnan(sam_deg(a[:1], b[:1], all_valid(1)))


def test_ergas_by_hand_under_a_mask() -> None:
    hr = np.array([[[100.0, 100.0, 7.0]], [[50.0, 150.0, 7.0]]])
    sr = np.array([[[110.0, 90.0, 0.0]], [[50.0, 170.0, 0.0]]])
    valid = np.array([[True, True, False]])
    # Of the two valid pixels: MSE 100 and 200, means 100 and 100.
    assert ergas(sr, hr, valid, 4) == pytest.approx(25 * math.sqrt((0.01 + 0.02) / 2))
    assert ergas(hr, hr, valid, 4) == 0
    assert math.isnan(ergas(sr, hr, np.zeros_like(valid), 4))


def test_ergas_is_unknown_where_a_band_has_no_mean_to_divide_by() -> None:
    hr = np.stack([np.full((2, 2), 100.0), np.array([[50.0, -50.0], [30.0, -30.0]])])
    assert math.isnan(ergas(hr + 1, hr, np.ones((2, 2), bool), 4))


def test_consistency_is_nought_for_what_the_sensor_would_see_and_names_a_shift() -> None:
    hr = ground(11, 64).astype(np.float32)
    lr = degrade(hr, 4)
    assert lr_consistency(hr, lr, all_valid(64), 4, RANGE) == pytest.approx(0, abs=1e-7)
    moved = np.roll(hr, 4, axis=2)
    assert lr_consistency(moved, lr, all_valid(64), 4, RANGE) > 0.01


def test_consistency_needs_no_reference_and_never_looks_at_holes() -> None:
    hr = ground(11, 64).astype(np.float32)
    lr, none = degrade(hr, 4), ~all_valid(64)
    seen = all_valid(64)
    seen[24:32, 24:32] = False
    holed = hr.copy()
    holed[:, ~seen] = 0
    scores = score_pair(holed, hr, lr, none, scale=4, data_range=RANGE, seen=seen)
    assert math.isnan(scores["psnr_db"])
    assert scores["lr_consistency"] == pytest.approx(0, abs=1e-7)


def test_without_a_reference_consistency_and_sharpness_are_known_and_nothing_else() -> None:
    tile = made_tile(41)
    scores = score_pair(tile.sr, None, tile.lr, tile.valid, scale=4, data_range=RANGE)
    full = score_pair(*tile, scale=4, data_range=RANGE)
    known = {name: value for name, value in scores.items() if math.isfinite(value)}
    assert known == {
        **{n: full[n] for n in known if n.endswith(("lr_consistency", "hf_power"))},
        **dict.fromkeys(("squared_error", "bicubic_squared_error", "values", "valid_fraction"), 0),
    }
    assert {"lr_consistency", "bicubic_lr_consistency", "hf_power"} <= set(known)


def test_another_upsampler_is_scored_beside_by_the_same_names() -> None:
    tile = made_tile(42)
    scores = score_pair(*tile, scale=4, data_range=RANGE, other=tile.sr)
    for name in [n.removeprefix("bicubic_") for n in scores if n.startswith("bicubic_")]:
        assert scores[f"other_{name}"] == scores[name], name
    assert scores["other_gain_db"] == scores["gain_db"]


def test_a_perceptual_distance_is_asked_for_sr_and_bicubic_without_the_rim() -> None:
    tile = made_tile(43, holes=True)
    asked = []

    def distance(image: np.ndarray, hr: np.ndarray, valid: np.ndarray) -> float:
        asked.append((image, hr, valid))
        return float(len(asked))

    scores = score_pair(*tile, scale=4, data_range=RANGE, perceptual=distance)
    assert (scores["lpips"], scores["bicubic_lpips"]) == (1.0, 2.0)
    inner = np.s_[..., 4:-4, 4:-4]
    for found, wanted in zip(asked[0], (tile.sr, tile.hr, tile.valid), strict=True):
        np.testing.assert_array_equal(found, wanted[inner])
    assert "lpips" not in score_pair(*tile, scale=4, data_range=RANGE)


def test_bicubic_gains_nothing_over_itself() -> None:
    hr = ground(12, 64).astype(np.float32)
    lr = degrade(hr, 4)
    scores = score_pair(
        upsample(lr, 4, "bicubic"), hr, lr, all_valid(64), scale=4, data_range=RANGE
    )
    assert scores["gain_db"] == 0
    assert scores["ssim"] == scores["bicubic_ssim"]


def test_the_rim_is_left_out_unless_the_caller_has_context() -> None:
    hr = ground(13, 32)
    sr = hr.copy()
    sr[:, :4] += 500
    scored = score_pair(sr, hr, None, all_valid(32), scale=4, data_range=RANGE)
    assert scored["psnr_db"] == math.inf
    whole = score_pair(sr, hr, None, all_valid(32), scale=4, data_range=RANGE, crop_px=0)
    assert whole["psnr_db"] < 40


def test_the_interval_holds_the_gain_and_resamples_places() -> None:
    rng = np.random.default_rng(14)
    plain = rng.uniform(50, 150, 60)
    mine = plain * 10 ** (-rng.normal(1.0, 0.3, 60) / 10)
    places = [f"p{i // 3}" for i in range(60)]
    interval = bootstrap_interval(mine, plain, places=places)
    assert interval is not None
    gain = 10 * math.log10(plain.sum() / mine.sum())
    assert interval[0] < gain < interval[1]
    assert bootstrap_interval(mine[:2], plain[:2], places=["one", "one"]) is None


def test_pooled_gain_weighs_tiles_by_their_pixels() -> None:
    found = pooled_gain([100.0, 0.0], [400.0, 600.0], [75, 25], data_range=10.0)
    assert found["psnr_db"] == pytest.approx(20.0)  # a mean square of 1
    assert found["gain_db"] == pytest.approx(10.0)
    none = pooled_gain([], [], [], data_range=10.0)
    assert math.isnan(none["psnr_db"])


@given(st.lists(st.tuples(st.integers(-40, 40), st.integers(-40, 40)), min_size=1, max_size=60))
def test_places_are_the_widest_of_which_there_are_ten(cells: list[tuple[int, int]]) -> None:
    side, places = group_places([("32633", *cell) for cell in cells])
    assert len(places) == len(cells)
    assert len(set(places)) >= 10 or side == 1
    assert all(
        p == ("32633", r // side, c // side) for p, (r, c) in zip(places, cells, strict=True)
    )


def test_dates_of_a_cell_are_one_place_and_lattices_are_not() -> None:
    _, places = group_places([("a", 0, 0), ("a", 0, 0), ("b", 0, 0)])
    assert places[0] == places[1] != places[2]


def test_detail_scaled_by_a_has_its_square_of_power_beside_that_of_reality() -> None:
    hr = ground(15)
    smooth = ndimage.gaussian_filter(hr, (0, 6, 6))
    detail = np.random.default_rng(15).normal(0, 50, hr.shape)
    scored = score_pair(
        smooth + 0.5 * detail, smooth + detail, None, all_valid(), scale=4, data_range=RANGE
    )
    assert scored["hf_power"] / scored["real_hf_power"] == pytest.approx(0.25, rel=0.02)
    assert scored["detail"] == scored["hf_power"] / scored["real_hf_power"]
    flat = np.ones_like(hr)
    bare = score_pair(hr, flat, None, all_valid(), scale=4, data_range=RANGE)
    assert math.isnan(bare["detail"])  # reality has none to have a share of
