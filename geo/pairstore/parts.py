"""Pixels of pairs: immutable Zarr parts, written once by one worker, read at random.

A part is a folder with three Zarr v3 arrays: ``lr`` [N, C, h, w], ``hr`` [N, C, H, W] and
``valid`` [N, H, W]. A chunk is one pair, a shard is the whole part.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorstore as ts
import zarr
from zarr.codecs import BloscCodec

from geo.errors import StoreError
from geo.pairstore.rows import PairData

MOST_PAIRS = 128  # in a part; more would make one shard too large to write in one go

_Triple = tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[np.bool_]]


def write_part(folder: Path, pairs: Sequence[PairData]) -> str:
    """Write pairs as a new part.

    Returns
    -------
    str
        Its name. It appears whole or not at all: it is written under a hidden name, forced to
        disk, and then renamed.
    """
    name = f"{uuid.uuid4().hex}.zarr"
    hidden = folder / f".{name}"
    try:
        written = []
        for key, planes in (
            ("lr", [p.lr for p in pairs]),
            ("hr", [p.hr for p in pairs]),
            ("valid", [p.valid for p in pairs]),
        ):
            data = np.stack(planes)
            _create(hidden / key, data)
            written.append(_open_writable(hidden / key).write(data))
        for future in written:
            future.result()
        _force_to_disk(hidden)
        hidden.rename(folder / name)
        _force_entry(folder)
    except (OSError, ValueError) as error:  # tensorstore tells of a full disk by a ValueError
        shutil.rmtree(hidden, ignore_errors=True)
        raise StoreError(f"{folder}: a part could not be written ({error})") from error
    return name


def _create(folder: Path, data: npt.NDArray[Any]) -> None:
    """Make an array for pairs [N, ...] without pixels."""
    zarr.create_array(
        folder,
        shape=data.shape,
        dtype=data.dtype,
        chunks=(1, *data.shape[1:]),
        shards=data.shape,
        # Bits of a plane's DN vary slowly: shuffled by bit they pack best.
        compressors=BloscCodec(cname="zstd", clevel=5, shuffle="bitshuffle"),
        zarr_format=3,
        # One file, no folders within folders: each would be forced to disk by itself.
        chunk_key_encoding={"name": "default", "separator": "."},
    )


def _open_writable(folder: Path) -> Any:
    """Open an array for tensorstore to write: the same bytes with a third of zarr-python's work."""
    return ts.open(
        {
            "driver": "zarr3",
            "kvstore": {"driver": "file", "path": f"{folder}/"},
            # Pairs of nothing but zeros are written too, so that what is missing is lost.
            "store_data_equal_to_fill_value": True,
        },
        context=_context(),
        open=True,
        write=True,
    ).result()


def _force_to_disk(folder: Path) -> None:
    for path in folder.rglob("*"):
        _force_entry(path)
    _force_entry(folder)


def _force_entry(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@lru_cache(maxsize=1)
def _context() -> Any:
    # A small pool: chips are small, and other threads have work of their own.
    return ts.Context(
        {
            "cache_pool": {"total_bytes_limit": 0},
            "data_copy_concurrency": {"limit": 2},
            "file_io_sync": False,  # a part is forced to disk whole
        }
    )


@lru_cache(maxsize=8192)  # a handle costs next to nothing, opening costs a read
def _open(folder: Path, part: str, key: str) -> Any:
    path = folder / part / key
    try:
        return ts.open(
            {
                "driver": "zarr3",
                "kvstore": {"driver": "file", "path": f"{path}/"},
                "fill_missing_data_reads": False,  # a lost shard is an error, not a black image
            },
            context=_context(),
            open=True,
            read=True,
        ).result()
    except (ValueError, OSError) as error:
        raise StoreError(
            f"{path}: missing or damaged, though the index refers to it; restore the folder or "
            "ingest again into a new store"
        ) from error


def read_pairs(folder: Path, places: Sequence[tuple[str, int]]) -> list[_Triple]:
    """Read pairs by part and index, all at once.

    Returns
    -------
    list of (lr, hr, valid)
        In the order of `places`.

    Raises
    ------
    StoreError
        If a part is missing or damaged.
    """
    futures = [
        tuple(_open(folder, part, key)[index].read() for key in ("lr", "hr", "valid"))
        for part, index in places
    ]
    triples = []
    for (part, index), (lr, hr, valid) in zip(places, futures, strict=True):
        try:
            triples.append((lr.result(), hr.result(), valid.result()))
        except (ValueError, OSError) as error:
            raise StoreError(
                f"{folder / part}: pair {index} is missing or damaged ({error}); restore the "
                "folder or ingest again into a new store"
            ) from error
    return triples
