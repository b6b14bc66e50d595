"""BigTIFF directories: what stands in front of the pixels of a GeoTIFF, read and laid out.

Aldus, "TIFF Revision 6.0", 1992, sections 2 and 15; "The BigTIFF File Format", 2007: offsets and
counts of eight bytes. Only what `geo.cog` needs of it; little-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

HEADER_BYTES = 16

# Field types: struct code and bytes.
ASCII, SHORT, LONG, DOUBLE, LONG8 = 2, 3, 4, 12, 16
_SIZES = {1: 1, ASCII: 1, SHORT: 2, LONG: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4}
_SIZES |= {DOUBLE: 8, 13: 4, LONG8: 8, 17: 8, 18: 8}
_NUMPY = {SHORT: "<u2", LONG: "<u4", LONG8: "<u8"}

NEW_SUBFILE_TYPE, WIDTH, LENGTH, BITS, COMPRESSION, PHOTOMETRIC = 254, 256, 257, 258, 259, 262
SAMPLES, PLANAR, PREDICTOR, TILE_WIDTH, TILE_LENGTH = 277, 284, 317, 322, 323
TILE_OFFSETS, TILE_COUNTS, SAMPLE_FORMAT = 324, 325, 339


@dataclass(frozen=True)
class Field:
    """Value of a tag.

    Parameters
    ----------
    kind : int
        TIFF's field type, for example 3 for unsigned 16-bit numbers.
    count : int
    data : bytes
        Little-endian.
    """

    kind: int
    count: int
    data: bytes

    @classmethod
    def of(cls, kind: int, *values: int) -> Field:
        """Numbers of an integer type."""
        return cls(kind, len(values), np.asarray(values, _NUMPY[kind]).tobytes())

    @classmethod
    def of_array(cls, kind: int, values: npt.NDArray[np.integer[Any]]) -> Field:
        """Many numbers of an integer type."""
        return cls(kind, values.size, np.ascontiguousarray(values, _NUMPY[kind]).tobytes())


Directory = Mapping[int, Field]
"""Tags to values: everything of one image in the file but its pixels."""


def read_first_directory(content: bytes) -> dict[int, Field]:
    """Tags of the first image of a little-endian BigTIFF file.

    Raises
    ------
    ValueError
        If it is no such file.
    """
    if content[:4] != b"II\x2b\x00":
        raise ValueError(f"the file begins with {content[:4]!r}; wanted little-endian BigTIFF")
    (place,) = struct.unpack_from("<Q", content, 8)
    (entries,) = struct.unpack_from("<Q", content, place)
    fields = {}
    for number in range(entries):
        at = place + 8 + 20 * number
        tag, kind, count = struct.unpack_from("<HHQ", content, at)
        size = _SIZES[kind] * count
        start = at + 12 if size <= 8 else struct.unpack_from("<Q", content, at + 12)[0]
        fields[tag] = Field(kind, count, content[start : start + size])
    return fields


def directories_bytes(directories: Sequence[Directory]) -> int:
    """How long `lay_out` of such directories is; values do not matter, only their number."""
    return HEADER_BYTES + sum(_entries_bytes(d) + _outside_bytes(d) for d in directories)


def lay_out(directories: Sequence[Directory]) -> bytes:
    """Header and all directories, one behind the other: the beginning of a file.

    Values of more than eight bytes stand behind the directory that they belong to.
    """
    content = bytearray(struct.pack("<2sHHHQ", b"II", 43, 8, 0, HEADER_BYTES))
    for number, directory in enumerate(directories, 1):
        outside = len(content) + _entries_bytes(directory)
        behind = outside + _outside_bytes(directory)
        content += struct.pack("<Q", len(directory))
        values = bytearray()
        for tag, field in sorted(directory.items()):
            content += struct.pack("<HHQ", tag, field.kind, field.count)
            if len(field.data) <= 8:
                content += field.data.ljust(8, b"\0")
            else:
                content += struct.pack("<Q", outside + len(values))
                values += _padded(field.data)
        content += struct.pack("<Q", behind if number < len(directories) else 0)
        content += values
    return bytes(content)


def _entries_bytes(directory: Directory) -> int:
    return 8 + 20 * len(directory) + 8


def _outside_bytes(directory: Directory) -> int:
    return sum(len(_padded(f.data)) for f in directory.values() if len(f.data) > 8)


def _padded(data: bytes) -> bytes:
    # Values begin at even places; at multiples of eight they can be read as they lie.
    return data + bytes(-len(data) % 8)
