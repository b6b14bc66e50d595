"""Pairs in, mini-batches out: crops and flips."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from models.errors import DataError
from models.sampler import (
    Look,
    Order,
    chosen_samples,
    look_of_batch,
    looks_of_samples,
    sample_numbers,
)

Window = tuple[int, int, int]
"""First row, first column and side of a square, in LR pixels."""

_Floats = npt.NDArray[np.float32]
_APART = 1 << 32  # from the seed of one order to that of the other; seeds of users are smaller
_LARGEST_SHIFT = 128  # the product of all strides of the deepest discriminator


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


def cut_pair(pair: PairLike, window: Window) -> Pair:
    """The part of a pair within a window, as views; less of it where it reaches over the edge."""
    row, col, size = window
    scale = pair.hr.shape[-1] // pair.lr.shape[-1]
    coarse = np.s_[..., row : row + size, col : col + size]
    fine = np.s_[..., row * scale : (row + size) * scale, col * scale : (col + size) * scale]
    return Pair(lr=pair.lr[coarse], hr=pair.hr[fine], valid=pair.valid[fine])


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
    """

    scale: int
    bands: tuple[str, ...]
    data_range: float
    dtype: str = "uint16"

    def __post_init__(self) -> None:
        if not self.bands:
            raise DataError("pairs need at least one band")
        if not (np.isfinite(self.data_range) and self.data_range > 0):
            raise DataError(f"data_range must be more than 0, got {self.data_range}")


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A mini-batch as it is stored; `models.tensors.Tensors` makes reflectance of it.

    On a CPU, what makes mini-batches takes its time from the training step, and more than its own.
    So only what has to be done pair by pair is done here.
    """

    lr: npt.NDArray[Any]  # [n, C, p, p], DN
    hr: npt.NDArray[Any]  # [n, C, s*p, s*p], DN, 0 where not valid
    valid: npt.NDArray[np.bool_]  # [n, 1, s*p, s*p]
    data_range: float  # DN that means reflectance one
    swapped: bool  # rows and columns are still to be exchanged, in all images
    shift: tuple[int, int]  # rows and columns by which the discriminator sees it rolled
    # [n, 1, p, p], where LR images are of another ground than HR ones; else `valid` says it.
    lr_valid: npt.NDArray[np.bool_] | None = None
    # [n], whether a pair is to be shown with another look; see `models.restyler`.
    restyled: npt.NDArray[np.bool_] | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of all images."""
        return self.lr.nbytes + self.hr.nbytes + self.valid.nbytes


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


