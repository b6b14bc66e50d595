"""The lattice that chips lie on, anchored to the CRS, so that a chip has one identity for ever."""

from __future__ import annotations

from dataclasses import dataclass

from odc.geo.geobox import GeoBox


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
        return (
            round(-affine.f / self.resolution_xy[1]),
            round(affine.c / self.resolution_xy[0]),
        )

    def cells_in(self, geobox: GeoBox) -> list[Cell]:
        """Cells that lie wholly inside a grid, row by row."""
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
