"""Edges that stay where they are, and images that do not move."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import ndimage

from geo.scores.layout import edge_likeness, shift_px

EVERYWHERE = np.ones((128, 128), np.bool_)


def ground(seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal((2, 160, 160))
    return ndimage.gaussian_filter(noise, (0, 2, 2)).astype(np.float32)[:, 16:144, 16:144]


def test_gain_and_offset_move_no_edge() -> None:
    image = ground()
    recoloured = image * np.array([3.0, 0.5])[:, None, None] + 7
    assert edge_likeness(recoloured, image, EVERYWHERE) == pytest.approx(1)
    assert shift_px(recoloured.astype(np.float32), image, EVERYWHERE) < 0.02


def test_other_ground_has_other_edges() -> None:
    assert abs(edge_likeness(ground(1), ground(), EVERYWHERE)) < 0.1


def test_a_known_shift_is_told() -> None:
    image = ground()
    moved = ndimage.shift(image, (0, 0.5, -0.25), mode="nearest")
    assert shift_px(moved, image, EVERYWHERE) == pytest.approx(math.hypot(0.5, 0.25), abs=0.05)


def test_nothing_is_said_of_nothing() -> None:
    flat = np.ones((1, 128, 128), np.float32)
    assert math.isnan(edge_likeness(flat, flat, EVERYWHERE))
    assert math.isnan(edge_likeness(ground(), ground(), ~EVERYWHERE))
