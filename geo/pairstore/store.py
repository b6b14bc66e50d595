"""The pair store: immutable Zarr parts for pixels, a Delta Lake table for what exists.

A pair exists when its row is committed. A batch of pairs and its refusals appear together or not
at all; a worker that dies leaves at most a part that no row refers to.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable, QueryBuilder
from deltalake.exceptions import CommitFailedError, DeltaError

from geo.errors import StoreError
from geo.pairstore.config import StoreConfig
from geo.pairstore.parts import MOST_PAIRS, write_part
from geo.pairstore.reader import Pair, PairReader
from geo.pairstore.rows import SCHEMA, PairData, Row, check_row, digest_rows, hash_pixels

__all__ = ["Pair", "PairReader", "PairStore"]

FORMAT_VERSION = 2
_COMMIT_TRIES = 12


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
            if version != FORMAT_VERSION:  # asked first: other versions hold other things
                raise StoreError(
                    f"{file}: format version {version}; this skyscale reads {FORMAT_VERSION}"
                )
            config = StoreConfig.from_dict(head["config"])
        except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
            raise StoreError(f"{file}: damaged ({error}); restore it from a copy") from error
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
        if not (folder / "store.json").exists():
            try:
                _create(folder, config)
            except OSError as error:
                raise StoreError(f"{folder}: no store can be made here ({error})") from error
        store = cls.open(folder)
        _check_same(folder, store.config, config)
        return store

    def _table(self, version: int | None = None) -> DeltaTable:
        try:
            return DeltaTable(self._index, version=version)
        except (DeltaError, OSError, OverflowError) as error:
            what = "index" if version is None else f"version {version} of the index"
            raise StoreError(f"{self._index}: the {what} cannot be read ({error})") from error

    def _read(self, table: DeltaTable, columns: Sequence[str]) -> pa.Table:
        # By delta-rs's own engine: `to_pyarrow_table` reads through Python code on Arrow's threads
        # and aborts one short process in twenty as it ends, after its work is done
        # (delta-io/delta-rs#2184, apache/arrow#34314).
        names = ", ".join(f'"{name}"' for name in columns)
        try:
            result = QueryBuilder().register("rows", table).execute(f"SELECT {names} FROM rows")
            return pa.table(result).cast(pa.schema([SCHEMA.field(name) for name in columns]))
        except (DeltaError, OSError, pa.ArrowInvalid) as error:
            raise StoreError(
                f"{self._index}: a file of the index is missing or damaged ({error}); restore the "
                "folder or ingest again into a new store"
            ) from error

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
        """Rows of the index, ordered by identity.

        Raises
        ------
        StoreError
            If there is no such version, or the index is damaged.
        """
        more = SCHEMA.names if columns is None else columns
        wanted = [n for n in SCHEMA.names if n in {*more, "identity", "kind", "split"}]
        table = self._read(self._table(version), wanted)
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
            If a row is not whole, other writers win too often in a row, or the disk refuses.
        """
        for row in rows:
            check_row(row)
        latest = {row["identity"]: row for row in rows}
        for attempt in range(_COMMIT_TRIES):
            table = self._table()
            new = self._unknown(table, latest)
            if not new:
                return int(table.version())
            try:
                return _merge(table, new, message)
            except CommitFailedError:  # another writer was faster: look again, then try again
                time.sleep(random.uniform(0.05, 0.2) * 1.6**attempt)
            except (DeltaError, OSError) as error:
                raise StoreError(f"{self._index}: the commit failed ({error})") from error
        raise StoreError(
            f"{self._index}: other writers were faster {_COMMIT_TRIES} times in a row; try again"
        )

    def _unknown(self, table: DeltaTable, rows: Mapping[str, Row]) -> list[Row]:
        """Rows that say something the index does not."""
        columns = ["identity", "settings_digest", "kind"]
        known = self._read(table, columns)
        known = known.filter(pc.is_in(known["identity"], pa.array(list(rows), pa.string())))
        here = {
            identity: (digest, kind)
            for identity, digest, kind in zip(*(known[c].to_pylist() for c in columns), strict=True)
        }
        return [
            row
            for identity, row in rows.items()
            if here.get(identity) != (row["settings_digest"], row["kind"])
        ]

    def reader(
        self,
        split: str | None = None,
        *,
        version: int | None = None,
        categories: Sequence[str] | None = None,
    ) -> PairReader:
        """Pairs by index, as of a version (the newest by default)."""
        return PairReader(
            store=self,
            version=self.version if version is None else version,
            split=split,
            categories=None if categories is None else tuple(categories),
        )

    def digest(self, version: int | None = None) -> str:
        """Hash of all pairs (identities, metadata, pixels), whatever order they came in."""
        return digest_rows(self.rows(kind="pair", version=version))

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
            "digest": digest_rows(pairs),
        }

    def vacuum_parts(self, *, older_than_s: float = 24 * 3600) -> list[str]:
        """Remove parts that no version of the index refers to, once they are old enough.

        A part is written before its rows are committed, so young ones may still be on their way.
        """
        # The files of the index, the outdated ones too, hold the rows of every version.
        used: set[str | None] = set()
        for file in Path(self._index).glob("*.parquet"):
            used.update(pq.read_table(file, columns=["part"])["part"].to_pylist())
        removed = []
        for folder in self.parts.iterdir():
            old = time.time() - folder.stat().st_mtime > older_than_s
            if old and folder.name not in used:
                shutil.rmtree(folder)
                removed.append(folder.name)
        return removed


