"""Pixels of pairs: immutable Zarr parts, written once by one worker, read at random.

A part is a Zarr v3 group of three arrays: ``lr`` [pair, band, y, x], ``hr`` and ``valid``, which
has no bands. All pairs of an array lie in one shard. Within it each pair has chunks of its own, so
that a read touches nothing else.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorstore as ts

from geo.errors import StoreError
from geo.pairstore.config import StoreConfig
from geo.pairstore.forks import start_threads_of
from geo.pairstore.place import LocalPlace, Place, place_of
from geo.pairstore.rows import PairData
from geo.pairstore.shards import Window, open_shard

MOST_PAIRS = 128  # in a part that an ingest writes
PARTS = "parts"
KEYS = ("lr", "hr", "valid")

Triple = tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[np.bool_]]
"""LR and HR image and validity of one pair."""

# By measurements on real pairs (docs/benchmarks.md): as quick to write as nothing else that packs
# within 5 % as tightly as zstd, and three times as quick to read as that. Parts that are written
# to stay are packed tighter and are quicker still to read, for ten times the work.
FRESH = {"cname": "lz4hc", "clevel": 1, "shuffle": "bitshuffle", "blocksize": 0}
LASTING = {"cname": "lz4hc", "clevel": 5, "shuffle": "shuffle", "blocksize": 0}
_DIMENSIONS = {
    "lr": ["pair", "band", "y_lr", "x_lr"],
    "hr": ["pair", "band", "y", "x"],
    "valid": ["pair", "y", "x"],
}


def write_part(
    place: Place,
    pairs: Sequence[PairData],
    config: StoreConfig,
    compression: Mapping[str, Any] = FRESH,
) -> str:
    """Write pairs as a new part, whole and safe on disk when this returns.

    Returns
    -------
    str
        Name of the part. Until a row of the index refers to it, it counts for nothing.

    Raises
    ------
    StoreError
        If it cannot be written, for example because the disk is full; nothing stays then.
    """
    start_threads_of("tensorstore", place.url)
    name = f"{uuid.uuid4().hex}.zarr"
    key = f"{PARTS}/{name}"
    try:
        written = []
        for array, planes in (
            ("lr", [p.lr for p in pairs]),
            ("hr", [p.hr for p in pairs]),
            ("valid", [p.valid for p in pairs]),
        ):
            data = np.stack(planes)
            written.append(_create(place, f"{key}/{array}", data, config, compression).write(data))
        for future in written:
            future.result()
        # The group: what plain Zarr readers look for first.
        group = {"zarr_format": 3, "node_type": "group", "attributes": config.attributes()}
        place.write_once(f"{key}/zarr.json", json.dumps(group, indent=2).encode())
        place.force(key)
    except (
        OSError,
        ValueError,
        StoreError,
    ) as error:  # tensorstore tells of full disks by ValueError
        place.delete([key])
        raise StoreError(f"{place.url}: a part could not be written ({error})") from error
    return name


def _create(
    place: Place,
    key: str,
    data: npt.NDArray[Any],
    config: StoreConfig,
    compression: Mapping[str, Any],
) -> Any:
    """Make an array for pairs [N, ...], open to be written."""
    chunk = chunk_shape(key.rsplit("/", 1)[-1], data.shape[1:], config)
    little = {"name": "bytes", "configuration": {"endian": "little"}}
    inner = [
        little if data.dtype.itemsize > 1 else {"name": "bytes"},
        {"name": "blosc", "configuration": {**compression, "typesize": data.dtype.itemsize}},
    ]
    shard = {
        "chunk_shape": [1, *chunk],
        "codecs": inner,
        "index_codecs": [little, {"name": "crc32c"}],
        "index_location": "end",
    }
    return ts.open(
        {
            "driver": "zarr3",
            "kvstore": place.kvstore(key),
            "metadata": {
                "shape": list(data.shape),
                "data_type": str(data.dtype),
                "chunk_grid": {
                    "name": "regular",
                    "configuration": {"chunk_shape": list(data.shape)},
                },
                # One file, no folders within folders: each is forced to disk by itself.
                "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
                "codecs": [{"name": "sharding_indexed", "configuration": shard}],
                "fill_value": False if data.dtype == bool else 0,
                "dimension_names": _DIMENSIONS[key.rsplit("/", 1)[-1]],
            },
            # Pairs of nothing but zeros are written too, so that what is missing is lost.
            "store_data_equal_to_fill_value": True,
        },
        context=_context(),
        create=True,
        open=False,
    ).result()


def chunk_shape(array: str, pair: Sequence[int], config: StoreConfig) -> tuple[int, ...]:
    """Chunk of one pair's array: all of its bands, and the pixels of `chunk_lr` LR pixels."""
    side = config.chunk_lr if array == "lr" else config.chunk_lr * config.scale
    return (*pair[:-2], side, side)


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


