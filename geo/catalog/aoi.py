"""An area of interest as a user gives it: a GeoJSON file, or four numbers."""

from __future__ import annotations

import json
import math
import reprlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import shapely
import shapely.geometry
from shapely.errors import ShapelyError

from geo.catalog.antimeridian import healed, wrapped
from geo.errors import first_line
from geo.footprints import polygonal

_SUFFIXES = (".json", ".geojson")


def read_aoi(text: str) -> shapely.Geometry:
    """Read an area of interest.

    Parameters
    ----------
    text : str
        Path of a GeoJSON file (a geometry, a feature or a collection of them), or
        ``west,south,east,north`` in degrees; west beyond east crosses the antimeridian.

    Returns
    -------
    shapely geometry
        Polygons in lon/lat, -180 to 180, cut at the antimeridian.

    Raises
    ------
    ValueError
        If it is neither, or no area in degrees.
    """
    given = _read_file(text) if text.lower().endswith(_SUFFIXES) else _read_box(text)
    area = polygonal(shapely.make_valid(given))
    west, south, east, north = area.bounds if not area.is_empty else (0.0, 0.0, 0.0, 0.0)
    if area.area == 0:
        raise ValueError(f"aoi {text}: holds no area; wanted a polygon")
    if not (west >= -540 and east <= 540 and south >= -90 and north <= 90):
        raise ValueError(
            f"aoi {text}: reaches from {west:g}, {south:g} to {east:g}, {north:g}; wanted "
            "longitudes and latitudes in degrees"
        )
    return wrapped(healed(area))


def _read_file(text: str) -> shapely.Geometry:
    try:
        content = json.loads(Path(text).read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(
            f"aoi {text}: not a readable GeoJSON file ({first_line(error)})"
        ) from error
    try:
        return shapely.union_all(list(_geometries(content)))
    except (ShapelyError, ValueError, AttributeError, TypeError, LookupError) as error:
        raise ValueError(
            f"aoi {text}: no GeoJSON ({first_line(error)}); wanted polygons in degrees"
        ) from error


def _geometries(content: Any) -> Iterator[shapely.Geometry]:
    """Geometries of a GeoJSON document; features without a place (RFC 7946, 3.2) have none."""
    if not isinstance(content, dict):
        raise ValueError(f"{reprlib.repr(content)} is no geometry or feature")
    if "features" in content:
        for feature in content["features"]:
            yield from _geometries(feature)
    elif "geometry" in content:
        if content["geometry"] is not None:
            yield from _geometries(content["geometry"])
    elif not isinstance(content.get("type"), str):
        raise ValueError(f"{reprlib.repr(content)} is no geometry or feature")
    else:
        yield shapely.geometry.shape(content)


def _read_box(text: str) -> shapely.Geometry:
    try:
        west, south, east, north = (float(value) for value in text.split(","))
    except ValueError as error:
        raise ValueError(
            f"aoi is {text!r}; wanted a GeoJSON file or west,south,east,north in degrees"
        ) from error
    if -180 <= east < west <= 180 and east + 360 - west < 180:
        east += 360
    if not (west < east and south < north and all(map(math.isfinite, (west, south, east, north)))):
        raise ValueError(
            f"aoi is {text!r}; wanted west < east (or across the antimeridian) and south < north"
        )
    return shapely.box(west, south, east, north)
