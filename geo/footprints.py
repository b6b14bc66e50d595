"""Footprints as columns, so that a million scenes can be laid over another million."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import shapely

from geo.catalog.scene import Scene

_Floats = npt.NDArray[np.float64]
_Ints = npt.NDArray[np.int64]

# Pairs laid over each other exactly at once: bounds the memory, whatever the archive's size.
_CHUNK = 500_000


@dataclass(frozen=True)
class Footprints:
    """Places and times of scenes.

    Parameters
    ----------
    shapes : array of shapely geometry, [n]
        Lon/lat; those across the antimeridian run on beyond 180 degrees.
    seconds : array, [n]
        Unix time.
    cloud : array, [n]
        0 to 1; NaN where unknown.
    """

    shapes: npt.NDArray[np.object_]
    seconds: _Floats
    cloud: _Floats

    def __len__(self) -> int:
        return len(self.shapes)

    @classmethod
    def of(cls, scenes: Sequence[Scene]) -> Footprints:
        """Columns of scenes."""
        shapes = np.empty(len(scenes), dtype=object)
        shapes[:] = [unwrap(polygonal(scene.footprint)) for scene in scenes]
        unknown = float("nan")
        return cls(
            shapes=shapes,
            seconds=np.array([s.time.timestamp() for s in scenes], np.float64),
            cloud=np.array(
                [unknown if s.cloud_fraction is None else s.cloud_fraction for s in scenes],
                np.float64,
            ),
        )

    def take(self, index: npt.NDArray[np.integer]) -> Footprints:
        """Some of them."""
        return Footprints(self.shapes[index], self.seconds[index], self.cloud[index])


def turned(shape: shapely.Geometry, degrees: float) -> shapely.Geometry:
    """The same ground, its longitudes counted on by whole turns."""
    step = np.array([degrees, 0.0])
    return shapely.transform(shape, lambda at: at + step) if degrees else shape


def unwrap(shape: shapely.Geometry) -> shapely.Geometry:
    """Bring ground across the antimeridian into one piece that runs on beyond 180 degrees.

    Parameters
    ----------
    shape : shapely geometry
        Lon/lat: cut at 180 degrees as GeoJSON wants it, or a ring that jumps there.
    """
    west, _, east, _ = shape.bounds
    if east - west <= 180:
        return turned(shape, -360 * float(np.floor((west + 180) / 360)))
    parts = [_unwrap_ring(part) for part in shapely.get_parts(shape)]
    # Pieces of one place lie side by side: those of the western hemisphere are counted on.
    moved = [part if part.bounds[2] > 0 else turned(part, 360.0) for part in parts]
    whole = shapely.union_all(moved)
    if whole.area == 0:  # its ring runs along a meridian: it is as wide as it says
        return shape
    left, _, right, _ = whole.bounds
    if right - left <= 180:
        return whole
    return parts[0] if len(parts) == 1 else shape  # round a pole, or the world


def polygonal(shape: shapely.Geometry) -> shapely.Geometry:
    """Without the lines and points that mending a ring may leave: they cannot be laid over."""
    if isinstance(shape, shapely.Polygon | shapely.MultiPolygon):
        return shape
    parts = shapely.get_parts(shapely.get_parts(shape))
    return shapely.union_all([part for part in parts if isinstance(part, shapely.Polygon)])


def _unwrap_ring(part: shapely.Geometry) -> shapely.Geometry:
    if not isinstance(part, shapely.Polygon):
        return part
    lon, lat = np.asarray(part.exterior.coords)[:, :2].T
    steps = np.diff(lon)
    if np.abs(steps).max() <= 180 or np.abs(steps).max() >= 360:  # the world is drawn so
        return part
    lon = lon - 360 * np.concatenate([[0], np.cumsum(np.round(steps / 360))])
    if abs(lon[-1] - lon[0]) > 180:  # it does not close: it goes round a pole
        pole = np.copysign(90.0, lat.mean())
        lon, lat = np.append(lon, lon[[-1, 0]]), np.append(lat, [pole, pole])
        lon = lon - 360 * np.floor((lon.min() + 180) / 360)
    elif lon.min() < -180:
        lon = lon + 360
    return polygonal(shapely.make_valid(shapely.Polygon(np.column_stack([lon, lat]))))


@dataclass(frozen=True)
class Neighbours:
    """Scenes near in place and time: index pairs whose bounds touch."""

    satellite: _Ints
    aerial: _Ints


def find_neighbours(
    satellites: Footprints,
    aerials: Footprints,
    windows: Sequence[tuple[float, float]],
) -> Iterator[Neighbours]:
    """Pairs that share ground by their bounds, with a gap in one of some windows of time.

    Parameters
    ----------
    windows : sequence of (float, float)
        Least and most seconds from the satellite's time to the aerial one.

    Yields
    ------
    Neighbours
        In chunks; each pair once for each window it lies in.

    Notes
    -----
    Both sides are ordered by time and cut into slices as long as the window is wide; each slice
    gets a tree of the aerial scenes that it can reach. So each aerial scene is in about three
    trees, and no pair is looked at that is far in time.
    """
    if not len(satellites) or not len(aerials):
        return
    order = np.argsort(satellites.seconds, kind="stable")
    times = satellites.seconds[order]
    aerial_order = np.argsort(aerials.seconds, kind="stable")
    aerial_times = aerials.seconds[aerial_order]
    for least, most in windows:
        length = max(most - least, 86400.0)
        start = 0
        while start < len(order):
            stop = int(np.searchsorted(times, times[start] + length, side="right"))
            low = int(np.searchsorted(aerial_times, times[start] + least, side="left"))
            high = int(np.searchsorted(aerial_times, times[stop - 1] + most, side="right"))
            some, reach = order[start:stop], aerial_order[low:high]
            for one, other in _touching(satellites.shapes[some], aerials.shapes[reach]):
                satellite, aerial = some[one], reach[other]
                gap = aerials.seconds[aerial] - satellites.seconds[satellite]
                near = (gap >= least) & (gap <= most)
                if near.any():
                    yield Neighbours(satellite[near], aerial[near])
            start = stop


def _touching(
    shapes: npt.NDArray[np.object_], others: npt.NDArray[np.object_]
) -> Iterator[tuple[_Ints, _Ints]]:
    """Index pairs whose bounds touch, round the globe."""
    if not len(shapes) or not len(others):
        return
    tree = shapely.STRtree(others)
    bounds = shapely.bounds(shapes)  # [n, 4]
    boxes = shapely.box(*bounds.T)
    reach = shapely.total_bounds(others)
    for turn in (0.0, -360.0, 360.0):
        meets = (bounds[:, 2] + turn >= reach[0]) & (bounds[:, 0] + turn <= reach[2])
        index = np.flatnonzero(meets)
        if not len(index):
            continue
        moved = boxes[index]
        if turn:
            moved = shapely.box(*(bounds[index] + np.array([turn, 0, turn, 0])).T)
        for start in range(0, len(index), 20_000):
            one, other = tree.query(moved[start : start + 20_000])
            one, other = index[start + one], other.astype(np.int64)
            if turn:  # what spans half the globe or more may be met from both sides
                first = ~_met_before(bounds[one], shapely.bounds(others[other]), turn)
                one, other = one[first], other[first]
            yield one, other


def _met_before(one: _Floats, other: _Floats, turn: float) -> npt.NDArray[np.bool_]:
    """Whether bounds [n, 4] already touch by an earlier turn of `_touching`."""
    met = np.zeros(len(one), dtype=np.bool_)
    for earlier in (0.0, -360.0) if turn > 0 else (0.0,):
        met |= (one[:, 0] + earlier <= other[:, 2]) & (one[:, 2] + earlier >= other[:, 0])
    return met


def overlap_shares(satellites: Footprints, aerials: Footprints, pairs: Neighbours) -> _Floats:
    """Common ground of pairs as a share of the smaller footprint, 0 to 1.

    Notes
    -----
    Areas are those of the sphere, degrees times the cosine of the middle latitude: over footprints
    of a hundred kilometres right to some thousandths.
    """
    shares = np.empty(len(pairs.satellite))
    for start in range(0, len(shares), _CHUNK):
        some = slice(start, start + _CHUNK)
        one, other = satellites.shapes[pairs.satellite[some]], aerials.shapes[pairs.aerial[some]]
        smaller = np.minimum(_ground_area(one), _ground_area(other))
        shares[some] = _common_area(one, other) / np.maximum(smaller, 1e-12)
    return np.clip(shares, 0.0, 1.0)


def _common_area(one: npt.NDArray[np.object_], other: npt.NDArray[np.object_]) -> _Floats:
    """Of pairs of footprints, as `_ground_area`; most aerial scenes lie wholly inside."""
    middles = [(b[:, 0] + b[:, 2]) / 2 for b in (shapely.bounds(one), shapely.bounds(other))]
    turns = 360 * np.round((middles[0] - middles[1]) / 360)
    if turns.any():
        other = other.copy()
        for i in np.flatnonzero(turns):
            other[i] = turned(other[i], float(turns[i]))
    shapely.prepare(one)
    area = _ground_area(other)
    part = ~shapely.covers(one, other)
    area[part] = _ground_area(shapely.intersection(one[part], other[part]))
    return area


def _ground_area(shapes: npt.NDArray[np.object_]) -> _Floats:
    """Square degrees of a great circle."""
    bounds = shapely.bounds(shapes)  # [n, 4], NaN where empty
    middle = np.radians(np.nan_to_num((bounds[:, 1] + bounds[:, 3]) / 2))
    return np.asarray(shapely.area(shapes) * np.cos(middle))
