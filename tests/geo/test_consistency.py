from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from geo.consistency import REACH, ConsistentUpsampler, missing_means, spreading_weights
from geo.ensemble import EnsembleUpsampler
from geo.errors import UpscaleError
from geo.upsampler import BuiltinUpsampler, Upsampler, UpsamplerFacts
from tests.geo.upsamplers import Broken, Crooked, in_blocks, reach, whole

seeds = st.integers(0, 2**32 - 1)
sides = st.integers(1, 14)
scales = st.integers(1, 8)
networks = st.sampled_from(
    [
        BuiltinUpsampler("nearest", 4),
        BuiltinUpsampler("bicubic", 2),
        BuiltinUpsampler("lanczos", 3),
        Crooked(),
        EnsembleUpsampler(Crooked()),
    ]
)

ROUNDING = 0.01  # DN: a few units in the last place of float32 at 10,000


def image(seed: int, height: int, width: int, bands: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 10_000, (bands, height, width)).astype(np.float32)


def means(sr: np.ndarray, scale: int) -> np.ndarray:
    bands, height, width = sr.shape
    cells = sr.astype(np.float64).reshape(bands, height // scale, scale, width // scale, scale)
    return cells.mean(axis=(2, 4))


# --- the constraint -------------------------------------------------------------------------------


@given(seed=seeds, height=sides, width=sides, network=networks)
def test_the_mean_over_an_lr_pixel_is_the_lr_pixel(
    seed: int, height: int, width: int, network: Upsampler
) -> None:
    lr = image(seed, height, width)
    sr = whole(ConsistentUpsampler(network), lr)
    np.testing.assert_allclose(means(sr[: len(lr)], network.scale), lr, atol=1e-3, rtol=0)


@given(seed=seeds, height=sides, width=sides, network=networks)
def test_what_is_consistent_already_is_left_as_it_is(
    seed: int, height: int, width: int, network: Upsampler
) -> None:
    lr = image(seed, height, width)
    once = ConsistentUpsampler(network)
    twice = ConsistentUpsampler(once)
    np.testing.assert_allclose(whole(twice, lr), whole(once, lr), atol=ROUNDING)


def test_extra_planes_pass_through() -> None:
    lr = image(0, 6, 7)
    ensemble = EnsembleUpsampler(Crooked())
    np.testing.assert_array_equal(ConsistentUpsampler(ensemble)(lr)[-1], ensemble(lr)[-1])


@given(seed=seeds, height=sides, width=sides)
def test_the_mean_of_consistent_answers_is_the_consistent_mean(
    seed: int, height: int, width: int
) -> None:
    lr = image(seed, height, width)
    after = whole(ConsistentUpsampler(EnsembleUpsampler(Crooked())), lr)
    before = whole(EnsembleUpsampler(ConsistentUpsampler(Crooked())), lr)
    np.testing.assert_allclose(after[:-1], before[:-1], atol=ROUNDING)


# --- how a difference is spread -------------------------------------------------------------------


@given(scale=scales)
def test_weights_keep_means_and_constants(scale: int) -> None:
    weights = spreading_weights(scale)
    unit = np.zeros(2 * REACH + 1)
    unit[REACH] = 1
    np.testing.assert_allclose(weights.mean(axis=0), unit, atol=1e-12)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-12)


@given(seed=seeds)
def test_what_is_spread_has_no_step_between_lr_pixels(seed: int) -> None:
    """With ever finer pixels the largest step vanishes, at borders as inside."""
    missing = np.random.default_rng(seed).uniform(-1, 1, 12)

    def largest_step(scale: int) -> float:
        weights = spreading_weights(scale)
        around = np.pad(missing, REACH, mode="edge")
        windows = np.lib.stride_tricks.sliding_window_view(around, 2 * REACH + 1)
        return float(np.abs(np.diff((windows @ weights.T).ravel())).max())

    assert largest_step(512) < largest_step(8) / 32


@dataclass(frozen=True)
class Wrong(BuiltinUpsampler):
    """Bicubic, and something smooth beside it that is not there; the middle of `side` is zero."""

    error: Callable[[np.ndarray, np.ndarray], np.ndarray] = lambda y, x: y

    def __call__(self, lr: np.ndarray, /) -> np.ndarray:
        rows, cols = ((np.arange(n * self.scale) + 0.5) / self.scale - n / 2 for n in lr.shape[1:])
        sr = super().__call__(lr)
        return (sr + self.error(rows[:, None], cols[None])).astype(np.float32)


