from __future__ import annotations

from collections import Counter
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import ConfigError, DataError
from models.sampler import Order, balanced_weights, looks_of_samples, sample_numbers

seeds = st.integers(0, 2**32)
some_weights = st.lists(st.integers(0, 50), min_size=1, max_size=30).filter(any).map(np.array)
some_groups = st.lists(st.sampled_from(["farm", "port", "town", None]), min_size=1, max_size=60)


def shown_in(order: Order, epoch: int, pairs: int) -> list[int]:
    return [order(epoch * pairs + place) for place in range(pairs)]


def due(weights: npt.NDArray[np.int64]) -> list[Fraction]:
    """Showings of each pair in an epoch, without rounding."""
    total = int(weights.sum())
    return [Fraction(len(weights) * int(weight), total) for weight in weights]


@given(batch=st.integers(0, 10_000), share=st.integers(1, 8), world=st.integers(1, 8))
def test_ranks_together_see_what_one_rank_sees(batch: int, share: int, world: int) -> None:
    size = share * world
    together = [n for r in range(world) for n in sample_numbers(batch, size, rank=r, world=world)]
    assert together == list(sample_numbers(batch, size))


@given(size=st.integers(1, 32), batches=st.integers(1, 20))
def test_batches_follow_each_other_without_gap(size: int, batches: int) -> None:
    numbers = [n for k in range(batches) for n in sample_numbers(k, size)]
    assert numbers == list(range(size * batches))


@given(seed=seeds, pairs=st.integers(1, 50), epoch=st.integers(0, 3))
def test_each_epoch_shows_every_pair_once(seed: int, pairs: int, epoch: int) -> None:
    assert sorted(shown_in(Order(seed, pairs), epoch, pairs)) == list(range(pairs))


def test_the_order_of_a_seed_stays_what_it_was() -> None:
    # Runs that were begun before must go on as they would have.
    expected = np.random.default_rng((7, 0, 2)).permutation(20)
    assert shown_in(Order(7, 20), 2, 20) == expected.tolist()


@pytest.mark.parametrize("weights", [None, np.arange(1.0, 31.0)])
def test_epochs_and_seeds_differ(weights: npt.NDArray[np.float64] | None) -> None:
    orders = {
        tuple(shown_in(Order(seed, 30, weights), epoch, 30)) for seed in (0, 1) for epoch in (0, 1)
    }
    assert len(orders) == 4


@given(seed=seeds, weights=some_weights, epoch=st.integers(0, 5))
def test_an_epoch_shows_each_pair_as_often_as_is_due_rounded_down_or_up(
    seed: int, weights: npt.NDArray[np.int64], epoch: int
) -> None:
    pairs = len(weights)
    counts = np.bincount(shown_in(Order(seed, pairs, weights), epoch, pairs), minlength=pairs)
    assert all(
        count in (exact.__floor__(), exact.__ceil__())
        for count, exact in zip(counts.tolist(), due(weights), strict=True)
    )


@given(seed=seeds, weights=some_weights)
@settings(max_examples=25, deadline=None)
def test_over_many_epochs_a_pair_is_shown_as_often_as_it_weighs(
    seed: int, weights: npt.NDArray[np.int64]
) -> None:
    pairs, epochs = len(weights), 400
    order = Order(seed, pairs, weights)
    shown = [pair for epoch in range(epochs) for pair in shown_in(order, epoch, pairs)]
    mean = np.bincount(shown, minlength=pairs) / epochs
    # A showing more or less in an epoch: seven standard deviations of such a mean, at the most.
    np.testing.assert_allclose(mean, np.array(due(weights), float), atol=7 * 0.5 / epochs**0.5)


def test_every_pair_with_a_weight_comes_up() -> None:
    weights = np.array([1.0] + [11.0] * 9)  # the first is due in every tenth epoch
    order = Order(0, 10, weights)
    assert {pair for epoch in range(100) for pair in shown_in(order, epoch, 10)} == set(range(10))


@given(
    seed=seeds,
    pairs=st.integers(1, 200),
    weight=st.floats(1e-300, 1e300),
    epoch=st.integers(0, 3),
)
def test_equal_weights_are_no_weights(seed: int, pairs: int, weight: float, epoch: int) -> None:
    weighted = Order(seed, pairs, np.full(pairs, weight))
    assert shown_in(weighted, epoch, pairs) == shown_in(Order(seed, pairs), epoch, pairs)


@given(seed=seeds, weights=some_weights, world=st.integers(1, 4), share=st.integers(1, 4))
def test_ranks_together_see_the_weighted_pairs_of_one_rank(
    seed: int, weights: npt.NDArray[np.int64], world: int, share: int
) -> None:
    alone = Order(seed, len(weights), weights)
    orders = [Order(seed, len(weights), weights) for _ in range(world)]
    for batch in range(10):
        size = world * share
        together = [
            order(n)
            for rank, order in enumerate(orders)
            for n in sample_numbers(batch, size, rank=rank, world=world)
        ]
        assert together == [alone(n) for n in sample_numbers(batch, size)]


