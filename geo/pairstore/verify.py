"""Whether each pair is there, once, as its row says: everything is read again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from geo.errors import StoreError
from geo.pairstore.parts import read_pairs
from geo.pairstore.rows import BUCKETED_BY, SCHEMA, WITH_PIXELS, check_row, hash_pixels, hash_row
from geo.pairstore.store import PairStore

_AT_ONCE = 64  # pairs
_ROWS_AT_ONCE = 20_000

Progress = Callable[[int, int], None]
"""Pairs done, and all."""


@dataclass(frozen=True, kw_only=True)
class Damage:
    """Something wrong with a row: which, what, and what would be right."""

    identity: str
    what: str


@dataclass(kw_only=True)
class Verdict:
    """What was found.

    Parameters
    ----------
    version : int
    pairs, rows : int
        Looked at.
    damages : list of Damage
        Empty for a store that is well.
    strays : int
        Parts that no row of this version refers to: of earlier versions, or left by a process
        that died. They are no damage; expiring removes what nobody needs.
    """

    version: int
    rows: int = 0
    pairs: int = 0
    damages: list[Damage] = field(default_factory=list)
    strays: int = 0

    @property
    def is_well(self) -> bool:
        """Whether nothing is damaged."""
        return not self.damages


def verify_store(
    store: PairStore, *, version: int | None = None, progress: Progress | None = None
) -> Verdict:
    """Check every row and every pixel of a version.

    Rows: one for each identity, whole, in their bucket, with the hash of what they say. Pairs and
    chips without partners:
    each in a place of its own, of the store's shape and type, their pixels with the hash that the
    row holds, and validity as the row says. Bounded memory but for the identities.

    Raises
    ------
    StoreError
        If the index cannot be read at all.
    """
    version = store.version if version is None else version
    verdict = Verdict(version=version)
    seen: Counter[str] = Counter()
    taken: dict[tuple[str, int], str] = {}
    pairs: list[dict[str, Any]] = []
    for row in _rows(store, version):
        verdict.rows += 1
        seen[row["identity"]] += 1
        wrong = _check_row(row, seen[row["identity"]])
        if row["kind"] in WITH_PIXELS:
            place = (row["part"], row["part_index"])
            if (other := taken.setdefault(place, row["identity"])) != row["identity"]:
                wrong.append(f"its pixels are those of {other}")
            pairs.append({name: row[name] for name in _WANTED})
        verdict.damages += [Damage(identity=row["identity"], what=what) for what in wrong]
    # Part by part, so that a file is read once.
    pairs.sort(key=lambda row: (row["part"], row["part_index"]))
    for start in range(0, len(pairs), _AT_ONCE):
        verdict.damages += _check_pixels(store, pairs[start : start + _AT_ONCE])
        verdict.pairs = min(start + _AT_ONCE, len(pairs))
        if progress is not None:
            progress(verdict.pairs, len(pairs))
    verdict.strays = len(store.parts() - {part for part, _ in taken})
    return verdict


_WANTED = ("identity", "part", "part_index", "pixels_sha256", "valid_fraction", "side")


def _rows(store: PairStore, version: int) -> Iterator[dict[str, Any]]:
    buckets = sorted(set(store.index.read(["bucket"], version=version)["bucket"].to_pylist()))
    for bucket in buckets:  # one after the other: rows are many and wide
        table: pa.Table = store.index.read(
            SCHEMA.names, version=version, where=f"bucket = '{bucket}'"
        )
        for batch in table.to_batches(max_chunksize=_ROWS_AT_ONCE):
            yield from batch.to_pylist()


def _check_row(row: dict[str, Any], times: int) -> list[str]:
    wrong = []
    if times == 2:
        wrong.append("it is in the index more than once")
    try:
        check_row(row)  # type: ignore[arg-type]  # that is the question
    except StoreError as error:
        wrong.append(error.message)
    if (found := hash_row(row)) != row["row_sha256"]:
        wrong.append(f"its row was changed: hash {found[:12]}, wanted {row['row_sha256'][:12]}")
    return wrong


def _check_pixels(store: PairStore, rows: list[dict[str, Any]]) -> list[Damage]:
    places = [(row["part"], row["part_index"]) for row in rows]
    try:
        triples = read_pairs(store.place, store.config, places)
    except StoreError as error:
        if len(rows) > 1:  # find out which
            return [damage for row in rows for damage in _check_pixels(store, [row])]
        return [Damage(identity=rows[0]["identity"], what=error.message)]
    damages = []
    for row, (lr, hr, valid) in zip(rows, triples, strict=True):
        what = None
        if hash_pixels(lr, hr, valid) != row["pixels_sha256"]:
            what = "its pixels are not those that were written"
        elif row["valid_fraction"] is not None and not np.isclose(
            valid.mean(), row["valid_fraction"], atol=1e-6
        ):
            what = f"{valid.mean():.4f} of it is valid, its row says {row['valid_fraction']:.4f}"
        elif row["side"] is not None and (hr if row["side"] == "lr" else lr).any():
            what = f"it is a chip of side {row['side']} alone, but has pixels of the other one"
        if what:
            damages.append(Damage(identity=row["identity"], what=what))
    return damages


def repair_store(store: PairStore, verdict: Verdict, message: str) -> tuple[int, int]:
    """Forget the damaged rows, so that the next ingest of their scenes makes them anew.

    Returns
    -------
    tuple of int
        The version without them, and how many rows it forgets: scene pairs are no longer said to
        be complete.
    """
    columns = ("kind", "settings_digest", *BUCKETED_BY)
    table = store.rows(columns=columns)
    damaged = {damage.identity for damage in verdict.damages}
    rows = table.to_pylist()
    scenes = {(row["satellite_id"], row["aerial_id"]) for row in rows if row["identity"] in damaged}
    forget = [
        row
        for row in rows
        if row["identity"] in damaged
        or (row["kind"] == "scenes" and (row["satellite_id"], row["aerial_id"]) in scenes)
    ]
    once = {row["identity"]: row for row in forget}
    return store.index.commit([], message, forget=list(once.values()))
