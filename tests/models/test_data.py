from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.data import (
    BatchMaker,
    CachedPairs,
    ListedPairs,
    Pair,
    PairLike,
    PairSpec,
    Prefetcher,
    band_statistics,
    check_pairs,
    evenly_spaced,
)
from models.errors import DataError

SPEC = PairSpec(scale=4, bands=("a", "b"), data_range=100.0)


def coordinate_pair(number: int, *, h: int = 12, w: int = 10, scale: int = 4) -> Pair:
    """HR pixels that say where they are; an LR pixel says where its top left HR pixel is."""
    rows, cols = np.mgrid[: h * scale, : w * scale]
    hr = np.stack([rows + 100 * number, cols]).astype(np.uint16)
    return Pair(lr=hr[:, ::scale, ::scale].copy(), hr=hr, valid=np.ones(hr.shape[1:], np.bool_))


def make(source: ListedPairs, *, patch: int = 8, **options: int) -> BatchMaker:
    arguments = {"batch_size": 4, "seed": 0, **options}
    return BatchMaker(source, SPEC, patch_lr=patch, **arguments)


@given(seed=st.integers(0, 1000), number=st.integers(0, 50), patch=st.integers(1, 10))
@settings(max_examples=40, deadline=None)
def test_lr_and_hr_are_cut_turned_and_mirrored_together(seed: int, number: int, patch: int) -> None:
    source = ListedPairs([coordinate_pair(n) for n in range(5)])
    batch = make(source, patch=patch, seed=seed)(number)
    hr = batch.hr * SPEC.data_range
    # Whatever the symmetry, the smallest row and column in the HR pixels under an LR pixel are
    # those that the LR pixel names.
    corner = hr.reshape(4, 2, patch, 4, patch, 4).min((3, 5))
    np.testing.assert_allclose(corner, batch.lr * SPEC.data_range, rtol=1e-5)


def test_all_eight_symmetries_come_up() -> None:
    source = ListedPairs([coordinate_pair(0, h=4, w=4)])
    maker = make(source, patch=4)
    seen = {batch.lr[j].tobytes() for k in range(40) for batch in [maker(k)] for j in range(4)}
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
    assert {part.shift for part in parts} == {whole.shift}


def test_invalid_pixels_are_zero_whatever_was_there() -> None:
    pair = coordinate_pair(1, h=8, w=8)
    hr = pair.hr.astype(np.float32)
    valid = pair.valid.copy()
    valid[3:9, 5] = False
    hr[:, 3:9, 5] = np.nan
    batch = make(ListedPairs([Pair(lr=pair.lr, hr=hr, valid=valid)]))(0)
    assert np.isfinite(batch.hr).all()
    assert set(np.unique(batch.valid)) == {0.0, 1.0}
    assert (batch.hr[np.broadcast_to(batch.valid == 0, batch.hr.shape)] == 0).all()
    assert int((batch.valid == 0).sum()) == 4 * 6


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


def test_a_chip_smaller_than_the_patch_is_refused() -> None:
    with pytest.raises(DataError, match="4 x 4 LR pixels is smaller than the patch of 8"):
        make(ListedPairs([coordinate_pair(0, h=4, w=4)]))(0)


class Counting:
    """Counts what is really read."""

    def __init__(self, pairs: Sequence[PairLike]) -> None:
        self.pairs = pairs
        self.read_places: list[int] = []

    def __len__(self) -> int:
        return len(self.pairs)

    def read(self, indices: Sequence[int]) -> list[PairLike]:
        self.read_places += indices
        return [self.pairs[index] for index in indices]


def test_a_cache_reads_each_pair_once_and_answers_in_order() -> None:
    source = Counting([coordinate_pair(n) for n in range(4)])
    cache = CachedPairs(source, limit_mb=10)
    for wanted in ([2, 0, 2], [0, 1, 2, 3], [3]):
        got = cache.read(wanted)
        assert all(a is source.pairs[b] for a, b in zip(got, wanted, strict=True))
    assert sorted(source.read_places) == [0, 1, 2, 3]


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
        def read(self, indices: Sequence[int]) -> list[PairLike]:
            raise OSError("disk on fire")

    maker = BatchMaker(Broken([coordinate_pair(0)]), SPEC, batch_size=1, patch_lr=4, seed=0)
    with Prefetcher(maker, 0) as batches, pytest.raises(OSError, match="disk on fire"):
        next(batches)


def test_waiting_for_data_is_measured() -> None:
    class Slow(Counting):
        def read(self, indices: Sequence[int]) -> list[PairLike]:
            time.sleep(0.05)
            return super().read(indices)

    maker = BatchMaker(Slow([coordinate_pair(0)]), SPEC, batch_size=1, patch_lr=4, seed=0)
    with Prefetcher(maker, 0) as batches:
        for _ in range(3):
            next(batches)
        assert batches.waited_s > 0.1
