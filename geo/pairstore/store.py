"""The pair store: immutable Zarr parts for pixels, a Delta Lake table for what exists.

A pair exists when its row is committed. A batch of pairs and its refusals appear together or not
at all; a worker that dies leaves at most a part that no row refers to.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from geo.errors import StoreError
from geo.pairstore.config import StoreConfig
from geo.pairstore.index import INDEX, PairIndex, among, only
from geo.pairstore.parts import MOST_PAIRS, PARTS, write_part
from geo.pairstore.place import Place, place_of
from geo.pairstore.reader import Pair, PairReader
from geo.pairstore.rows import (
    BUCKETED_BY,
    SCHEMA,
    SIDES,
    WITH_PIXELS,
    PairData,
    Row,
    bucket_of,
    check_row,
    digest_rows,
    hash_pixels,
    scene_ids,
    scenes_identity,
)
from geo.pairstore.tags import Tags

__all__ = ["Pair", "PairReader", "PairStore"]

FORMAT_VERSION = 3
HEAD = "store.json"
WITHDRAWN = "withdrawn"
_LARGE = 500  # scene pairs: the rows of more are sooner read all together


class PairStore:
    """A folder, or a prefix of an S3 bucket, with ``store.json``, ``index/`` and ``parts/``.

    Open one with `PairStore.open` or `PairStore.create_or_open`.
    """

    def __init__(self, place: Place, config: StoreConfig) -> None:
        self.place = place
        self.config = config
        self.index = PairIndex(place)
        self.tags = Tags(place, self.index)

    @property
    def url(self) -> str:
        """Absolute path, or ``s3://bucket/prefix``."""
        return self.place.url

    @classmethod
    def open(cls, url: str | Path) -> PairStore:
        """Open a store.

        Raises
        ------
        StoreError
            If there is none, or it is damaged, or of another format.
        """
        place = place_of(url)
        text = place.read(HEAD)
        if text is None:
            raise StoreError(
                f"{url}: no pair store here; `skyscale ingest ... --store {url}` makes one"
            )
        file = f"{place.url}/{HEAD}"
        try:
            head = json.loads(text)
            version = head["format_version"]
            if version != FORMAT_VERSION:  # asked first: other versions hold other things
                raise StoreError(
                    f"{file}: format version {version}; this skyscale reads {FORMAT_VERSION}"
                )
            config = StoreConfig.from_dict(head["config"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StoreError(f"{file}: damaged ({error}); restore it from a copy") from error
        return cls(place, config)

    @classmethod
    def exists(cls, url: str | Path) -> bool:
        """Whether there is a store."""
        return place_of(url).read(HEAD) is not None

    @classmethod
    def create_or_open(cls, url: str | Path, config: StoreConfig) -> PairStore:
        """Open a store with this configuration, made if it is not there.

        Raises
        ------
        StoreError
            If the store has another configuration; the message names what differs.
        """
        if not cls.exists(url):
            _create(place_of(url), config)
        store = cls.open(url)
        _check_same(store.url, store.config, config)
        return store

    @property
    def version(self) -> int:
        """The newest version of the index."""
        return self.index.version

    def rows(
        self,
        *,
        kind: str | None = None,
        split: str | None = None,
        version: int | None = None,
        columns: Sequence[str] | None = None,
        scenes: Sequence[tuple[str, str]] | None = None,
        where: str | None = None,
    ) -> pa.Table:
        """Rows of the index, ordered by identity.

        Parameters
        ----------
        kind, split : str, optional
            Only rows of these.
        version : int, optional
            As of this version; the newest by default.
        columns : sequence of str, optional
            All by default; identity is always there.
        scenes : sequence of (satellite id, aerial id), optional
            Only what is said of these scene pairs; no more of the index is read than holds them.
        where : str, optional
            A further condition in SQL.

        Raises
        ------
        StoreError
            If there is no such version, or the index is damaged.
        """
        wanted = SCHEMA.names if columns is None else ["identity", *columns]
        conditions = [only({"kind": kind})] if kind else []
        conditions += [only({"split": split})] if split else []
        conditions += [f"({where})"] if where else []
        if scenes is not None and len(scenes) <= _LARGE:
            conditions += [among("bucket", sorted({bucket_of(*pair) for pair in scenes}))]
            conditions += [among("satellite_id", sorted({satellite for satellite, _ in scenes}))]
        names = [name for name in SCHEMA.names if name in wanted]
        table = self.index.read(names, version=version, where=" AND ".join(conditions) or None)
        return table.sort_by("identity")

    def known(self, settings_digest: str, satellite_id: str, aerial_id: str) -> dict[str, str]:
        """Identities of a scene pair decided by these settings, with the kind of their rows."""
        table = self.rows(
            columns=["kind"],
            scenes=[(satellite_id, aerial_id)],
            where=only({"settings_digest": settings_digest}),
        )
        return dict(zip(table["identity"].to_pylist(), table["kind"].to_pylist(), strict=True))

    def known_alone(self, settings_digest: str, side: str, scene_id: str) -> set[str]:
        """Identities of the chips of a scene alone that these settings have decided."""
        satellite, aerial = scene_ids(side, scene_id)
        told = {"bucket": bucket_of(satellite, aerial, side)}
        told |= {"satellite_id": satellite, "aerial_id": aerial}
        where = f'{only(told | {"settings_digest": settings_digest})} AND "row" IS NOT NULL'
        return set(self.rows(columns=[], where=where)["identity"].to_pylist())

    def write_part(self, pairs: Sequence[PairData]) -> list[Row]:
        """Write pixels as a new part; the rows returned still have to be committed."""
        rows: list[Row] = []
        for start in range(0, len(pairs), MOST_PAIRS):
            batch = pairs[start : start + MOST_PAIRS]
            for pair in batch:
                self._check_shape(pair)
            name = write_part(self.place, batch, self.config)
            for index, pair in enumerate(batch):
                place: Row = {
                    "kind": pair.row.get("kind", "pair"),
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
            raise StoreError(f"a pair of shapes {got}; the store at {self.url} wants {wanted}")

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
        return self.index.commit(rows, message)[0]

    def withdraw(self, scene_id: str, message: str) -> tuple[int, int]:
        """Remove all that is said of a scene, in one transaction, and keep it out from now on.

        Returns
        -------
        tuple of int
            The version without it, and the number of pairs, and of chips alone, that have gone.
            Earlier versions keep them until they are expired.

        Raises
        ------
        StoreError
            If the store knows no such scene.
        """
        columns = ("kind", "settings_digest", *BUCKETED_BY)
        gone = self.rows(
            columns=columns,
            where=f"{only({'satellite_id': scene_id})} OR {only({'aerial_id': scene_id})}",
        ).to_pylist()
        row: Row = {
            "identity": scenes_identity(scene_id, WITHDRAWN),
            "kind": "rejection",
            "settings_digest": WITHDRAWN,
            "satellite_id": scene_id,
            "reason": WITHDRAWN,
        }
        if not gone:
            raise StoreError(
                f"{self.url}: nothing is said here of a scene {scene_id}{self._like(scene_id)}"
            )
        others = [old for old in gone if old["identity"] != row["identity"]]
        version, _ = self.index.commit([row], message, forget=others)
        return version, sum(old["kind"] in WITH_PIXELS for old in others)

    def _like(self, scene_id: str) -> str:
        """Names of scenes that may have been meant."""
        table = self.rows(columns=("satellite_id", "aerial_id"))
        names = {name for column in table.columns for name in column.to_pylist() if name}
        close = get_close_matches(scene_id, sorted(names), n=3)
        return f"; near it are {', '.join(close)}" if close else ""

    def readmit(self, scene_id: str, message: str) -> int:
        """Let a withdrawn scene in again; the next ingest pairs it."""
        row = self.withdrawn().get(scene_id)
        if row is None:
            raise StoreError(f"{self.url}: scene {scene_id} is not withdrawn")
        return self.index.commit([], message, forget=[row])[0]

    def withdrawn(self) -> dict[str, Row]:
        """Scenes that are to be kept out: id to row."""
        columns = ("kind", "settings_digest", *BUCKETED_BY)
        where = f"bucket = 'single' AND {only({'reason': WITHDRAWN})}"
        rows = self.rows(columns=columns, where=where).to_pylist()
        return {row["satellite_id"]: row for row in rows}

    def reader(
        self,
        split: str | None = None,
        *,
        version: int | None = None,
        categories: Sequence[str] | None = None,
        chips: bool = False,
        derived: bool = True,
    ) -> PairReader:
        """Pairs by index, as of a version (the newest by default); see `PairReader`."""
        return PairReader(
            store=self,
            version=self.version if version is None else version,
            split=split,
            categories=None if categories is None else tuple(categories),
            chips=chips,
            derived=derived,
        )

    def parts(self) -> set[str]:
        """Names of the parts that are there, whether rows refer to them or not."""
        return {entry.key.split("/")[1] for entry in self.place.entries(PARTS)}

    def digest(self, version: int | None = None) -> str:
        """Hash of all pairs (identities, metadata, pixels), whatever order they came in."""
        return digest_rows(self.rows(kind="pair", version=version, columns=["row_sha256"]))

    def chips_digest(self, version: int | None = None) -> str:
        """The same of chips without partners."""
        return digest_rows(self.rows(kind="chip", version=version, columns=["row_sha256"]))

    def count_pairs(self) -> int:
        """Pairs of the newest version."""
        return int(self.rows(kind="pair", columns=[]).num_rows)

    def summary(self, version: int | None = None) -> dict[str, Any]:
        """Count what the store holds."""
        version = self.version if version is None else version
        columns = ("kind", "split", "category", "reason", "row_sha256", "side", "derived")
        table = self.rows(version=version, columns=columns)
        pairs, chips, refused = (
            table.filter(pc.equal(table["kind"], kind)) for kind in ("pair", "chip", "rejection")
        )
        return {
            "store": self.url,
            "pairs": pairs.num_rows,
            "splits": _count(pairs["split"]),
            "categories": _count(pairs["category"]),
            "balance": _balance(pairs),
            "derived": _count(pairs["derived"]),
            "chips": {
                side: _count(chips.filter(pc.equal(chips["side"], side))["split"]) for side in SIDES
            },
            "rejected": _count(refused["reason"]),
            "version": version,
            "tags": self.tags.of_version(version),
            "bands": list(self.config.bands),
            "scale": self.config.scale,
            "lr_size": self.config.lr_size,
            "data_range": self.config.data_range,
            "digest": digest_rows(pairs),
        }


def _count(column: pa.ChunkedArray) -> dict[str, int]:
    return dict(sorted(Counter(v for v in column.to_pylist() if v is not None).items()))


def _balance(pairs: pa.Table) -> dict[str, dict[str, int]]:
    """Pairs of each category by split; those without a category are ``none``."""
    table: dict[str, Counter[str]] = {}
    for category, split in zip(
        pairs["category"].to_pylist(), pairs["split"].to_pylist(), strict=True
    ):
        table.setdefault(category or "none", Counter())[split or "none"] += 1
    return {name: dict(sorted(counts.items())) for name, counts in sorted(table.items())}


def _create(place: Place, config: StoreConfig) -> None:
    """Make an empty store; store.json comes last, so half a store is none and is made whole."""
    try:
        ours = {name for name in place.children() if not name.startswith(f".{HEAD}.")}
        if ours - {INDEX, PARTS, HEAD} or (place.children(PARTS) and HEAD not in ours):
            raise StoreError(f"{place.url}: not empty and no pair store; wanted a new folder")
        PairIndex(place).create()
    except (OSError, ValueError) as error:
        raise StoreError(f"{place.url}: no store can be made here ({error})") from error
    head = {"format_version": FORMAT_VERSION, "config": config.to_dict()}
    place.write_once(HEAD, (json.dumps(head, indent=2) + "\n").encode())


def _check_same(url: str, got: StoreConfig, wanted: StoreConfig) -> None:
    here, there = got.to_dict(), wanted.to_dict()
    differing = [f"{k} is {here[k]}, asked for {there[k]}" for k in here if here[k] != there[k]]
    if differing:
        raise StoreError(
            f"{url}: the store was made otherwise ({'; '.join(differing)}); "
            "use the same settings or another store"
        )