def _count(column: pa.ChunkedArray) -> dict[str, int]:
    return dict(sorted(Counter(v for v in column.to_pylist() if v is not None).items()))


def _merge(table: DeltaTable, rows: Sequence[Row], message: str) -> int:
    source = pa.Table.from_pylist([dict(row) for row in rows], schema=SCHEMA)
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


def _create(folder: Path, config: StoreConfig) -> None:
    """Make an empty store; store.json comes last, so half a store is none and is made whole."""
    folder.mkdir(parents=True, exist_ok=True)
    parts, index, file = (folder / name for name in ("parts", "index", "store.json"))
    strangers = {
        path.name
        for path in folder.iterdir()
        if path not in (parts, index, file) and not path.name.startswith(".store.json.")
    }
    if strangers or (parts.exists() and any(parts.iterdir()) and not file.exists()):
        raise StoreError(f"{folder}: not empty and no pair store; wanted a new folder")
    parts.mkdir(exist_ok=True)
    try:
        DeltaTable.create(str(index), schema=SCHEMA, mode="ignore")
    except DeltaError as error:
        if not DeltaTable.is_deltatable(str(index)):  # not just another process that was faster
            raise StoreError(f"{index}: the index cannot be made ({error})") from error
    head = {"format_version": FORMAT_VERSION, "config": config.to_dict()}
    _write_once(file, json.dumps(head, indent=2) + "\n")


def _write_once(file: Path, text: str) -> None:
    """Write a small file whole or not at all, and never over another's."""
    hidden = file.with_name(f".{file.name}.{os.getpid()}")
    with hidden.open("w") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())
    try:
        os.link(hidden, file)
    except FileExistsError:
        pass  # another process made the store at the same time; the caller compares
    except OSError:  # no hard links on this file system
        hidden.replace(file)
    finally:
        hidden.unlink(missing_ok=True)


def _check_same(folder: Path, got: StoreConfig, wanted: StoreConfig) -> None:
    here, there = got.to_dict(), wanted.to_dict()
    differing = [f"{k} is {here[k]}, asked for {there[k]}" for k in here if here[k] != there[k]]
    if differing:
        raise StoreError(
            f"{folder}: the store was made otherwise ({'; '.join(differing)}); "
            "use the same settings or another store"
        )
