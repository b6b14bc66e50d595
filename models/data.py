"""Pairs to learn from: what they are, where they come from, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from models.errors import DataError
from models.sampler import Order

Window = tuple[int, int, int]
"""First row, first column and side of a square, in LR pixels."""

_Floats = npt.NDArray[np.float32]


class PairLike(Protocol):
    """LR and HR image of one ground, DN in any dtype, and where the HR image is valid."""

    @property
    def lr(self) -> npt.NDArray[Any]:
        """[C, h, w]."""

    @property
    def hr(self) -> npt.NDArray[Any]:
        """[C, s*h, s*w]."""

    @property
    def valid(self) -> npt.NDArray[np.bool_]:
        """[s*h, s*w], True = good."""


class PairSource(Protocol):
    """A sequence of pairs that likes to be asked for several at once.

    `read` is called from a background thread.
    """

    def __len__(self) -> int: ...

    def read(
        self, indices: Sequence[int], windows: Sequence[Window] | None = None
    ) -> Sequence[PairLike]:
        """Pairs at these places, in this order.

        Parameters
        ----------
        windows : sequence of Window, optional
            One for each index: what to hand back of the pair, its HR image and validity over the
            same ground. The same index may come with several windows.
        """


class GroupedPairs(PairSource, Protocol):
    """Pairs whose categories are known."""

    @property
    def groups(self) -> Sequence[str | None]:
        """Category of each pair."""

    @property
    def sides(self) -> Sequence[str | None] | None:
        """The one image that each has for the task, ``lr`` or ``hr``; None for pairs."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A pair in memory; see `PairLike`."""

    lr: npt.NDArray[Any]
    hr: npt.NDArray[Any]
    valid: npt.NDArray[np.bool_]
    labels: npt.NDArray[np.uint8] | None = None
    """[s*h, s*w], where pixels are labelled: 1 plus the place of the class, 0 for none."""


def labels_of(pair: PairLike) -> npt.NDArray[np.uint8] | None:
    """What each HR pixel shows, [s*h, s*w], where that is known; see `Pair`."""
    return getattr(pair, "labels", None)


def cut_pair(pair: PairLike, window: Window) -> Pair:
    """The part of a pair within a window, as views; less of it where it reaches over the edge."""
    row, col, size = window
    scale = pair.hr.shape[-1] // pair.lr.shape[-1]
    coarse = np.s_[..., row : row + size, col : col + size]
    fine = np.s_[..., row * scale : (row + size) * scale, col * scale : (col + size) * scale]
    labels = labels_of(pair)
    return Pair(
        lr=pair.lr[coarse],
        hr=pair.hr[fine],
        valid=pair.valid[fine],
        labels=None if labels is None else labels[fine],
    )


class ListedPairs:
    """Pairs in a list as a `PairSource`."""

    def __init__(self, pairs: Sequence[PairLike]) -> None:
        self._pairs = list(pairs)

    def __len__(self) -> int:
        return len(self._pairs)

    def read(
        self, indices: Sequence[int], windows: Sequence[Window] | None = None
    ) -> list[PairLike]:
        """Pairs at these places, in this order; see `PairSource`."""
        return cut_all([self._pairs[index] for index in indices], windows)


def cut_all(pairs: list[PairLike], windows: Sequence[Window] | None) -> list[PairLike]:
    """Each pair within its window; whole ones without windows."""
    if windows is None:
        return pairs
    return [cut_pair(pair, window) for pair, window in zip(pairs, windows, strict=True)]


@dataclass(frozen=True, kw_only=True)
class PairSpec:
    """What all pairs of a run have in common.

    Parameters
    ----------
    scale : int
    bands : tuple of str
    data_range : float
        The DN that means reflectance one.
    dtype : str
        Of the stored DN, for the record.
    classes : tuple of str
        What labels are of, in their order; none where nothing is labelled.
    """

    scale: int
    bands: tuple[str, ...]
    data_range: float
    dtype: str = "uint16"
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.bands:
            raise DataError("pairs need at least one band")
        if not (np.isfinite(self.data_range) and self.data_range > 0):
            raise DataError(f"data_range must be more than 0, got {self.data_range}")


