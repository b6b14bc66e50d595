"""Static STAC catalogues: documents that link to documents, in files or over HTTP.

Documents of the web are asked for by a few threads. Entries come in the order of the links
whichever answer came first, so the network leaves no trace in the result.
"""

from __future__ import annotations

import json
import os
import reprlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from geo.catalog.entry import Entry, Known, refused
from geo.catalog.http import HttpClient
from geo.catalog.stac import base_of, entry_of_item
from geo.errors import CatalogError, GeoError, first_line
from geo.hrefs import is_remote, is_web, resolve_href

# Catalogues are shallow; a deeper chain of links is made by a program gone wrong.
_DEEPEST = 64


@dataclass(frozen=True)
class Document:
    """A document as fetched: its parsed JSON, or None where it still has the stamp known."""

    href: str
    stamp: str
    content: Any


def read_static(href: str, client: HttpClient, known: Known) -> Iterator[Entry]:
    """Entries of a catalogue, collection, item or item collection.

    Raises
    ------
    CatalogError
        If the document itself cannot be read or is none of these.
    """
    try:
        root = _fetch(href, client, "")
    except OSError as error:
        raise CatalogError(f"{href}: cannot be read ({first_line(error)})", href=href) from error
    except (ValueError, RecursionError) as error:
        raise CatalogError(
            f"{href}: not a STAC catalogue, collection or item (no JSON: {first_line(error)})",
            href=href,
        ) from error
    kind = root.content.get("type") if isinstance(root.content, dict) else None
    if kind == "Feature":
        yield entry_of_item(root.content, href, stamp=root.stamp)
    elif kind == "FeatureCollection":
        yield from entries_of_list(root.content.get("features"), href)
    elif _is_catalog(root.content):
        yield from _Walk(client, known).below(root)
    else:
        raise CatalogError(
            f"{href}: not a STAC catalogue, collection or item (its type is {kind!r})", href=href
        )


def entries_of_list(items: Any, document: str) -> Iterator[Entry]:
    """Entries of items in one document, known by collection and id."""
    if not isinstance(items, list):
        raise CatalogError(
            f"{document}: its features are {reprlib.repr(items)}; wanted a list of STAC items",
            href=document,
        )
    for place, item in enumerate(items):
        record = item if isinstance(item, dict) else {}
        name = f"{record.get('collection') or ''}/{record.get('id') or place}"
        yield entry_of_item(item, f"{document}#{name}", base=base_of(item, document))


class _Walk:
    """One walk through a catalogue, level by level; no document is read twice."""

    def __init__(self, client: HttpClient, known: Known) -> None:
        self._client = client
        self._known = known
        self._seen: set[str] = set()

    def below(self, root: Document) -> Iterator[Entry]:
        self._seen.add(root.href)
        # Bounded: a level may have a million items.
        with ThreadPoolExecutor(self._client.rules.threads) as pool:
            apply: Callable[..., Iterator[Any]] = pool.map if is_web(root.href) else map
            yield from self._descend(root, apply, depth=0)

    def _descend(
        self, catalog: Document, apply: Callable[..., Iterator[Any]], depth: int
    ) -> Iterator[Entry]:
        links = list(self._links(catalog))
        size = 64 * self._client.rules.threads
        for start in range(0, len(links), size):
            for found in apply(self._follow, links[start : start + size]):
                if isinstance(found, Entry):
                    yield found
                elif depth < _DEEPEST:
                    yield from self._descend(found, apply, depth + 1)
                else:
                    error = CatalogError(f"{found.href}: deeper than {_DEEPEST} levels of links")
                    yield refused(found.href, _name(found.href), error)

    def _links(self, catalog: Document) -> Iterator[str | Entry]:
        links = catalog.content.get("links")
        for link in links if isinstance(links, list) else ():
            if not (isinstance(link, dict) and link.get("rel") in ("item", "child")):
                continue
            written = str(link.get("href"))
            try:
                href = resolve_href(written, catalog.href)
            except GeoError as error:
                yield refused(written, _name(written), error)
                continue
            if href not in self._seen:
                self._seen.add(href)
                yield href

    def _follow(self, link: str | Entry) -> Entry | Document:
        """What a link leads to; whatever is wrong with it becomes a refusal."""
        if isinstance(link, Entry):
            return link
        earlier = self._known.get(link)
        try:
            document = _fetch(link, self._client, earlier.stamp if earlier else "")
        except (GeoError, ValueError, OSError, RecursionError) as error:
            passing = isinstance(error, GeoError) and error.facts.get("cause") == "unreachable"
            if earlier is not None and earlier.text is not None and passing:
                return earlier
            return refused(link, _name(link), error)
        if document.content is None and earlier is not None:
            return earlier
        if _is_catalog(document.content):
            return document
        return entry_of_item(document.content, link, stamp=document.stamp)


def _fetch(href: str, client: HttpClient, stamp: str) -> Document:
    """A document, from the web or a file; without content where `stamp` still holds."""
    if is_web(href):
        answer = client.get(href, stamp)
        if answer.status == 304:
            return Document(href, stamp, None)
        return Document(href, answer.stamp, answer.json())
    if is_remote(href) or "://" in href:
        raise CatalogError(f"{href}: documents are read from files and over HTTP only", href=href)
    status = os.stat(href)
    now = f"{status.st_size}:{status.st_mtime_ns}"
    if stamp == now:
        return Document(href, now, None)
    if status.st_size > client.rules.max_bytes:
        raise CatalogError(
            f"{href}: {status.st_size} bytes; wanted {client.rules.max_bytes} at most",
            href=href,
            cause="too_large",
        )
    with open(href, "rb") as file:
        return Document(href, now, json.loads(file.read()))


def _is_catalog(content: Any) -> bool:
    if not isinstance(content, dict):
        return False
    # Catalogues before STAC 1.0 have no type, but their links and no geometry.
    old = "type" not in content and "stac_version" in content and "links" in content
    return content.get("type") in ("Catalog", "Collection") or old


def _name(href: str) -> str:
    return os.path.splitext(href.rstrip("/").rsplit("/", 1)[-1])[0] or href
