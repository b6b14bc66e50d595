from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.batches import Batch, BatchMaker
from models.cached_pairs import CachedPairs
from models.data import (
    ListedPairs,
    Pair,
    PairLike,
    PairSource,
    PairSpec,
    Window,
    band_statistics,
    check_pairs,
    cut_pair,
    evenly_spaced,
)
from models.errors import ConfigError, DataError
from models.prefetch import Prefetcher
from models.sampler import Order, looks_of_samples
from models.tensors import Tensors

SPEC = PairSpec(scale=4, bands=("a", "b"), data_range=100.0)


def coordinate_pair(number: int, *, h: int = 12, w: int = 10, scale: int = 4) -> Pair:
    """HR pixels that say where they are; an LR pixel says where its top left HR pixel is."""
    rows, cols = np.mgrid[: h * scale, : w * scale]
    hr = np.stack([rows + 100 * number, cols]).astype(np.uint16)
    return Pair(lr=hr[:, ::scale, ::scale].copy(), hr=hr, valid=np.ones(hr.shape[1:], np.bool_))


def images_of(batch: Batch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """LR and HR image in reflectance, and validity, as the networks get them."""
    tensors = Tensors.of(batch, torch.device("cpu"))
    return tensors.lr.numpy(), tensors.hr.numpy(), tensors.valid.numpy()


def make(source: PairSource, *, patch: int = 8, **options: Any) -> BatchMaker:
    arguments = {"batch_size": 4, "seed": 0, "chip_lr": (12, 10), **options}
    return BatchMaker(source, SPEC, patch_lr=patch, **arguments)


@given(seed=st.integers(0, 1000), number=st.integers(0, 50), patch=st.integers(1, 10))
@settings(max_examples=40, deadline=None)
def test_lr_and_hr_are_cut_turned_and_mirrored_together(seed: int, number: int, patch: int) -> None:
    source = ListedPairs([coordinate_pair(n) for n in range(5)])
    lr, hr, _ = images_of(make(source, patch=patch, seed=seed)(number))
    # Whatever the symmetry, the smallest row and column in the HR pixels under an LR pixel are
    # those that the LR pixel names.
    corner = hr.reshape(4, 2, patch, 4, patch, 4).min((3, 5))
    np.testing.assert_array_equal(corner, lr)


def test_all_eight_symmetries_come_up() -> None:
    source = ListedPairs([coordinate_pair(0, h=4, w=4)])
    maker = make(source, patch=4, chip_lr=(4, 4))
    batches = (images_of(maker(number))[0] for number in range(40))
    seen = {lr[place].tobytes() for lr in batches for place in range(4)}
    assert len(seen) == 8


@given(number=st.integers(0, 100), world=st.sampled_from([1, 2, 4]))
@settings(max_examples=20, deadline=None)
def test_ranks_together_make_the_batch_of_one(number: int, world: int) -> None:
    source = ListedPairs([coordinate_pair(n) for n in range(7)])
    whole = make(source)(number)
    assert max(whole.shift) < 32
    parts = [make(source, rank=rank, world=world)(number) for rank in range(world)]
    np.testing.assert_array_equal(whole.lr, np.concatenate([part.lr for part in parts]))
    np.testing.assert_array_equal(whole.hr, np.concatenate([part.hr for part in parts]))
    assert {(part.shift, part.swapped) for part in parts} == {(whole.shift, whole.swapped)}


def test_invalid_pixels_are_zero_whatever_was_there() -> None:
    pair = coordinate_pair(1, h=8, w=8)
    hr = pair.hr.astype(np.float32)
    valid = pair.valid.copy()
    valid[3:9, 5] = False
    hr[:, 3:9, 5] = np.nan
    batch = make(ListedPairs([Pair(lr=pair.lr, hr=hr, valid=valid)]), chip_lr=(8, 8))(0)
    assert np.isfinite(batch.hr).all()
    assert (batch.hr[np.broadcast_to(~batch.valid, batch.hr.shape)] == 0).all()
    assert int((~batch.valid).sum()) == 4 * 6


@pytest.mark.parametrize(
    ("pair", "says"),
    [
        (coordinate_pair(0, scale=2), r"at scale 4 its HR would be \(2, 48, 40\)"),
        (
            Pair(
                lr=np.zeros((3, 4, 4)), hr=np.zeros((3, 16, 16)), valid=np.ones((16, 16), np.bool_)
            ),
            "with 2 bands",
        ),
        (
            Pair(lr=np.zeros((2, 4, 4)), hr=np.zeros((2, 16, 16)), valid=np.ones((4, 4), np.bool_)),
            "validity",
        ),
    ],
)
def test_pairs_of_another_kind_are_refused(pair: Pair, says: str) -> None:
    with pytest.raises(DataError, match=says):
        check_pairs(ListedPairs([pair]), SPEC, what="training")


def test_no_pairs_are_refused() -> None:
    with pytest.raises(DataError, match="no validation pairs"):
        check_pairs(ListedPairs([]), SPEC, what="validation")


def test_chips_smaller_than_the_patch_are_refused() -> None:
    with pytest.raises(DataError, match="4 x 10 LR pixels are smaller than the patch of 8"):
        make(ListedPairs([coordinate_pair(0, h=4)]), chip_lr=(4, 10))


def test_a_batch_that_ranks_cannot_share_is_refused() -> None:
    with pytest.raises(ConfigError, match="4 cannot be shared by 3 ranks"):
        make(ListedPairs([coordinate_pair(0)]), world=3)


def test_a_pair_of_another_size_is_refused() -> None:
    source = ListedPairs([coordinate_pair(0), coordinate_pair(1, h=3, w=3)])
    with pytest.raises(DataError, match=r"crop of 8 x 8 LR.*all pairs .* must have 12 x 10 LR"):
        make(source)(0)


def test_a_source_that_does_not_cut_is_refused() -> None:
    class Deaf(Counting):
        def read(
            self, indices: Sequence[int], windows: Sequence[Window] | None = None
        ) -> list[PairLike]:
            return super().read(indices)

    with pytest.raises(DataError, match="crop of 8 x 8 LR pixels came as 12 x 10"):
        make(Deaf([coordinate_pair(0)]))(0)


class Counting:
    """Counts what is really read: whole pairs, and windows of pairs."""

    def __init__(self, pairs: Sequence[PairLike]) -> None:
        self.pairs = pairs
        self.read_places: list[int] = []
        self.read_windows: list[tuple[int, Window]] = []

    def __len__(self) -> int:
        return len(self.pairs)

    def read(
        self, indices: Sequence[int], windows: Sequence[Window] | None = None
    ) -> list[PairLike]:
        if windows is None:
            self.read_places += indices
            return [self.pairs[index] for index in indices]
        self.read_windows += zip(indices, windows, strict=True)
        return [cut_pair(self.pairs[i], window) for i, window in self.read_windows[-len(indices) :]]


def batch_of_whole_chips(
    pairs: Sequence[PairLike], number: int, *, patch: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """LR and HR images of a mini-batch of four, cut from whole chips one by one."""
    order, images = Order(seed, len(pairs)), []
    h, w = pairs[0].lr.shape[1:]
    for sample in range(4 * number, 4 * number + 4):
        pair = pairs[order(sample)]
        (look,) = looks_of_samples(seed, range(sample, sample + 1), h - patch + 1, w - patch + 1)
        row, col = look.row, look.col
        lr = pair.lr[:, row : row + patch, col : col + patch]
        hr = pair.hr[:, 4 * row : 4 * (row + patch), 4 * col : 4 * (col + patch)]
        turned = [image[:, ::-1] if look.upside_down else image for image in (lr, hr)]
        images.append([image[:, :, ::-1] if look.mirrored else image for image in turned])
    lr, hr = (np.stack(each) for each in zip(*images, strict=True))
    return lr, hr


@given(seed=st.integers(0, 1000), number=st.integers(0, 50), patch=st.integers(1, 10))
@settings(max_examples=40, deadline=None)
def test_batches_are_those_of_whole_chips_bit_for_bit(seed: int, number: int, patch: int) -> None:
    pairs = [coordinate_pair(n) for n in range(5)]
    lr, hr = batch_of_whole_chips(pairs, number, patch=patch, seed=seed)
    windowed = Counting(pairs)
    for source in (ListedPairs(pairs), windowed, CachedPairs(Counting(pairs), limit_mb=10)):
        batch = make(source, patch=patch, seed=seed)(number)
        np.testing.assert_array_equal(batch.lr, lr)
        np.testing.assert_array_equal(batch.hr, hr)
    assert len(windowed.read_windows) == 4
    assert all(window[2] == patch for _, window in windowed.read_windows)


@given(row=st.integers(0, 9), col=st.integers(0, 7), size=st.integers(1, 3))
def test_a_window_is_the_same_ground_in_all_images(row: int, col: int, size: int) -> None:
    pair = coordinate_pair(0)
    pair.valid[4 * row, 4 * col] = False
    cut = cut_pair(pair, (row, col, size))
    assert cut.lr.shape == (2, size, size)
    assert cut.hr.shape == (2, 4 * size, 4 * size)
    assert cut.lr[:, 0, 0].tolist() == cut.hr[:, 0, 0].tolist() == [4 * row, 4 * col]
    assert not cut.valid[0, 0]
    assert cut.valid.sum() == 16 * size**2 - 1


def test_weighted_batches_show_what_weighs_and_ranks_share_them() -> None:
    source = ListedPairs([coordinate_pair(n) for n in range(6)])
    weights = np.array([0.0, 0.0, 2.0, 1.0, 0.0, 0.0])
    whole = make(source, weights=weights)
    parts = [make(source, weights=weights, rank=rank, world=2) for rank in range(2)]
    shown = []
    for number in range(12):
        lr = whole(number).lr
        np.testing.assert_array_equal(lr, np.concatenate([part(number).lr for part in parts]))
        # The rows that an LR pixel names are those of its pair, 100 for each.
        shown += (lr[:, 0].max((1, 2)) // 100).tolist()
    assert np.bincount(shown, minlength=6).tolist() == [0, 0, 32, 16, 0, 0]


def test_a_resumed_run_makes_the_same_weighted_batches() -> None:
    source = ListedPairs([coordinate_pair(n) for n in range(7)])
    weights = np.arange(1.0, 8.0)
    straight = make(source, weights=weights)
    expected = [straight(number).hr for number in range(6)]
    with Prefetcher(make(source, weights=weights), 3) as batches:
        for hr in expected[3:]:
            np.testing.assert_array_equal(next(batches).hr, hr)


def test_a_cache_reads_each_pair_once_and_answers_in_order() -> None:
    source = Counting([coordinate_pair(n) for n in range(4)])
    cache = CachedPairs(source, limit_mb=10)
    for wanted in ([2, 0, 2], [0, 1, 2, 3], [3]):
        got = cache.read(wanted)
        assert all(a is source.pairs[b] for a, b in zip(got, wanted, strict=True))
    assert sorted(source.read_places) == [0, 1, 2, 3]


def test_a_cache_cuts_what_it_has_read_whole() -> None:
    source = Counting([coordinate_pair(n) for n in range(4)])
    cache = CachedPairs(source, limit_mb=10)
    for wanted in ([2, 0, 2], [0, 1, 2, 3], [3]):
        windows = [(index, 1, 4) for index in wanted]
        for index, got in zip(wanted, cache.read(wanted, windows), strict=True):
            np.testing.assert_array_equal(got.lr, source.pairs[index].lr[:, index : index + 4, 1:5])
    assert sorted(source.read_places) == [0, 1, 2, 3]
    assert source.read_windows == []


def test_a_full_cache_asks_only_for_windows_of_what_it_has_not() -> None:
    big = [coordinate_pair(n, h=64, w=100) for n in range(4)]  # half a megabyte each
    source = Counting(big)
    cache = CachedPairs(source, limit_mb=1)
    cache.read([0, 1])
    kept = set(cache._kept)
    rest = sorted({0, 1, 2, 3} - kept)
    assert kept == {0}
    assert source.read_places == [0, 1]
    windows = [(4 * place, place, 8) for place in range(6)]
    wanted = [3, 0, 1, 3, 2, 0]
    for _ in range(2):
        for got, index, window in zip(cache.read(wanted, windows), wanted, windows, strict=True):
            np.testing.assert_array_equal(got.hr, cut_pair(big[index], window).hr)
    assert source.read_places == [0, 1]
    away = [(i, window) for i, window in zip(wanted, windows, strict=True) if i in rest]
    assert source.read_windows == 2 * away


@given(limit_kb=st.integers(0, 60), seed=st.integers(0, 100))
@settings(max_examples=20, deadline=None)
def test_a_cache_of_any_size_changes_no_bit(limit_kb: int, seed: int) -> None:
    pairs = [coordinate_pair(n) for n in range(6)]
    cache = CachedPairs(Counting(pairs), limit_mb=1)
    cache._left = limit_kb << 10  # a pair has 10 kB
    plain, cached = make(ListedPairs(pairs), seed=seed), make(cache, seed=seed)
    for number in range(5):
        np.testing.assert_array_equal(plain(number).hr, cached(number).hr)
        np.testing.assert_array_equal(plain(number).lr, cached(number).lr)


def test_a_cache_without_memory_never_reads_whole_pairs_for_crops() -> None:
    source = Counting([coordinate_pair(n) for n in range(2)])
    cache = CachedPairs(source, limit_mb=0)
    assert cache.read([1, 1], [(0, 0, 2), (1, 1, 2)])[1].lr.shape == (2, 2, 2)
    assert source.read_places == []


def test_a_full_cache_reads_again() -> None:
    source = Counting([coordinate_pair(n) for n in range(2)])
    cache = CachedPairs(source, limit_mb=0)
    assert cache.read([1])[0] is cache.read([1])[0]
    assert source.read_places == [1, 1]


def test_statistics_are_those_of_the_reflectance() -> None:
    random = np.random.default_rng(0)
    lr = random.normal([[[20.0]], [[60.0]]], [[[3.0]], [[5.0]]], (2, 40, 40))
    pair = Pair(lr=lr, hr=np.zeros((2, 160, 160)), valid=np.ones((160, 160), np.bool_))
    mean, spread = band_statistics(ListedPairs([pair]), SPEC)
    np.testing.assert_allclose(mean, [0.2, 0.6], atol=0.005)
    assert spread == pytest.approx(np.sqrt((0.03**2 + 0.05**2) / 2), rel=0.05)


def test_flat_imagery_has_unit_spread() -> None:
    pair = Pair(
        lr=np.full((2, 4, 4), 7), hr=np.full((2, 16, 16), 7), valid=np.ones((16, 16), np.bool_)
    )
    assert band_statistics(ListedPairs([pair]), SPEC)[1] == 1.0


@given(count=st.integers(1, 500), limit=st.integers(1, 100))
def test_evenly_spaced_places_are_different_and_inside(count: int, limit: int) -> None:
    places = evenly_spaced(count, limit)
    assert len(places) == len(set(places)) == min(count, limit)
    assert min(places) >= 0
    assert max(places) < count


def test_prefetching_changes_nothing_and_stops() -> None:
    maker = make(ListedPairs([coordinate_pair(n) for n in range(5)]))
    with Prefetcher(maker, 3) as batches:
        for number in range(3, 12):
            np.testing.assert_array_equal(next(batches).hr, maker(number).hr)
    assert not any(thread.name == "prefetch" for thread in threading.enumerate())


def test_an_error_while_prefetching_reaches_the_trainer() -> None:
    class Broken(Counting):
        def read(
            self, indices: Sequence[int], windows: Sequence[Window] | None = None
        ) -> list[PairLike]:
            raise OSError("disk on fire")

    maker = make(Broken([coordinate_pair(0)]), patch=4, batch_size=1)
    with Prefetcher(maker, 0) as batches, pytest.raises(OSError, match="disk on fire"):
        next(batches)


def test_waiting_for_data_is_measured() -> None:
    class Slow(Counting):
        def read(
            self, indices: Sequence[int], windows: Sequence[Window] | None = None
        ) -> list[PairLike]:
            time.sleep(0.05)
            return super().read(indices, windows)

    maker = make(Slow([coordinate_pair(0)]), patch=4, batch_size=1)
    with Prefetcher(maker, 0) as batches:
        for _ in range(3):
            next(batches)
        assert batches.waited_s > 0.1
