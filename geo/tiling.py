"""A region cut into blocks, and the surroundings that a block is computed from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Block:
    """A rectangle of a region: the unit of work.

    Parameters
    ----------
    index : int
        Position in the tiling, row by row.
    rows, cols : slice
        Inside the region; never empty.
    """

    index: int
    rows: slice
    cols: slice

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.rows.stop - self.rows.start, self.cols.stop - self.cols.start

    def scaled(self, scale: int) -> Block:
        """Find the same ground on the grid of ``scale`` times as many pixels."""
        return Block(self.index, scale_slice(self.rows, scale), scale_slice(self.cols, scale))

    def __str__(self) -> str:
        return (
            f"block {self.index} (rows {self.rows.start}-{self.rows.stop - 1}, "
            f"cols {self.cols.start}-{self.cols.stop - 1})"
        )


@dataclass(frozen=True)
class Tiling(Sequence[Block]):
    """Blocks that cover a region exactly once, row by row; those at its end may be smaller.

    A sequence that computes its blocks, so a region of a million blocks costs nothing.

    Parameters
    ----------
    height, width : int
        Of the region, in pixels.
    size : int
        Edge of a block, in pixels.
    """

    height: int
    width: int
    size: int

    def __post_init__(self) -> None:
        for name in ("height", "width", "size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; wanted 1 or more")

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of blocks."""
        return -(-self.height // self.size), -(-self.width // self.size)

    def __len__(self) -> int:
        rows, cols = self.grid
        return rows * cols

    @overload
    def __getitem__(self, index: int) -> Block: ...
    @overload
    def __getitem__(self, index: slice) -> list[Block]: ...
    def __getitem__(self, index: int | slice) -> Block | list[Block]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"block {index} of {len(self)}")
        index %= len(self)
        row, col = divmod(index, self.grid[1])
        return Block(
            index,
            _cell(row, self.size, self.height),
            _cell(col, self.size, self.width),
        )

    def __iter__(self) -> Iterator[Block]:
        return (self[i] for i in range(len(self)))


@dataclass(frozen=True)
class HaloWindow:
    """A block with its halo: what to read, and how to lay it out.

    Beyond the region the halo mirrors it about its outermost pixels (which are not repeated).
    The mirror is a rule about positions in the region, not about what happened to be read, so
    neighbouring blocks see the same halo.

    Parameters
    ----------
    rows, cols : slice
        Window to read, clipped to the region.
    row_index, col_index : array of int
        For each row and column of block and halo, its position inside that window.
    """

    rows: slice
    cols: slice
    row_index: npt.NDArray[np.intp]
    col_index: npt.NDArray[np.intp]

    def lay_out(self, window: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Arrange the window's pixels as block and halo, [..., n + 2 halo, m + 2 halo]."""
        return np.ascontiguousarray(window[..., self.row_index, :][..., self.col_index])


def halo_window(block: Block, halo: int, height: int, width: int, margin: int = 0) -> HaloWindow:
    """Surround a block.

    Parameters
    ----------
    block : Block
    halo : int
        Pixels on each side.
    height, width : int
        Of the region.
    margin : int
        Pixels to read beyond the halo, without laying them out.
    """
    rows, row_index = _surround(block.rows, halo, margin, height)
    cols, col_index = _surround(block.cols, halo, margin, width)
    return HaloWindow(rows, cols, row_index, col_index)


def mirror(position: npt.NDArray[np.intp], length: int) -> npt.NDArray[np.intp]:
    """Fold positions outside ``0 .. length - 1`` back inside, about the outermost pixels."""
    if length == 1:
        return np.zeros_like(position)
    period = 2 * (length - 1)
    folded = position % period
    return np.minimum(folded, period - folded)


def scale_slice(span: slice, scale: int) -> slice:
    """Find the same ground on a grid of ``scale`` times as many pixels."""
    return slice(span.start * scale, span.stop * scale)


def stretch_mask(mask: npt.NDArray[np.bool_], scale: int, rows: slice) -> npt.NDArray[np.bool_]:
    """Some rows of a mask [h, w] on the grid of ``scale`` times as many pixels."""
    tall = mask[np.arange(rows.start, rows.stop) // scale]
    return np.asarray(tall.repeat(scale, axis=1))


def _cell(position: int, size: int, length: int) -> slice:
    return slice(position * size, min((position + 1) * size, length))


def _surround(
    span: slice, halo: int, margin: int, length: int
) -> tuple[slice, npt.NDArray[np.intp]]:
    index = mirror(np.arange(span.start - halo, span.stop + halo), length)
    start = max(0, min(int(index.min()), span.start - halo - margin))
    stop = min(length, max(int(index.max()) + 1, span.stop + halo + margin))
    return slice(start, stop), index - start
