"""Same ground or not: chips compared with what the satellite would make of their HR side."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geo.sensor import degrade
from geo.similarity import Comparison, compare_chips, see_chips, shares

SCALE, SIZE = 4, 32
TOLERANCE = (20.0, 15.0)
BANDS = len(TOLERANCE)
ALL = np.ones((1, SIZE, SIZE), bool)


def pixels(
    rasters: ModuleType, *, contrast: float = 200, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """LR and HR of one chip, the same ground but for the sensor's noise."""
    shape = (SIZE * SCALE, SIZE * SCALE)
    hr = 1000 + contrast * rasters.ground(shape, seed=seed, bands=BANDS, finest_px=8)
    rng = np.random.default_rng(seed)
    noise = np.array(TOLERANCE)[:, None, None] * rng.normal(size=(BANDS, SIZE, SIZE))
    return degrade(hr, SCALE) + noise, hr


def compare(lr: Any, hr: Any, good: Any = ALL) -> Comparison:
    seen, _ = see_chips(hr[None], np.ones((1, *hr.shape[1:]), bool), SCALE)
    return compare_chips(lr[None], seen, good, TOLERANCE)


class TestSimilarity:
    @pytest.mark.parametrize("contrast", [0.0, 20, 200, 2000])
    def test_the_same_ground_is_similar_however_flat(
        self, rasters: ModuleType, contrast: float
    ) -> None:
        """Still water correlates with nothing, not even itself."""
        got = compare(*pixels(rasters, contrast=contrast))
        assert got.similarity[0] > 0.85
        assert got.changed_fraction[0] == 0

    def test_other_ground_is_not(self, rasters: ModuleType) -> None:
        lr, _ = pixels(rasters)
        _, hr = pixels(rasters, seed=1)
        got = compare(lr, hr)
        assert got.similarity[0] < 0.3
        assert got.changed_fraction[0] > 0.8

    def test_another_level_is_another_ground(self, rasters: ModuleType) -> None:
        """A field that is green in one and ploughed in the other."""
        lr, hr = pixels(rasters, contrast=50)
        got = compare(lr + 600, hr)
        assert got.similarity[0] < 0.3

    @settings(max_examples=15, deadline=None)
    @given(st.integers(0, 3), st.integers(0, 3), st.integers(1, 4))
    def test_the_changed_part_is_measured(
        self, rasters: ModuleType, row: int, col: int, length: int
    ) -> None:
        lr, hr = pixels(rasters, seed=2)
        other, _ = pixels(rasters, seed=3)
        there = np.zeros((SIZE, SIZE), bool)
        there[8 * row : 8 * (row + 1), 8 * col : 8 * (col + length)] = True
        got = compare(np.where(there, other + 900, lr), hr)
        assert got.changed_fraction[0] == pytest.approx(there.mean(), abs=0.02)
        # Windows that have changed count from 0 (other ground) to -1 (another level).
        assert 1 - 2 * there.mean() - 0.1 < got.similarity[0] < 1 - there.mean() + 0.1

    @pytest.mark.parametrize(
        ("levels", "changed"), [(1.0, 0.0), (2.5, 0.0), (3.5, 1.0), (8.0, 1.0)]
    )
    def test_on_flat_ground_three_tolerances_of_level_are_a_change(
        self, levels: float, changed: float
    ) -> None:
        flat = np.full((1, BANDS, SIZE, SIZE), 1000.0)
        other = flat + levels * np.array(TOLERANCE)[:, None, None]
        got = compare_chips(flat, other, ALL, TOLERANCE)
        assert got.changed_fraction[0] == changed

    def test_equal_images_are_one(self, rasters: ModuleType) -> None:
        lr, _ = pixels(rasters)
        got = compare_chips(lr[None], lr[None], ALL, TOLERANCE)
        assert got.similarity[0] == pytest.approx(1)

    def test_it_does_not_matter_which_is_which(self, rasters: ModuleType) -> None:
        a, _ = pixels(rasters)
        b, _ = pixels(rasters, seed=4)
        ab = compare_chips(a[None], b[None], ALL, TOLERANCE)
        ba = compare_chips(b[None], a[None], ALL, TOLERANCE)
        np.testing.assert_allclose(ab.similarity, ba.similarity)

    def test_what_is_not_good_does_not_count(self, rasters: ModuleType) -> None:
        lr, hr = pixels(rasters)
        good = ALL.copy()
        good[0, :9, :] = good[0, :, 25:] = False
        got = compare(np.where(good[0], lr, 6e4), hr, good)
        assert got.similarity[0] > 0.9
        assert got.changed_fraction[0] == 0

    def test_nothing_good_says_nothing(self, rasters: ModuleType) -> None:
        got = compare(*pixels(rasters), ~ALL)
        assert got.similarity[0] == 0
        assert got.changed_fraction[0] == 0
        assert got.content[0] == 0

    def test_chips_are_measured_as_if_alone(self, rasters: ModuleType) -> None:
        chips = [pixels(rasters, seed=s, contrast=c) for s, c in ((0, 200), (1, 5), (2, 900))]
        lr, hr = (np.stack(side) for side in zip(*chips, strict=True))
        valid = np.ones((3, *hr.shape[2:]), bool)
        valid[1, :30] = False
        seen, good = see_chips(hr, valid, SCALE)
        together = compare_chips(lr, seen, good, TOLERANCE)
        for i in range(3):
            seen, good = see_chips(hr[i : i + 1], valid[i : i + 1], SCALE)
            alone = compare_chips(lr[i : i + 1], seen, good, TOLERANCE)
            for name in ("similarity", "changed_fraction", "content"):
                assert getattr(alone, name)[0] == getattr(together, name)[i]

    @pytest.mark.parametrize("size", [1, 5, 12, 20, 48])
    def test_chips_may_have_any_size(self, rasters: ModuleType, size: int) -> None:
        image = 1000 + 100 * rasters.ground((size, size), bands=BANDS) if size > 1 else None
        lr = np.full((BANDS, 1, 1), 7.0) if image is None else image
        got = compare_chips(lr[None], lr[None], np.ones((1, size, size), bool), TOLERANCE)
        assert got.similarity[0] == pytest.approx(1)


