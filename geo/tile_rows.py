"""Rows of pixels from top to bottom, made into tiles of a level and of the overviews above it.

Memory holds one row of tiles of each level, however high the image is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from geo.block_file import Piece
from geo.overviews import halve

if TYPE_CHECKING:
    from geo.cog import CogSink

Mask = npt.NDArray[np.bool_]


class TakesRows(Protocol):
    """What rows of a level are handed to."""

    def take(self, pixels: npt.NDArray[Any], valid: Mask | None) -> None:
        """Take the next rows: pixels [C, rows, w], validity [rows, w] or None for all valid."""
        ...

    def end(self) -> None:
        """All rows have come."""
        ...


class TileRows:
    """A part of a level that begins at a tile: takes rows, keeps tiles, hands halves on.

    Parameters
    ----------
    sink : CogSink
        How tiles are encoded.
    level : int
    top, left : int
        Row and column of its first tile in the level.
    width : int
        Pixels.
    drawn : list of Piece
        Where encoded tiles are put.
    coarser : TakesRows or None
        Gets each row of tiles at half the size.
    """

    def __init__(
        self,
        sink: CogSink,
        level: int,
        top: int,
        left: int,
        width: int,
        drawn: list[Piece],
        coarser: TakesRows | None,
    ) -> None:
        self._sink, self._level, self._row, self._left = sink, level, top, left
        self._drawn, self._coarser = drawn, coarser
        size = sink.tile_px
        self._pixels = np.empty((sink.profile.bands, size, width), sink.profile.dtype)
        self._valid: Mask | None = None  # until a pixel is not
        self._held = 0

    def take(self, pixels: npt.NDArray[Any], valid: Mask | None) -> None:
        """Take the next rows."""
        taken = 0
        while taken < pixels.shape[1]:
            count = min(pixels.shape[1] - taken, self._sink.tile_px - self._held)
            rows, place = slice(taken, taken + count), slice(self._held, self._held + count)
            self._pixels[:, place] = pixels[:, rows]
            if self._valid is None and valid is not None:
                self._valid = np.ones(self._pixels.shape[1:], np.bool_)
            if self._valid is not None:
                self._valid[place] = True if valid is None else valid[rows]
            taken += count
            self._held += count
            if self._held == self._sink.tile_px:
                self._hand_on()

    def end(self) -> None:
        """All rows have come."""
        if self._held:
            self._hand_on()
        if self._coarser is not None:
            self._coarser.end()

    def _hand_on(self) -> None:
        pixels = self._pixels[:, : self._held]
        valid = None if self._valid is None else self._valid[: self._held]
        self._drawn += self._sink.tiles_of(pixels, valid, self._level, self._row, self._left)
        if self._coarser is not None:
            self._coarser.take(*halve(pixels, valid, self._sink.profile.nodata))
        self._row += 1
        self._held = 0


class RowsKept:
    """Keeps rows as they are."""

    def __init__(self) -> None:
        self._pixels: list[npt.NDArray[Any]] = []
        self._valid: list[Mask] = []

    def take(self, pixels: npt.NDArray[Any], valid: Mask | None) -> None:
        """Take the next rows."""
        self._pixels.append(pixels)
        self._valid.append(np.ones(pixels.shape[1:], np.bool_) if valid is None else valid)

    def end(self) -> None:
        """All rows have come."""

    def all(self) -> tuple[npt.NDArray[Any], Mask]:
        """Pixels [C, h, w] and validity [h, w]."""
        return np.concatenate(self._pixels, axis=1), np.concatenate(self._valid)


def chain(
    sink: CogSink,
    levels: range,
    top: int,
    left: int,
    width: int,
    drawn: list[Piece],
    rest: TakesRows | None = None,
) -> TileRows:
    """Levels that hand on to each other; the first one is returned, `rest` gets the last halves.

    Parameters
    ----------
    top, left : int
        Row and column of the first tile in the first level.
    width : int
        Pixels of the first level.
    """
    coarser = rest
    for level in reversed(levels):
        depth = level - levels.start
        coarser = TileRows(
            sink, level, top >> depth, left >> depth, -(-width >> depth), drawn, coarser
        )
    assert isinstance(coarser, TileRows)
    return coarser


def emptied(drawn: list[Piece]) -> Iterator[Piece]:
    """Take all pieces out of a list."""
    yield from drawn
    drawn.clear()
