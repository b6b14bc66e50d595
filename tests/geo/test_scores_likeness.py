"""Likeness of sets of images: known factors of power, known shifts of values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import wasserstein_distance

from geo.scores.likeness import histogram_distance, radial_power, spectrum_distance_db


def noise(seed: int, count: int = 4, sigma: float = 1.0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.normal(0, sigma, (2, 32, 32)) for _ in range(count)]


def test_images_are_like_themselves_in_any_order() -> None:
    images = noise(0)
    assert spectrum_distance_db(images, images[::-1]) == pytest.approx(0, abs=1e-12)
    assert histogram_distance(images, images[::-1]) == 0


@pytest.mark.parametrize("factor", [0.5, 2.0, 10.0])
def test_a_factor_of_contrast_is_twenty_log_of_it_at_all_frequencies(factor: float) -> None:
    images = noise(0)
    scaled = [factor * image + 7 for image in images]  # a constant has no frequency
    expected = abs(20 * math.log10(factor))
    assert spectrum_distance_db(scaled, images) == pytest.approx(expected)
    assert spectrum_distance_db(images, scaled) == pytest.approx(expected)


def test_a_wave_stands_at_its_frequency() -> None:
    x = np.arange(32)
    wave = np.broadcast_to(np.sin(2 * np.pi * 5 * x / 32), (1, 32, 32))
    power = radial_power([wave])
    assert power.shape == (16,)
    assert power.argmax() == 5 - 1


def test_white_noise_is_as_strong_at_all_frequencies() -> None:
    power = radial_power(noise(3, count=64))
    assert power.max() / power.min() < 1.3


def test_values_that_are_off_by_a_constant_are_off_by_that_many_spreads() -> None:
    real = noise(1, sigma=40.0)
    spread = np.mean([np.std([image[band] for image in real]) for band in range(2)])
    moved = [image + 3 * spread for image in real]
    assert histogram_distance(moved, real) == pytest.approx(3, rel=0.02)


def test_distances_of_histograms_are_those_of_wasserstein() -> None:
    made, real = ([image[:1] for image in noise(seed, sigma=s)] for seed, s in ((1, 1.0), (2, 2.0)))
    values = [np.ravel(images) for images in (made, real)]
    expected = wasserstein_distance(*values) / values[1].std()
    # The outermost half percent at either end are left out.
    assert histogram_distance(made, real) == pytest.approx(expected, rel=0.05)


def test_a_band_without_contrast() -> None:
    flat = [np.full((1, 8, 8), 5.0)]
    assert histogram_distance(flat, flat) == 0
    assert histogram_distance([flat[0] + 1], flat) == math.inf
