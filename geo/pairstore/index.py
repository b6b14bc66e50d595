"""The index of a pair store: a Delta Lake table with a row for each pair and each refusal.

A commit appears as a whole or not at all, and makes a version. Rows are partitioned by scene pair
(`geo.pairstore.rows.bucket_of`), so writers of different scenes do not meet, and a commit reads
nothing of the others.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable, QueryBuilder
from deltalake import Schema as DeltaSchema
from deltalake.exceptions import CommitFailedError, DeltaError

from geo.errors import StoreError
from geo.pairstore.forks import start_threads_of
from geo.pairstore.place import Place
from geo.pairstore.rows import SCHEMA, Row, seal_rows

INDEX = "index"
_COMMIT_TRIES = 20
_FAR_FUTURE = "interval 36500 days"
_SETTINGS = {
    # Nothing is forgotten by itself: versions that somebody has tagged have to stay.
    "delta.enableExpiredLogCleanup": "false",
    "delta.logRetentionDuration": _FAR_FUTURE,
    "delta.deletedFileRetentionDuration": _FAR_FUTURE,
    "delta.checkpointInterval": "20",  # so opening reads few of the log's small files
}


@dataclass(frozen=True, kw_only=True)
class Commit:
    """One version: when, who, and how it came about."""

    version: int
    time: datetime
    message: str
    operation: str


class PairIndex:
    """The index of the store at a place."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self.url = f"{place.url}/{INDEX}"
        self._options = place.delta_options()

    def create(self) -> None:
        """Make an empty index, unless somebody else just has."""
        try:
            DeltaTable.create(
                self.url,
                schema=SCHEMA,
                mode="ignore",
                partition_by=["bucket"],
                configuration=_SETTINGS,
                storage_options=self._options,
            )
        except DeltaError as error:
            if not DeltaTable.is_deltatable(self.url, self._options):
                raise StoreError(f"{self.url}: the index cannot be made ({error})") from error

    def table(self, version: int | None = None) -> DeltaTable:
        """The table as of a version.

        Raises
        ------
        StoreError
            If there is no such version, or the index is damaged.
        """
        start_threads_of("Delta Lake", self.url)
        try:
            return DeltaTable(self.url, version=version, storage_options=self._options)
        except (DeltaError, OSError, OverflowError) as error:
            what = "index" if version is None else f"version {version} of the index"
            raise StoreError(f"{self.url}: the {what} cannot be read ({error})") from error

    @property
    def version(self) -> int:
        """The newest version."""
        return int(self.table().version())

    def read(
        self, columns: Sequence[str], *, version: int | None = None, where: str | None = None
    ) -> pa.Table:
        """Columns of the rows for which an SQL condition holds, in no order.

        Raises
        ------
        StoreError
            If there is no such version, or the index is damaged.
        """
        return self._read(self.table(version), columns, where)

    def _read(self, table: DeltaTable, columns: Sequence[str], where: str | None) -> pa.Table:
        # By delta-rs's own engine: `to_pyarrow_table` reads through Python code on Arrow's threads
        # and aborts one short process in twenty as it ends, after its work is done
        # (delta-io/delta-rs#2184, apache/arrow#34314).
        names = ", ".join(f'"{name}"' for name in columns)
        # Stores that are older than a column have nothing to say in it.
        new = "".join(f', CAST(NULL AS VARCHAR) AS "{f.name}"' for f in _fields_lacking(table))
        query = f"SELECT {names} FROM (SELECT *{new} FROM rows)"
        query += f" WHERE {where}" if where else ""
        try:
            result = QueryBuilder().register("rows", table).execute(query)
            return pa.table(result).cast(pa.schema([SCHEMA.field(name) for name in columns]))
        except (DeltaError, OSError, pa.ArrowInvalid) as error:
            raise StoreError(
                f"{self.url}: a file of version {table.version()} is missing or damaged ({error}); "
                "restore the folder or ingest again into a new store"
            ) from error

    def commit(
        self, rows: Sequence[Row], message: str, *, forget: Sequence[Row] = ()
    ) -> tuple[int, int]:
        """Make rows appear and disappear together.

        Parameters
        ----------
        rows : sequence of Row
            New ones are added, those with another decision or other settings replaced.
        forget : sequence of Row
            With identity, kind, settings_digest, satellite_id, aerial_id and side: those to
            remove.

        Returns
        -------
        tuple of int
            The version that holds them, and how many rows that changed. When all of them are known
            already, no version is made.

        Raises
        ------
        StoreError
            If other writers win too often in a row, or the disk refuses.
        """
        wanted = seal_rows(list({row["identity"]: row for row in rows}.values()))
        gone = seal_rows([{**row, "kind": "forget"} for row in forget])
        for attempt in range(_COMMIT_TRIES):
            table = self.table()
            new = self._unknown(table, wanted)
            if not new.num_rows and not gone.num_rows:
                return int(table.version()), 0
            try:
                self._add_columns(table)
                return self._merge(table, pa.concat_tables([new, gone]), message)
            except CommitFailedError:  # another writer was faster: look again, then try again
                time.sleep(random.uniform(0.05, 0.2) * 1.4 ** min(attempt, 8))
            except (DeltaError, OSError) as error:
                raise StoreError(f"{self.url}: the commit failed ({error})") from error
        raise StoreError(
            f"{self.url}: other writers were faster {_COMMIT_TRIES} times in a row; try again"
        )

    def _unknown(self, table: DeltaTable, rows: pa.Table) -> pa.Table:
        """Rows that say something the index does not."""
        columns = ["identity", "settings_digest", "kind"]
        if not rows.num_rows:
            return rows
        known = self._read(table, columns, among("bucket", rows["bucket"].unique().to_pylist()))
        known = known.filter(pc.is_in(known["identity"], rows["identity"].combine_chunks()))
        here = dict(zip(known["identity"].to_pylist(), _decisions(known), strict=True))
        there = zip(rows["identity"].to_pylist(), _decisions(rows), strict=True)
        return rows.filter(pa.array([here.get(identity) != d for identity, d in there], pa.bool_()))

    def _add_columns(self, table: DeltaTable) -> None:
        """Give a table that is older than a column that column, empty; once in its life."""
        if lacking := _fields_lacking(table):
            schema = DeltaSchema.from_arrow(pa.schema(lacking))
            table.alter.add_columns(schema.fields)

    def _merge(self, table: DeltaTable, rows: pa.Table, message: str) -> tuple[int, int]:
        buckets = among("old.bucket", rows["bucket"].unique().to_pylist())
        merged = (
            self._merger(table, rows, message, f"{buckets} AND old.identity = new.identity")
            .when_matched_delete("new.kind = 'forget'")
            .when_matched_update_all(
                "old.settings_digest != new.settings_digest OR old.kind != new.kind"
            )
            .when_not_matched_insert_all("new.kind != 'forget'")
            .execute()
        )
        return int(table.version()), int(
            merged["num_target_rows_inserted"]
            + merged["num_target_rows_updated"]
            + merged["num_target_rows_deleted"]
        )

    def _merger(self, table: DeltaTable, rows: pa.Table, message: str, predicate: str) -> Any:
        return table.merge(
            rows,
            predicate=predicate,
            source_alias="new",
            target_alias="old",
            commit_properties=CommitProperties(custom_metadata={"skyscale": message}),
        )

    def move(self, moves: pa.Table, message: str) -> tuple[int, int]:
        """Say where pairs lie now, if they still lie where they were thought to.

        Parameters
        ----------
        moves : table
            Columns identity, bucket, part, part_index, and the present places as old_part and
            old_index. A pair that was replaced meanwhile keeps its new place.

        Returns
        -------
        tuple of int
            The version, and how many pairs have moved.
        """
        for attempt in range(_COMMIT_TRIES):
            table = self.table()
            buckets = among("old.bucket", moves["bucket"].unique().to_pylist())
            try:
                merged = (
                    self._merger(
                        table, moves, message, f"{buckets} AND old.identity = new.identity"
                    )
                    .when_matched_update(
                        updates={"part": "new.part", "part_index": "new.part_index"},
                        predicate="old.part = new.old_part AND old.part_index = new.old_index",
                    )
                    .execute()
                )
                return int(table.version()), int(merged["num_target_rows_updated"])
            except CommitFailedError:
                time.sleep(random.uniform(0.05, 0.2) * 1.4 ** min(attempt, 8))
            except (DeltaError, OSError) as error:
                raise StoreError(f"{self.url}: the commit failed ({error})") from error
        raise StoreError(f"{self.url}: other writers were faster each time; try again")

    def files(self, version: int) -> list[str]:
        """Files that hold a version, relative to the index."""
        uris = self.table(version).file_uris()
        return ["/".join(uri.split("/")[-2:]) for uri in uris]  # bucket=NN/NAME.parquet

    def files_added(self, version: int) -> list[str]:
        """Files that a commit added.

        Raises
        ------
        StoreError
            If the commit cannot be read.
        """
        key = f"{INDEX}/_delta_log/{version:020d}.json"
        content = self._place.read(key)
        if content is None:
            raise StoreError(f"{self.url}: commit {version} is missing; restore {key} from a copy")
        actions = [json.loads(line) for line in content.splitlines() if line.strip()]
        return [unquote(action["add"]["path"]) for action in actions if "add" in action]

    def history(self) -> list[Commit]:
        """All commits, oldest first."""
        commits = []
        for entry in reversed(self.table().history()):
            commits.append(
                Commit(
                    version=int(entry["version"]),
                    time=datetime.fromtimestamp(entry["timestamp"] / 1000, UTC),
                    message=str(entry.get("skyscale", "")),
                    operation=str(entry.get("operation", "")),
                )
            )
        return commits


def _fields_lacking(table: DeltaTable) -> list[pa.Field]:
    there = {field.name for field in table.schema().fields}
    return [field for field in SCHEMA if field.name not in there]


def _decisions(rows: pa.Table) -> list[tuple[str, str]]:
    return list(zip(rows["settings_digest"].to_pylist(), rows["kind"].to_pylist(), strict=True))


def among(column: str, values: Sequence[Any]) -> str:
    """SQL condition: a column has one of these texts."""
    return f"{column} IN ({', '.join(map(_quoted, values))})" if values else "FALSE"


def _quoted(value: Any) -> str:
    text = str(value).replace("'", "''")
    return f"'{text}'"


def only(conditions: Mapping[str, Any]) -> str:
    """SQL condition: columns have just these texts."""
    return " AND ".join(f'"{name}" = {_quoted(value)}' for name, value in conditions.items())