def check_pairs(source: PairSource, spec: PairSpec, *, what: str) -> tuple[int, int]:
    """Refuse a source that cannot be trained on, before anything starts.

    Returns
    -------
    tuple of int
        Height and width of its first LR chip.

    Raises
    ------
    DataError
        When it is empty, or its first pair has other bands or another scale.
    """
    if len(source) == 0:
        raise DataError(f"there are no {what} pairs", what=what)
    first = source.read([0])[0]
    check_pair(first, spec)
    height, width = first.lr.shape[1:]
    return height, width


def check_pair(pair: PairLike, spec: PairSpec) -> None:
    """Refuse a pair of other bands or another scale than `spec` says."""
    c, h, w = pair.lr.shape
    wanted = (len(spec.bands), spec.scale * h, spec.scale * w)
    if c != len(spec.bands) or pair.hr.shape != wanted or pair.valid.shape != wanted[1:]:
        raise DataError(
            f"a pair has LR {pair.lr.shape}, HR {pair.hr.shape} and validity {pair.valid.shape}; "
            f"with {len(spec.bands)} bands at scale {spec.scale} its HR would be {wanted} "
            f"and its validity {wanted[1:]}",
            lr=pair.lr.shape,
            hr=pair.hr.shape,
            valid=pair.valid.shape,
        )
    if not spec.classes:
        return
    labels = labels_of(pair)
    if labels is None or labels.shape != pair.valid.shape or labels.max() > len(spec.classes):
        got = "none" if labels is None else f"{labels.shape}, up to {labels.max()}"
        raise DataError(
            f"a pair has labels {got}; wanted one for each of {pair.valid.shape} HR pixels, up to "
            f"{len(spec.classes)}"
        )


@dataclass(frozen=True, kw_only=True)
class Side:
    """The images of one side among those to train on.

    Parameters
    ----------
    places : array of int, [n]
        Where in the source they lie.
    weights : array, [n], optional
        How often to show each, relative to the others; see `Order`.
    """

    places: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float64] | None = None

    def order(self, seed: int) -> Callable[[int], int]:
        """Which place each sample of a run shows."""
        order = Order(seed, len(self.places), self.weights)
        return lambda sample: int(self.places[order(sample)])


def places_of(side: str, sides: Sequence[str | None] | None, count: int) -> npt.NDArray[np.int64]:
    """Places that have an image of a side: pairs, and chips of that side without partners.

    Parameters
    ----------
    side : {"lr", "hr"}
    sides : sequence of str or None, optional
        The one image that each place has; None for both. Without it all are pairs.
    count : int
        Places there are.
    """
    if sides is None:
        return np.arange(count)
    return np.array([i for i, only in enumerate(sides) if only in (None, side)], np.int64)


def band_statistics(
    source: PairSource,
    spec: PairSpec,
    *,
    sample: int = 64,
    places: npt.NDArray[np.int64] | None = None,
) -> tuple[_Floats, float]:
    """Mean of each band and one spread for all, in reflectance, of evenly spaced LR chips.

    Parameters
    ----------
    places : array of int, optional
        Those that have an LR chip; all by default.

    Returns
    -------
    mean : array, [C]
    spread : float
        Root of the mean variance of the bands, or 1 for imagery without any contrast.
    """
    there = np.arange(len(source)) if places is None else places
    chosen = [int(there[place]) for place in evenly_spaced(len(there), sample)]
    chips = [
        pair.lr.reshape(len(spec.bands), -1).astype(np.float64) / spec.data_range
        for pair in source.read(chosen)
    ]
    pixels = np.concatenate(chips, axis=1)  # [C, n]
    pixels = pixels[:, np.isfinite(pixels).all(axis=0)]
    if not pixels.size:
        raise DataError("no LR image of the training pairs holds finite values")
    spread = float(np.sqrt(pixels.var(axis=1).mean()))
    return pixels.mean(axis=1).astype(np.float32), spread if spread > 1e-9 else 1.0


def evenly_spaced(count: int, limit: int) -> list[int]:
    """At most `limit` of the places 0 to count - 1, evenly spread, always the same ones."""
    return [int(place) for place in np.linspace(0, count - 1, min(count, limit)).round()]