@pytest.mark.parametrize(
    "error",
    [
        lambda y, x: 100 + 0 * y * x,
        lambda y, x: 30 * y - 20 * x,
        lambda y, x: 4 * y * y - 3 * x * y + 2 * x * x,
    ],
)
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_smooth_errors_are_taken_back_whole(
    scale: int, error: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> None:
    lr = image(1, 15, 17)
    inside = np.s_[:, 4 * scale : -4 * scale, 4 * scale : -4 * scale]
    right = ConsistentUpsampler(BuiltinUpsampler("bicubic", scale))(lr)
    wrong = ConsistentUpsampler(Wrong("bicubic", scale, error=error))(lr)
    np.testing.assert_allclose(wrong[inside], right[inside], atol=ROUNDING)


def known_image(seed: int, side: int, scale: int) -> tuple[np.ndarray, np.ndarray]:
    """Ground with detail of all sizes, and its means over LR pixels."""
    rng = np.random.default_rng(seed)
    hr = sum(
        sigma * ndimage.gaussian_filter(rng.standard_normal((side * scale,) * 2), sigma)
        for sigma in (1, 2, 4, 8, 16)
    )
    hr = (3000 + 1000 * hr / hr.std())[None].astype(np.float32)
    return hr, means(hr, scale).astype(np.float32)


def border_steps(sr: np.ndarray, scale: int) -> float:
    """Mean squared step between neighbours across borders of LR pixels, against those inside."""
    steps = np.square(np.diff(sr, axis=-1)).mean(axis=(0, 1))
    border = np.arange(1, len(steps) + 1) % scale == 0
    return float(steps[border].mean() / steps[~border].mean())


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("seed", [0, 1])
def test_it_brings_an_image_nearer_to_the_ground_without_a_lattice(seed: int, scale: int) -> None:
    hr, lr = known_image(seed, 48, scale)
    bicubic = BuiltinUpsampler("bicubic", scale)
    plain = whole(bicubic, lr)
    consistent = whole(ConsistentUpsampler(bicubic), lr)
    boxed = plain + missing_means(plain, lr).repeat(scale, 1).repeat(scale, 2)
    plain_error, error, boxed_error = (
        np.square(sr - hr).mean() for sr in (plain, consistent, boxed)
    )
    assert error < 0.9 * plain_error
    assert error < 0.98 * boxed_error
    # Bicubic itself bends most at the borders. The box shows what the measure makes of a lattice.
    smooth, stepped = border_steps(consistent, scale), border_steps(boxed, scale)
    assert smooth < 1.3 * border_steps(plain, scale)
    assert smooth < 0.8 * stepped


# --- as an upsampler among others -----------------------------------------------------------------


@settings(deadline=None, max_examples=30)
@given(seed=seeds, height=sides, width=sides, block=st.integers(1, 9), network=networks)
def test_blocks_are_the_whole(
    seed: int, height: int, width: int, block: int, network: Upsampler
) -> None:
    consistent = ConsistentUpsampler(network)
    lr = image(seed, height, width)
    np.testing.assert_array_equal(in_blocks(consistent, lr, block), whole(consistent, lr))


@pytest.mark.parametrize(
    "network",
    [
        Crooked(),
        EnsembleUpsampler(Crooked()),
        BuiltinUpsampler("bicubic", 2),
        BuiltinUpsampler("lanczos", 4),
    ],
)
def test_its_halo_is_how_far_it_looks(network: Upsampler) -> None:
    consistent = ConsistentUpsampler(network)
    assert reach(consistent) == consistent.halo == network.halo + REACH


def test_its_facts() -> None:
    both = ConsistentUpsampler(EnsembleUpsampler(Crooked(bands=("red",))))
    assert UpsamplerFacts.of(both) == UpsamplerFacts(
        name="crooked+ensemble+consistent",
        scale=3,
        halo=4,
        bands=("red",),
        extras=("uncertainty",),
    )


def test_it_travels() -> None:
    both = ConsistentUpsampler(EnsembleUpsampler(BuiltinUpsampler("bicubic", 2)))
    assert pickle.loads(pickle.dumps(both)) == both


def test_another_shape_than_promised_is_refused() -> None:
    with pytest.raises(UpscaleError, match=r"broken made shape \(1, 8, 10\) of \(2, 4, 5\)"):
        ConsistentUpsampler(Broken())(image(0, 4, 5))
