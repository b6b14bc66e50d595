"""Train, validation and test ground, split by place and for ever.

Ground is divided by a grid that depends on nothing but the place: that of its UTM zone. So all
scenes agree which ground is held out, whatever their CRS and resolution. UTM, because satellites
are delivered in it: there, whole chips fall into blocks.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from pyproj import CRS, Transformer

SPLITS = ("train", "val", "test", "buffer")
_TRAIN, _VAL, _TEST = 0, 1, 2  # by precedence
_MACRO = 3  # blocks on a side of a macro cell: one for test, one for validation, seven for training
_HAIR = 1e-6  # of a chip's side: edges that lie on each other do not count as common ground
_STEPS = 4  # points on a block's side, at least
_MOST_BLOCKS = 6  # a chip this many blocks wide holds a whole macro cell
_ZONE_DEG = 6.0
_DEGREE_M = 110_000  # of latitude, a little less than there is
_SLACK_M = 1000

_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class SplitRule:
    """Whole blocks of ground on one side.

    Parameters
    ----------
    block_m : float
        Side of a block, in metres of the UTM grid.
    buffer_m : float
        A chip that comes nearer than this to held-out ground is set aside: neither trained on nor
        scored (``buffer``).

    Notes
    -----
    Each 3 by 3 blocks hold one block of test and one of validation ground, at places drawn by a
    hash of where they are. So even a small region has all three, and the side of a place depends
    on nothing but the place: whatever is ingested later, it stays where it is.

    Zones are 6 degrees wide everywhere, and change at the equator (EPSG 326xx, 327xx).
    """

    block_m: float = 1280.0
    buffer_m: float = 320.0

    def __post_init__(self) -> None:
        if not (np.isfinite(self.block_m) and self.block_m > 0):
            raise ValueError(f"block_m is {self.block_m:g}; wanted more than 0")
        if not 0 <= self.buffer_m <= self.block_m:
            raise ValueError(
                f"buffer_m is {self.buffer_m:g}; wanted 0 to block_m ({self.block_m:g})"
            )

    def split_of(self, bounds: tuple[float, float, float, float], crs: str) -> str:
        """Side of one chip; see `splits_of`."""
        return self.splits_of(np.array([bounds]), crs)[0]

    def splits_of(self, bounds: npt.ArrayLike, crs: str) -> list[str]:
        """Sides of chips.

        ``test`` and ``val`` lie wholly on such ground; ``val`` keeps away from test ground, and
        ``train`` from both, by the buffer. All others are ``buffer``.

        Parameters
        ----------
        bounds : array, [n, 4]
            Left, bottom, right, top, in the CRS.
        crs : str

        Raises
        ------
        ValueError
            If bounds are not finite, or empty.
        """
        boxes = np.asarray(bounds, np.float64).reshape(-1, 4)
        bad = ~(np.isfinite(boxes).all(axis=1) & (boxes[:, :2] < boxes[:, 2:]).all(axis=1))
        if bad.any():
            raise ValueError(f"bounds are {boxes[bad][0].tolist()}; wanted left < right, finite")
        sides = np.full(len(boxes), "buffer", dtype="<U6")
        for zone, chosen, rectangles, inland in _rectangles(boxes, crs, self.buffer_m):
            sides[chosen] = self._sides(rectangles, zone, inland)
        return [str(side) for side in sides]

    def _sides(self, rectangles: _Floats, zone: int, inland: bool) -> npt.NDArray[np.str_]:
        """Sides of rectangles of a zone's grid; `inland` ones keep away from its borders."""
        size = (rectangles[:, 2:] - rectangles[:, :2]).max(axis=1)
        hair = _HAIR * size[:, None] * np.array([-1, -1, 1, 1])
        wide = size > _MOST_BLOCKS * self.block_m
        own = self._ground(rectangles - hair, zone, inland, wide)
        near = self.buffer_m * np.array([-1, -1, 1, 1])
        around = self._ground(rectangles + near - hair, zone, inland, wide)
        sides = np.full(len(rectangles), "buffer", dtype="<U6")
        sides[(around == _TRAIN).all(axis=(1, 2))] = "train"
        sides[(own == _VAL).all(axis=(1, 2)) & (around != _TEST).all(axis=(1, 2))] = "val"
        sides[(own == _TEST).all(axis=(1, 2))] = "test"
        sides[wide] = "buffer"
        return sides

    def _ground(
        self, rectangles: _Floats, zone: int, inland: bool, wide: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.int8]:
        """Kind of ground at points all over each rectangle, [n, k, k]."""
        size = (rectangles[:, 2:] - rectangles[:, :2])[~wide]
        longest = size.max() if len(size) else 0.0
        # Edges included, so that with parallel sides no block is missed however little it shares.
        steps = int(np.ceil(longest * _STEPS / self.block_m)) + 1
        share = np.linspace(0, 1, max(2, steps))
        x = rectangles[:, :1] + share * (rectangles[:, 2:3] - rectangles[:, :1])
        y = rectangles[:, 1:2] + share * (rectangles[:, 3:] - rectangles[:, 1:2])
        xs, ys = np.broadcast_arrays(x[:, None, :], y[:, :, None])
        if inland:
            return self._kinds(xs, ys, zone)
        kinds = np.zeros(xs.shape, np.int8)
        lon, lat = _transformer(zone, 4326).transform(xs, ys)
        zones = zones_of(lon, lat)
        for other in np.unique(zones):
            there = zones == other
            points = _transformer(4326, int(other)).transform(lon[there], lat[there])
            kinds[there] = self._kinds(*points, int(other))
        return kinds

    def _kinds(self, x: _Floats, y: _Floats, zone: int) -> npt.NDArray[np.int8]:
        """Kind of ground at points of a zone's own grid."""
        row = np.floor(-y / self.block_m).astype(np.int64)  # counted southwards, as rows are
        col = np.floor(x / self.block_m).astype(np.int64)
        macro = np.stack([row // _MACRO, col // _MACRO], axis=-1).reshape(-1, 2)
        cells, where = np.unique(macro, axis=0, return_inverse=True)
        held_out = np.array([_held_out(f"EPSG:{zone}", int(r), int(c)) for r, c in cells])
        test, val = held_out[where.reshape(-1)].T
        place = ((row % _MACRO) * _MACRO + col % _MACRO).reshape(-1)
        kinds = np.where(place == test, _TEST, np.where(place == val, _VAL, _TRAIN))
        return np.asarray(kinds.reshape(row.shape), np.int8)


def zones_of(lon: _Floats, lat: _Floats) -> npt.NDArray[np.int64]:
    """EPSG codes of the UTM zones of places."""
    number = np.floor((np.asarray(lon) + 180) / _ZONE_DEG).astype(np.int64) % 60 + 1
    return np.where(np.asarray(lat) < 0, 32700, 32600) + number


def _rectangles(
    boxes: _Floats, crs: str, buffer_m: float
) -> list[tuple[int, npt.NDArray[np.bool_], _Floats, bool]]:
    """Chips by the UTM zone of their centres, as rectangles of its grid.

    Returns
    -------
    list of (zone, chosen, rectangles, inland)
        EPSG code; which chips; their rectangles; whether all keep away from the zone's borders.
    """
    left, bottom, right, top = boxes.T
    x, y = (left + right) / 2, (bottom + top) / 2
    # Corners and middles of the sides: other grids are turned and a little bent.
    xs = np.stack([left, x, right, left, right, left, x, right], axis=1)
    ys = np.stack([bottom, bottom, bottom, y, y, top, top, top], axis=1)
    lon, lat = _to_degrees(crs).transform(x, y)
    zones = zones_of(lon, lat)
    found = []
    for zone in np.unique(zones):
        chosen = zones == zone
        if _is_epsg(crs, int(zone)):
            rectangles = boxes[chosen]
        else:
            there = _between(crs, int(zone)).transform(xs[chosen], ys[chosen])
            rectangles = np.stack(
                [there[0].min(1), there[1].min(1), there[0].max(1), there[1].max(1)], axis=1
            )
        reach = (rectangles[:, 2:] - rectangles[:, :2]).max() + buffer_m + _SLACK_M
        inland = bool((_border_m(lon[chosen], lat[chosen], int(zone)) > reach).all())
        found.append((int(zone), chosen, rectangles, inland))
    return found


def _border_m(lon: _Floats, lat: _Floats, zone: int) -> _Floats:
    """At least so far it is from places to where their zone ends."""
    middle = (zone % 100 - 0.5) * _ZONE_DEG - 180
    east_west = (_ZONE_DEG / 2 - np.abs(lon - middle)) * _DEGREE_M * np.cos(np.radians(lat))
    return np.asarray(np.minimum(east_west, np.abs(lat) * _DEGREE_M), np.float64)


@lru_cache(maxsize=64)
def _is_epsg(crs: str, code: int) -> bool:
    return crs == f"EPSG:{code}" or CRS.from_user_input(crs) == CRS.from_epsg(code)


@lru_cache(maxsize=64)
def _between(crs: str, zone: int) -> Transformer:
    return Transformer.from_crs(crs, zone, always_xy=True)


@lru_cache(maxsize=64)
def _to_degrees(crs: str) -> Transformer:
    return Transformer.from_crs(crs, 4326, always_xy=True)


@lru_cache(maxsize=256)
def _transformer(source: int, target: int) -> Transformer:
    return Transformer.from_crs(source, target, always_xy=True)


@lru_cache(maxsize=65536)
def _held_out(crs: str, macro_row: int, macro_col: int) -> tuple[int, int]:
    """Places (0 to 8) of the test and the validation block in a macro cell."""
    text = f"{crs}|{macro_row}|{macro_col}".encode()
    draw = int.from_bytes(hashlib.sha256(text).digest()[:8], "big")
    places = _MACRO * _MACRO
    test = draw % places
    val = draw // places % (places - 1)
    return test, val + (val >= test)
