"""STAC APIs, searched with pystac-client over our own patient HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

import shapely.geometry
from pystac import Link
from pystac_client import Client, ConformanceClasses
from pystac_client.exceptions import APIError
from pystac_client.stac_api_io import StacApiIO

from geo.catalog.entry import Entry, Known
from geo.catalog.http import HttpClient
from geo.catalog.query import SceneQuery, parse_time, text_of
from geo.catalog.stac import base_of, entry_of_item
from geo.errors import CatalogError, first_line
from geo.hrefs import is_web

PREFIX = "stac-api:"
_PAGE_ITEMS = 250

# Servers index items some time after they stamp them.
_UPDATE_OVERLAP = timedelta(hours=6)
# Without times of update: scenes come in within weeks of being taken.
_TIME_OVERLAP = timedelta(days=60)


def read_api(source: str, client: HttpClient, query: SceneQuery, known: Known) -> Iterator[Entry]:
    """Entries of ``stac-api:URL#COLLECTION``; several collections are divided by commas.

    Parameters
    ----------
    source : str
    client : HttpClient
    query : SceneQuery
        Passed to the server.
    known : dict
        Entries of an earlier reading by the same query: only what is new since is asked for. They
        are not repeated, and what was withdrawn is not noticed.

    Raises
    ------
    CatalogError
        If the server cannot be searched, or has no such collection.
    """
    url, collections = _parts(source)
    empty = True
    try:
        api = Client.open(url, stac_io=PatientApiIO(client))
        search = _search_terms(api, query, known)
        for item in _pages(api, collections, search):
            empty = False
            record = item if isinstance(item, dict) else {}
            key = f"{url}#{record.get('collection') or collections[0]}/{record.get('id')}"
            yield entry_of_item(item, key, base=base_of(item, url), stamp=_stamp(record))
    except APIError as error:
        raise CatalogError(f"{source}: the API refuses ({first_line(error)})", href=url) from error
    except (LookupError, TypeError, ValueError, AttributeError, NotImplementedError) as error:
        raise CatalogError(f"{source}: not a STAC API ({first_line(error)})", href=url) from error
    if empty and not known:
        _check_collections(source, url, collections, client)


def _check_collections(source: str, url: str, collections: list[str], client: HttpClient) -> None:
    """Refuse a collection that is not there; servers find nothing in it without a word."""
    for name in collections:
        try:
            client.get(f"{url}/collections/{quote(name, safe='')}")
        except CatalogError as error:
            if error.facts.get("status") == 404:
                raise CatalogError(
                    f"{source}: the API has no collection {name}; wanted one of {url}/collections",
                    href=url,
                ) from error


class PatientApiIO(StacApiIO):
    """pystac-client's reader with our retries, which cover POST and answers that break off."""

    def __init__(self, client: HttpClient) -> None:
        super().__init__(max_retries=None)
        self._client = client

    def read_text(self, source: Any, *args: Any, **kwargs: Any) -> str:
        """Text of a link or URL, never of a file."""
        if isinstance(source, Link):
            return str(super().read_text(source, *args, **kwargs))
        return self.request(str(source), *args, **kwargs)

    def request(
        self,
        href: str,
        method: str | None = None,
        headers: dict[str, str] | None = None,
        parameters: dict[str, Any] | None = None,
    ) -> str:
        """Text of a URL."""
        method = (method or "GET").upper()
        sent = {"body": parameters} if method == "POST" else {"params": parameters}
        answer = self._client.request(method, href, headers=headers, **sent)
        return answer.body.decode("utf-8")


def _parts(source: str) -> tuple[str, list[str]]:
    url, _, names = source.removeprefix(PREFIX).partition("#")
    collections = [name.strip() for name in names.split(",") if name.strip()]
    if not (is_web(url) and collections):
        raise CatalogError(f"{source}: wanted stac-api:URL#COLLECTION with a URL of http or https")
    return url.rstrip("/"), collections


def _search_terms(api: Client, query: SceneQuery, known: Known) -> dict[str, Any]:
    """The query in the API's words, narrowed to what is new."""
    start, since, stamped = query.start, query.since, "updated"
    can_query = api.conforms_to(ConformanceClasses.QUERY)
    if can_query and (newest := _newest(known, "updated", "created")):
        stamped, time = newest
        since = _later(since, time - _UPDATE_OVERLAP)
    elif newest := _newest(known, "datetime"):
        start = _later(start, newest[1] - _TIME_OVERLAP)
    terms: dict[str, Any] = {"datetime": SceneQuery(start=start, end=query.end).interval}
    if since and can_query:
        terms["query"] = {stamped: {"gte": text_of(since)}}
    area = query.area
    if query.bbox is not None and query.bbox[0] <= query.bbox[2]:
        terms["bbox"] = list(query.bbox)
    elif area is not None:
        terms["intersects"] = shapely.geometry.mapping(area)
    return {name: value for name, value in terms.items() if value is not None}


def _newest(known: Known, *names: str) -> tuple[str, datetime] | None:
    """The latest of a time that all known items have, and which one that is."""
    entries = [entry for entry in known.values() if entry.text is not None]
    prefix = f"{names[0]}: "
    if entries and all(entry.stamp.startswith(prefix) for entry in entries):
        latest = [parse_time(entry.stamp.removeprefix(prefix)) for entry in entries]
        return _last(names[0], latest)
    properties = [(entry.item or {})["properties"] for entry in entries]
    found = (_last(name, [parse_time(p.get(name)) for p in properties]) for name in names)
    return next((newest for newest in found if newest is not None), None)


def _last(name: str, times: list[datetime | None]) -> tuple[str, datetime] | None:
    there = [time for time in times if time is not None]
    return (name, max(there)) if there and len(there) == len(times) else None


def _later(a: datetime | None, b: datetime | None) -> datetime | None:
    return max(a, b) if a and b else a or b


def _pages(api: Client, collections: list[str], terms: dict[str, Any]) -> Iterator[Any]:
    """Items of all pages; by POST where the server takes it, for long geometries."""
    links = [link for link in api.links if link.rel == "search"]
    methods = {str(link.extra_fields.get("method", "GET")).upper() for link in links}
    search = api.search(
        collections=collections,
        limit=_PAGE_ITEMS,
        method="POST" if "POST" in methods else "GET",
        **terms,
    )
    for page in search.pages_as_dicts():
        yield from page.get("features") or ()


def _stamp(item: dict[str, Any]) -> str:
    updated = (item.get("properties") or {}).get("updated")
    return f"updated: {updated}" if updated else ""
