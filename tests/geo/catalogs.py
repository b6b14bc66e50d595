"""Items and entries of catalogues whose scenes are known, for the tests of tables of them."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import shapely

from geo.catalog.entry import Entry
from geo.catalog.scene import Refusal, Scene


def facts(found: Any) -> Any:
    """Scenes and refusals as plain values."""
    scenes: list[Scene] = found[0]
    refusals: list[Refusal] = found[1]
    return (
        [asdict(s) | {"footprint": s.footprint.wkt} for s in scenes],
        sorted((asdict(r) for r in refusals), key=lambda r: r["href"]),
    )


def item(name: str, day: int = 0, *, updated: int | None = None, **properties: Any) -> Any:
    """One of a row of items that go east and forward in time."""
    box = shapely.box(day / 10, 47, day / 10 + 0.1, 47.1)
    time = datetime(2023, 8, 1, 10, tzinfo=UTC)
    if updated is not None:
        properties["updated"] = (time + timedelta(days=updated)).isoformat()
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": name,
        "collection": "made",
        "geometry": json.loads(shapely.to_geojson(box)),
        "bbox": list(box.bounds),
        "properties": {"datetime": (time + timedelta(days=day)).isoformat(), **properties},
        "links": [],
        "assets": {"red": {"href": f"./{name}.tif", "roles": ["data"], "gsd": 10}},
    }


def entry(record: Any, key: str = "") -> Entry:
    """An item as a source lists it."""
    return Entry.of(record, key=key or record["id"], stamp="1")
