"""Held-out ground: by place alone, for ever, with a rim that nobody trains on."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from functools import cache

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Transformer

from geo.splits import SplitRule, _held_out

CHIP = 320.0  # metres: 32 pixels of 10 m
UTM = "EPSG:32633"
rules = st.integers(1, 5).flatmap(
    lambda block: st.builds(
        SplitRule,
        block_m=st.just(block * CHIP),
        buffer_m=st.integers(0, min(2, block)).map(lambda n: n * CHIP),
    )
)
rows, cols = st.integers(-17_000, -15_000), st.integers(1400, 1700)


def box(row: int, col: int, chip: float = CHIP) -> tuple[float, float, float, float]:
    """Bounds of a cell of a lattice anchored to the CRS; rows count southwards."""
    return col * chip, -(row + 1) * chip, (col + 1) * chip, -row * chip


def ground(rule: SplitRule, row: int, col: int) -> str:
    """What ground a cell is, worked out by hand: blocks of whole cells, nine to a macro cell."""
    block = round(rule.block_m / CHIP)
    y, x = row // block, col // block
    test, val = _held_out(UTM, y // 3, x // 3)
    place = (y % 3) * 3 + x % 3
    return "test" if place == test else "val" if place == val else "train"


class TestWholeCellsOfTheZone:
    """The usual case: satellites are delivered in UTM, and blocks are made of whole chips."""

    @given(rules, rows, cols)
    def test_each_macro_cell_has_one_block_of_each_held_out_side(
        self, rule: SplitRule, row: int, col: int
    ) -> None:
        block = round(rule.block_m / CHIP)
        bare, size = SplitRule(block_m=rule.block_m, buffer_m=0), 3 * block
        first = row // size * size, col // size * size
        boxes = [box(first[0] + y, first[1] + x) for y in range(size) for x in range(size)]
        counts = Counter(bare.splits_of(boxes, UTM))
        assert counts == {"train": 7 * block**2, "val": block**2, "test": block**2}

    @given(rules, rows, cols)
    def test_sides_follow_from_the_ground_and_what_is_near(
        self, rule: SplitRule, row: int, col: int
    ) -> None:
        reach = round(rule.buffer_m / CHIP)
        near = range(-reach, reach + 1)
        own = ground(rule, row, col)
        around = {ground(rule, row + y, col + x) for y in near for x in near}
        higher = {"train": {"val", "test"}, "val": {"test"}, "test": set()}[own]
        assert rule.split_of(box(row, col), UTM) == ("buffer" if around & higher else own)

    def test_the_draw_stays_as_it_was_published(self) -> None:
        # These sides are a promise to every store that exists: a change would leak test ground.
        rule = SplitRule(block_m=2 * CHIP, buffer_m=0)
        cells = [(r, c) for r in range(-16_002, -15_996, 2) for c in range(1500, 1506, 2)]
        assert [ground(rule, r, c) for r, c in cells] == [
            rule.split_of(box(r, c), UTM) for r, c in cells
        ]
        assert _held_out("EPSG:32633", 0, 0) == (5, 2)


def test_a_side_is_the_same_in_every_process() -> None:
    # Python's own hash of text differs from process to process, and would leak test ground.
    code = (
        "from geo.splits import SplitRule; r = SplitRule();"
        "print(r.splits_of([(320 * i, 5e6 + 640 * i, 320 * i + 320, 5e6 + 640 * i + 320)"
        " for i in range(1400, 1460)], 'EPSG:32633'))"
    )
    rule = SplitRule()
    boxes = [
        (320 * i, 5e6 + 640 * i, 320 * i + 320, 5e6 + 640 * i + 320) for i in range(1400, 1460)
    ]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(rule.splits_of(boxes, UTM))


@given(
    st.lists(st.tuples(rows, cols), min_size=1, max_size=20), st.sampled_from([UTM, "EPSG:3857"])
)
def test_a_side_does_not_depend_on_what_else_is_asked(
    cells: list[tuple[int, int]], crs: str
) -> None:
    rule = SplitRule()
    boxes = [box(*cell) for cell in cells]
    assert rule.splits_of(boxes, crs) == [rule.split_of(one, crs) for one in boxes]


# Near the border of two zones, in the middle of one, at the equator, in the south, in the north.
PLACES = [(12.0, 47.0), (9.1, 47.3), (15.2, 0.0), (-66.0, -33.0), (25.0, 69.0), (179.99, -17.0)]
CRSS = ("EPSG:4326", "EPSG:3857", "zone", "zone to the west", "EPSG:6933")


def crs_named(name: str, lon: float, lat: float) -> str:
    if name.startswith("EPSG"):
        return name
    number = int((lon + 180) // 6) + 1 - ("west" in name)
    return f"EPSG:{(32700 if lat < 0 else 32600) + (number - 1) % 60 + 1}"


@cache
def transformer(source: str, target: str) -> Transformer:
    """Making one takes longer than all that is done with it."""
    return Transformer.from_crs(source, target, always_xy=True)


@settings(max_examples=150, deadline=None)
@given(
    place=st.sampled_from(PLACES),
    offsets=st.lists(st.tuples(*[st.floats(-4000, 4000)] * 2), min_size=2, max_size=2),
    sizes=st.lists(st.sampled_from([160.0, 320.0, 500.0, 960.0]), min_size=2, max_size=2),
    crss=st.lists(st.sampled_from(CRSS), min_size=2, max_size=2),
    buffer=st.sampled_from([0.0, 320.0]),
)
def test_chips_near_each_other_are_never_on_two_sides(
    place: tuple[float, float],
    offsets: list[tuple[float, float]],
    sizes: list[float],
    crss: list[str],
    buffer: float,
) -> None:
    """Whatever their CRSs and sizes, also across the borders of zones."""
    lon, lat = place
    rule = SplitRule(block_m=1280.0, buffer_m=buffer)
    local = f"+proj=aeqd +lat_0={lat} +lon_0={lon} +datum=WGS84"
    sides, shapes = [], []
    for (dx, dy), size, name in zip(offsets, sizes, crss, strict=True):
        crs = crs_named(name, lon, lat)
        xs, ys = transformer(local, crs).transform([dx, dx + size, dx], [dy, dy, dy + size])
        bounds = (min(xs), min(ys), max(xs), max(ys))
        if crs == "EPSG:4326" and bounds[2] - bounds[0] > 180:
            return  # over the antimeridian: no such bounds
        sides.append(rule.split_of(bounds, crs))
        ring = shapely.segmentize(shapely.box(*bounds), (bounds[2] - bounds[0]) / 8)
        back = transformer(crs, local).transform
        shapes.append(shapely.transform(ring, back, interleaved=False))
    apart = shapely.distance(*shapes)
    forbidden = {frozenset(pair) for pair in (("train", "test"), ("train", "val"), ("val", "test"))}
    if frozenset(sides) in forbidden:
        # Turned grids are sampled: a corner of ground may be missed by the depth of a few metres.
        assert apart >= 0.95 * buffer - 40
        if buffer == 0:
            assert shapely.area(shapely.intersection(*shapes)) < 0.02 * min(sizes) ** 2


@pytest.mark.parametrize("crs", ["EPSG:3857", "EPSG:2056", "EPSG:4326", "EPSG:32632"])
def test_turned_and_shifted_lattices_have_all_sides(crs: str) -> None:
    there = Transformer.from_crs("EPSG:32632", crs, always_xy=True)
    xs, ys = np.meshgrid(400_000 + 320.0 * np.arange(60) + 100, 5_200_000 + 320.0 * np.arange(60))
    left, bottom = there.transform(xs.ravel(), ys.ravel())
    right, top = there.transform(xs.ravel() + 320, ys.ravel() + 320)
    counts = Counter(SplitRule().splits_of(np.stack([left, bottom, right, top], axis=1), crs))
    assert counts["test"] > 60
    assert counts["val"] > 60
    assert counts["train"] > 900


def test_the_same_ground_twice_is_never_trained_and_tested() -> None:
    """Seen from two zones: the overlap of satellite tiles."""
    rule = SplitRule()
    ground = np.array([box(-16_300 - r, 2140 + c) for r in range(24) for c in range(24)])
    first = rule.splits_of(ground, "EPSG:32632")  # just east of 12 degrees: zone 33
    there = Transformer.from_crs("EPSG:32632", "EPSG:32633", always_xy=True)
    middle = np.stack(there.transform((ground[:, 0] + ground[:, 2]) / 2, ground[:, 1] + 160), 1)
    second = rule.splits_of(np.concatenate([middle - 160, middle + 160], axis=1), "EPSG:32633")
    pairs = Counter(zip(first, second, strict=True))
    held_out = ("val", "test")
    assert not any(pairs["train", side] or pairs[side, "train"] for side in held_out)
    assert not pairs["val", "test"] + pairs["test", "val"]
    assert pairs["train", "train"] > 100


def test_a_chip_wider_than_blocks_is_set_aside() -> None:
    assert SplitRule().split_of((400_000, 5e6, 420_000, 5.02e6), UTM) == "buffer"


@pytest.mark.parametrize("bounds", [(1, 0, 0, 1), (0, 0, float("nan"), 1), (0, 0, 0, 1)])
def test_bounds_that_are_none_are_named(bounds: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValueError, match="bounds are"):
        SplitRule().split_of(bounds, UTM)


@pytest.mark.parametrize(
    "values",
    [{"block_m": 0}, {"block_m": float("inf")}, {"buffer_m": -1}, {"block_m": 10, "buffer_m": 11}],
)
def test_rules_that_make_no_sense_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="wanted"):
        SplitRule(**values)


def test_chips_of_another_grid_than_utm_need_blocks_of_two_chips() -> None:
    """What training advises where there is no held-out ground."""
    from odc.geo.geom import box

    side = 10.0  # of a chip, in units of EPSG:3857; near the equator about a metre each
    west, north = 4_370_003.0, -688_007.0
    steps = [(col * side / 2, row * side / 2) for row in range(31) for col in range(31)]
    chips = [(west + x, north - y - side, west + x + side, north - y) for x, y in steps]
    across = box(*chips[480], "EPSG:3857").to_crs("EPSG:32737").boundingbox
    ground = max(across.span_x, across.span_y)
    found = [
        set(SplitRule(block_m=count * ground, buffer_m=0).splits_of(chips, "EPSG:3857"))
        for count in (0.999, 2)
    ]
    assert found == [{"train", "buffer"}, {"train", "val", "test", "buffer"}]
