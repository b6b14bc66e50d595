"""The lattice: one identity for a place, whatever extent a scene has."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from geo.chips import Cell, Lattice
from geo.errors import GridError

sizes = st.integers(1, 7)
grids = st.builds(
    lambda row, col, h, w, phase: GeoBox(
        (h, w), Affine(10, 0, 10 * (col + phase), 0, -10, -10 * (row + phase)), "EPSG:32633"
    ),
    st.integers(-60, 60),
    st.integers(-60, 60),
    st.integers(1, 40),
    st.integers(1, 40),
    # Landsat's grids start at half pixels; noise is what files add in the last digits.
    st.sampled_from([-0.5, 0.0, 0.25, 0.5]).flatmap(
        lambda phase: st.floats(-1e-6, 1e-6).map(lambda noise: phase + noise)
    )
    | st.floats(-0.49, 0.49),
)


def lattice(size: int) -> Lattice:
    return Lattice(crs="EPSG:32633", resolution_xy=(10, 10), lr_size=size)


@given(grids, sizes)
def test_windows_lie_inside_and_never_overlap(grid: GeoBox, size: int) -> None:
    taken = set()
    for cell in lattice(size).cells_in(grid):
        rows, cols = lattice(size).window(cell, grid)
        assert 0 <= rows.start < rows.stop <= grid.shape.y
        assert 0 <= cols.start < cols.stop <= grid.shape.x
        pixels = {(r, c) for r in range(*rows.indices(99)) for c in range(*cols.indices(99))}
        assert len(pixels) == size * size
        assert not pixels & taken
        taken |= pixels
    assert len(taken) >= max(0, grid.shape.y - 2 * size + 2) * max(0, grid.shape.x - 2 * size + 2)


@given(grids, sizes, st.integers(0, 9), st.integers(0, 9))
def test_a_pixel_keeps_its_cell_in_any_crop(grid: GeoBox, size: int, top: int, left: int) -> None:
    if top >= grid.shape.y or left >= grid.shape.x:
        return
    crop = grid[top:, left:]
    for cell in lattice(size).cells_in(crop):
        rows, cols = lattice(size).window(cell, crop)
        whole_rows, whole_cols = lattice(size).window(cell, grid)
        assert (rows.start + top, cols.start + left) == (whole_rows.start, whole_cols.start)


@given(grids, sizes)
def test_the_grid_of_a_cell_is_the_window_of_the_scene(grid: GeoBox, size: int) -> None:
    for cell in lattice(size).cells_in(grid):
        rows, cols = lattice(size).window(cell, grid)
        chip = lattice(size).geobox_of(cell, grid)
        assert chip.shape == (size, size)
        assert chip.crs == grid.crs
        assert chip.boundingbox == pytest.approx(grid[rows, cols].boundingbox)
        assert lattice(size).cells_in(chip) == [cell]  # a chip alone is still the same cell


@given(st.integers(-3000, 3000), st.integers(-3000, 3000), st.integers(0, 30))
def test_degrees_with_pixels_that_are_not_square(row: int, col: int, cut: int) -> None:
    rx, ry = 1 / 3600, 1 / 5400
    degrees = Lattice(crs="EPSG:4326", resolution_xy=(rx, ry), lr_size=4)
    grid = GeoBox((64, 64), Affine(rx, 0, rx * (col + 0.5), 0, -ry, -ry * (row + 0.5)), "EPSG:4326")
    crop = grid[cut:, cut:]
    cells = degrees.cells_in(crop)
    assert set(cells) <= set(degrees.cells_in(grid))
    for cell in cells:
        rows, cols = degrees.window(cell, crop)
        wanted = degrees.window(cell, grid)
        assert (rows.start + cut, cols.start + cut) == (wanted[0].start, wanted[1].start)


@pytest.mark.parametrize(
    "affine",
    [Affine(20, 0, 0, 0, -20, 0), Affine(10, 0, 0, 0, 10, 0), Affine(10, 1, 0, 1, -10, 0)],
    ids=["resolution", "south up", "rotated"],
)
def test_refuses_a_grid_that_does_not_fit(affine: Affine) -> None:
    with pytest.raises(GridError, match="does not fit"):
        lattice(4).cells_in(GeoBox((8, 8), affine, "EPSG:32633"))


def test_cells_count_southwards_and_eastwards_from_the_origin_of_the_crs() -> None:
    grid = GeoBox((8, 8), Affine(10, 0, 0, 0, -10, 40), "EPSG:32633")
    assert lattice(4).cells_in(grid) == [Cell(-1, 0), Cell(-1, 1), Cell(0, 0), Cell(0, 1)]


def test_refuses_a_cell_without_pixels() -> None:
    with pytest.raises(ValueError, match="lr_size is 0"):
        lattice(0)


def test_bounds_of_a_cell_are_those_of_its_pixels_but_for_their_fraction() -> None:
    lattice = Lattice(crs="EPSG:32633", resolution_xy=(10.0, 10.0), lr_size=32)
    geobox = GeoBox((64, 64), Affine(10, 0, 320_004, 0, -10, 5_000_003), "EPSG:32633")
    for cell in lattice.cells_in(geobox):
        wanted = lattice.geobox_of(cell, geobox).boundingbox
        np.testing.assert_allclose(lattice.bounds(cell), tuple(wanted), atol=5)
