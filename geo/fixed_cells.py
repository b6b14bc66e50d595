"""Fixed cells of ground: what is resampled in them is the same whatever window is asked for.

A warp depends in its last digits on the window that it is made for: where its mesh of places lies,
what its splines see. So a region warps whole cells that are anchored to its CRS, and a window
takes its part of each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from affine import Affine
from odc.geo.geobox import GeoBox

# Small, and a window warps much that it does not need; large, and it opens files too often.
CELL_PX = 256


@dataclass(frozen=True)
class CellPart:
    """The part of a cell that a window holds.

    Parameters
    ----------
    geobox : GeoBox
        Of the whole cell; it may reach beyond the region.
    inside : (rows, cols)
        The part, in pixels of the cell.
    place : (rows, cols)
        The same, in pixels of the window.
    """

    geobox: GeoBox
    inside: tuple[slice, slice]
    place: tuple[slice, slice]


def cells_over(
    region: GeoBox, rows: slice, cols: slice, size_px: int = CELL_PX
) -> Iterator[CellPart]:
    """Cells that a window of a region touches, row by row.

    Parameters
    ----------
    region : GeoBox
    rows, cols : slice
        The window, in pixels of the region.
    size_px : int
        Edge of a cell.
    """
    top, left = _corner(region)
    for row_cell, row_place in _along(rows, top, size_px):
        for col_cell, col_place in _along(cols, left, size_px):
            there = region.affine @ Affine.translation(col_cell, row_cell)
            yield CellPart(
                geobox=GeoBox((size_px, size_px), there, region.crs),
                inside=(
                    _shifted(row_place, rows.start - row_cell),
                    _shifted(col_place, cols.start - col_cell),
                ),
                place=(row_place, col_place),
            )


def _corner(region: GeoBox) -> tuple[int, int]:
    """Row and column of a region's first pixel, counted from the origin of the CRS."""
    a = region.affine
    if a.b or a.d:
        return 0, 0  # turned grids share their cells with no other
    return round(a.f / a.e), round(a.c / a.a)


def _along(span: slice, corner: int, size: int) -> Iterator[tuple[int, slice]]:
    """First pixel of each cell along an axis, in the region; and its part of the window."""
    for cell in range((span.start + corner) // size, (span.stop - 1 + corner) // size + 1):
        first = cell * size - corner
        start, stop = max(span.start, first), min(span.stop, first + size)
        yield first, slice(start - span.start, stop - span.start)


def _shifted(span: slice, by: int) -> slice:
    return slice(span.start + by, span.stop + by)