class BatchMaker:
    """Makes mini-batch number k, a pure function of configuration, pairs and k.

    Parameters
    ----------
    source : PairSource
        Asked only for the pixels of the crops.
    spec : PairSpec
    chip_lr : tuple of int
        Height and width of every pair in LR pixels, as `check_pairs` tells them: where a crop
        lies is drawn before anything is read.
    patch_lr : int
        Side of the crop in LR pixels, at most that of the chips.
    weights : array, optional
        How often to show each pair, relative to the others; see `Order`.
    apart : (Side, Side), optional
        LR and HR images, each in an order of its own, so that none is shown with its partner but
        by chance, and none need have one.
    restyled : float
        Share of the samples that are to be shown with another look.

    Raises
    ------
    ConfigError
        When the ranks cannot share the mini-batch.
    DataError
        When the chips are smaller than the patch or the weights do not fit the pairs; later, when
        a pair is not as `spec` and `chip_lr` say.
    """

    def __init__(
        self,
        source: PairSource,
        spec: PairSpec,
        *,
        batch_size: int,
        chip_lr: tuple[int, int],
        patch_lr: int,
        seed: int,
        weights: npt.NDArray[np.float64] | None = None,
        rank: int = 0,
        world: int = 1,
        apart: tuple[Side, Side] | None = None,
        restyled: float = 0.0,
    ) -> None:
        sample_numbers(0, batch_size, rank=rank, world=world)  # refuses what cannot be shared
        if min(chip_lr) < patch_lr:
            raise DataError(
                f"chips of {chip_lr[0]} x {chip_lr[1]} LR pixels are smaller than the patch "
                f"of {patch_lr}",
                shape=chip_lr,
            )
        self._source = source
        self._spec = spec
        self._batch_size = batch_size
        self._chip = chip_lr
        self._patch = patch_lr
        self._seed = seed
        self._order: Callable[[int], int] = Order(seed, len(source), weights)
        self._other_order: Callable[[int], int] | None = None
        if apart is not None:
            lr, hr = apart
            self._order, self._other_order = hr.order(seed), lr.order(seed + _APART)
        self._restyled = restyled
        self._rank = rank
        self._world = world
        self.broken: set[int] = set()
        """Pairs found to hold values that are not finite where they should count."""

    def __call__(self, number: int) -> Batch:
        """Mini-batch `number` of the run, or this rank's part of it."""
        samples = sample_numbers(number, self._batch_size, rank=self._rank, world=self._world)
        lr, hr, valid = self._cut(samples, self._seed, self._order)
        lr_valid = None
        if self._other_order is not None:
            lr, _, beside = self._cut(samples, self._seed + _APART, self._other_order)
            lr_valid = _whole_cells(beside, self._spec.scale)
        fine = self._patch * self._spec.scale
        restyled = chosen_samples(self._seed, samples, self._restyled) if self._restyled else None
        swapped, shift = look_of_batch(self._seed, number, min(_LARGEST_SHIFT, fine))
        return Batch(
            lr=lr,
            hr=hr,
            valid=valid,
            data_range=self._spec.data_range,
            swapped=swapped,
            shift=shift,
            lr_valid=lr_valid,
            restyled=restyled,
        )

    def _cut(
        self, samples: range, seed: int, order: Callable[[int], int]
    ) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """Crops of the pairs that an order shows: LR, HR, and where HR is valid."""
        (h, w), p = self._chip, self._patch
        looks = looks_of_samples(seed, samples, h - p + 1, w - p + 1)
        windows = [(look.row, look.col, p) for look in looks]
        indices = [order(sample) for sample in samples]
        pairs = self._source.read(indices, windows)
        count, bands = len(samples), len(self._spec.bands)
        fine = p * self._spec.scale
        dtype = _common_dtype(pairs)
        lr = np.empty((count, bands, p, p), dtype)
        hr = np.empty((count, bands, fine, fine), dtype)
        valid = np.ones((count, 1, fine, fine), np.bool_)
        for place, (look, pair) in enumerate(zip(looks, pairs, strict=True)):
            self._check_crop(pair)
            lr[place], hr[place] = _flipped(pair.lr, look), _flipped(pair.hr, look)
            if not pair.valid.all():
                valid[place, 0] = _flipped(pair.valid, look)
                # Outside there may be anything, even NaN, which a mask of zeros would keep.
                np.copyto(hr[place], 0, where=~valid[place])
        if dtype.kind == "f" and not np.isfinite(lr.sum() + hr.sum()):
            self._leave_out_broken(indices, lr, hr, valid)
        return lr, hr, valid

    def _leave_out_broken(
        self, indices: Sequence[int], lr: _Floats, hr: _Floats, valid: npt.NDArray[np.bool_]
    ) -> None:
        """Take NaN and infinite values out of the loss, and remember whose they were.

        Those of an HR image are not valid; an LR image that has any teaches nothing at all.
        """
        for place, index in enumerate(indices):
            drawn_from = bool(np.isfinite(lr[place]).all())
            good = np.isfinite(hr[place]).all(axis=0, keepdims=True) & drawn_from
            if good.all():
                continue
            self.broken.add(index)
            valid[place] &= good
            np.copyto(hr[place], 0, where=~good)
            if not drawn_from:
                lr[place] = 0

    def _check_crop(self, pair: PairLike) -> None:
        p = self._patch
        if pair.lr.shape[1:] != (p, p):
            raise DataError(
                f"a crop of {p} x {p} LR pixels came as {' x '.join(map(str, pair.lr.shape[1:]))}: "
                f"all pairs of a run must have {self._chip[0]} x {self._chip[1]} LR pixels, as the "
                "first one has",
                shape=pair.lr.shape[1:],
                chip=self._chip,
            )
        check_pair(pair, self._spec)


# What tensors can be made of without a copy; all else becomes float32.
_TENSOR_DTYPES = frozenset({"uint8", "int8", "uint16", "int16", "int32", "float32"})


def _common_dtype(pairs: Sequence[PairLike]) -> np.dtype[Any]:
    found = {image.dtype for pair in pairs for image in (pair.lr, pair.hr)}
    (dtype,) = found if len(found) == 1 else {np.dtype(np.float32)}
    return dtype if dtype.name in _TENSOR_DTYPES else np.dtype(np.float32)


def _whole_cells(valid: npt.NDArray[np.bool_], scale: int) -> npt.NDArray[np.bool_]:
    """LR pixels [n, 1, h, w] all of whose HR pixels are valid."""
    n, one, height, width = valid.shape
    cells = valid.reshape(n, one, height // scale, scale, width // scale, scale)
    return np.asarray(cells.all(axis=(3, 5)))


def _flipped(cut: npt.NDArray[Any], look: Look) -> npt.NDArray[Any]:
    """A crop [..., p, p] as a view."""
    if look.upside_down:
        cut = cut[..., ::-1, :]
    return cut[..., ::-1] if look.mirrored else cut
