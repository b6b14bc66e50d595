"""Overviews that reach over several blocks, drawn when all blocks are there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from geo.block_file import Piece, read_index, read_run, write_pieces
from geo.cog_layout import DRAWN_LAST, TileTables, naming
from geo.tile_rows import chain, emptied

if TYPE_CHECKING:
    from pathlib import Path

    from geo.cog import CogSink

Strip = tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]
"""Pixels [C, h, W] and validity [h, W] over the whole width of a level."""


def write_coarse_levels(folder: Path, sink: CogSink, tables: TileTables) -> None:
    """Draw them in one pass from top to bottom, and enter them in the tables.

    Memory holds a row of blocks of the first one, and a row of tiles of each.

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
    shapes = sink.grid.shapes
    drawn: list[Piece] = []
    rows = chain(sink, range(first, len(shapes)), 0, 0, shapes[first][1], drawn)
    for pixels, valid in _strips(sink, tables, first):
        rows.take(pixels, valid)
        yield from emptied(drawn)
    rows.end()
    yield from emptied(drawn)


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
