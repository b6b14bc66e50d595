"""The pair store: immutable Zarr parts for pixels, a Delta Lake table for what exists.

A pair exists when its row is committed. A batch of pairs and its refusals appear together or not
at all; a worker that dies leaves at most a part that no row refers to.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from geo.errors import StoreError
from geo.pairconfig import StoreConfig
from geo.pairparts import MOST_PAIRS, read_pairs, write_part
from geo.pairrow import BOOKKEEPING, SCHEMA, PairData, Row, hash_pixels

FORMAT_VERSION = 1
_COMMIT_TRIES = 12


@dataclass(frozen=True)
class Pair:
    """Pixels of one pair: ``lr`` [C, h, w], ``hr`` [C, H, W], ``valid`` [H, W]."""

    lr: npt.NDArray[Any]
    hr: npt.NDArray[Any]
    valid: npt.NDArray[np.bool_]


class PairStore:
    """A folder with ``store.json``, ``index/`` (Delta Lake) and ``parts/`` (Zarr).

    Open one with `PairStore.open` or `PairStore.create_or_open`.
    """

    def __init__(self, path: Path, config: StoreConfig) -> None:
        self.path = path
        self.config = config

    @property
    def _index(self) -> str:
        return str(self.path / "index")

    @property
    def parts(self) -> Path:
        """Folder of the parts."""
        return self.path / "parts"

    @classmethod
    def open(cls, path: str | Path) -> PairStore:
        """Open a store.

        Raises
        ------
        StoreError
            If there is none, or it is damaged, or of another format.
        """
        file = Path(path) / "store.json"
        if not file.exists():
            raise StoreError(
                f"{path}: no pair store here; `skyscale ingest ... --store {path}` makes one"
            )
        try:
            head = json.loads(file.read_text())
            version = head["format_version"]
            config = StoreConfig.from_dict(head["config"])
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{file}: damaged ({error}); restore it from a copy") from error
        if version != FORMAT_VERSION:
            raise StoreError(
                f"{file}: format version {version}; this skyscale reads {FORMAT_VERSION}"
            )
        return cls(Path(path), config)

    @classmethod
    def create_or_open(cls, path: str | Path, config: StoreConfig) -> PairStore:
        """Open a store with this configuration, made if it is not there.

        Raises
        ------
        StoreError
            If the store has another configuration; the message names what differs.
        """
        folder = Path(path)
        file = folder / "store.json"
        if not file.exists():
            if folder.exists() and any(folder.iterdir()):
                raise StoreError(f"{folder}: not empty and no pair store; wanted a new folder")
            (folder / "parts").mkdir(parents=True, exist_ok=True)
            DeltaTable.create(str(folder / "index"), schema=SCHEMA, mode="ignore")
            head = {"format_version": FORMAT_VERSION, "config": config.to_dict()}
            _write_whole(file, json.dumps(head, indent=2) + "\n")
        store = cls.open(folder)
        _check_same(folder, store.config, config)
        return store

    def _table(self, version: int | None = None) -> DeltaTable:
        try:
            return DeltaTable(self._index, version=version)
        except (TableNotFoundError, DeltaError) as error:
            what = "index" if version is None else f"version {version} of the index"
            raise StoreError(f"{self._index}: the {what} cannot be read ({error})") from error

    @property
    def version(self) -> int:
        """The newest version of the index."""
        return int(self._table().version())

    def rows(
        self,
        *,
        kind: str | None = None,
        split: str | None = None,
        version: int | None = None,
        columns: Sequence[str] | None = None,
    ) -> pa.Table:
        """Rows of the index, ordered by identity."""
        wanted = None if columns is None else sorted({*columns, "identity", "kind", "split"})
        table = self._table(version).to_pyarrow_table(columns=wanted)
        if kind is not None:
            table = table.filter(pc.equal(table["kind"], kind))
        if split is not None:
            table = table.filter(pc.equal(table["split"], split))
        return table.sort_by("identity")

    def known(self, settings_digest: str) -> dict[str, str]:
        """Identities that were decided by these settings, with the kind of their rows."""
        table = self.rows(columns=["settings_digest"])
        table = table.filter(pc.equal(table["settings_digest"], settings_digest))
        return dict(zip(table["identity"].to_pylist(), table["kind"].to_pylist(), strict=True))

    def write_part(self, pairs: Sequence[PairData]) -> list[Row]:
        """Write pixels as a new part; the rows returned still have to be committed."""
        rows: list[Row] = []
        for start in range(0, len(pairs), MOST_PAIRS):
            batch = pairs[start : start + MOST_PAIRS]
            for pair in batch:
                self._check_shape(pair)
            name = write_part(self.parts, batch)
            for index, pair in enumerate(batch):
                place: Row = {
                    "kind": "pair",
                    "part": name,
                    "part_index": index,
                    "pixels_sha256": hash_pixels(pair.lr, pair.hr, pair.valid),
                }
                rows.append({**pair.row, **place})
        return rows

    def _check_shape(self, pair: PairData) -> None:
        config = self.config
        bands, size = len(config.bands), config.lr_size
        fine = size * config.scale
        got = (pair.lr.shape, pair.hr.shape, pair.valid.shape, str(pair.lr.dtype))
        wanted = ((bands, size, size), (bands, fine, fine), (fine, fine), config.dtype)
        if got != wanted or pair.hr.dtype != pair.lr.dtype:
            raise StoreError(f"a pair of shapes {got}; the store at {self.path} wants {wanted}")

    def commit(self, rows: Sequence[Row], message: str) -> int:
        """Make rows appear together: new ones are added, changed decisions replaced.

        Parameters
        ----------
        rows : sequence of Row
        message : str
            Who commits, for example the name of a flow run.

        Returns
        -------
        int
            The version that holds them. When all of them are known already, no version is made.

        Raises
        ------
        StoreError
            If other writers win too often in a row, or the disk refuses.
        """
        latest = {row["identity"]: row for row in rows}
        for attempt in range(_COMMIT_TRIES):
            new = self._unknown(latest)
            if not new:
                return self.version
            try:
                return self._merge(new, message)
            except CommitFailedError:  # another writer was faster: look again, then try again
                time.sleep(random.uniform(0.05, 0.2) * 1.6**attempt)
            except (DeltaError, OSError) as error:
                raise StoreError(f"{self._index}: the commit failed ({error})") from error
        raise StoreError(
            f"{self._index}: other writers were faster {_COMMIT_TRIES} times in a row; try again"
        )

    def _unknown(self, rows: Mapping[str, Row]) -> list[Row]:
        """Rows that say something the index does not."""
        table = self.rows(columns=["settings_digest"])
        here = {
            identity: (digest, kind)
            for identity, digest, kind in zip(
                *(table[c].to_pylist() for c in ("identity", "settings_digest", "kind")),
                strict=True,
            )
        }
        return [
            row
            for identity, row in rows.items()
            if here.get(identity) != (row["settings_digest"], row["kind"])
        ]

    def _merge(self, rows: Sequence[Row], message: str) -> int:
        source = pa.Table.from_pylist([dict(row) for row in rows], schema=SCHEMA)
        table = self._table()
        (
            table.merge(
                source,
                predicate="old.identity = new.identity",
                source_alias="new",
                target_alias="old",
                commit_properties=CommitProperties(custom_metadata={"skyscale": message}),
            )
            .when_matched_update_all(
                "old.settings_digest != new.settings_digest OR old.kind != new.kind"
            )
            .when_not_matched_insert_all()
            .execute()
        )
        return int(table.version())

    def reader(
        self,
        split: str | None = None,
        *,
        version: int | None = None,
        categories: Sequence[str] | None = None,
    ) -> PairReader:
        """Pairs by index, as of a version (the newest by default)."""
        version = self.version if version is None else version
        table = self.rows(kind="pair", split=split, version=version)
        if categories is not None:
            table = table.filter(pc.is_in(table["category"], pa.array(list(categories))))
        return PairReader(self.path, self.config, table, version)

    def digest(self, version: int | None = None) -> str:
        """Hash of all pairs (identities, metadata, pixels), whatever order they came in."""
        digest = hashlib.sha256()
        for row in self.rows(kind="pair", version=version).to_pylist():
            told = {k: v for k, v in row.items() if k not in BOOKKEEPING}
            digest.update(json.dumps(told, sort_keys=True, default=str).encode())
        return digest.hexdigest()

    def summary(self, version: int | None = None) -> dict[str, Any]:
        """Count what the store holds."""
        version = self.version if version is None else version
        table = self.rows(version=version)
        pairs = table.filter(pc.equal(table["kind"], "pair"))
        refused = table.filter(pc.equal(table["kind"], "rejection"))
        return {
            "store": str(self.path),
            "pairs": pairs.num_rows,
            "splits": _count(pairs["split"]),
            "categories": _count(pairs["category"]),
            "rejected": _count(refused["reason"]),
            "version": version,
            "bands": list(self.config.bands),
            "scale": self.config.scale,
            "lr_size": self.config.lr_size,
            "data_range": self.config.data_range,
            "digest": self.digest(version),
        }

    def vacuum_parts(self, *, older_than_s: float = 24 * 3600) -> list[str]:
        """Remove parts that no version of the index refers to, once they are old enough.

        A part is written before its rows are committed, so young ones may still be on their way.
        """
        table = self._table()
        used: set[str] = set()
        for version in range(int(table.version()) + 1):
            used.update(
                p for p in self.rows(version=version, columns=["part"])["part"].to_pylist() if p
            )
        removed = []
        for folder in self.parts.iterdir():
            old = time.time() - folder.stat().st_mtime > older_than_s
            if old and folder.name not in used:
                shutil.rmtree(folder)
                removed.append(folder.name)
        return removed


class PairReader:
    """Pairs of a split by index, ordered by identity; picklable, safe to use from threads.

    Parameters
    ----------
    path : Path
    config : StoreConfig
    table : pyarrow.Table
        Rows of the pairs.
    version : int
    """

    def __init__(self, path: Path, config: StoreConfig, table: pa.Table, version: int) -> None:
        self.path = path
        self.config = config
        self.version = version
        self.table = table

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @cached_property
    def _places(self) -> list[tuple[str, int]]:
        parts, indexes = (self.table[c].to_pylist() for c in ("part", "part_index"))
        return list(zip(parts, indexes, strict=True))

    def read(self, indices: Sequence[int]) -> list[Pair]:
        """Pixels of pairs, in the order asked for.

        Raises
        ------
        StoreError
            If a part is missing or damaged.
        """
        places = [self._places[int(i)] for i in indices]
        return [Pair(*triple) for triple in read_pairs(self.path / "parts", places)]

    def row(self, index: int) -> dict[str, Any]:
        """What the index says of a pair."""
        return dict(self.table.slice(index, 1).to_pylist()[0])


def _count(column: pa.ChunkedArray) -> dict[str, int]:
    return dict(sorted(Counter(v for v in column.to_pylist() if v is not None).items()))


def _write_whole(file: Path, text: str) -> None:
    """Write a small file so that it is there whole or not at all."""
    hidden = file.with_name(f".{file.name}.{os.getpid()}")
    with hidden.open("w") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())
    hidden.replace(file)


def _check_same(folder: Path, got: StoreConfig, wanted: StoreConfig) -> None:
    here, there = got.to_dict(), wanted.to_dict()
    differing = [f"{k} is {here[k]}, asked for {there[k]}" for k in here if here[k] != there[k]]
    if differing:
        raise StoreError(
            f"{folder}: the store was made otherwise ({'; '.join(differing)}); "
            "use the same settings or another store"
        )
