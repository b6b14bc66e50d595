"""Where things of a pair map stand: kilometres right and down of a point in their middle."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import shapely

from geo.pairmap.content import ACCEPTED, PairMap

_KM_PER_DEGREE = 40_075.017 / 360
_MARGIN = 0.06
# Shifts of one scene pair that differ by more than this are drawn where they were found.
_VARIES_PX = 0.02
_ARROWS = 6  # on a side of a scene pair

_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class View:
    """An equirectangular map about a point, true to scale there.

    Parameters
    ----------
    lon, lat : float
        The point.
    bounds : tuple of float
        Left, top, right, bottom of what is worth looking at, in km right and down of it.
    """

    lon: float
    lat: float
    bounds: tuple[float, float, float, float]

    def to_km(self, lonlat: npt.ArrayLike) -> _Floats:
        """Positions [..., 2] in lon/lat to km right and down."""
        return _to_km(np.asarray(lonlat, dtype=np.float64), self.lon, self.lat)

    def rings(self, geometry: shapely.Geometry, tolerance_km: float) -> Iterator[_Floats]:
        """Outer rings [n, 2] of a geometry, in km, without bends finer than `tolerance_km`."""
        simple = shapely.simplify(geometry, tolerance_km / _KM_PER_DEGREE)
        for part in shapely.get_parts(simple):
            if part.geom_type == "Polygon" and not part.is_empty:
                yield self.to_km(shapely.get_coordinates(part.exterior))


@dataclass(frozen=True, kw_only=True)
class Arrow:
    """A shift: from a place on the map, in satellite pixels down and right."""

    pair: int
    at_km: tuple[float, float]
    shift_yx: tuple[float, float]

    @property
    def length_px(self) -> float:
        """Satellite pixels."""
        return float(np.hypot(*self.shift_yx))


def view_of(content: PairMap) -> View:
    """The view that holds the ground of all scene pairs, or all scenes where there is no pair."""
    ground = [entry.ground for entry in content.pairs if not entry.ground.is_empty]
    shapes = ground or [o.footprint for o in content.outlines if not o.footprint.is_empty]
    if not shapes:
        return View(lon=0.0, lat=0.0, bounds=(-1.0, -1.0, 1.0, 1.0))
    points = shapely.get_coordinates([s.representative_point() for s in shapes])
    turned = np.exp(1j * np.radians(points[:, 0])).mean()
    lon = float(np.degrees(np.angle(turned)))
    lat = float(np.clip(points[:, 1].mean(), -85, 85))
    every = _to_km(shapely.get_coordinates(shapes), lon, lat)
    (left, top), (right, bottom) = every.min(axis=0), every.max(axis=0)
    margin = _MARGIN * max(right - left, bottom - top, 1e-3)
    return View(
        lon=lon,
        lat=lat,
        bounds=(left - margin, top - margin, right + margin, bottom + margin),
    )


def _to_km(lonlat: _Floats, lon: float, lat: float) -> _Floats:
    # Longitudes count from the middle, so that ground across the antimeridian hangs together.
    east = (lonlat[..., 0] - lon + 180) % 360 - 180
    wide = lonlat.size > 0 and np.ptp(lonlat[..., 0]) > 180 and np.ptp(east) >= 359
    if wide:  # a scene around the whole world
        east = lonlat[..., 0] - lon
    x = east * np.cos(np.radians(lat)) * _KM_PER_DEGREE
    y = (lat - lonlat[..., 1]) * _KM_PER_DEGREE
    return np.stack([x, y], axis=-1)


def arrows_of(content: PairMap, view: View) -> list[Arrow]:
    """Shifts: one for each scene pair, or a few where the shift changes over the ground."""
    arrows = []
    chips = content.chips
    middles = view.to_km(chips.corners.mean(axis=1)) if len(chips) else np.empty((0, 2))
    kept = np.isfinite(chips.shift_yx).all(axis=1)
    if ACCEPTED in chips.names:
        kept &= chips.code == chips.names.index(ACCEPTED)
    order = np.flatnonzero(kept)[np.argsort(chips.pair[kept], kind="stable")]
    starts = np.searchsorted(chips.pair[order], np.arange(len(content.pairs) + 1))
    for index, entry in enumerate(content.pairs):
        if entry.dy_px is None or entry.dx_px is None:
            continue
        own = order[starts[index] : starts[index + 1]]
        shifts, places = chips.shift_yx[own], middles[own]
        if len(own) > 1 and shifts.std(axis=0).max() > _VARIES_PX:
            arrows += [
                Arrow(pair=index, at_km=at, shift_yx=shift) for at, shift in _spread(places, shifts)
            ]
            continue
        middle = (
            places.mean(axis=0)
            if len(own)
            else view.to_km(shapely.get_coordinates(entry.ground.representative_point())).reshape(2)
        )
        arrows.append(
            Arrow(
                pair=index,
                at_km=(float(middle[0]), float(middle[1])),
                shift_yx=(entry.dy_px, entry.dx_px),
            )
        )
    return arrows


def _spread(
    places: _Floats, shifts: _Floats
) -> Iterator[tuple[tuple[float, float], tuple[float, float]]]:
    """Mean place and shift of chips, on a few cells over them."""
    low, span = places.min(axis=0), np.ptp(places, axis=0)
    cell = np.floor((places - low) / np.maximum(span, 1e-9) * _ARROWS * 0.999).astype(int)
    key = cell[:, 1] * _ARROWS + cell[:, 0]
    for value in np.unique(key):
        at, shift = places[key == value].mean(axis=0), shifts[key == value].mean(axis=0)
        yield (float(at[0]), float(at[1])), (float(shift[0]), float(shift[1]))
