"""Pixels of pairs: immutable Zarr parts, written once by one worker, read at random.

A part is a Zarr v3 group of three arrays: ``lr`` [pair, band, y, x], ``hr`` and ``valid``, which
has no bands. All pairs of an array lie in one shard. Within it each pair has chunks of its own, so
that a read touches nothing else.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorstore as ts

from geo.errors import StoreError
from geo.pairstore.config import StoreConfig
from geo.pairstore.place import Place, place_of
from geo.pairstore.rows import PairData

MOST_PAIRS = 128  # in a part that an ingest writes
PARTS = "parts"
KEYS = ("lr", "hr", "valid")

Triple = tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[np.bool_]]
"""LR and HR image and validity of one pair."""

# Bits of a plane's DN vary slowly: shuffled by bit they pack best. Level 3 packs within 1 % as
# tightly as level 5 in two thirds of the time (docs/benchmarks.md).
_COMPRESSION = {"cname": "zstd", "clevel": 3, "shuffle": "bitshuffle", "blocksize": 0}
_DIMENSIONS = {
    "lr": ["pair", "band", "y_lr", "x_lr"],
    "hr": ["pair", "band", "y", "x"],
    "valid": ["pair", "y", "x"],
}
_REPAIR = "restore it from a copy, or `skyscale pairs STORE --verify --repair` and ingest again"


def write_part(place: Place, pairs: Sequence[PairData], config: StoreConfig) -> str:
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
            written.append(_create(place, f"{key}/{array}", data, config).write(data))
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


def _create(place: Place, key: str, data: npt.NDArray[Any], config: StoreConfig) -> Any:
    """Make an array for pairs [N, ...], open to be written."""
    chunk = chunk_shape(key.rsplit("/", 1)[-1], data.shape[1:], config)
    little = {"name": "bytes", "configuration": {"endian": "little"}}
    inner = [
        little if data.dtype.itemsize > 1 else {"name": "bytes"},
        {"name": "blosc", "configuration": {**_COMPRESSION, "typesize": data.dtype.itemsize}},
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


@lru_cache(maxsize=8192)  # a handle costs next to nothing, opening costs a read
def open_array(url: str, part: str, array: str) -> Any:
    """Array of a part, for reading.

    Raises
    ------
    StoreError
        If it is missing or damaged.
    """
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
        raise StoreError(
            f"{url}/{key}: missing or damaged, though the index refers to it; {_REPAIR}"
        ) from error


def read_pairs(
    url: str,
    places: Sequence[tuple[str, int]],
    scale: int,
    *,
    windows: Sequence[tuple[int, int, int]] | None = None,
    all_valid: Sequence[bool] | None = None,
) -> list[Triple]:
    """Read pairs by part and index, all at once.

    Parameters
    ----------
    windows : sequence of (row, col, size), optional
        In LR pixels: only these are read of each pair.
    all_valid : sequence of bool, optional
        Pairs all of whose pixels are known to be valid: that is not read again.

    Returns
    -------
    list of (lr, hr, valid)
        In the order of `places`.

    Raises
    ------
    StoreError
        If a part is missing or damaged.
    """
    futures = []
    for n, (part, index) in enumerate(places):
        window = None if windows is None else windows[n]
        known = all_valid is not None and all_valid[n]
        futures.append(
            [
                _read(open_array(url, part, key), index, window, 1 if key == "lr" else scale)
                for key in (KEYS[:2] if known else KEYS)
            ]
        )
    triples = []
    for (part, index), reading in zip(places, futures, strict=True):
        try:
            lr, hr, *valid = (future.result() for future in reading)
        except (ValueError, OSError) as error:
            raise StoreError(
                f"{url}/{PARTS}/{part}: pair {index} is missing or damaged ({error}); {_REPAIR}",
                part=part,
                index=index,
            ) from error
        triples.append((lr, hr, valid[0] if valid else np.ones(hr.shape[-2:], np.bool_)))
    return triples


def _read(array: Any, index: int, window: tuple[int, int, int] | None, scale: int) -> Any:
    """Start to read a pair, or a window of it."""
    if window is None:
        return array[index].read()
    row, col, size = (scale * n for n in window)
    return array[index][..., row : row + size, col : col + size].read()
