from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geo.tiling import Block, Tiling, halo_window, mirror

lengths = st.integers(1, 60)


@given(height=lengths, width=lengths, size=st.integers(1, 70))
def test_blocks_cover_a_region_exactly_once(height: int, width: int, size: int) -> None:
    tiling = Tiling(height, width, size)
    count = np.zeros((height, width), int)
    for position, block in enumerate(tiling):
        assert block.index == position
        assert block == tiling[position]
        assert max(block.shape) <= size
        count[block.rows, block.cols] += 1
    assert len(list(tiling)) == len(tiling)
    np.testing.assert_array_equal(count, 1)


def test_tiling_is_a_sequence() -> None:
    tiling = Tiling(5, 7, 3)
    assert tiling.grid == (2, 3)
    assert tiling[-1] == Block(5, slice(3, 5), slice(6, 7))
    assert tiling[1:3] == [tiling[1], tiling[2]]
    assert tiling[-1].scaled(4) == Block(5, slice(12, 20), slice(24, 28))
    assert str(tiling[-1]) == "block 5 (rows 3-4, cols 6-6)"
    with pytest.raises(IndexError, match="block 6 of 6"):
        tiling[6]


@pytest.mark.parametrize("bad", [(0, 1, 1), (1, 0, 1), (1, 1, 0)])
def test_empty_tilings_are_refused(bad: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="wanted 1 or more"):
        Tiling(*bad)


@given(length=lengths, position=st.integers(-500, 500))
def test_mirror_is_numpys_reflection(length: int, position: int) -> None:
    pad = abs(position) + 1
    # A single pixel has nothing to mirror: it is repeated.
    wanted = np.pad(np.arange(length), pad, mode="reflect" if length > 1 else "edge")
    assert mirror(np.array([position]), length)[0] == wanted[position + pad]


@given(data=st.data(), height=lengths, width=lengths, size=st.integers(1, 70))
def test_halo_windows_are_cuts_of_the_mirrored_region(
    data: st.DataObject, height: int, width: int, size: int
) -> None:
    halo = data.draw(st.integers(0, 20))
    margin = data.draw(st.integers(0, 20))
    tiling = Tiling(height, width, size)
    block = tiling[data.draw(st.integers(0, len(tiling) - 1))]
    region = np.arange(height * width).reshape(height, width)

    window = halo_window(block, halo, height, width, margin)
    got = window.lay_out(region[window.rows, window.cols])

    rows = mirror(np.arange(-halo, height + halo), height)
    cols = mirror(np.arange(-halo, width + halo), width)
    mirrored = region[np.ix_(rows, cols)]
    wanted = mirrored[
        block.rows.start : block.rows.stop + 2 * halo, block.cols.start : block.cols.stop + 2 * halo
    ]
    np.testing.assert_array_equal(got, wanted)
    assert 0 <= window.rows.start < window.rows.stop <= height
    assert 0 <= window.cols.start < window.cols.stop <= width
    assert window.rows.stop - window.rows.start <= block.shape[0] + 2 * (halo + margin)
