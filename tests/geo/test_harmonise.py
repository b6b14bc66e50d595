"""Colours: the known gain and offset come back, whatever lies about."""

from __future__ import annotations

import json
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geo.colour_fit import ColourFit, ToneCurve
from geo.harmonise import METHODS, HarmoniseRules, find_swapped, fit_colours

N = 20_000
gains = st.floats(0.05, 60)
offsets = st.floats(-500, 4000)


def aerial_pixels(seed: int = 0, bands: int = 1) -> np.ndarray:
    """Ground of several brightnesses, skewed as real ground is."""
    rng = np.random.default_rng(seed)
    return (40 + 30 * rng.gamma(2.0, 1.0, (bands, N))).astype(np.float32)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(gains, offsets), min_size=1, max_size=4))
def test_clean_colours_come_back_exactly(colours: list[tuple[float, float]]) -> None:
    aerial = aerial_pixels(bands=len(colours))
    gain, offset = np.array(colours, np.float32).T[..., None]
    satellite = gain * aerial + offset
    fit = fit_colours(aerial, satellite)
    np.testing.assert_allclose(fit.gains, gain[:, 0], rtol=1e-3)
    np.testing.assert_allclose(fit.apply(aerial), satellite, atol=1e-3 * satellite.std() + 0.01)
    assert fit.correlation == pytest.approx(1, abs=1e-4)


