"""One table of scenes, kept as GeoParquet, that asks its source only for what is new."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import shapely

from geo.catalog import api
from geo.catalog.entry import Entry
from geo.catalog.geoparquet import read_facts, read_table, write_table
from geo.catalog.http import HttpRules
from geo.catalog.query import SceneQuery, text_of
from geo.catalog.scene import Refusal, Scene
from geo.catalog.sources import read_entries, scenes_of

_LAYOUT = 1


@dataclass(frozen=True, kw_only=True)
class RefreshCounts:
    """What a refresh found: entries of the source, refused ones included.

    Parameters
    ----------
    new, changed, kept : int
        Not known before; known and different; known and the same.
    gone : int
        Known before and no longer in the source; an API is not asked for these.
    """

    new: int = 0
    changed: int = 0
    kept: int = 0
    gone: int = 0


def refresh_scenes(
    source: str,
    table: str | Path,
    query: SceneQuery | None = None,
    *,
    whole: bool = False,
    time_pattern: str | None = None,
    http: HttpRules | None = None,
) -> tuple[list[Scene], list[Refusal], RefreshCounts]:
    """Scenes of a source by way of a table that is brought up to date.

    Files of a folder are opened again only when their size or time has changed, documents of a
    static catalogue only when their ETag, Last-Modified, or size and time have, and an API is
    asked only for what is new by the times of update (or, where it has none, for the last 60
    days). What was refused is listed again without being opened again. The table is replaced whole
    or not at all.

    Parameters
    ----------
    source : str
        As for `read_scenes`.
    table : str or Path
        GeoParquet file; made where it is missing, made anew when it is of another source or, for
        an API, of another query.
    query : SceneQuery, optional
    whole : bool
        Ask for everything, so that what an API has withdrawn is noticed.
    time_pattern, http
        As for `read_scenes`.

    Returns
    -------
    scenes, refusals
        As `read_scenes` gives them.
    counts : RefreshCounts

    Raises
    ------
    CatalogError
        If the source as a whole cannot be read; the table then stays as it was.
    """
    query = query or SceneQuery()
    path = Path(table)
    facts = {"layout": _LAYOUT, "source": source, "time_pattern": time_pattern}
    asks = source.startswith(api.PREFIX)
    if asks:
        facts["query"] = _facts_of(query)
    known = _known(path, facts) if path.exists() and not whole else {}
    found = {
        entry.key: entry
        for entry in read_entries(source, query, known, time_pattern=time_pattern, http=http)
    }
    before = known if not whole or not path.exists() else _known(path, facts)
    changed = sum(k in before and not _same(before[k], e) for k, e in found.items())
    new = sum(key not in before for key in found)
    if asks and not whole:
        found = {**before, **found}
    counts = RefreshCounts(
        new=new,
        changed=changed,
        kept=len(found) - new - changed,
        gone=sum(key not in found for key in before),
    )
    entries = [found[key] for key in sorted(found)]
    # Stamps count here as well: a file that was only touched must not be opened for ever.
    if found != before or not path.exists():
        write_table(path, entries, facts)
    scenes, refusals = scenes_of(entries, query)
    return scenes, refusals, counts


def _known(path: Path, facts: dict[str, Any]) -> dict[str, Entry]:
    """Entries of the table, if it was made of the same source in the same way."""
    if read_facts(path) != facts:
        return {}
    return {entry.key: entry for entry in read_table(str(path))}


def _same(before: Entry, now: Entry) -> bool:
    return before is now or replace(before, stamp="") == replace(now, stamp="")


def _facts_of(query: SceneQuery) -> dict[str, Any]:
    facts = asdict(replace(query, since=None, intersects=None))
    facts = {k: text_of(v) if k in ("start", "end") else v for k, v in facts.items()}
    area = None if query.intersects is None else shapely.to_wkt(query.intersects)
    box = None if query.bbox is None else list(query.bbox)
    return {**facts, "bbox": box, "intersects": area}
