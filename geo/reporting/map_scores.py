"""Columns of a tile's row that say how well maps made of its images agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from geo.reporting.tiles import TilePixels
from geo.scores.agreement import NAMES, Tally, confusion, from_sparse, to_sparse

# What a map is held against: labels; the map of the real image. Words of columns, and whose maps.
AGAINST = {"labels": "fcn", "real": "fcn_same"}
JUDGED = {"labels": ("real", "sr", "bicubic", "other"), "real": ("sr", "bicubic", "other")}
PREFIXES = {"real": "real_", "sr": "", "bicubic": "bicubic_", "other": "other_"}
CONFUSION = "confusion"


def column_of(image: str, against: str, name: str) -> str:
    """The column of a score, such as ``bicubic_fcn_same_mean_iou``."""
    return f"{PREFIXES[image]}{AGAINST[against]}_{name}"


MAP_COLUMNS = tuple(
    column_of(image, against, name)
    for against, images in JUDGED.items()
    for image in images
    for name in (*NAMES, CONFUSION)
)
"""All of them, in their order."""

MAP_SCORES = tuple(f"{word}_{name}" for word in AGAINST.values() for name in NAMES)
"""Scores of SR among them."""


def score_maps(tile: TilePixels, classes: Sequence[str]) -> dict[str, Any]:
    """Scores and confusions of a tile's maps by the names of `MAP_COLUMNS`.

    A confusion is a flat list, see `geo.scores.agreement.to_sparse`. Null is what cannot be said:
    where one of two maps is missing, or no pixel has a class in both.
    """
    found: dict[str, Any] = dict.fromkeys(MAP_COLUMNS)
    for against, images in JUDGED.items():
        wanted = tile.maps.get(against)
        for image in images:
            if wanted is None or image not in tile.maps:
                continue
            matrix = confusion(tile.maps[image], wanted, len(classes))
            if not matrix.any():
                continue
            told = Tally.of(matrix).scores()
            found |= {column_of(image, against, name): told[name] for name in NAMES}
            found[column_of(image, against, CONFUSION)] = to_sparse(matrix)
    return found


def has_confusion(row: Mapping[str, Any], image: str, against: str) -> bool:
    """Whether a tile tells how that map agrees."""
    return row.get(column_of(image, against, CONFUSION)) is not None


def confusion_of(
    row: Mapping[str, Any], image: str, against: str, classes: int
) -> npt.NDArray[np.int64]:
    """Of one tile, [K, K]."""
    return from_sparse([row[column_of(image, against, CONFUSION)]], classes)
