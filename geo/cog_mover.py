"""Tiles moved to the COG's own file while other blocks are still being computed.

What is copied and synced to the disk at the end is time in which no pixel is made, and until then
every pixel lies on the disk twice. So blocks are moved as they are finished, in their order: their
tiles to the growing file, and when these are on the disk, what the block's file held is replaced by
where it has gone. Killed anywhere, each tile is in one place or the other.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from geo.block_file import BlockIndex, Piece, read_index, read_run, write_moved
from geo.cog_layout import COARSE, front_bytes, naming

if TYPE_CHECKING:
    from geo.cog import CogSink

# For tags that are not known yet: those of a mosaic name its scenes.
_ROOM_FOR_TAGS = 64 << 10
_ALIGNMENT = 4096
# Bytes that are synced to the disk together.
_AT_ONCE = 128 << 20


def growing_file(folder: Path) -> Path:
    """Where tiles are moved to."""
    return folder / "whole.tif"


class CogMover:
    """Moves finished blocks; there is one for a region at a time.

    Parameters
    ----------
    sink : CogSink
    folder : Path
        Working folder.
    """

    def __init__(self, sink: CogSink, folder: Path) -> None:
        self._sink, self._folder = sink, folder
        self._next = 0
        self._pending: list[tuple[Path, npt.NDArray[np.void], list[Piece]]] = []
        front = front_bytes(sink, {}, sink.empty_tiles) + _ROOM_FOR_TAGS
        self._end = -(-front // _ALIGNMENT) * _ALIGNMENT
        for path in (folder / "blocks").iterdir():
            if path.name.isdigit() and (index := read_index(path)).moved:
                tiles = index.entries[index.entries["kind"] != COARSE]
                stops = tiles["offset"] + tiles["size"]
                self._end = max(self._end, int(stops.max(initial=0)))
        self._synced = self._end

    def move(self) -> None:
        """Move blocks that are finished, as far as all before them are.

        Raises
        ------
        DamagedFileError
            With the `block` whose file is not as it was written.
        OSError
            If the disk does not take them.
        """
        while self._next < len(self._sink.grid.blocks):
            path = self._folder / "blocks" / str(self._next)
            if not path.exists():
                return
            with naming(self._next):
                index = read_index(path)
                if not index.moved:
                    self._pending.append((path, *self._copied(path, index)))
            self._next += 1
            if self._end - self._synced >= _AT_ONCE:
                self.settle()

    def settle(self) -> None:
        """Let what was copied be in its new place alone."""
        if not self._pending:
            return
        with growing_file(self._folder).open("r+b") as file:
            os.fsync(file.fileno())
        self._synced = self._end
        for path, tiles, rest in self._pending:
            write_moved(path, tiles, rest)
        self._pending.clear()

    def _copied(self, path: Path, index: BlockIndex) -> tuple[npt.NDArray[np.void], list[Piece]]:
        """Entries of the block's tiles in their new place, and what stays with the block."""
        handle = os.open(growing_file(self._folder), os.O_WRONLY | os.O_CREAT, 0o666)
        with path.open("rb", buffering=0) as block, os.fdopen(handle, "wb") as file:
            file.seek(self._end)
            entries = self._in_order(index.entries)
            for place, entry in enumerate(entries):
                if entry["size"]:
                    (content,) = read_run(block, entries[place : place + 1])
                else:
                    content = self._sink.empty_tiles[int(entry["kind"])]
                    entry["size"] = len(content)
                file.write(content)
                entry["offset"] = self._end
                self._end += len(content)
            rest = []
            kept = index.entries[index.entries["kind"] == COARSE]
            for place, entry in enumerate(kept):
                (content,) = read_run(block, kept[place : place + 1])
                kind, level, row, col = (int(v) for v in entry.item()[:4])
                rest.append((kind, level, row, col, content))
        return entries, rest

    def _in_order(self, entries: npt.NDArray[np.void]) -> npt.NDArray[np.void]:
        """Tiles as they come to lie: the coarsest level first."""
        tiles = entries[entries["kind"] != COARSE]
        if self._next == 0 and tiles.size:
            tiles = np.concatenate([tiles, self._missing_corners(tiles)])
        order = np.lexsort((tiles["col"], tiles["row"], tiles["kind"], -tiles["level"].astype(int)))
        return np.asarray(tiles[order])

    def _missing_corners(self, tiles: npt.NDArray[np.void]) -> npt.NDArray[np.void]:
        """First tiles of levels that have no data: a COG has that of a coarser level before it."""
        first = tiles[(tiles["row"] == 0) & (tiles["col"] == 0)]
        there = {(int(entry["kind"]), int(entry["level"])) for entry in first}
        missing = [
            (kind, level, 0, 0, 0, 0, 0)
            for level in range(self._sink.grid.own_levels + 1)
            for kind in self._sink.empty_tiles
            if (kind, level) not in there
        ]
        return np.array(missing, tiles.dtype)
