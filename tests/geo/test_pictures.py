"""Pictures: comparable, whatever the DN, and readable as files."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from geo.pictures import (
    colour_bands,
    encode_jpeg,
    encode_png,
    pair_strip,
    stretch_limits,
    to_rgb8,
    training_strip,
)

BANDS = ("blue", "green", "red", "nir")


def stack(size: int = 16) -> np.ndarray:
    return np.random.default_rng(0).uniform(200, 3000, (4, size, size)).astype(np.float32)


def test_colours_go_by_name_and_not_by_position() -> None:
    assert colour_bands(BANDS) == [2, 1, 0]
    assert colour_bands(("band1", "band2", "band3")) == [0, 1, 2]
    assert colour_bands(("pan",)) == [0, 0, 0]


def test_one_stretch_keeps_order_between_images() -> None:
    data, valid = stack(), np.ones((16, 16), bool)
    limits = stretch_limits(data, valid)
    dark, light = to_rgb8(data - 300, limits, BANDS), to_rgb8(data, limits, BANDS)
    assert (dark <= light).all()
    assert dark.mean() < light.mean()


def test_invalid_pixels_are_shown_as_nothing() -> None:
    data, valid = stack(), np.ones((16, 16), bool)
    valid[:4] = False
    picture = to_rgb8(data, stretch_limits(data, valid), BANDS, valid)
    assert (picture[:4] == 128).all()
    empty = stretch_limits(data, np.zeros_like(valid))
    assert to_rgb8(data, empty, BANDS).shape == (16, 16, 3)


def test_files_can_be_opened_and_hold_all_images_side_by_side() -> None:
    lr, hr, valid = stack(4), stack(16), np.ones((16, 16), bool)
    pair = Image.open(io.BytesIO(pair_strip(lr, hr, valid, bands=BANDS)))
    sample = Image.open(io.BytesIO(training_strip(lr, hr, hr, valid, bands=BANDS)))
    assert pair.size == (3 * 16 + 2 * 4, 16)
    assert sample.size == (4 * 16 + 3 * 4, 16)
    picture = to_rgb8(hr, stretch_limits(hr, valid), BANDS)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(encode_png(picture)))), picture)
    assert Image.open(io.BytesIO(encode_jpeg(picture))).format == "JPEG"
