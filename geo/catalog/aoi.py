"""An area of interest as a user gives it: a GeoJSON file, or four numbers."""

from __future__ import annotations

import json
from pathlib import Path

import shapely
import shapely.geometry
from shapely.errors import ShapelyError

from geo.catalog.antimeridian import healed, wrapped
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
        features = content.get("features") or [content]
        return shapely.union_all([shapely.geometry.shape(f.get("geometry", f)) for f in features])
    except (OSError, ShapelyError, ValueError, AttributeError, TypeError, LookupError) as error:
        raise ValueError(f"aoi {text}: not a readable GeoJSON file ({error})") from error


def _read_box(text: str) -> shapely.Geometry:
    try:
        west, south, east, north = (float(value) for value in text.split(","))
    except ValueError as error:
        raise ValueError(
            f"aoi is {text!r}; wanted a GeoJSON file or west,south,east,north in degrees"
        ) from error
    if -180 <= east < west <= 180 and east + 360 - west < 180:
        east += 360
    if not (west < east and south < north):
        raise ValueError(
            f"aoi is {text!r}; wanted west < east (or across the antimeridian) and south < north"
        )
    return shapely.box(west, south, east, north)