class TestContent:
    def test_noise_alone_is_about_one(self, rasters: ModuleType) -> None:
        assert compare(*pixels(rasters, contrast=0)).content[0] == pytest.approx(1, abs=0.1)

    def test_it_is_told_in_units_of_the_noise(self, rasters: ModuleType) -> None:
        lr, _ = pixels(rasters)
        one = compare_chips(lr[None], lr[None], ALL, TOLERANCE).content[0]
        half = tuple(t / 2 for t in TOLERANCE)
        assert compare_chips(lr[None], lr[None], ALL, TOLERANCE, half).content[0] == pytest.approx(
            2 * one
        )
        # Noise that is not known is no noise of zero.
        assert compare_chips(lr[None], lr[None], ALL, TOLERANCE, (0.0, 0.0)).content[0] == one

    def test_it_grows_with_contrast(self, rasters: ModuleType) -> None:
        found = [compare(*pixels(rasters, contrast=c)).content[0] for c in (20, 100, 500)]
        assert found == sorted(found)
        assert found[-1] > 3

    def test_a_slope_as_of_haze_is_no_content(self) -> None:
        slope = np.linspace(0, 400, SIZE)[None, None, :].repeat(SIZE, 1).repeat(BANDS, 0)
        got = compare_chips(slope[None], slope[None], ALL, TOLERANCE)
        assert got.content[0] < 0.7


class TestSeeing:
    def test_seen_is_what_the_sensor_makes_of_it(self, rasters: ModuleType) -> None:
        _, hr = pixels(rasters)
        seen, good = see_chips(np.stack([hr, hr[:, ::-1]]), np.ones((2, 128, 128), bool), SCALE)
        np.testing.assert_allclose(seen[0], degrade(hr, SCALE), rtol=1e-6)
        np.testing.assert_allclose(seen[1], degrade(hr[:, ::-1], SCALE), rtol=1e-6)
        assert good.all()

    @pytest.mark.parametrize(("scale", "shape"), [(2, (8, 12)), (4, (64, 32)), (8, (8, 40))])
    def test_at_any_scale_and_shape(self, scale: int, shape: tuple[int, int]) -> None:
        hr = np.random.default_rng(0).integers(0, 9000, (2, 3, *shape)).astype("uint16")
        seen, _ = see_chips(hr, np.ones((2, *shape), bool), scale)
        for chip, got in zip(hr, seen, strict=True):
            np.testing.assert_allclose(got, degrade(chip.astype(np.float32), scale), rtol=1e-5)

    @settings(max_examples=20, deadline=None)
    @given(st.integers(0, 999))
    def test_shares_are_counted(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        mask = rng.random((4, 12, 8)) < np.array([0.0, 0.3, 0.9, 1.0])[:, None, None]
        want = mask.reshape(4, 3, 4, 2, 4).mean(axis=(2, 4))
        np.testing.assert_allclose(shares(mask, 4), want, rtol=1e-6)

    def test_bad_pixels_do_not_darken_their_neighbours(self) -> None:
        hr = np.full((1, 1, 64, 64), 500, np.float32)
        valid = np.ones((1, 64, 64), bool)
        valid[0, 20:31, 40:] = False
        hr[0, 0, ~valid[0]] = 0
        seen, good = see_chips(hr, valid, SCALE)
        np.testing.assert_allclose(seen[0, 0][good[0]], 500, rtol=1e-5)
        np.testing.assert_array_equal(good[0], valid[0].reshape(16, 4, 16, 4).all((1, 3)))
