"""Held-out ground: by place alone, for ever, with a rim that nobody trains on."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geo.chips import Cell
from geo.splits import SplitRule

rules = st.integers(1, 5).flatmap(
    lambda block: st.builds(
        SplitRule, block_chips=st.just(block), buffer_chips=st.integers(0, min(2, block))
    )
)
places = st.integers(-1000, 1000)


@given(rules, places, places)
def test_each_macro_cell_has_one_block_of_each_held_out_side(
    rule: SplitRule, row: int, col: int
) -> None:
    bare = SplitRule(block_chips=rule.block_chips, buffer_chips=0)
    size = 3 * rule.block_chips
    counts = Counter(
        bare.split_of(Cell(row * size + y, col * size + x), "EPSG:32633")
        for y in range(size)
        for x in range(size)
    )
    block = rule.block_chips**2
    assert counts == {"train": 7 * block, "val": block, "test": block}


@given(rules, places, places)
def test_no_training_chip_comes_near_held_out_ground(rule: SplitRule, row: int, col: int) -> None:
    near = range(-rule.buffer_chips, rule.buffer_chips + 1)
    bare = SplitRule(block_chips=rule.block_chips, buffer_chips=0)
    if rule.split_of(Cell(row, col), "EPSG:32633") == "train":
        around = {bare.split_of(Cell(row + y, col + x), "EPSG:32633") for y in near for x in near}
        assert around == {"train"}


@given(rules, places, places)
def test_validation_ground_keeps_away_from_test_ground(rule: SplitRule, row: int, col: int) -> None:
    near = range(-rule.buffer_chips, rule.buffer_chips + 1)
    bare = SplitRule(block_chips=rule.block_chips, buffer_chips=0)
    if rule.split_of(Cell(row, col), "EPSG:32633") == "val":
        around = {bare.split_of(Cell(row + y, col + x), "EPSG:32633") for y in near for x in near}
        assert "test" not in around


@given(rules, places, places)
def test_test_ground_gives_nothing_away(rule: SplitRule, row: int, col: int) -> None:
    bare = SplitRule(block_chips=rule.block_chips, buffer_chips=0)
    if bare.split_of(Cell(row, col), "EPSG:32633") == "test":
        assert rule.split_of(Cell(row, col), "EPSG:32633") == "test"


def test_a_side_is_the_same_in_every_process() -> None:
    # Python's own hash of text differs from process to process, and would leak test ground.
    code = (
        "from geo.splits import SplitRule; from geo.chips import Cell; r = SplitRule();"
        "print([r.split_of(Cell(i, 3 * i), 'EPSG:32633') for i in range(-30, 30)])"
    )
    rule = SplitRule()
    here = [rule.split_of(Cell(i, 3 * i), "EPSG:32633") for i in range(-30, 30)]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(here)


def test_another_crs_is_another_draw() -> None:
    rule = SplitRule(block_chips=1, buffer_chips=0)
    cells = [Cell(r, c) for r in range(12) for c in range(12)]
    draws = {tuple(rule.split_of(c, crs) for c in cells) for crs in ("EPSG:32633", "EPSG:32634")}
    assert len(draws) == 2


PUBLISHED = ["train", "train", "val", "train", "train", "test", "train", "train", "train"]


def test_the_draw_stays_as_it_was_published() -> None:
    # These sides are a promise to every store that exists: a change would leak test ground.
    rule = SplitRule(block_chips=2, buffer_chips=0)
    drawn = [
        rule.split_of(Cell(r, c), "EPSG:32633") for r in range(0, 6, 2) for c in range(0, 6, 2)
    ]
    assert drawn == PUBLISHED


def test_a_buffer_wider_than_a_block_is_refused() -> None:
    with pytest.raises(ValueError, match="buffer_chips is 3"):
        SplitRule(block_chips=2, buffer_chips=3)
