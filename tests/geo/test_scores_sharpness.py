from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geo.interpolate import upsample
from geo.scores.sharpness import hf_power

ALL = np.ones((64, 64), np.bool_)


def noise(seed: int = 0, side: int = 64) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((3, side, side))


def test_white_noise_has_its_share_of_frequencies() -> None:
    """Of unit variance, all frequencies alike: those beyond 1/8 are 15 of 16."""
    found = np.mean([hf_power(noise(seed), ALL, 4) for seed in range(30)])
    assert found == pytest.approx(15 / 16, rel=0.03)


@settings(max_examples=20, deadline=None)
@given(
    cycles=st.integers(1, 30),
    down=st.booleans(),
    scale=st.sampled_from([2, 4, 8]),
)
def test_a_wave_counts_by_its_frequency(cycles: int, down: bool, scale: int) -> None:
    frequency = cycles / 64
    if abs(frequency - 0.5 / scale) < 3 / 64 or frequency < 3 / 64 or frequency > 0.45:
        return  # the window smears a line over its neighbours
    wave = np.sqrt(2) * np.cos(2 * np.pi * frequency * np.arange(64))
    image = np.broadcast_to(wave[:, None] if down else wave, (1, 64, 64))
    expected = 1.0 if frequency > 0.5 / scale else 0.0
    assert hf_power(image, ALL, scale) == pytest.approx(expected, abs=0.02)


def test_it_grows_with_the_square_and_knows_no_offset() -> None:
    image = noise()
    once = hf_power(image, ALL, 4)
    assert hf_power(3 * image + 100, ALL, 4) == pytest.approx(9 * once)


def test_bicubic_has_next_to_none() -> None:
    lr = noise(side=16).astype(np.float32)
    smooth = upsample(lr, 4, "bicubic").astype(np.float64)
    assert hf_power(smooth, ALL, 4) < 0.1 * smooth.var()  # white LR noise is as rough as it gets


def test_the_rim_may_be_left_out_and_holes_may_not() -> None:
    image, rim = noise(), ALL.copy()
    rim[:4] = rim[-4:] = False
    assert hf_power(image, rim, 4) == pytest.approx(15 / 16, rel=0.2)
    hole = ALL.copy()
    hole[30, 30] = False
    assert math.isnan(hf_power(image, hole, 4))
    assert math.isnan(hf_power(image, np.zeros_like(ALL), 4))
