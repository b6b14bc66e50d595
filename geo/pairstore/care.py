"""Keeping a store small and quick: small parts joined, old versions let go.

Both are safe beside readers and writers. Parts are never changed: joined pairs are written anew,
and a commit says where they lie now. What nothing refers to is removed only once it is old.
"""

from __future__ import annotations

import io
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake.exceptions import DeltaError

from geo.errors import StoreError
from geo.pairstore.index import INDEX, among
from geo.pairstore.parts import LASTING, PARTS, read_pairs, write_part
from geo.pairstore.place import Entry
from geo.pairstore.rows import WITH_PIXELS, PairData, hash_pixels
from geo.pairstore.store import PairStore

_BYTES_A_PART = 256 << 20  # of pixels as they are in memory
_MOST_A_PART = 2048
_SMALL = 0.5  # a part this full, or fuller, is left alone
_DAY_S = 86400

Progress = Callable[[int, int], None]
"""Pairs done, and all."""


@dataclass(frozen=True, kw_only=True)
class Compaction:
    """What joining small parts came to."""

    version: int
    parts_before: int
    parts_after: int
    pairs_moved: int
    index_files_before: int
    index_files_after: int


def pairs_a_part(store: PairStore) -> int:
    """As many as fit into memory well, while they are joined."""
    config = store.config
    lr = len(config.bands) * config.lr_size**2 * np.dtype(config.dtype).itemsize
    hr = lr * config.scale**2 + (config.lr_size * config.scale) ** 2
    return int(max(1, min(_MOST_A_PART, _BYTES_A_PART // (lr + hr))))


def compact_store(
    store: PairStore, message: str, *, progress: Progress | None = None
) -> Compaction:
    """Join small parts, of pairs and of chips alone, into large ones; files of the index too.

    Pairs are checked against their hashes on the way. Each new part is committed by itself, so a
    process that is killed has lost nothing but the part it was at. Pairs keep identity, row and
    pixels, so the digest of the store stays. The small parts stay, too, for earlier versions
    and for those who read them at this moment, until these versions are expired.

    Raises
    ------
    StoreError
        If a pair is damaged; verify says which are.
    """
    columns = ("bucket", "satellite_time", "part", "part_index", "pixels_sha256", "valid_fraction")
    rows = store.rows(where=among("kind", WITH_PIXELS), columns=columns).to_pylist()
    full = pairs_a_part(store)
    sizes = Counter(row["part"] for row in rows)
    small = [row for row in rows if sizes[row["part"]] < _SMALL * full]
    files = len(store.index.table().file_uris())
    if len({row["part"] for row in small}) > 1:
        # Neighbours in time and place stay together.
        small.sort(key=lambda row: (row["bucket"], row["part"], row["part_index"]))
        for start in range(0, len(small), full):
            _join(store, small[start : start + full], message)
            if progress is not None:
                progress(min(start + full, len(small)), len(small))
    else:
        small = []
    _compact_index(store)
    after = store.rows(where=among("kind", WITH_PIXELS), columns=["part"])["part"].unique()
    return Compaction(
        version=store.version,
        parts_before=len(sizes),
        parts_after=len(after),
        pairs_moved=len(small),
        index_files_before=files,
        index_files_after=len(store.index.table().file_uris()),
    )


def _join(store: PairStore, rows: Sequence[dict[str, Any]], message: str) -> None:
    """Write pairs into a new part and say that they lie there."""
    places = [(row["part"], row["part_index"]) for row in rows]
    pairs = []
    for row, (lr, hr, valid) in zip(
        rows, read_pairs(store.place, store.config, places), strict=True
    ):
        if hash_pixels(lr, hr, valid) != row["pixels_sha256"]:
            raise StoreError(
                f"{store.url}: pair {row['identity']} is damaged; `skyscale pairs STORE --verify` "
                "says what else is"
            )
        pairs.append(PairData(row={}, lr=lr, hr=hr, valid=valid))
    part = write_part(store.place, pairs, store.config, LASTING)
    moves = pa.table(
        {
            "identity": [row["identity"] for row in rows],
            "bucket": [row["bucket"] for row in rows],
            "part": [part] * len(rows),
            "part_index": list(range(len(rows))),
            "old_part": [row["part"] for row in rows],
            "old_index": [row["part_index"] for row in rows],
        }
    )
    store.index.move(moves, message)


def _compact_index(store: PairStore) -> None:
    try:
        table = store.index.table()
        table.optimize.compact()
        table.create_checkpoint()
    except DeltaError as error:
        # Another writer was faster. Nothing is lost but the tidiness.
        if "commit" not in str(error).lower():
            raise StoreError(f"{store.url}: the index cannot be compacted ({error})") from error


@dataclass(frozen=True, kw_only=True)
class Expiry:
    """What letting go came to: versions that stay, and what has been removed."""

    horizon: int
    versions_kept: int
    index_files: int
    parts: int
    bytes: int


def expire_store(
    store: PairStore, *, keep_days: float = 7.0, grace_s: float = _DAY_S, dry_run: bool = False
) -> Expiry:
    """Let go of versions that were replaced more than `keep_days` ago, and of what only they had.

    Parameters
    ----------
    keep_days : float
        The version that was the newest then, all since, and tagged ones stay whole.
    grace_s : float
        What was replaced, or written and not committed, less than this ago is left alone in any
        case: somebody may be reading it, or about to commit it.
    dry_run : bool
        Only say what would go.

    Notes
    -----
    First it is noted that the versions are gone, then files of the index are removed, then parts
    that no file left refers to. Killed in between, the next call goes on.
    """
    keep = timedelta(seconds=max(keep_days * _DAY_S, grace_s))
    horizon, newest = _horizon(store, datetime.now(UTC) - keep), store.version
    tagged = [tag.version for tag in store.tags.all() if tag.version < horizon]
    files = _unused_index_files(store, [*tagged, horizon], range(horizon + 1, newest + 1), grace_s)
    parts, size = _unused_parts(store, _parts_in_use(store, without=set(files)), grace_s)
    if not dry_run:
        store.tags.set_horizon(horizon)
        store.place.delete(files)
        store.place.delete([f"{PARTS}/{name}" for name in parts])
    return Expiry(
        horizon=horizon,
        versions_kept=len({*tagged, *range(horizon, newest + 1)}),
        index_files=len(files),
        parts=len(parts),
        bytes=size,
    )


def _horizon(store: PairStore, before: datetime) -> int:
    """The version that was the newest at a time."""
    older = [c.version for c in store.index.history() if c.time <= before]
    return max([store.tags.horizon(), *older])


def _unused_index_files(
    store: PairStore, versions: Sequence[int], since: Iterable[int], grace_s: float
) -> list[str]:
    """Keys of old files of the index that neither versions nor the commits since them need."""
    used = {name for version in versions for name in store.index.files(version)}
    used.update(name for version in since for name in store.index.files_added(version))
    return [
        entry.key
        for entry in _index_files(store)
        if entry.key.removeprefix(f"{INDEX}/") not in used and time.time() - entry.time > grace_s
    ]


def _index_files(store: PairStore) -> Iterator[Entry]:
    for entry in store.place.entries(INDEX):
        if entry.key.endswith(".parquet") and "/_delta_log/" not in entry.key:
            yield entry


def _parts_in_use(store: PairStore, *, without: set[str]) -> set[str]:
    """Parts that any file of the index refers to: those left are the files of kept versions."""
    used: set[str] = set()
    for entry in _index_files(store):
        if entry.key in without:
            continue
        content = store.place.read(entry.key)
        if content is not None:
            column = pq.read_table(io.BytesIO(content), columns=["part"])["part"]
            used.update(part for part in column.unique().to_pylist() if part)
    return used


def _unused_parts(store: PairStore, used: set[str], grace_s: float) -> tuple[list[str], int]:
    """Parts that nothing refers to and that are old enough, and their bytes."""
    newest: dict[str, float] = {}
    sizes: Counter[str] = Counter()
    for entry in store.place.entries(PARTS):
        part = entry.key.split("/")[1]
        newest[part] = max(newest.get(part, 0.0), entry.time)
        sizes[part] += entry.size
    gone = sorted(
        part
        for part, written in newest.items()
        if part not in used and time.time() - written > grace_s
    )
    return gone, sum(sizes[part] for part in gone)
