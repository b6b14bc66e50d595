"""The satellite's sensor: a Gaussian of known MTF, the mean over each LR pixel, and noise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geo.sensor import MTF_AT_NYQUIST, blur_sigma_px, degrade, estimate_noise
from tests.geo import rasters

scales = st.sampled_from([2, 4, 8])


def mtf_of_gaussian(sigma_px: float, frequency: float) -> float:
    return float(np.exp(-2 * (np.pi * sigma_px * frequency) ** 2))


@given(scales, st.floats(0.05, 0.6))
def test_the_blur_has_the_mtf_asked_for_at_the_lr_nyquist_frequency(scale: int, mtf: float) -> None:
    nyquist = 1 / (2 * scale)  # cycles for each HR pixel
    assert mtf_of_gaussian(blur_sigma_px(scale, mtf), nyquist) == pytest.approx(mtf)


@pytest.mark.parametrize("scale", [2, 4, 8])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("share_of_nyquist", [0.125, 0.25, 0.5])
def test_a_wave_comes_out_as_strong_as_the_transfer_function_says(
    scale: int, axis: int, share_of_nyquist: float
) -> None:
    frequency = share_of_nyquist / (2 * scale)
    size = 64 * scale
    phase = 2 * np.pi * frequency * (np.arange(size) + 0.5)
    wave = np.cos(phase).astype(np.float32)
    hr = np.broadcast_to(wave[:, None] if axis == 0 else wave, (1, size, size))

    lr = degrade(np.ascontiguousarray(hr), scale)[0]

    n = np.arange(scale) - (scale - 1) / 2
    box = np.cos(2 * np.pi * frequency * n).mean()
    strength = box * mtf_of_gaussian(blur_sigma_px(scale, MTF_AT_NYQUIST), frequency)
    centres = 2 * np.pi * frequency * scale * (np.arange(64) + 0.5)
    line = (lr[:, 32] if axis == 0 else lr[32])[8:-8]
    np.testing.assert_allclose(line, strength * np.cos(centres)[8:-8], atol=2e-3)


@settings(max_examples=20)
@given(scales, st.integers(1, 3), st.floats(-5, 5), st.floats(-100, 100))
def test_degrading_commutes_with_a_change_of_colours(
    scale: int, bands: int, gain: float, offset: float
) -> None:
    hr = np.random.default_rng(1).normal(size=(bands, 6 * scale, 9 * scale)).astype(np.float32)
    lr = degrade(hr, scale)
    assert lr.shape == (bands, 6, 9)
    assert lr.dtype == np.float32
    changed = degrade(np.float32(gain) * hr + np.float32(offset), scale)
    np.testing.assert_allclose(changed, gain * lr + offset, atol=1e-3)


@given(scales)
def test_moving_the_ground_by_whole_lr_pixels_moves_the_image(scale: int) -> None:
    rng = np.random.default_rng(scale)
    hr = rng.normal(size=(1, 20 * scale, 20 * scale)).astype(np.float32)
    later = np.roll(hr, (2 * scale, -3 * scale), axis=(1, 2))
    inner = (slice(None), slice(7, -7), slice(7, -7))
    expected = np.roll(degrade(hr, scale), (2, -3), axis=(1, 2))
    np.testing.assert_allclose(degrade(later, scale)[inner], expected[inner], atol=1e-5)


def test_the_input_stays_as_it_was() -> None:
    hr = np.ones((1, 8, 8), np.float32)
    hr.flags.writeable = False
    np.testing.assert_allclose(degrade(hr, 4), 1, rtol=1e-6)


@pytest.mark.parametrize("sigma", [5.0, 25.0, 80.0])
def test_noise_is_found_under_ground(sigma: float) -> None:
    """Ground of which a part is smooth, as it is in any scene of some size."""
    texture = 300 * rasters.ground((128, 128), bands=2, finest_px=6)
    texture[:, :, 70:] *= 0.01
    noise = sigma * np.random.default_rng(0).normal(size=texture.shape)
    found = estimate_noise(texture + noise, np.ones((128, 128), bool))
    np.testing.assert_allclose(found, sigma, rtol=0.25)


def test_where_nothing_is_valid_there_is_no_noise() -> None:
    assert estimate_noise(np.ones((2, 40, 40)), np.zeros((40, 40), bool)) == (0.0, 0.0)
    assert estimate_noise(np.ones((1, 5, 5)), np.ones((5, 5), bool)) == (0.0,)
