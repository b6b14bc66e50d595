"""Colours of classes on maps, which lie far apart."""

from __future__ import annotations

import colorsys

import numpy as np
import numpy.typing as npt

from geo.scores.agreement import Map

# Those of Okabe and Ito, "Color universal design", 2008, which the colour-blind tell apart, too.
_FIRST = (
    (0, 114, 178),
    (230, 159, 0),
    (0, 158, 115),
    (240, 228, 66),
    (204, 121, 167),
    (86, 180, 233),
    (213, 94, 0),
)
_NONE = (128, 128, 128)
_GOLDEN = 0.6180339887  # steps of it around the colour circle never come close to an earlier one


def class_colours(count: int) -> list[tuple[int, int, int]]:
    """Red, green and blue, 0 to 255, of as many classes."""
    return [_colour(place) for place in range(count)]


def paint_map(found: Map, count: int) -> npt.NDArray[np.uint8]:
    """Picture [H, W, 3] of a map; grey where there is no class."""
    return np.array([_NONE, *class_colours(count)], np.uint8)[found]


def _colour(place: int) -> tuple[int, int, int]:
    if place < len(_FIRST):
        return _FIRST[place]
    beyond = place - len(_FIRST)
    rgb = colorsys.hsv_to_rgb(beyond * _GOLDEN % 1, 0.55, (0.95, 0.7, 0.45)[beyond % 3])
    red, green, blue = (round(255 * value) for value in rgb)
    return red, green, blue
