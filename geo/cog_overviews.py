"""Overviews that reach over several blocks, drawn when all blocks are there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from geo.block_file import Piece, read_index, read_run, write_pieces
from geo.cog_layout import DRAWN_LAST, TileTables, naming
from geo.overviews import halve

if TYPE_CHECKING:
    from pathlib import Path

    from geo.cog import CogSink

Strip = tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]
"""Pixels [C, h, W] and validity [h, W] over the whole width of a level."""


def write_coarse_levels(folder: Path, sink: CogSink, tables: TileTables) -> None:
    """Draw them in one pass from top to bottom, and enter them in the tables.

    Memory holds two rows of tiles of each level.

    Raises
    ------
    DamagedFileError
        With the `block` whose file is not as it was written.
    """
    first = sink.grid.own_levels + 1
    if first >= len(sink.grid.shapes):
        return
    path = tables.path_of(DRAWN_LAST)
    write_pieces(path, _pieces(sink, tables, first))
    tables.take(DRAWN_LAST, read_index(path))


def _pieces(sink: CogSink, tables: TileTables, first: int) -> Iterator[Piece]:
    drawn: list[Piece] = []
    level = _Level(sink, first, drawn)
    for pixels, valid in _rows_of_tiles(_strips(sink, tables, first), sink.tile_px):
        level.take(pixels, valid)
        yield from drawn
        drawn.clear()
    level.end()
    yield from drawn


class _Level:
    """Takes rows of tiles, encodes them, and hands their halves on to the next level."""

    def __init__(self, sink: CogSink, level: int, drawn: list[Piece]) -> None:
        self._sink, self._level, self._drawn = sink, level, drawn
        self._row = 0
        self._held: list[Strip] = []
        last = level == len(sink.grid.shapes) - 1
        self._coarser = None if last else _Level(sink, level + 1, drawn)

    def take(self, pixels: npt.NDArray[Any], valid: npt.NDArray[np.bool_]) -> None:
        self._drawn += self._sink.tiles_of(pixels, valid, self._level, self._row, 0)
        self._row += 1
        if self._coarser is not None:
            self._held.append((pixels, valid))
            if len(self._held) == 2:
                self._hand_on(self._coarser)

    def end(self) -> None:
        if self._coarser is not None:
            if self._held:
                self._hand_on(self._coarser)
            self._coarser.end()

    def _hand_on(self, coarser: _Level) -> None:
        both = _stacked(self._held)
        self._held = []
        pixels, valid = halve(*both, self._sink.profile.nodata)
        assert valid is not None  # as it was given
        coarser.take(pixels, valid)


def _strips(sink: CogSink, tables: TileTables, level: int) -> Iterator[Strip]:
    """A level row of blocks by row of blocks, put together from what each block has of it."""
    width, bands = sink.grid.shapes[level][1], sink.profile.bands
    rows, cols = sink.grid.blocks.grid
    edge = sink.block_lr_px * sink.scale >> level
    for row in range(rows):
        height = min(edge, sink.grid.shapes[level][0] - row * edge)
        pixels = np.full((bands, height, width), sink.profile.fill, sink.profile.dtype)
        valid = np.zeros((height, width), np.bool_)
        for col in range(cols):
            entry = tables.coarse.get(row * cols + col)
            if entry is None:
                continue
            shape = int(entry["row"]), int(entry["col"])
            place = np.s_[..., : shape[0], col * edge : col * edge + shape[1]]
            pixels[place], valid[place] = _read(sink, tables, row * cols + col, entry, shape)
        yield pixels, valid


def _read(
    sink: CogSink,
    tables: TileTables,
    block: int,
    entry: npt.NDArray[np.void],
    shape: tuple[int, int],
) -> Strip:
    with naming(block), tables.path_of(block).open("rb") as file:
        (content,) = read_run(file, np.atleast_1d(entry))
    dtype, count = np.dtype(sink.profile.dtype), sink.profile.bands * shape[0] * shape[1]
    pixels = np.frombuffer(content, dtype, count).reshape(sink.profile.bands, *shape)
    bits = np.frombuffer(content, np.uint8, offset=count * dtype.itemsize)
    valid = np.unpackbits(bits, count=shape[0] * shape[1]).astype(np.bool_)
    return pixels, valid.reshape(shape)


def _rows_of_tiles(strips: Iterator[Strip], height: int) -> Iterator[Strip]:
    """The same rows in strips of another height; the last one may be less."""
    held: list[Strip] = []
    for strip in strips:
        held.append(strip)
        while sum(pixels.shape[1] for pixels, _ in held) >= height:
            pixels, valid = _stacked(held)
            yield pixels[:, :height], valid[:height]
            held = [(pixels[:, height:], valid[height:])] if pixels.shape[1] > height else []
    if held:
        yield _stacked(held)


def _stacked(strips: list[Strip]) -> Strip:
    if len(strips) == 1:
        return strips[0]
    pixels, valid = zip(*strips, strict=True)
    return np.concatenate(pixels, axis=1), np.concatenate(valid)
