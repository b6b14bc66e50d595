"""Where each tile of a COG comes from and where it goes: tables, header, copying.

Order in the file: directories, then the tiles of the coarsest overview, and so on to the full size,
row by row (Open Geospatial Consortium, "Cloud Optimized GeoTIFF", 21-026, 2023, section 7).

Of a large file, whose tiles are moved to it while it is computed (`geo.cog_mover`): directories,
the overviews that reach over several blocks, then block by block, in each the coarsest overview
first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import numpy.typing as npt

from geo.block_file import INDEX_DTYPE, BlockIndex, DamagedFileError, read_index, read_run
from geo.cog_header import IMAGE, MASK, TableKey, header_bytes, write_header
from geo.overviews import overview_shapes
from geo.tiling import Tiling

if TYPE_CHECKING:
    from geo.cog import CogSink

COARSE = 2
"""A kind of piece beside `IMAGE` and `MASK`: both, unencoded, for the overviews of many blocks."""

MOVED, EMPTY, DRAWN_LAST = -3, -2, -1
"""Where a tile comes from that is in no block's file: it lies in its place already, is like all
without data, or was drawn from several blocks."""
_ENTRY = np.dtype([("source", "<i8"), *INDEX_DTYPE.descr])


@dataclass(frozen=True, kw_only=True)
class CogGrid:
    """Levels of a raster and its tiles.

    Parameters
    ----------
    shapes : tuple of (int, int)
        Height and width of each level, the full size first.
    tile_px : int
    block_px : int
        Edge of a block at the full size; whole tiles.
    own_levels : int
        Overviews of which a block has whole tiles to itself.
    """

    shapes: tuple[tuple[int, int], ...]
    tile_px: int
    block_px: int
    own_levels: int

    @classmethod
    def of(cls, height: int, width: int, *, tile_px: int, block_px: int) -> CogGrid:
        """Levels down to one tile."""
        shapes = ((height, width), *overview_shapes(height, width, tile_px))
        own, tiles = 0, block_px // tile_px
        while tiles % 2 == 0 and own < len(shapes) - 1:
            own, tiles = own + 1, tiles // 2
        return cls(shapes=shapes, tile_px=tile_px, block_px=block_px, own_levels=own)

    @property
    def blocks(self) -> Tiling:
        """All blocks, at the full size."""
        return Tiling(*self.shapes[0], self.block_px)

    def tiles(self, level: int) -> tuple[int, int]:
        """Rows and columns of tiles of a level."""
        height, width = self.shapes[level]
        return -(-height // self.tile_px), -(-width // self.tile_px)


@dataclass
class TileTables:
    """Where the tiles of each level lie.

    Parameters
    ----------
    folder : Path
        Of the run.
    grid : CogGrid
    tables : dict of (kind, level) to array of entries [rows, columns]
        Coarsest level first, as they follow each other in the file.
    coarse : dict of int to entry
        What each block has for the coarser overviews.
    """

    folder: Path
    grid: CogGrid
    tables: dict[TableKey, npt.NDArray[np.void]]
    coarse: dict[int, npt.NDArray[np.void]] = field(default_factory=dict)

    def path_of(self, source: int) -> Path:
        """File that a tile lies in."""
        return self.folder / ("coarse" if source == DRAWN_LAST else f"blocks/{source}")

    @property
    def first_moved(self) -> int | None:
        """Where the first tile lies of those that are in their place; None where none is."""
        moved = [t["offset"][t["source"] == MOVED] for t in self.tables.values()]
        return min((int(offsets.min()) for offsets in moved if offsets.size), default=None)

    @property
    def moved_stop(self) -> int:
        """Where the last one ends."""
        ends = (t[t["source"] == MOVED] for t in self.tables.values())
        return max((int((e["offset"] + e["size"]).max()) for e in ends if e.size), default=0)

    def shift_moved(self, by: int) -> None:
        """Let those that are in their place lie so much farther behind."""
        for table in self.tables.values():
            table["offset"][table["source"] == MOVED] += by

    def take(self, source: int, index: BlockIndex) -> None:
        """Enter the tiles of a file."""
        for entry in index.entries:
            kind, level = int(entry["kind"]), int(entry["level"])
            if kind == COARSE:
                self.coarse[source] = entry
            else:
                place = self.tables[kind, level][entry["row"], entry["col"]]
                place["source"] = MOVED if index.moved else source
                for name in INDEX_DTYPE.names or ():
                    place[name] = entry[name]


def tile_tables(folder: Path, grid: CogGrid, *, masked: bool) -> TileTables:
    """Tables of all tiles that blocks have.

    Raises
    ------
    DamagedFileError
        With the `block` whose file is not as it was written.
    """
    tables = {}
    for level in reversed(range(len(grid.shapes))):
        for kind in (IMAGE, MASK) if masked else (IMAGE,):
            table = np.zeros(grid.tiles(level), _ENTRY)
            table["source"] = EMPTY
            tables[kind, level] = table
    found = TileTables(folder, grid, tables)
    for block in range(len(grid.blocks)):
        with naming(block):
            found.take(block, read_index(found.path_of(block)))
    return found


class naming:  # noqa: N801  # reads as a verb, like contextlib's own
    """Let a damage name its block."""

    def __init__(self, block: int) -> None:
        self._block = block

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, DamagedFileError):
            error.block = self._block


def front_bytes(sink: CogSink, tags: Mapping[str, str], empty: Mapping[int, bytes]) -> int:
    """How much can stand in front of the tiles of blocks, at most."""
    grid = sink.grid
    keys = [(kind, level) for level in range(len(grid.shapes)) for kind in empty]
    counts = {key: np.zeros(math.prod(grid.tiles(key[1])), np.int64) for key in keys}
    coarse = range(grid.own_levels + 1, len(grid.shapes))
    # What cannot be compressed comes out a little longer than it was.
    drawn = sum(counts[k, n].size * (sink.tile_bytes(k) + 1024) for k in empty for n in coarse)
    return header_bytes(sink, tags, counts) + drawn + sum(len(empty[kind]) for kind, _ in keys)


@dataclass(frozen=True)
class CogLayout:
    """Where everything goes.

    Parameters
    ----------
    header : bytes
        The beginning of the file, up to the first tile.
    offsets : dict of (kind, level) to array of int
        Of the tiles, row by row.
    front_stop : int
        Where what stands in front of the moved tiles ends; of a file without them, its end.
    stop : int
        Where the file ends.
    """

    header: bytes
    offsets: dict[TableKey, npt.NDArray[np.int64]]
    front_stop: int
    stop: int


def lay_out_cog(
    sink: CogSink, tags: Mapping[str, str], tables: TileTables, empty: Mapping[int, bytes]
) -> CogLayout:
    """Give each tile its place."""
    sizes = {key: _sizes(table, empty[key[0]]) for key, table in tables.tables.items()}
    stop = header_bytes(sink, tags, sizes)
    none_moved = tables.first_moved is None
    offsets: dict[TableKey, npt.NDArray[np.int64]] = {}
    for key, table in tables.tables.items():
        source = table.ravel()["source"]
        in_front = np.full(source.shape, True) if none_moved else source < 0
        offsets[key] = table.ravel()["offset"].astype(np.int64)
        stop = _place(offsets[key], source, sizes[key], in_front & (source != MOVED), stop)
    behind = tables.moved_stop
    for key, table in tables.tables.items() if not none_moved else ():
        source = table.ravel()["source"]
        behind = _place(offsets[key], source, sizes[key], source >= 0, behind)
    header = write_header(sink, tags, offsets, sizes)
    return CogLayout(header, offsets, front_stop=stop, stop=max(stop, behind))


def copy_tiles(
    file: BinaryIO, tables: TileTables, layout: CogLayout, empty: Mapping[int, bytes]
) -> None:
    """Write all tiles that are not there yet to their places, checked by their sums.

    Raises
    ------
    DamagedFileError
        With the `block` whose file is not as it was written.
    """
    with _OpenFiles(tables) as files:
        for key, table in tables.tables.items():
            places, has_empty = iter(np.split(layout.offsets[key], _breaks(table.ravel()))), False
            for run in np.split(table.ravel(), _breaks(table.ravel())):
                source, place = int(run["source"][0]), int(next(places)[0])
                if source == MOVED or (source == EMPTY and has_empty):
                    continue
                file.seek(place)
                if source == EMPTY:
                    file.write(empty[key[0]])
                    has_empty = True
                    continue
                with naming(source):
                    for content in read_run(files[source], run):
                        file.write(content)


def _breaks(entries: npt.NDArray[np.void]) -> npt.NDArray[np.intp]:
    """Where one does not lie right behind the one before it in the same file."""
    ends = entries["offset"] + entries["size"]
    return 1 + np.flatnonzero(
        (entries["source"][1:] != entries["source"][:-1]) | (entries["offset"][1:] != ends[:-1])
    )


class _OpenFiles:
    """Files of the blocks at hand, so that each is opened once for a row of blocks."""

    def __init__(self, tables: TileTables, most: int = 200) -> None:
        self._tables, self._most = tables, most
        self._files: dict[int, BinaryIO] = {}

    def __enter__(self) -> _OpenFiles:
        return self

    def __exit__(self, *exception: object) -> None:
        for file in self._files.values():
            file.close()

    def __getitem__(self, source: int) -> BinaryIO:
        if source not in self._files:
            if len(self._files) >= self._most:
                self._files.pop(next(iter(self._files))).close()
            self._files[source] = self._tables.path_of(source).open("rb", buffering=0)
        return self._files[source]


def _sizes(table: npt.NDArray[np.void], empty: bytes) -> npt.NDArray[np.int64]:
    flat = table.ravel()
    return np.where(flat["source"] == EMPTY, len(empty), flat["size"]).astype(np.int64)


def _place(
    offsets: npt.NDArray[np.int64],
    source: npt.NDArray[np.int64],
    sizes: npt.NDArray[np.int64],
    chosen: npt.NDArray[np.bool_],
    start: int,
) -> int:
    """Put the chosen tiles one behind the other; all empty ones of a level are one.

    Returns where they end.
    """
    written = np.where(chosen, sizes, 0)
    is_empty = chosen & (source == EMPTY)
    first = int(np.argmax(is_empty))
    written[is_empty] = 0
    if is_empty.any():
        written[first] = sizes[first]
    places = start + np.cumsum(written) - written
    places[is_empty] = places[first]
    offsets[chosen] = places[chosen]
    return start + int(written.sum())
