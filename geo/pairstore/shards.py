"""Random reads of shards on a local disk: one read of the file and one decoding a chunk.

What `geo.pairstore.parts` writes is Zarr v3 with the `sharding_indexed` codec: the chunks, and
behind them a table of offset and length of each (https://zarr-specs.readthedocs.io, sharding
codec, version 1.0). The table is read once; then a pair costs the processor little more than its
decompression. tensorstore, which reads the rest (other layouts, S3), takes two to four times as
long for small chunks (docs/benchmarks.md), and its threads do not live on in a forked process.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt
from numcodecs import blosc

from geo.errors import StoreError

# Each reading thread decodes for itself; Blosc's own threads would wait for each other.
blosc.use_threads = False
_MISSING = np.iinfo(np.uint64).max
_CHECKSUM_BYTES = 4

Window = tuple[int, int, int]
"""Row, column and size, in pixels."""


@dataclass(frozen=True)
class Shard:
    """One array of a part: where each chunk of each pair lies in its file.

    Parameters
    ----------
    path : Path
    table : array of uint64, [pairs, rows of chunks, columns of chunks, 2]
        Offset and length.
    pair : tuple of int
        Shape of a pair's array.
    chunk : int
        Pixels on a side of a chunk, which has all bands.
    dtype : numpy.dtype
    """

    path: Path
    table: npt.NDArray[np.uint64]
    pair: tuple[int, ...]
    chunk: int
    dtype: np.dtype[Any]

    def read(self, index: int, window: Window | None, out: npt.NDArray[Any]) -> None:
        """Read a pair, or a window of it, into an array of that size.

        Raises
        ------
        StoreError
            If a chunk is missing or damaged.
        """
        try:
            handle = os.open(self.path, os.O_RDONLY)
            try:
                self._fill(handle, index, window, out)
            finally:
                os.close(handle)
        except (OSError, RuntimeError, ValueError, IndexError) as error:
            raise StoreError(
                f"{self.path}: pair {index} is missing or damaged ({error})", index=index
            ) from error

    def _fill(self, handle: int, index: int, window: Window | None, out: npt.NDArray[Any]) -> None:
        if self.table.shape[1:3] == (1, 1) and window is None:
            blosc.decompress(self._chunk(handle, index, 0, 0), out)
            return
        row, col, _ = window or (0, 0, 0)
        height, width = out.shape[-2:]
        side = self.chunk
        piece = np.empty((*self.pair[:-2], side, side), self.dtype)
        for r in range(row // side, (row + height - 1) // side + 1):
            for c in range(col // side, (col + width - 1) // side + 1):
                blosc.decompress(self._chunk(handle, index, r, c), piece)
                top, left = max(row, r * side), max(col, c * side)
                bottom, right = min(row + height, (r + 1) * side), min(col + width, (c + 1) * side)
                out[..., top - row : bottom - row, left - col : right - col] = piece[
                    ..., top - r * side : bottom - r * side, left - c * side : right - c * side
                ]

    def _chunk(self, handle: int, index: int, row: int, col: int) -> bytes:
        offset, length = (int(n) for n in self.table[index, row, col])
        if offset == _MISSING:
            raise ValueError("its chunk was never written")
        content = os.pread(handle, length, offset)
        if len(content) != length:
            raise ValueError(f"the file ends {length - len(content)} bytes too early")
        return content


@lru_cache(maxsize=8192)  # 16 bytes a chunk
def open_shard(folder: str) -> Shard | None:
    """An array of a part, or None where it is not laid out as this module reads it.

    Raises
    ------
    StoreError
        If it is missing or damaged.
    """
    try:
        metadata = json.loads((Path(folder) / "zarr.json").read_text())
        layout = _layout(metadata)
        if layout is None:
            return None
        shape, chunk, dtype = layout
        path = Path(folder) / ".".join(["c", *("0" for _ in shape)])
        grid = tuple(n // side for n, side in zip(shape[-2:], chunk[-2:], strict=True))
        table = _read_table(path, (shape[0], *grid, 2))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{folder}: missing or damaged ({error})") from error
    return Shard(path=path, table=table, pair=shape[1:], chunk=chunk[-1], dtype=dtype)


def _layout(metadata: dict[str, Any]) -> tuple[tuple[int, ...], list[int], np.dtype[Any]] | None:
    """Shape, chunk and type of an array whose shard is the whole of it, with Blosc alone."""
    shape = tuple(metadata["shape"])
    codecs = metadata["codecs"]
    if [codec["name"] for codec in codecs] != ["sharding_indexed"]:
        return None
    sharding = codecs[0]["configuration"]
    chunk = sharding["chunk_shape"]
    fits = (
        metadata["chunk_grid"]["configuration"]["chunk_shape"] == list(shape)
        and metadata["chunk_key_encoding"].get("configuration", {}).get("separator") == "."
        and [codec["name"] for codec in sharding["codecs"]] == ["bytes", "blosc"]
        and [codec["name"] for codec in sharding["index_codecs"]] == ["bytes", "crc32c"]
        and sharding.get("index_location", "end") == "end"
        and chunk[:-2] == [1, *shape[1:-2]]
        and chunk[-1] == chunk[-2]
        and all(n % side == 0 for n, side in zip(shape[-2:], chunk[-2:], strict=True))
    )
    return (shape, chunk, np.dtype(metadata["data_type"]).newbyteorder("<")) if fits else None


def _read_table(path: Path, shape: tuple[int, ...]) -> npt.NDArray[np.uint64]:
    size = 8 * int(np.prod(shape))
    with path.open("rb") as file:
        file.seek(-(size + _CHECKSUM_BYTES), os.SEEK_END)
        content = file.read()
    table, told = content[:size], int.from_bytes(content[size:], "little")
    if google_crc32c.value(table) != told:
        raise ValueError("the table of its chunks is damaged")
    return np.frombuffer(table, "<u8").reshape(shape)
