"""Scenes of any source, in one form: STAC is the catalogue, a folder is read as if it were one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from geo.catalog import api, geoparquet
from geo.catalog.acquired import compile_pattern
from geo.catalog.entry import Entry, Known
from geo.catalog.folder import (
    RASTER_SUFFIXES,
    is_raster_url,
    read_folder,
    read_raster_url,
    read_rasters,
)
from geo.catalog.http import HttpClient, HttpRules
from geo.catalog.query import SceneQuery
from geo.catalog.scene import Refusal, Scene
from geo.catalog.stac import BAD_ITEM, scene_of_item
from geo.catalog.static import read_static
from geo.errors import CatalogError
from geo.hrefs import is_web, local_path

_SOURCES = (
    "a STAC collection or item, stac-api:URL#COLLECTION, a GeoParquet of items, "
    "a folder of rasters, or a raster"
)


def read_scenes(
    source: str,
    query: SceneQuery | None = None,
    *,
    time_pattern: str | None = None,
    http: HttpRules | None = None,
) -> tuple[list[Scene], list[Refusal]]:
    """List the scenes of a source.

    Parameters
    ----------
    source : str
        Path or URL of a STAC catalogue, collection, item or item collection; or
        ``stac-api:URL#COLLECTION``; or path or URL of a GeoParquet file of items; or a folder with
        a ``collection.json`` or ``catalog.json``; or a folder of rasters; or path or URL of one
        raster.
    query : SceneQuery, optional
        Which scenes are wanted; an API is asked for no others.
    time_pattern : str, optional
        Regular expression for the time in the paths of rasters, see
        `geo.catalog.acquired.compile_pattern`.
    http : HttpRules, optional
        Time-outs and retries.

    Returns
    -------
    scenes : list of Scene
        Ordered by time and id, the same however the network behaved.
    refusals : list of Refusal
        What could not be used, with reasons; one bad scene never stops the others.

    Raises
    ------
    CatalogError
        If the source as a whole cannot be read.
    """
    query = query or SceneQuery()
    entries = read_entries(source, query, {}, time_pattern=time_pattern, http=http)
    return scenes_of(entries, query)


def answers_queries(source: str) -> bool:
    """Whether a source is an archive too large to be listed whole, which can be asked."""
    return source.startswith(api.PREFIX) or source.lower().endswith(geoparquet.SUFFIXES)


def read_entries(
    source: str,
    query: SceneQuery,
    known: Known,
    *,
    time_pattern: str | None = None,
    http: HttpRules | None = None,
) -> Iterator[Entry]:
    """Entries of a source, not looking again at those known that have not changed.

    A source other than an API lists all it has, `query` or not.

    Raises
    ------
    CatalogError
        If the source as a whole cannot be read.
    """
    client = HttpClient(http or HttpRules())
    pattern = compile_pattern(time_pattern)
    if source.startswith(api.PREFIX):
        yield from api.read_api(source, client, query, known)
        return
    if is_raster_url(source):
        yield read_raster_url(source, pattern)
        return
    if is_web(source):
        if urlsplit(source).path.lower().endswith(geoparquet.SUFFIXES):
            yield from geoparquet.read_table(source, query, body=client.get(source).body)
        else:
            yield from read_static(source, client, known)
        return
    if not source.strip():
        raise CatalogError(f"the source is {source!r}; wanted {_SOURCES}")
    if "://" in source and not source.startswith("file:"):
        raise CatalogError(
            f"{source}: scenes are listed from files and over HTTP only; wanted {_SOURCES}"
        )
    path = Path(local_path(source))
    if not path.exists():
        raise CatalogError(f"{source}: no such file or folder; wanted {_SOURCES}")
    if path.is_dir():
        for name in ("collection.json", "catalog.json"):
            if (path / name).exists():
                yield from read_static(str(path / name), client, known)
                return
        yield from read_folder(path, known, pattern)
    elif path.suffix.lower() in geoparquet.SUFFIXES:
        yield from geoparquet.read_table(str(path), query)
    elif path.suffix.lower() in RASTER_SUFFIXES:
        yield from read_rasters([path], known, pattern)
    else:
        yield from read_static(str(path), client, known)


def scenes_of(entries: Iterable[Entry], query: SceneQuery) -> tuple[list[Scene], list[Refusal]]:
    """Scenes that a query wants, in their order, and all refusals.

    Of several items with one id the first stays; the others are refused, unless they are the
    same item met twice.
    """
    found: list[tuple[str, Scene]] = []
    refusals: list[tuple[str, Refusal]] = []
    for entry in entries:  # as they come: items are much larger than scenes
        if entry.refusal is not None:
            refusals.append((entry.key, entry.refusal))
            continue
        try:
            scene = scene_of_item(entry.item or {})
            if query.keeps(scene):
                found.append((entry.key, scene))
        except BAD_ITEM as error:
            refusals.append((entry.key, _refusal(entry.key, entry.key, "bad_item", str(error))))
    first: dict[str, tuple[str, Scene]] = {}
    for key, scene in sorted(found, key=lambda pair: pair[0]):
        there = first.setdefault(scene.id, (key, scene))
        if there[1].assets != scene.assets:
            detail = f"{key}: its id is that of {there[0]}"
            refusals.append((key, _refusal(scene.id, key, "duplicate_id", detail)))
    ordered = sorted((scene for _, scene in first.values()), key=lambda s: (s.time, s.id))
    return ordered, [refusal for _, refusal in sorted(refusals, key=lambda pair: pair[0])]


def _refusal(name: str, key: str, reason: str, detail: str) -> Refusal:
    return Refusal(id=name, href=key, reason=reason, detail=detail.partition("\n")[0])
