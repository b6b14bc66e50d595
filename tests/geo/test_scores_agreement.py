"""Agreement of two maps: by hand, and what no map may change."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geo.scores.agreement import (
    NAMES,
    DrawnTallies,
    Tally,
    confusion,
    from_sparse,
    to_sparse,
)


def maps(seed: int, classes: int, shape: tuple[int, int] = (20, 30)) -> tuple[np.ndarray, ...]:
    """Two maps that agree on most pixels, with pixels of no class in both."""
    rng = np.random.default_rng(seed)
    wanted = rng.integers(0, classes + 1, shape).astype(np.uint8)
    found = np.where(rng.random(shape) < 0.7, wanted, rng.integers(0, classes + 1, shape))
    return found.astype(np.uint8), wanted


def test_a_confusion_by_hand_has_wanted_in_rows_and_counts_no_pixel_without_a_class() -> None:
    wanted = np.array([[1, 1, 1, 2], [2, 2, 0, 3]], np.uint8)
    found = np.array([[1, 1, 2, 2], [2, 0, 1, 1]], np.uint8)
    matrix = confusion(found, wanted, 3)
    assert matrix.tolist() == [[2, 1, 0], [0, 2, 0], [1, 0, 0]]
    where = np.array([[True, False, True, True], [True, True, True, False]])
    assert confusion(found, wanted, 3, where).tolist() == [[1, 1, 0], [0, 2, 0], [0, 0, 0]]


def test_the_scores_by_hand() -> None:
    tally = Tally.of(np.array([[2, 1, 0], [0, 2, 0], [1, 0, 0]]))
    assert tally.accuracy == pytest.approx(4 / 6)
    assert tally.class_accuracy.tolist() == pytest.approx([2 / 3, 1, 0])
    # Right pixels over those that have the class in either map.
    assert tally.class_iou.tolist() == pytest.approx([2 / 4, 2 / 3, 0])
    assert tally.scores() == pytest.approx(
        {"accuracy": 4 / 6, "mean_accuracy": 5 / 9, "mean_iou": (1 / 2 + 2 / 3) / 3}
    )


def test_a_class_that_is_not_wanted_has_no_score_and_is_in_no_mean() -> None:
    tally = Tally.of(np.array([[3, 1, 0], [0, 0, 0], [0, 0, 4]]))
    assert np.isnan(tally.class_iou).tolist() == [False, True, False]
    assert np.isnan(tally.class_accuracy).tolist() == [False, True, False]
    assert tally.mean_iou == pytest.approx((3 / 4 + 1) / 2)
    assert tally.mean_accuracy == pytest.approx((3 / 4 + 1) / 2)


def test_of_nothing_nothing_is_known() -> None:
    assert np.isnan(list(Tally.of(np.zeros((2, 2))).scores().values())).all()


@given(st.integers(0, 10_000), st.integers(1, 6))
def test_a_perfect_map_scores_one_and_every_score_lies_between(seed: int, classes: int) -> None:
    found, wanted = maps(seed, classes)
    assert set(Tally.of(confusion(wanted, wanted, classes)).scores().values()) == {1.0}
    tally = Tally.of(confusion(found, wanted, classes))
    assert all(0 <= score <= 1 for score in tally.scores().values())
    assert (tally.class_iou <= tally.class_accuracy).all()


@given(st.integers(0, 10_000), st.permutations(range(5)))
def test_the_order_of_the_classes_changes_no_score(seed: int, order: list[int]) -> None:
    found, wanted = maps(seed, 5)
    renamed = np.array([0, *(1 + place for place in order)], np.uint8)
    plain = Tally.of(confusion(found, wanted, 5))
    other = Tally.of(confusion(renamed[found], renamed[wanted], 5))
    assert other.scores() == pytest.approx(plain.scores())
    assert other.class_iou[order] == pytest.approx(plain.class_iou)


@given(st.lists(st.integers(0, 10_000), max_size=4), st.integers(1, 20))
def test_the_sparse_form_adds_up_to_the_whole(seeds: list[int], classes: int) -> None:
    each = [confusion(*maps(seed, classes), classes) for seed in seeds]
    whole = sum(each, np.zeros((classes, classes), np.int64))
    assert (from_sparse(map(to_sparse, each), classes) == whole).all()


def test_the_sparse_form_holds_what_occurs() -> None:
    matrix = np.zeros((20, 20), np.int64)
    matrix[3, 4], matrix[7, 7] = 5, 9
    assert to_sparse(matrix) == [3, 4, 5, 7, 7, 9]
    assert to_sparse(np.zeros((20, 20), np.int64)) == []


def test_maps_that_cannot_be_compared_are_refused() -> None:
    one = np.ones((4, 4), np.uint8)
    with pytest.raises(ValueError, match="wanted one shape"):
        confusion(one, one[:2], 3)
    with pytest.raises(ValueError, match="beyond the 3"):
        confusion(one, one * 4, 3)


def tallies(errors: np.ndarray) -> Tally:
    """Tiles of 100 pixels of either of two classes, of which a share is taken for the other."""
    wrong = np.rint(100 * errors)
    matrices = np.moveaxis(np.array([[100 - wrong, wrong], [wrong, 100 - wrong]]), -1, 0)
    return Tally.of(matrices)


def test_intervals_are_of_places_and_differences_are_paired() -> None:
    rng = np.random.default_rng(0)
    hard = rng.uniform(0.1, 0.4, 40)
    drawn = DrawnTallies({"a": tallies(hard), "b": tallies(hard + 0.02)}, range(40))
    told = drawn.value("a", "mean_iou")
    low, high = told["interval"]
    assert low < told["value"] < high
    apart = drawn.difference("a", "b", "mean_iou")
    # Each alone is uncertain by the places; which is better is not, for they share them.
    assert high - low > 3 * (apart["interval"][1] - apart["interval"][0])
    assert 0 < apart["interval"][0] < apart["difference"] < apart["interval"][1]
    assert drawn.difference("b", "a", "mean_iou")["difference"] == -apart["difference"]
    same = drawn.difference("a", "a", "accuracy")
    assert (same["difference"], same["interval"]) == (0, (0, 0))


def test_of_one_place_there_is_no_interval() -> None:
    drawn = DrawnTallies({"a": tallies(np.array([0.1, 0.2]))}, ["here", "here"])
    assert {name: drawn.value("a", name)["interval"] for name in NAMES} == dict.fromkeys(NAMES)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """Of places drawn from ground whose error is known, 95 % of intervals hold it."""
    rng, held = np.random.default_rng(1), 0
    for _ in range(200):
        errors = rng.beta(4, 12, 60)  # mean 0.25
        low, high = DrawnTallies({"a": tallies(errors)}, range(60)).value("a", "accuracy")[
            "interval"
        ]
        held += low <= 0.75 <= high
    assert 0.90 <= held / 200 <= 0.99
