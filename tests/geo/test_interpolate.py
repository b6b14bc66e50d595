from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from geo.interpolate import METHODS, Method, halo, upsample

SMOOTH: tuple[Method, ...] = ("bicubic", "lanczos")
PILLOW = {"bicubic": Image.Resampling.BICUBIC, "lanczos": Image.Resampling.LANCZOS}

seeds = st.integers(0, 2**32 - 1)
scales = st.integers(1, 8)
sides = st.integers(1, 17)


def random_image(seed: int, height: int, width: int, bands: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 10000, (bands, height, width)).astype(np.float32)


@given(seed=seeds, height=sides, width=sides, scale=scales)
def test_nearest_is_repetition(seed: int, height: int, width: int, scale: int) -> None:
    lr = random_image(seed, height, width)
    sr = upsample(lr, scale, "nearest")
    assert sr.dtype == np.float32
    np.testing.assert_array_equal(sr, lr.repeat(scale, 1).repeat(scale, 2))


@given(
    value=st.floats(-1e5, 1e5, width=32),
    height=sides,
    width=sides,
    scale=scales,
    method=st.sampled_from(METHODS),
)
def test_constant_stays_constant(
    value: float, height: int, width: int, scale: int, method: Method
) -> None:
    sr = upsample(np.full((1, height, width), value, np.float32), scale, method)
    assert sr.shape == (1, height * scale, width * scale)
    np.testing.assert_allclose(sr, value, rtol=2e-6)


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
@pytest.mark.parametrize("method", SMOOTH)
def test_equals_pillow_inside(method: Method, scale: int) -> None:
    lr = random_image(7, 23, 31, bands=1)
    size = (31 * scale, 23 * scale)
    wanted = np.asarray(Image.fromarray(lr[0]).resize(size, PILLOW[method]))
    # Pillow drops the taps beyond the edge where we repeat the edge pixel.
    inside = (slice(halo(method) * scale, -halo(method) * scale),) * 2
    np.testing.assert_allclose(upsample(lr, scale, method)[0][inside], wanted[inside], atol=0.01)


@given(
    scale=scales, slope_y=st.floats(-50, 50), slope_x=st.floats(-50, 50), level=st.floats(-500, 500)
)
def test_bicubic_reproduces_ramps(scale: int, slope_y: float, slope_x: float, level: float) -> None:
    y, x = np.mgrid[:12, :15].astype(np.float64)
    lr = (level + slope_y * y + slope_x * x).astype(np.float32)[None]
    centre_y, centre_x = (np.mgrid[: 12 * scale, : 15 * scale] + 0.5) / scale - 0.5
    wanted = level + slope_y * centre_y + slope_x * centre_x
    inside = (slice(2 * scale, -2 * scale),) * 2
    np.testing.assert_allclose(upsample(lr, scale, "bicubic")[0][inside], wanted[inside], atol=2e-3)


@pytest.mark.parametrize("scale", [2, 4, 5])
@pytest.mark.parametrize("method", METHODS)
def test_halo_is_how_far_a_pixel_reaches(method: Method, scale: int) -> None:
    lr = random_image(3, 21, 21, bands=1)
    changed = lr.copy()
    changed[0, 10, 10] += 5000
    difference = upsample(changed, scale, method) != upsample(lr, scale, method)
    touched = difference[0].reshape(21, scale, 21, scale).any((1, 3))  # by LR pixel
    reach = np.abs(np.argwhere(touched) - 10).max()
    assert reach == halo(method)


@given(
    seed=seeds,
    scale=st.integers(1, 5),
    method=st.sampled_from(METHODS),
    row=st.integers(3, 9),
    col=st.integers(3, 9),
)
def test_a_window_gives_the_same_pixels_as_the_whole(
    seed: int, scale: int, method: Method, row: int, col: int
) -> None:
    lr = random_image(seed, 20, 20)
    part = upsample(lr[:, row - 3 : row + 8, col - 3 : col + 8], scale, method)
    inside = (slice(None), slice(3 * scale, -3 * scale), slice(3 * scale, -3 * scale))
    whole = upsample(lr, scale, method)
    np.testing.assert_array_equal(
        part[inside], whole[:, row * scale : (row + 5) * scale, col * scale : (col + 5) * scale]
    )


def test_unknown_method_and_scale_are_refused() -> None:
    lr = np.zeros((1, 2, 2), np.float32)
    with pytest.raises(ValueError, match=r"spline.*nearest, bicubic, lanczos"):
        upsample(lr, 2, "spline")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="scale is 0"):
        upsample(lr, 0, "nearest")
