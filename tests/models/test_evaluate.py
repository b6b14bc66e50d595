from __future__ import annotations

import math

import numpy as np
import pytest

from models.data import ListedPairs, Pair
from models.evaluate import evaluate


def pair(value: int) -> Pair:
    hr = np.full((1, 8, 8), value, np.uint16)
    return Pair(lr=hr[:, ::4, ::4], hr=hr, valid=np.ones((8, 8), np.bool_))


def repeat(lr: np.ndarray) -> np.ndarray:
    return np.repeat(np.repeat(lr, 4, 1), 4, 2)


def test_means_are_over_what_is_finite_and_the_rest_is_counted() -> None:
    def score(sr, hr, lr, valid):
        value = float(hr.mean())
        return {"value": value, "odd": math.inf if value == 4 else value, "never": math.nan}

    found = evaluate(repeat, ListedPairs([pair(v) for v in (1, 2, 4)]), score)
    assert found.scores == {"value": pytest.approx(7 / 3), "odd": pytest.approx(1.5)}
    assert found.not_finite == {"value": 0, "odd": 1, "never": 3}
    assert found.pairs == 3


def test_scores_see_float_dn_of_the_right_shapes() -> None:
    def score(sr, hr, lr, valid):
        assert [a.shape for a in (sr, hr, lr, valid)] == [(1, 8, 8)] * 2 + [(1, 2, 2), (8, 8)]
        assert (hr.dtype, lr.dtype, valid.dtype) == (np.float32, np.float32, np.bool_)
        return {"error": float(np.abs(sr - hr).max())}

    assert evaluate(repeat, ListedPairs([pair(5)]), score).scores == {"error": 0.0}


def test_a_limit_takes_evenly_and_samples_are_always_the_same() -> None:
    seen: list[float] = []

    def score(sr, hr, lr, valid):
        seen.append(float(hr.mean()))
        return {}

    pairs = ListedPairs([pair(v) for v in range(101)])
    found = evaluate(repeat, pairs, score, limit=5, samples=2)
    assert seen == [0, 25, 50, 75, 100]
    assert [float(sample.hr.mean()) for sample in found.samples] == [0, 100]


def test_ratios_are_of_sums_so_that_ground_without_detail_weighs_nothing() -> None:
    def score(sr, hr, lr, valid):
        flat = hr.mean() == 1
        return {
            "hf_power": 1.0 if flat else 50.0,
            "bicubic_hf_power": 0.0 if flat else 10.0,
            "real_hf_power": 0.0 if flat else 100.0,
        }

    scores = evaluate(repeat, ListedPairs([pair(v) for v in (1, 2, 2, 2)]), score).scores
    assert scores["hf_power_ratio"] == pytest.approx((1 + 3 * 50) / 300)
    assert scores["bicubic_hf_power_ratio"] == pytest.approx(0.1)


def test_without_any_detail_in_reality_there_is_no_ratio() -> None:
    def score(sr, hr, lr, valid):
        return {"hf_power": 1.0, "bicubic_hf_power": 0.0, "real_hf_power": 0.0}

    assert "hf_power_ratio" not in evaluate(repeat, ListedPairs([pair(1)]), score).scores


def test_scores_of_each_pair_keep_their_order_and_their_gaps() -> None:
    def score(sr, hr, lr, valid):
        value = float(hr.mean())
        return {"value": value} if value == 2 else {"value": value, "odd": value}

    found = evaluate(repeat, ListedPairs([pair(v) for v in (3, 2, 1)]), score).values
    assert found["value"] == (3, 2, 1)
    assert found["odd"] == (3, pytest.approx(math.nan, nan_ok=True), 1)
