"""Intervals of a study: they cover what is true as often as they say."""

from __future__ import annotations

import numpy as np
import pytest

from flows.study.intervals import estimate_mean, estimate_share

STUDIES = 400


def simulate(
    random: np.random.Generator, rate: float, *, raters: int, places: int, of: float
) -> tuple[list[bool], list[int], list[str], float]:
    """Answers of raters who see some of the places each, and the rate that is true of them all.

    `of` is how unlike raters, and places, are, in logits.
    """
    grid_raters, grid_places = np.meshgrid(np.arange(raters), np.arange(places), indexing="ij")
    seen = random.random((raters, places)) < 10 / places
    logit = np.log(rate / (1 - rate))
    ease = random.normal(0, of, raters)[:, None] + random.normal(0, of, places)[None, :]
    chance = 1 / (1 + np.exp(-(logit + ease)))
    answers = random.random((raters, places)) < chance
    return (
        answers[seen].tolist(),
        grid_raters[seen].tolist(),
        [f"p{n}" for n in grid_places[seen]],
        true_rate(logit, of),
    )


def true_rate(logit: float, of: float) -> float:
    """Mean over all raters and places that there could be."""
    points = np.linspace(-6, 6, 2001)
    weights = np.exp(-(points**2) / 2)
    return float(
        (weights / (1 + np.exp(-(logit + of * np.sqrt(2) * points)))).sum() / weights.sum()
    )


@pytest.mark.parametrize("of", [0.0, 0.6])
@pytest.mark.parametrize("rate", [0.05, 0.2, 0.5, 0.8, 0.95])
def test_they_cover_the_true_rate_as_often_as_they_say(rate: float, of: float) -> None:
    random = np.random.default_rng([int(100 * rate), int(10 * of)])
    covered = 0
    for _ in range(STUDIES):
        values, raters, places, truth = simulate(random, rate, raters=40, places=60, of=of)
        found = estimate_share(values, raters, places)
        assert found is not None
        assert found.low is not None
        covered += found.low <= truth <= found.high
    # Five standard deviations below, at most four above.
    assert 0.92 <= covered / STUDIES <= 0.99


def test_answers_that_depend_on_each_other_make_it_longer() -> None:
    """Twenty times the same rater is about as good as once."""
    values = [True] * 100 + [False] * 100
    alone = estimate_share(values, list(range(200)), [f"p{n}" for n in range(200)])
    few = estimate_share(values, [n // 20 for n in range(200)], [f"p{n}" for n in range(200)])
    assert alone is not None
    assert few is not None
    assert alone.low is not None
    assert few.low is not None
    assert few.high - few.low > 4 * (alone.high - alone.low)


def test_of_independent_answers_it_is_the_score_interval() -> None:
    """Wilson's, of 10 in 1000, with so many raters and places that they do not matter."""
    values = [n < 100 for n in range(1000)]
    found = estimate_share(values, list(range(1000)), [f"p{n}" for n in range(1000)])
    assert found is not None
    assert (found.low, found.high) == pytest.approx((0.0829, 0.1202), abs=3e-4)


@pytest.mark.parametrize("fooled", [True, False])
def test_all_alike_is_not_certainty(fooled: bool) -> None:
    found = estimate_share([fooled] * 60, [n % 20 for n in range(60)], [f"p{n}" for n in range(60)])
    assert found is not None
    assert found.low is not None
    assert (found.high if not fooled else 1 - found.low) == pytest.approx(0.07, abs=0.02)


def test_one_rater_is_no_sample_of_raters() -> None:
    found = estimate_share([True, False], [0, 0], ["a", "b"])
    assert found is not None
    assert (found.value, found.low, found.high) == (0.5, None, None)
    assert estimate_share([], [], []) is None
    assert estimate_mean([], [], []) is None


def test_a_mean_with_its_interval_by_hand() -> None:
    """Four raters, four places, all apart: the t interval of a mean."""
    found = estimate_mean([1, 2, 3, 4], [0, 1, 2, 3], ["a", "b", "c", "d"])
    assert found is not None
    assert found.low is not None
    half = 3.182 * np.std([1, 2, 3, 4], ddof=1) / 2
    assert (found.value, found.high - found.value) == pytest.approx((2.5, half), rel=1e-3)
