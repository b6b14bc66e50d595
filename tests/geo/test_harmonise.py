"""Colours: the known gain and offset come back, whatever lies about."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geo.harmonise import ColourFit, fit_colours

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