@settings(max_examples=25, deadline=None)
@given(
    gains,
    offsets,
    st.floats(0, 0.2),
    st.sampled_from(["bright", "dark", "other ground"]),
    st.integers(0, 999),
)
def test_changed_ground_and_missed_clouds_do_not_count(
    gain: float, offset: float, share: float, kind: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    aerial = aerial_pixels(seed)
    spread = gain * float(aerial.std())
    satellite = gain * aerial + offset + 0.1 * spread * rng.normal(size=aerial.shape)
    bad = rng.random(aerial.shape) < share
    wrong = {
        "bright": satellite.max() + 5 * spread,
        "dark": satellite.min() - 3 * spread,
        "other ground": rng.permutation(satellite, axis=1),
    }[kind]
    fit = fit_colours(aerial, np.where(bad, wrong, satellite).astype(np.float32))
    assert fit.gains[0] == pytest.approx(gain, rel=0.06)
    level = fit.gains[0] * aerial.mean() + fit.offsets[0]
    assert level == pytest.approx(gain * aerial.mean() + offset, abs=0.06 * spread)


@pytest.mark.parametrize("noise", [0.3, 0.6])
def test_noise_does_not_flatten_the_contrast(noise: float) -> None:
    """Least squares would: it shrinks the gain by the correlation."""
    rng = np.random.default_rng(3)
    truth = aerial_pixels(3)
    spread = truth.std()
    aerial = truth + noise * spread * rng.normal(size=truth.shape)
    satellite = 2 * (truth + noise * spread * rng.normal(size=truth.shape)) + 100
    fit = fit_colours(aerial.astype(np.float32), satellite.astype(np.float32))
    least_squares = np.polyfit(aerial[0], satellite[0], 1)[0]
    assert least_squares < 1.87
    assert fit.gains[0] == pytest.approx(2, rel=0.04)


def test_what_is_left_is_the_noise_that_was_put_in() -> None:
    rng = np.random.default_rng(4)
    aerial = aerial_pixels(4, bands=2)
    satellite = 3 * aerial + 50 + np.array([[20.0], [40.0]]) * rng.normal(size=aerial.shape)
    fit = fit_colours(aerial, satellite.astype(np.float32))
    np.testing.assert_allclose(fit.residual_dn, [20, 40], rtol=0.05)


def test_unlike_ground_has_a_low_correlation() -> None:
    rng = np.random.default_rng(5)
    fit = fit_colours(aerial_pixels(5), rng.normal(1000, 50, (1, N)).astype(np.float32))
    assert abs(fit.correlation) < 0.3


def test_flat_ground_brings_over_its_level_only() -> None:
    aerial = np.full((1, 500), 80, np.float32)
    satellite = np.random.default_rng(6).normal(900, 5, (1, 500)).astype(np.float32)
    fit = fit_colours(aerial, satellite)
    assert fit.gains == (1.0,)
    assert fit.apply(aerial).mean() == pytest.approx(900, abs=1)
    assert fit.correlation == 0


def test_each_band_has_its_own_colours_in_any_shape() -> None:
    fit = ColourFit(gains=(2.0, 3.0), offsets=(1.0, -1.0), correlation=1, residual_dn=(0, 0))
    image = np.ones((2, 3, 4), np.float32)
    got = fit.apply(image)
    assert got.dtype == np.float32
    assert (got[0] == 3).all()
    assert (got[1] == 2).all()
    np.testing.assert_array_equal(fit.apply(image.reshape(2, -1)), got.reshape(2, -1))


def test_bands_must_be_as_many() -> None:
    with pytest.raises(ValueError, match="zip"):
        fit_colours(np.ones((2, 9), np.float32), np.ones((3, 9), np.float32))


HISTOGRAM = HarmoniseRules(method="histogram")


class TestCurves:
    def bent(self, aerial: np.ndarray, gamma: float) -> np.ndarray:
        top = aerial.max()
        return (4000 * (aerial / top) ** gamma + 300).astype(np.float32)

    @pytest.mark.parametrize("gamma", [0.5, 0.8, 1.0, 1.3, 2.2])
    def test_a_tone_curve_comes_back(self, gamma: float) -> None:
        aerial = aerial_pixels(1)
        satellite = self.bent(aerial, gamma)
        noisy = satellite + np.random.default_rng(1).normal(0, 20, satellite.shape)
        fit = fit_colours(aerial, noisy.astype(np.float32), HISTOGRAM)
        common = (aerial > np.quantile(aerial, 0.01)) & (aerial < np.quantile(aerial, 0.99))
        error = (fit.apply(aerial) - satellite)[common]
        assert np.abs(error).mean() < 0.04 * satellite.std()
        assert fit.r_squared[0] > 0.96

    def test_a_curve_fits_bent_tones_better_than_a_line(self) -> None:
        aerial = aerial_pixels(2, bands=3)
        satellite = self.bent(aerial, 1.8)
        line, curve = (fit_colours(aerial, satellite, HarmoniseRules(method=m)) for m in METHODS)
        assert min(curve.r_squared) > max(line.r_squared)
        assert line.curves == ()
        assert len(curve.curves) == 3

    @pytest.mark.parametrize("kind", ["bright", "permuted"])
    def test_changed_ground_does_not_bend_the_curve(self, kind: str) -> None:
        rng = np.random.default_rng(8)
        aerial = aerial_pixels(8)
        satellite = 12 * aerial + 400
        wrong = satellite.max() * 2 if kind == "bright" else rng.permutation(satellite, axis=1)
        changed = np.where(rng.random(aerial.shape) < 0.15, wrong, satellite)
        fit = fit_colours(aerial, changed.astype(np.float32), HISTOGRAM)
        common = aerial < np.quantile(aerial, 0.98)
        error = np.abs(fit.apply(aerial) - satellite)[common]
        assert error.mean() < 0.06 * satellite.std()

    def test_a_lake_does_not_bend_the_curve(self) -> None:
        """Its quantiles are those of noise, which has nothing to do with tones."""
        rng = np.random.default_rng(10)
        lake = rng.random(N) < 0.7
        aerial = np.where(lake, 30 + 0.5 * rng.normal(size=N), 80 + 30 * rng.random(N))[None]
        satellite = 20 * aerial + 100 + rng.normal(0, 40, (1, N))
        fit = fit_colours(aerial.astype(np.float32), satellite.astype(np.float32), HISTOGRAM)
        on_lake = fit.apply(aerial.astype(np.float32))[:, lake]
        assert on_lake.mean() == pytest.approx(700, abs=5)
        assert on_lake.std() < 2 * 20 * 0.5

    @settings(max_examples=25, deadline=None)
    @given(st.integers(0, 9999), st.sampled_from([50, 500, N]))
    def test_curves_always_rise_and_can_be_undone(self, seed: int, n: int) -> None:
        rng = np.random.default_rng(seed)
        aerial = rng.integers(0, 256, (2, n)).astype(np.float32)
        satellite = np.sort(rng.gamma(0.7, 900, (2, n)), axis=1).astype(np.float32)
        fit = fit_colours(np.sort(aerial, axis=1), satellite, HISTOGRAM)
        levels = np.tile(np.linspace(-50, 400, 200, dtype=np.float32), (2, 1))
        assert (np.diff(fit.apply(levels), axis=1) > 0).all()
        np.testing.assert_allclose(fit.undo(fit.apply(levels)), levels, atol=0.05)

    @pytest.mark.parametrize("levels", [(10,), (10, 200), (10, 90, 200)])
    def test_few_levels_are_brought_over(self, levels: tuple[int, ...]) -> None:
        aerial = np.tile(np.float32(levels), (1, 300))
        fit = fit_colours(aerial, 5 * aerial, HISTOGRAM)
        np.testing.assert_allclose(fit.apply(aerial), 5 * aerial, rtol=1e-3)
        np.testing.assert_allclose(fit.undo(fit.apply(aerial)), aerial, rtol=1e-3)

    def test_one_flat_band_does_not_disturb_the_others(self) -> None:
        aerial = np.concatenate([aerial_pixels(4), np.full((1, N), 80, np.float32)])
        fit = fit_colours(aerial, 5 * aerial, HISTOGRAM)
        assert len(fit.curves) == 2
        common = aerial < np.quantile(aerial, 0.99)
        np.testing.assert_allclose(fit.apply(aerial)[common], 5 * aerial[common], rtol=1e-2)


class TestUndoing:
    @settings(max_examples=25, deadline=None)
    @given(st.lists(st.tuples(gains, offsets), min_size=1, max_size=4))
    def test_what_was_applied_is_undone(self, colours: list[tuple[float, float]]) -> None:
        gain, offset = zip(*colours, strict=True)
        fit = ColourFit(gains=gain, offsets=offset, correlation=1, residual_dn=(0,) * len(gain))
        image = 100 * np.random.default_rng(0).random((len(gain), 5, 7)).astype(np.float32)
        np.testing.assert_allclose(fit.undo(fit.apply(image)), image, rtol=1e-3, atol=0.05)

    def test_integers_are_undone_within_their_rounding(self) -> None:
        fit = ColourFit(gains=(16.0,), offsets=(90.0,), correlation=1, residual_dn=(0,))
        image = np.arange(256, dtype=np.float32)[None]
        stored = np.rint(fit.apply(image)).astype("uint16")
        np.testing.assert_array_equal(np.rint(fit.undo(stored)), image)

    @pytest.mark.parametrize("method", METHODS)
    def test_a_fit_survives_being_written_down(self, method: str) -> None:
        aerial = aerial_pixels(3, bands=2)
        satellite = (30 * aerial**0.8 + 100).astype(np.float32)
        fit = fit_colours(aerial, satellite, HarmoniseRules(method=method))
        assert ColourFit.from_dict(json.loads(json.dumps(fit.to_dict()))) == fit
        assert pickle.loads(pickle.dumps(fit)) == fit


class TestRefusal:
    def test_a_good_fit_is_not_refused(self) -> None:
        aerial = aerial_pixels(bands=3)
        fit = fit_colours(aerial, 9 * aerial + 5)
        assert (fit.reason, fit.value, fit.limit) == (None, None, None)
        assert fit.agreement > 0.95
        assert min(fit.r_squared) == pytest.approx(1, abs=1e-4)

    def test_other_ground_is_refused_with_its_agreement(self) -> None:
        fit = fit_colours(aerial_pixels(0), 10 * aerial_pixels(1))
        assert fit.reason == "poor_colour_fit"
        assert fit.value == fit.agreement < fit.limit == HarmoniseRules().min_agreement

    def test_colours_turned_upside_down_are_refused(self) -> None:
        aerial = aerial_pixels(2)
        assert fit_colours(aerial, 5000 - 9 * aerial).reason == "poor_colour_fit"

    def test_nothing_to_fit_is_refused(self) -> None:
        nothing = np.empty((3, 0), np.float32)
        assert fit_colours(nothing, nothing).reason == "poor_colour_fit"

    def test_a_fit_to_the_few_that_happen_to_suit_it_is_refused(self) -> None:
        rng = np.random.default_rng(9)
        aerial = aerial_pixels(9)
        agree = rng.random(aerial.shape) < 0.45
        satellite = np.where(agree, 10 * aerial, rng.uniform(2000, 30_000, aerial.shape))
        fit = fit_colours(aerial, satellite.astype(np.float32))
        assert fit.reason == "poor_colour_fit"
        assert fit.value == fit.agreement < fit.correlation

    @pytest.mark.parametrize(
        ("field", "value"), [("method", "magic"), ("min_agreement", 1.2), ("min_agreement", -0.1)]
    )
    def test_rules_check_themselves(self, field: str, value: object) -> None:
        with pytest.raises(ValueError, match=f"{field} is"):
            HarmoniseRules(**{field: value})


class TestTolerance:
    def fit(self, residual: float, contrast: float, noise: float) -> ColourFit:
        return ColourFit(
            gains=(1.0,),
            offsets=(0.0,),
            correlation=1,
            residual_dn=(residual,),
            contrast_dn=(contrast,),
            noise_dn=(noise,),
        )

    @pytest.mark.parametrize(
        ("residual", "contrast", "noise", "want"),
        [
            (30, 400, 20, 30),  # a good fit: what it leaves
            (300, 400, 20, 100),  # much has changed: that does not excuse it
            (22, 24, 20, 20),  # open water: noise is all there is
        ],
    )
    def test_it_lies_between_noise_and_contrast(
        self, residual: float, contrast: float, noise: float, want: float
    ) -> None:
        assert self.fit(residual, contrast, noise).tolerance_dn == (want,)

    def test_a_fit_made_by_hand_tolerates_its_residual(self) -> None:
        fit = ColourFit(gains=(1.0,), offsets=(0.0,), correlation=1, residual_dn=(7.0,))
        assert fit.tolerance_dn == (7.0,)


class TestNoise:
    @pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
    def test_the_satellites_own_noise_does_not_raise_the_gain(self, share: float) -> None:
        aerial = aerial_pixels(7)
        noise = share * 10 * float(aerial.std())
        rng = np.random.default_rng(7)
        satellite = (10 * aerial + rng.normal(0, noise, aerial.shape)).astype(np.float32)
        told = fit_colours(aerial, satellite, noise_dn=[noise])
        assert told.gains[0] == pytest.approx(10, rel=0.05)
        untold = fit_colours(aerial, satellite)
        assert untold.gains[0] > told.gains[0]

    def test_noise_said_too_large_goes_no_further_than_least_squares(self) -> None:
        aerial = aerial_pixels(7)
        satellite = 10 * aerial + 100
        assert fit_colours(aerial, satellite, noise_dn=[1e6]).gains[0] == pytest.approx(
            10, rel=1e-3
        )


def test_a_curve_goes_on_straight_beyond_its_ends() -> None:
    curve = ToneCurve(aerial=(10.0, 20.0, 40.0), satellite=(100.0, 300.0, 500.0), gain=12.0)
    got = curve.apply(np.array([0.0, 10.0, 15.0, 40.0, 50.0]))
    np.testing.assert_allclose(got, [-20, 100, 200, 500, 620])
    np.testing.assert_allclose(curve.undo(got), [0, 10, 15, 40, 50])


class TestSwappedBands:
    """Visible bands look alike, yet each looks most like itself."""

    def sides(self, order: list[int]) -> tuple[Any, Any]:
        rng = np.random.default_rng(0)
        light = rng.normal(size=4000)
        own = rng.normal(size=(3, 4000))
        satellite = (1500 + 300 * (light + 0.5 * own)).astype(np.float32)
        aerial = 80 + 20 * (light + 0.5 * own) + rng.normal(0, 3, (3, 4000))
        return aerial[order].astype(np.float32), satellite

    @pytest.mark.parametrize("order", [[2, 1, 0], [1, 0, 2], [1, 2, 0]])
    def test_they_are_found_and_refused(self, order: list[int]) -> None:
        aerial, satellite = self.sides(order)
        found, margin = find_swapped(aerial, satellite)
        assert [order[i] for i in found] == [0, 1, 2]
        fit = fit_colours(aerial, satellite)
        assert (fit.reason, fit.limit) == ("swapped_bands", 0.02)
        assert fit.value == pytest.approx(margin)

    def test_bands_in_their_order_stay(self) -> None:
        aerial, satellite = self.sides([0, 1, 2])
        assert find_swapped(aerial, satellite) == ((0, 1, 2), 0.0)
        assert fit_colours(aerial, satellite).reason is None
