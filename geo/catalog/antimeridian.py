"""Longitudes that run past 180 degrees, and polygons that should have been cut there."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import shapely
import shapely.affinity
from shapely.geometry.polygon import orient

# A polygon this wide is meant to go round the world.
_WHOLE_TURN = 359.99


def wrapped(unrolled: shapely.Geometry) -> shapely.Geometry:
    """A geometry of any longitudes brought into -180 to 180, cut at the antimeridian."""
    west, _, east, _ = unrolled.bounds
    first, last = int((west + 180 + 1e-9) // 360), int((east + 180 - 1e-9) // 360)
    if first == last == 0:
        return unrolled
    pieces = []
    for turn in range(first, last + 1):
        strip = shapely.box(360 * turn - 180, -90, 360 * turn + 180, 90)
        pieces.append(shapely.affinity.translate(unrolled.intersection(strip), -360 * turn))
    whole = shapely.union_all(pieces)
    polygons = [p for p in shapely.get_parts(whole) if p.geom_type == "Polygon" and p.area > 0]
    return shapely.union_all([orient(p) for p in polygons])


def healed(footprint: shapely.Geometry) -> shapely.Geometry:
    """A scene's footprint as it was meant, if its ring jumps from one end of the map to the other.

    GeoJSON wants polygons cut at the antimeridian (RFC 7946, 3.1.9), and some publishers do not
    cut them. A scene is less than half the world wide, so a wider polygon is one of those.
    """
    west, _, east, _ = footprint.bounds
    if not 180 < east - west < _WHOLE_TURN:
        return footprint
    parts = [
        shapely.transform(part, _unrolled) if part.bounds[2] - part.bounds[0] > 180 else part
        for part in shapely.get_parts(footprint)
        if part.geom_type == "Polygon"
    ]
    return shapely.union_all([wrapped(shapely.make_valid(part)) for part in parts])


def _unrolled(coordinates: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Positions of a scene near the antimeridian, those of the far east as west of it."""
    lon = np.where(coordinates[:, 0] > 0, coordinates[:, 0] - 360, coordinates[:, 0])
    return np.column_stack([lon, coordinates[:, 1]])