def read_pairs(
    place: Place,
    config: StoreConfig,
    lying: Sequence[tuple[str, int]],
    *,
    windows: Sequence[Window] | None = None,
    all_valid: Sequence[bool] | None = None,
    into: Triple | None = None,
) -> list[Triple]:
    """Read pairs by part and index, all at once.

    Parameters
    ----------
    lying : sequence of (part, index)
        Where the pairs lie.
    windows : sequence of (row, col, size), optional
        In LR pixels, one for each pair: only these are read of it.
    all_valid : sequence of bool, optional
        Pairs all of whose pixels are known to be valid: that is not read again.
    into : (lr, hr, valid), optional
        Arrays [N, ...] to read into, of the store's types and the windows' sizes.

    Returns
    -------
    list of (lr, hr, valid)
        In the order of `lying`; parts of `into`, where that is given.

    Raises
    ------
    StoreError
        If a part is missing or damaged.
    """
    known = all_valid or [False] * len(lying)
    frames = windows or [(0, 0, config.lr_size)] * len(lying)
    if isinstance(place, LocalPlace):
        read = _read_local(place, config, lying, frames, known, into)
        if read is not None:
            return read
    triples = _read_anywhere(place, config, lying, frames, known)
    if into is None:
        return triples
    for stacked, planes in zip(into, zip(*triples, strict=True), strict=True):
        np.stack(planes, out=stacked)
    return list(zip(*into, strict=True))


def _read_local(
    place: LocalPlace,
    config: StoreConfig,
    lying: Sequence[tuple[str, int]],
    frames: Sequence[Window],
    known: Sequence[bool],
    into: Triple | None,
) -> list[Triple] | None:
    """Read from files, or return None if any is laid out in another way."""
    shards = []
    for part, _ in lying:
        triple = [open_shard(f"{place.folder}/{PARTS}/{part}/{key}") for key in KEYS]
        shards.append([shard for shard in triple if shard is not None])
        if len(shards[-1]) < len(KEYS):
            return None
    sizes = [size for _, _, size in frames]
    bands, s, dtype = len(config.bands), config.scale, config.dtype
    lr, hr, valid = into or (
        _room(sizes, lambda n: (bands, n, n), dtype),
        _room(sizes, lambda n: (bands, s * n, s * n), dtype),
        _room(sizes, lambda n: (s * n, s * n), "bool"),
    )

    def work(first: int, step: int) -> None:
        for n in range(first, len(lying), step):
            index, (row, col, size) = lying[n][1], frames[n]
            whole = size == config.lr_size
            fine = None if whole else (s * row, s * col, s * size)
            shards[n][0].read(index, None if whole else (row, col, size), lr[n])
            shards[n][1].read(index, fine, hr[n])
            if known[n]:
                valid[n][:] = True
            else:
                shards[n][2].read(index, fine, valid[n])

    _side_by_side(work)
    return list(zip(lr, hr, valid, strict=True))


def _room(
    sizes: Sequence[int], shape: Callable[[int], tuple[int, ...]], dtype: str
) -> list[npt.NDArray[Any]]:
    """An array for each pair; one piece of memory for all if they are of one size."""
    if len(set(sizes)) == 1:  # large pieces cost fewer page faults
        return list(np.empty((len(sizes), *shape(sizes[0])), dtype))
    return [np.empty(shape(size), dtype) for size in sizes]


def _side_by_side(work: Callable[[int, int], None]) -> None:
    """Call work(first, step) in a few threads that take turns."""
    threads = usable_threads()
    others = [_pool().submit(work, first, threads) for first in range(1, threads)]
    work(0, threads)
    for other in others:
        other.result()


def usable_threads() -> int:
    """Threads that read side by side: a few, for others have work of their own."""
    return min(4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2)


@lru_cache(maxsize=1)
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(3, thread_name_prefix="pairs")


if hasattr(os, "register_at_fork"):  # threads do not live on in a fork: it makes its own
    os.register_at_fork(after_in_child=_pool.cache_clear)


def _read_anywhere(
    place: Place,
    config: StoreConfig,
    lying: Sequence[tuple[str, int]],
    frames: Sequence[Window],
    known: Sequence[bool],
) -> list[Triple]:
    """Read by tensorstore."""
    start_threads_of("tensorstore", place.url)
    scales = (1, config.scale, config.scale)
    futures = [
        [
            _start(_open(place.url, part, key), index, frame, scale)
            for key, scale in list(zip(KEYS, scales, strict=True))[: 2 if all_valid else 3]
        ]
        for (part, index), frame, all_valid in zip(lying, frames, known, strict=True)
    ]
    triples = []
    for (part, index), reading in zip(lying, futures, strict=True):
        try:
            lr, hr, *valid = (future.result() for future in reading)
        except (ValueError, OSError) as error:
            raise StoreError(
                f"{place.url}/{PARTS}/{part}: pair {index} is missing or damaged ({error})",
                part=part,
                index=index,
            ) from error
        triples.append((lr, hr, valid[0] if valid else np.ones(hr.shape[-2:], np.bool_)))
    return triples


def _start(array: Any, index: int, frame: Window, scale: int) -> Any:
    row, col, size = (scale * n for n in frame)
    return array[index][..., row : row + size, col : col + size].read()


@lru_cache(maxsize=8192)  # a handle costs next to nothing, opening costs a read
def _open(url: str, part: str, array: str) -> Any:
    key = f"{PARTS}/{part}/{array}"
    try:
        return ts.open(
            {
                "driver": "zarr3",
                "kvstore": place_of(url).kvstore(key),
                "fill_missing_data_reads": False,  # a lost shard is an error, not a black image
            },
            context=_context(),
            open=True,
            read=True,
        ).result()
    except (ValueError, OSError) as error:
        raise StoreError(f"{url}/{key}: missing or damaged ({error})") from error
