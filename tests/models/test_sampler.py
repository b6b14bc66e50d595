from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import ConfigError
from models.sampler import look_of_sample, pair_of_sample, sample_numbers


@given(batch=st.integers(0, 10_000), share=st.integers(1, 8), world=st.integers(1, 8))
def test_ranks_together_see_what_one_rank_sees(batch: int, share: int, world: int) -> None:
    size = share * world
    together = [n for r in range(world) for n in sample_numbers(batch, size, rank=r, world=world)]
    assert together == list(sample_numbers(batch, size))


@given(size=st.integers(1, 32), batches=st.integers(1, 20))
def test_batches_follow_each_other_without_gap(size: int, batches: int) -> None:
    numbers = [n for k in range(batches) for n in sample_numbers(k, size)]
    assert numbers == list(range(size * batches))


@given(seed=st.integers(0, 2**32), pairs=st.integers(1, 50), epoch=st.integers(0, 3))
def test_each_epoch_shows_every_pair_once(seed: int, pairs: int, epoch: int) -> None:
    shown = [pair_of_sample(seed, epoch * pairs + i, pairs) for i in range(pairs)]
    assert sorted(shown) == list(range(pairs))


def test_epochs_and_seeds_differ() -> None:
    orders = {
        tuple(pair_of_sample(seed, epoch * 30 + i, 30) for i in range(30))
        for seed in (0, 1)
        for epoch in (0, 1)
    }
    assert len(orders) == 4


@given(seed=st.integers(0, 2**32), sample=st.integers(0, 10**9))
def test_a_look_belongs_to_its_sample(seed: int, sample: int) -> None:
    again = look_of_sample(seed, sample).integers(2**60)
    assert look_of_sample(seed, sample).integers(2**60) == again
    assert look_of_sample(seed, sample + 1).integers(2**60) != again


def test_what_cannot_be_shared_is_refused() -> None:
    with pytest.raises(ConfigError, match="16 cannot be shared by 3 ranks"):
        sample_numbers(0, 16, world=3)
