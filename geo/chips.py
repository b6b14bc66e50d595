"""The lattice that chips lie on, anchored to the CRS, so that a chip has one identity for ever."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from odc.geo.geobox import GeoBox

from geo.errors import GridError

# Pixels are numbered by the nearest whole number, but the line between two numbers lies a little
# beside the half: grids like Landsat's start at half pixels (their centres are at multiples of
# 30 m), and there the noise of floating point, or rounding to even, would tear a scene apart.
_NEAREST = 0.501
_SAME_RESOLUTION = 1e-6  # relative; files differ in the last digits of a pixel's size


@dataclass(frozen=True, order=True)
class Cell:
    """A place on a lattice: row counts southwards, column eastwards; both may be negative."""

    row: int
    col: int


@dataclass(frozen=True, kw_only=True)
class Lattice:
    """Square cells of LR pixels.

    Parameters
    ----------
    crs : str
    resolution_xy : tuple of float
        Size of an LR pixel in units of the CRS, both positive.
    lr_size : int
        LR pixels on a side of a cell.

    Notes
    -----
    A scene's pixels are numbered from the origin of the CRS, rounded to whole pixels. So two
    dates of one sensor share their cells, and a grid whose origin is off by a fraction of a pixel
    keeps its own pixels.
    """

    crs: str
    resolution_xy: tuple[float, float]
    lr_size: int

    def __post_init__(self) -> None:
        if min(self.resolution_xy) <= 0:
            raise ValueError(f"resolution_xy is {self.resolution_xy}; wanted positive numbers")
        if self.lr_size < 1:
            raise ValueError(f"lr_size is {self.lr_size}; wanted 1 or more")

    def _origin(self, geobox: GeoBox) -> tuple[int, int]:
        """Global row and column of a grid's first pixel."""
        affine = geobox.affine
        rx, ry = self.resolution_xy
        if (
            max(abs(affine.a / rx - 1), abs(-affine.e / ry - 1)) > _SAME_RESOLUTION
            or affine.b
            or affine.d
        ):
            raise GridError(
                f"a grid of pixels {affine.a:g}, {affine.b:g}, {affine.d:g}, {affine.e:g} does "
                f"not fit a lattice of {rx:g} x {ry:g}; wanted north up, of the same resolution"
            )
        return math.floor(-affine.f / ry + _NEAREST), math.floor(affine.c / rx + _NEAREST)

    def cells_in(self, geobox: GeoBox) -> list[Cell]:
        """Cells that lie wholly inside a grid, row by row.

        Raises
        ------
        GridError
            If the grid is not north up or of another resolution.
        """
        row, col = self._origin(geobox)
        height, width = geobox.shape.yx
        size = self.lr_size
        return [
            Cell(r, c)
            for r in range(-(-row // size), (row + height) // size)
            for c in range(-(-col // size), (col + width) // size)
        ]

    def window(self, cell: Cell, geobox: GeoBox) -> tuple[slice, slice]:
        """Rows and columns of a grid's pixels that a cell holds; may reach beyond the grid."""
        row, col = self._origin(geobox)
        top, left = cell.row * self.lr_size - row, cell.col * self.lr_size - col
        return slice(top, top + self.lr_size), slice(left, left + self.lr_size)

    def bounds(self, cell: Cell) -> tuple[float, float, float, float]:
        """Left, bottom, right and top of a cell, the same for all scenes, in units of the CRS.

        A scene's own chip lies up to half a pixel beside it.
        """
        width, height = (self.lr_size * size for size in self.resolution_xy)
        left, top = cell.col * width, -cell.row * height
        return left, top - height, left + width, top

    def geobox_of(self, cell: Cell, geobox: GeoBox) -> GeoBox:
        """LR grid of a cell, on a scene's own pixels; may reach beyond the scene."""
        rows, cols = self.window(cell, geobox)
        shifted = geobox.translate_pix(cols.start, rows.start)
        return GeoBox((self.lr_size, self.lr_size), shifted.affine, geobox.crs)


def blocks_of(cells: Sequence[Cell], *, side: tuple[int, int] = (8, 16)) -> Iterator[list[Cell]]:
    """Neighbouring cells together, at most as many as one part of the store holds."""
    blocks: dict[tuple[int, int], list[Cell]] = {}
    for cell in cells:
        blocks.setdefault((cell.row // side[0], cell.col // side[1]), []).append(cell)
    for key in sorted(blocks):
        yield blocks[key]


def ground_of(geobox: GeoBox, shift_yx: tuple[float, float], scale: int) -> GeoBox:
    """Where the ground of these pixels really lies.

    Content lies `shift_yx` LR pixels down and right of where the georeference says, so the
    ground of a pixel is to be looked for as far up and left of it.
    """
    return geobox.translate_pix(-shift_yx[1] * scale, -shift_yx[0] * scale)