@given(seed=seeds, weights=some_weights, start=st.integers(0, 90))
def test_a_run_resumed_anywhere_goes_on_with_the_very_next_sample(
    seed: int, weights: npt.NDArray[np.int64], start: int
) -> None:
    straight = Order(seed, len(weights), weights)
    shown = [straight(n) for n in range(100)]
    resumed = Order(seed, len(weights), weights)
    assert [resumed(n) for n in range(start, 100)] == shown[start:]


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        ([1.0, 1.0], "2 weights for 3 pairs"),
        ([1.0, -1.0, 1.0], "at least 0"),
        ([0.0, 0.0, 0.0], "not all 0"),
        ([1.0, np.nan, 1.0], "finite"),
        ([1.0, np.inf, 1.0], "finite"),
    ],
)
def test_weights_that_cannot_be_are_refused(weights: list[float], says: str) -> None:
    with pytest.raises(DataError, match=says):
        Order(0, 3, np.array(weights))


def test_millions_of_pairs_are_shown_exactly() -> None:
    random = np.random.default_rng(0)
    weights = random.uniform(0.1, 10.0, 1_000_000)
    # Due exactly three times, so never two nor four times.
    weights[:1000] = 3 * weights[1000:].sum() / (len(weights) - 3000)
    order = Order(0, len(weights), weights)
    counts = np.bincount(shown_in(order, 0, len(weights)), minlength=len(weights))
    exact = weights / weights.mean()
    assert counts.sum() == len(weights)
    assert (np.abs(counts - exact) < 1 + 1e-6).all()
    assert (counts[:1000] == 3).all()


@given(groups=some_groups, strength=st.floats(0, 1), most=st.floats(1, 20))
def test_weights_have_mean_one_and_none_is_above_the_most(
    groups: list[str | None], strength: float, most: float
) -> None:
    weights = balanced_weights(groups, strength, most)
    assert weights.mean() == pytest.approx(1)
    assert weights.max() <= most
    assert weights.min() > 0


@given(groups=some_groups, strength=st.floats(0, 1), most=st.floats(1, 20))
def test_what_is_not_held_back_weighs_its_share_to_the_power_of_minus_strength(
    groups: list[str | None], strength: float, most: float
) -> None:
    weights = balanced_weights(groups, strength, most)
    wanted = np.array([(groups.count(group) / len(groups)) ** -strength for group in groups])
    held = weights >= most * (1 - 1e-9)
    scales = weights[~held] / wanted[~held]
    if len(scales):
        np.testing.assert_allclose(scales, scales[0])
        # Those held back would weigh as much or more by the same rule.
        assert (scales[0] * wanted[held] >= most * (1 - 1e-6)).all()


@given(groups=some_groups)
def test_strength_zero_shows_pairs_as_they_come(groups: list[str | None]) -> None:
    np.testing.assert_allclose(balanced_weights(groups, 0), 1)
    weighted = Order(3, len(groups), balanced_weights(groups, 0))
    assert shown_in(weighted, 1, len(groups)) == shown_in(Order(3, len(groups)), 1, len(groups))


def test_strength_one_shows_every_group_equally_often_and_none_is_a_group() -> None:
    groups = ["farm"] * 6 + ["port"] * 2 + [None] * 4
    weights = balanced_weights(groups, 1)
    np.testing.assert_allclose([weights[:6].sum(), weights[6:8].sum(), weights[8:].sum()], 4)


def test_a_very_rare_group_is_held_back_and_the_rest_goes_to_the_others() -> None:
    groups = ["port"] + ["farm"] * 49 + ["town"] * 50
    weights = balanced_weights(groups, 1, most=10)
    assert weights[0] == 10
    np.testing.assert_allclose([weights[1:50].sum(), weights[50:].sum()], 45)


def test_there_may_be_no_groups() -> None:
    assert balanced_weights([], 1).shape == (0,)


@pytest.mark.parametrize(
    ("strength", "most", "says"),
    [
        (-0.1, 10, "strength must be 0 to 1, got -0.1"),
        (1.1, 10, "strength must be 0 to 1"),
        (np.nan, 10, "strength must be 0 to 1"),
        (1, 0.9, "most must be 1 or more"),
        (1, np.inf, "most must be 1 or more, and finite"),
    ],
)
def test_balances_that_cannot_be_are_refused(strength: float, most: float, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        balanced_weights(["a", "b"], strength, most)


@given(seed=st.integers(0, 2**32), first=st.integers(0, 10**9), count=st.integers(1, 20))
def test_a_look_belongs_to_its_sample_whoever_draws_it(seed: int, first: int, count: int) -> None:
    samples = range(first, first + count)
    together = looks_of_samples(seed, samples, 10**6, 10**6)
    alone = [looks_of_samples(seed, range(n, n + 1), 10**6, 10**6)[0] for n in samples]
    assert together == alone
    assert len({(look.row, look.col) for look in together}) == count


def test_looks_are_spread_evenly_and_do_not_depend_on_each_other() -> None:
    looks = looks_of_samples(3, range(48_000), 4, 3)
    seen = Counter((look.row, look.col, look.upside_down, look.mirrored) for look in looks)
    assert len(seen) == 4 * 3 * 2 * 2
    expected = 48_000 / 48
    # Chi-square of 47 degrees of freedom: 82 is beyond the 99.8th percentile.
    assert sum((n - expected) ** 2 / expected for n in seen.values()) < 82
    rows = np.array([look.row for look in looks], float)
    assert abs(np.corrcoef(rows[1:], rows[:-1])[0, 1]) < 0.02
    other = looks_of_samples(4, range(48_000), 4, 3)
    assert abs(np.corrcoef(rows, [look.row for look in other])[0, 1]) < 0.02


def test_what_cannot_be_shared_is_refused() -> None:
    with pytest.raises(ConfigError, match="16 cannot be shared by 3 ranks"):
        sample_numbers(0, 16, world=3)
