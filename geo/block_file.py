"""Encoded tiles of one block of a region, in one file that is whole or not there.

Payload first, then an index of what lies where with checksums, then a trailer. No fsync: what a
power cut takes away is found by the checksums when the file is read, and the block is done again.

When tiles have been moved to the region's own file, the block's file tells where they lie there.
"""

from __future__ import annotations

import os
import struct
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import google_crc32c
import numpy as np
import numpy.typing as npt

_MAGIC, _MAGIC_MOVED = b"skytiles", b"skymoved"
_TRAILER = struct.Struct("<QQI8s")  # where the index begins, entries, its checksum
INDEX_DTYPE = np.dtype(
    [
        ("kind", "<u1"),
        ("level", "<u1"),
        ("row", "<u4"),
        ("col", "<u4"),
        ("offset", "<u8"),
        ("size", "<u4"),
        ("crc", "<u4"),
    ]
)
"""A tile: what it shows, at which level and place of the level's grid, and where it lies."""

Piece = tuple[int, int, int, int, bytes]
"""Kind, level, row, column and content."""


class DamagedFileError(OSError):
    """A file of tiles that is not as it was written.

    Attributes
    ----------
    block : int or None
        Whose file it is, where that is known.
    """

    block: int | None = None


@dataclass(frozen=True)
class BlockIndex:
    """What a block has, and where.

    Parameters
    ----------
    entries : array of `INDEX_DTYPE`
    moved : bool
        Tiles lie in the region's own file, at the offsets that are given; pieces of other kinds
        still in the block's.
    """

    entries: npt.NDArray[np.void]
    moved: bool


def write_pieces(path: Path, pieces: Iterable[Piece]) -> None:
    """Write a file of tiles; it appears under its name when it is whole."""
    _write(path, pieces, [], _MAGIC)


def write_moved(path: Path, moved: npt.NDArray[np.void], pieces: Iterable[Piece]) -> None:
    """Replace a block's file by one that tells where its tiles have gone, and holds the rest."""
    _write(path, pieces, moved.tolist(), _MAGIC_MOVED)


def _write(
    path: Path, pieces: Iterable[Piece], entries: list[tuple[int, ...]], magic: bytes
) -> None:
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    offset = 0
    try:
        with partial.open("wb") as file:
            for kind, level, row, col, content in pieces:
                file.write(content)
                crc = google_crc32c.value(content)
                entries.append((kind, level, row, col, offset, len(content), crc))
                offset += len(content)
            index = np.array(entries, INDEX_DTYPE).tobytes()
            file.write(index)
            file.write(_TRAILER.pack(offset, len(entries), google_crc32c.value(index), magic))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def read_index(path: Path) -> BlockIndex:
    """What a file of tiles holds.

    Raises
    ------
    DamagedFileError
        If the file is not there, cut off or overwritten.
    """
    try:
        with path.open("rb") as file:
            file.seek(-_TRAILER.size, os.SEEK_END)
            start, count, crc, magic = _TRAILER.unpack(file.read())
            if (
                magic not in (_MAGIC, _MAGIC_MOVED)
                or file.tell() != start + count * INDEX_DTYPE.itemsize + _TRAILER.size
            ):
                raise DamagedFileError(f"{path} is cut off or overwritten")
            file.seek(start)
            index = file.read(count * INDEX_DTYPE.itemsize)
    except (OSError, struct.error) as error:
        raise DamagedFileError(f"{path} cannot be read ({error})") from error
    if google_crc32c.value(index) != crc:
        raise DamagedFileError(f"{path} is damaged")
    return BlockIndex(np.frombuffer(index, INDEX_DTYPE), magic == _MAGIC_MOVED)


def read_run(file: BinaryIO, entries: npt.NDArray[np.void]) -> Iterator[bytes]:
    """Contents of entries that lie one behind the other, read in one go and checked.

    Raises
    ------
    DamagedFileError
        If a content has another checksum.
    """
    file.seek(int(entries["offset"][0]))
    content = file.read(int(entries["size"].sum()))
    at = 0
    for entry in entries:
        piece = content[at : at + int(entry["size"])]
        if google_crc32c.value(piece) != int(entry["crc"]):
            raise DamagedFileError(f"{file.name} is damaged")
        at += len(piece)
        yield piece
