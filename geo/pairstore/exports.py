"""Pairs for other programs: pictures to look at, and WebDataset shards to train on."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from geo.errors import StoreError
from geo.hrefs import safe_name
from geo.pairstore.store import PairStore
from geo.pictures import pair_strip

_AT_ONCE = 64
_PAIRS_A_SHARD = 1000

Progress = Callable[[int, int], None]
"""Pairs done, and all."""


def export_png(
    store: PairStore,
    folder: Path,
    *,
    version: int | None = None,
    progress: Progress | None = None,
) -> int:
    """Write a strip of LR, bicubic and HR for each pair, named by where it lies."""
    _make(folder)
    columns = ("split", "row", "col", "satellite_id", "aerial_id", "derived")
    rows = store.rows(kind="pair", version=version, columns=columns).to_pylist()
    reader = store.reader(version=version)
    for start in range(0, len(rows), _AT_ONCE):
        batch = rows[start : start + _AT_ONCE]
        for row, pair in zip(batch, reader.read(range(start, start + len(batch))), strict=True):
            place = f"{row['split']}_{row['row']}_{row['col']}"
            # Ids are strangers' text: they may try to lead out of the folder.
            satellite = safe_name(row["derived"] or row["satellite_id"])
            scenes = f"{satellite}_{safe_name(row['aerial_id'])}"
            file = folder / f"{place}_{scenes}.png"
            file.write_bytes(pair_strip(pair.lr, pair.hr, pair.valid, bands=store.config.bands))
        if progress is not None:
            progress(start + len(batch), len(rows))
    return len(rows)


def export_webdataset(
    store: PairStore,
    folder: Path,
    *,
    version: int | None = None,
    progress: Progress | None = None,
) -> int:
    """Write tar shards that WebDataset, and anything that reads tar, can train on.

    ``SPLIT-000000.tar`` holds for each pair ``IDENTITY.lr.npy`` [C, h, w], ``IDENTITY.hr.npy``
    [C, H, W], ``IDENTITY.valid.npy`` [H, W] and ``IDENTITY.json``, the row of the index. What all
    pairs share is in ``store.json``. Shards of pairs that are not used (``buffer``) are not made.

    Raises
    ------
    StoreError
        If the folder holds something already: shards of two stores must not mix.
    """
    _make(folder)
    if any(folder.iterdir()):
        raise StoreError(f"{folder}: not empty; wanted a new folder")
    version = store.version if version is None else version
    done, total = 0, len(store.reader(version=version))
    for split in ("train", "val", "test"):
        reader = store.reader(split, version=version)
        rows = store.rows(kind="pair", split=split, version=version)
        for first in range(0, len(reader), _PAIRS_A_SHARD):
            last = min(first + _PAIRS_A_SHARD, len(reader))
            name = f"{split}-{first // _PAIRS_A_SHARD:06d}.tar"
            with tarfile.open(folder / name, "w") as shard:
                for start in range(first, last, _AT_ONCE):
                    end = min(start + _AT_ONCE, last)
                    batch = rows.slice(start, end - start).to_pylist()
                    for row, pair in zip(batch, reader.read(range(start, end)), strict=True):
                        _add(shard, row, {"lr": pair.lr, "hr": pair.hr, "valid": pair.valid})
                    done += end - start
                    if progress is not None:
                        progress(done, total)
    head = {"config": store.config.to_dict(), "version": version, "digest": store.digest(version)}
    (folder / "store.json").write_text(json.dumps(head, indent=2) + "\n")
    return done


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{folder}: cannot be made ({error})") from error


def _add(shard: tarfile.TarFile, row: dict[str, Any], arrays: dict[str, Any]) -> None:
    """Add a pair's files to a shard, the same bytes whenever it is made."""
    for name, array in arrays.items():
        buffer = io.BytesIO()
        np.save(buffer, array)
        _add_bytes(shard, f"{row['identity']}.{name}.npy", buffer.getvalue())
    text = json.dumps(row, default=_as_text, sort_keys=True)
    _add_bytes(shard, f"{row['identity']}.json", text.encode())


def _add_bytes(shard: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    shard.addfile(info, io.BytesIO(content))


def _as_text(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} in a row")
