"""Pairs in, mini-batches out: crops and flips."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from models.data import PairLike, PairSource, PairSpec, Side, check_pair, labels_of
from models.errors import DataError
from models.sampler import (
    Look,
    Order,
    chosen_samples,
    look_of_batch,
    looks_of_samples,
    sample_numbers,
)

_Floats = npt.NDArray[np.float32]
_APART = 1 << 32  # from the seed of one order to that of the other; seeds of users are smaller
_LARGEST_SHIFT = 128  # the product of all strides of the deepest discriminator


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
    # [n, 1, s*p, s*p], 0 where not valid or not labelled; see `models.data.Pair`.
    labels: npt.NDArray[np.uint8] | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of all images."""
        return self.lr.nbytes + self.hr.nbytes + self.valid.nbytes


class _Crops(NamedTuple):
    """Of the pairs of a mini-batch; see `Batch`."""

    lr: npt.NDArray[Any]
    hr: npt.NDArray[Any]
    valid: npt.NDArray[np.bool_]
    labels: npt.NDArray[np.uint8] | None


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
        shown = self._cut(samples, self._seed, self._order)
        lr, lr_valid = shown.lr, None
        if self._other_order is not None:
            other = self._cut(samples, self._seed + _APART, self._other_order)
            lr, lr_valid = other.lr, _whole_cells(other.valid, self._spec.scale)
        fine = self._patch * self._spec.scale
        restyled = chosen_samples(self._seed, samples, self._restyled) if self._restyled else None
        swapped, shift = look_of_batch(self._seed, number, min(_LARGEST_SHIFT, fine))
        return Batch(
            lr=lr,
            hr=shown.hr,
            valid=shown.valid,
            data_range=self._spec.data_range,
            swapped=swapped,
            shift=shift,
            lr_valid=lr_valid,
            restyled=restyled,
            labels=shown.labels,
        )

    def _cut(self, samples: range, seed: int, order: Callable[[int], int]) -> _Crops:
        """Crops of the pairs that an order shows."""
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
        labels = np.zeros(valid.shape, np.uint8) if self._spec.classes else None
        for place, (look, pair) in enumerate(zip(looks, pairs, strict=True)):
            self._check_crop(pair)
            lr[place], hr[place] = _flipped(pair.lr, look), _flipped(pair.hr, look)
            if not pair.valid.all():
                valid[place, 0] = _flipped(pair.valid, look)
                # Outside there may be anything, even NaN, which a mask of zeros would keep.
                np.copyto(hr[place], 0, where=~valid[place])
            if labels is not None and (known := labels_of(pair)) is not None:
                labels[place, 0] = _flipped(known, look)
        if dtype.kind == "f" and not np.isfinite(lr.sum() + hr.sum()):
            self._leave_out_broken(indices, lr, hr, valid)
        if labels is not None:
            np.copyto(labels, 0, where=~valid)
        return _Crops(lr, hr, valid, labels)

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
