"""LR images derived of HR ones: a sensor that is known, the same pixels each time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from geo.derive import SensorModel, derive_pairs, fill_holes, seed_of
from geo.pairstore.rows import PairData
from geo.sensor import degrade, estimate_noise
from tests.geo.stores import CONFIG, make_pair

SENSOR = SensorModel(scale=4, noise_dn=(20.0, 5.0))


def images(count: int, size: int = 64) -> Any:
    return np.random.default_rng(0).uniform(100, 4000, (count, 2, size, size)).astype(np.float32)


def test_without_noise_it_is_blur_and_mean() -> None:
    hr = images(3)
    quiet = replace(SENSOR, noise_dn=(0.0, 0.0))
    np.testing.assert_array_equal(quiet(hr, [1, 2, 3]), np.stack([degrade(x, 4) for x in hr]))


def test_noise_is_white_of_each_band_and_found_again() -> None:
    flat = np.full((1, 2, 512, 512), 1000, np.float32)
    (lr,) = SENSOR(flat, [7])
    np.testing.assert_allclose(lr.std(axis=(1, 2)), SENSOR.noise_dn, rtol=0.03)
    np.testing.assert_allclose(lr.mean(axis=(1, 2)), 1000, atol=0.5)
    assert abs(np.corrcoef(lr[0].ravel(), lr[1].ravel())[0, 1]) < 0.03
    assert abs(np.corrcoef(lr[0, :, 1:].ravel(), lr[0, :, :-1].ravel())[0, 1]) < 0.03
    # Where all is smooth the estimate is a fifth too low, as it says of itself.
    found = estimate_noise(lr, np.ones(lr.shape[1:], np.bool_))
    np.testing.assert_allclose(found, SENSOR.noise_dn, rtol=0.25)


def test_a_chip_comes_out_the_same_whatever_is_beside_it() -> None:
    hr = images(3)
    together, alone = SENSOR(hr, [1, 2, 3]), SENSOR(hr[1:2], [2])
    np.testing.assert_array_equal(together[1], alone[0])
    assert not np.array_equal(alone, SENSOR(hr[1:2], [3]))


def test_seeds_are_of_the_identity() -> None:
    one, other = (make_pair(number).row["identity"] for number in (1, 2))
    assert seed_of(one) == seed_of(one) != seed_of(other)
    assert 0 <= seed_of(one) < 1 << 32


def test_holes_leave_no_edge() -> None:
    hr = np.full((2, 8, 8), 50, np.float32)
    valid = np.ones((8, 8), np.bool_)
    valid[:3] = False
    np.testing.assert_array_equal(fill_holes(np.where(valid, hr, 0), valid), hr)
    assert fill_holes(hr, np.ones((8, 8), np.bool_)) is hr
    nothing = np.zeros((8, 8), np.bool_)
    np.testing.assert_array_equal(fill_holes(hr, nothing), hr)


@pytest.mark.parametrize("level", [0, 65_535])
def test_pairs_keep_their_numbers_type_and_range(level: int) -> None:
    pair = make_pair(1)
    chip = PairData(row=pair.row, lr=pair.lr, hr=np.full_like(pair.hr, level), valid=pair.valid)
    (found,) = derive_pairs([chip], SensorModel(scale=2, noise_dn=(9.0, 9.0)), CONFIG.dtype)
    assert found.lr.dtype == np.uint16
    assert found.lr.shape == pair.lr.shape
    assert np.abs(found.lr.astype(int) - level).max() < 60
    assert found.hr is chip.hr
    assert derive_pairs([], SENSOR, "uint16") == []
