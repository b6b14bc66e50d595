"""How well two maps of classes agree: confusion, accuracy, intersection over union.

The metrics are those of Long, Shelhamer, Darrell, "Fully convolutional networks for semantic
segmentation", CVPR 2015, section 5. Held against labels, maps that a segmentation network makes of
generated images give the FCN-score of Isola et al., "Image-to-image translation with conditional
adversarial networks", CVPR 2017, section 3.3.

A map holds 1 + the place of a pixel's class, and 0 where there is none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from geo.place_draws import draw_places, interval_95

_Floats = npt.NDArray[np.float64]
_Counts = npt.NDArray[np.int64]
Map = npt.NDArray[np.uint8]

# Of a whole map; those of a class are `Tally.class_accuracy` and `Tally.class_iou`.
NAMES = ("accuracy", "mean_accuracy", "mean_iou")


def confusion(
    found: Map, wanted: Map, classes: int, where: npt.NDArray[np.bool_] | None = None
) -> _Counts:
    """Pixels by the class that they should have and the class that they got.

    Parameters
    ----------
    found, wanted : array of uint8, [H, W]
        A pixel that is 0 in one of them is not counted.
    classes : int
        K.
    where : array of bool, [H, W], optional
        Other pixels are not counted either.

    Returns
    -------
    array of int64, [K, K]
        Rows are wanted, columns found.

    Raises
    ------
    ValueError
        If the maps differ in shape, or hold more classes than that.
    """
    if found.shape != wanted.shape:
        raise ValueError(f"maps of {found.shape} and {wanted.shape}; wanted one shape")
    if max(int(found.max(initial=0)), int(wanted.max(initial=0))) > classes:
        raise ValueError(f"a map holds a class beyond the {classes} that are known")
    counted = (found > 0) & (wanted > 0)
    if where is not None:
        counted &= where
    places = (wanted[counted].astype(np.intp) - 1) * classes + found[counted] - 1
    counts = np.bincount(places, minlength=classes * classes)
    return counts.reshape(classes, classes).astype(np.int64)


def to_sparse(matrix: _Counts) -> list[int]:
    """A confusion as wanted, found, pixels, wanted, found, pixels ...; places count from 0.

    Of many classes a tile holds few.
    """
    wanted, found = np.nonzero(matrix)
    return [int(v) for v in np.stack([wanted, found, matrix[wanted, found]], axis=1).ravel()]


def from_sparse(sparse: Iterable[Sequence[int]], classes: int) -> _Counts:
    """The sum of confusions in the form of `to_sparse`, [K, K]."""
    matrix = np.zeros((classes, classes), np.int64)
    for flat in sparse:
        wanted, found, pixels = np.asarray(flat, np.int64).reshape(-1, 3).T
        np.add.at(matrix, (wanted, found), pixels)
    return matrix


@dataclass(frozen=True)
class Tally:
    """What the scores of a confusion rest on, for each of K classes.

    Means over classes are over those that occur in the wanted map: a class that does not has
    neither accuracy nor IoU (NaN), though pixels wrongly given to it count as errors of others.

    Parameters
    ----------
    right, wanted, found : array of float, [..., K]
        Pixels that have the class in both maps, in the wanted one, in the found one.
    """

    right: _Floats
    wanted: _Floats
    found: _Floats

    @classmethod
    def of(cls, matrix: npt.NDArray[Any]) -> Tally:
        """Of confusions [..., K, K]."""
        counts = np.asarray(matrix, np.float64)
        right = np.diagonal(counts, axis1=-2, axis2=-1)
        return cls(right, counts.sum(axis=-1), counts.sum(axis=-2))

    @property
    def accuracy(self) -> _Floats:
        """Share of pixels that have the right class; NaN of none."""
        return _share(self.right.sum(axis=-1), self.wanted.sum(axis=-1))

    @property
    def class_accuracy(self) -> _Floats:
        """Share of a class's pixels that were found to be of it, [..., K]."""
        return _share(self.right, self.wanted)

    @property
    def class_iou(self) -> _Floats:
        """Intersection over union of a class's pixels in the two maps, [..., K]."""
        union = self.wanted + self.found - self.right
        return np.where(self.wanted > 0, _share(self.right, union), np.nan)

    @property
    def mean_accuracy(self) -> _Floats:
        """Mean of `class_accuracy` over the classes that occur."""
        return self._mean(self.class_accuracy)

    @property
    def mean_iou(self) -> _Floats:
        """Mean of `class_iou` over the classes that occur."""
        return self._mean(self.class_iou)

    def scores(self) -> dict[str, float]:
        """The scores of `NAMES`, of one confusion; NaN where nothing was counted."""
        return {name: float(getattr(self, name)) for name in NAMES}

    def _mean(self, values: _Floats) -> _Floats:
        there = self.wanted > 0
        return _share(np.where(there, values, 0).sum(axis=-1), there.sum(axis=-1))


class DrawnTallies:
    """Several maps of the same tiles, resampled place by place, all with the same draws.

    Parameters
    ----------
    tallies : mapping of str to Tally, [tiles, K]
        By the name of the map.
    places : sequence
        Place of each tile; see `geo.scores.pooling.group_places`.
    """

    def __init__(self, tallies: Mapping[str, Tally], places: Sequence[object]) -> None:
        parts = {name: np.stack([t.right, t.wanted, t.found], 1) for name, t in tallies.items()}
        self._whole = {name: _tally(part.sum(axis=0)) for name, part in parts.items()}
        flat = [part.reshape(len(part), -1) for part in parts.values()]
        drawn = draw_places(np.concatenate(flat, axis=1), places)
        self._drawn: dict[str, Tally] | None = None
        if drawn is not None:
            each = np.split(drawn, len(parts), axis=1)
            self._drawn = {
                name: _tally(columns.reshape(len(columns), 3, -1))
                for name, columns in zip(parts, each, strict=True)
            }

    def value(self, name: str, score: str) -> dict[str, Any]:
        """A score of a map over all tiles, and its 95 % ``interval`` (None of one place)."""
        interval = self._drawn and interval_95(getattr(self._drawn[name], score))
        return {"value": float(getattr(self._whole[name], score)), "interval": interval}

    def difference(self, a: str, b: str, score: str) -> dict[str, Any]:
        """How much higher a score is of map `a` than of map `b`, with a paired interval."""
        whole = float(getattr(self._whole[a], score) - getattr(self._whole[b], score))
        interval = self._drawn and interval_95(
            getattr(self._drawn[a], score) - getattr(self._drawn[b], score)
        )
        return {"difference": whole, "interval": interval}


def _tally(parts: _Floats) -> Tally:
    """Of [..., 3, K]."""
    return Tally(parts[..., 0, :], parts[..., 1, :], parts[..., 2, :])


def _share(part: npt.NDArray[Any], whole: npt.NDArray[Any]) -> _Floats:
    """Part of the whole; NaN of nothing."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.true_divide(part, whole), np.float64)
