"""Roads and a river: the cheapest ways across the land."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage, sparse
from scipy.sparse import csgraph

from geo.scenes.buildings import car, tint
from geo.scenes.canvas import Canvas, Sun
from geo.scenes.layout import (
    CITY,
    COASTLINE,
    FARM,
    MOUNTAIN,
    OCEAN,
    PORT,
    SUBURB,
    Layout,
    Points,
)
from geo.scenes.nature import plant
from geo.scenes.noise import Field, fractal, stream
from geo.scenes.settlement import ASPHALT

_SIDE = 110  # nodes along the longer side
_RIVER_COST = {
    FARM: 1.0,
    MOUNTAIN: 1.0,
    COASTLINE: 1.5,
    OCEAN: 2.0,
    SUBURB: 12.0,
    CITY: 60.0,
    PORT: 90.0,
}
_ROAD_COST = {
    FARM: 1.0,
    SUBURB: 0.8,
    CITY: 0.8,
    PORT: 2.0,
    COASTLINE: 4.0,
    MOUNTAIN: 1.6,
    OCEAN: 400.0,
}


class Terrain:
    """A coarse net of places with costs of passage.

    Parameters
    ----------
    layout : Layout
    cost : dict of int to float
        For each land cover.
    extra : array, [gh, gw]
        Factor on the cost, on the layout's grid.
    """

    def __init__(self, layout: Layout, cost: dict[int, float], extra: Field) -> None:
        self._step = max(1, round(max(layout.category.shape) / _SIDE))
        self._metres = self._step * layout.cell_m
        table = np.array([cost[i] for i in range(len(cost))], np.float64)
        price = (table[layout.category] * extra)[:: self._step, :: self._step]
        self._shape = price.shape
        self._net = _network(price)

    def route(self, start: Points, end: Points, smooth_m: float) -> Points:
        """The cheapest way between two places, rounded at its corners, [n, 2] metres."""
        first, last = self._node(start), self._node(end)
        _, before = csgraph.dijkstra(self._net, indices=first, return_predecessors=True)
        nodes = [last]
        while nodes[-1] != first and before[nodes[-1]] >= 0:
            nodes.append(int(before[nodes[-1]]))
        rows, cols = np.unravel_index(np.array(nodes[::-1]), self._shape)
        line = (np.stack([cols, rows], -1) + 0.5) * self._metres
        line = np.concatenate([np.asarray(start)[None], line[1:-1], np.asarray(end)[None]])
        length = np.append(0.0, np.cumsum(np.hypot(*np.diff(line, axis=0).T)))
        at = np.linspace(0, length[-1], max(3, int(length[-1] / 6)))
        dense = np.stack([np.interp(at, length, line[:, 0]), np.interp(at, length, line[:, 1])], -1)
        # Mirrored through its ends, the line keeps them.
        pad = min(len(dense) - 1, round(4 * smooth_m / 6))
        longer = np.pad(dense, ((pad, pad), (0, 0)), mode="reflect", reflect_type="odd")
        rounded = ndimage.gaussian_filter1d(longer, smooth_m / 6, axis=0)
        return np.asarray(rounded[pad : pad + len(dense)])

    def _node(self, place: Points) -> int:
        col, row = (np.asarray(place) / self._metres).astype(int)
        row, col = np.clip(row, 0, self._shape[0] - 1), np.clip(col, 0, self._shape[1] - 1)
        return int(row * self._shape[1] + col)


def _network(price: npt.NDArray[np.float64]) -> sparse.csr_array:
    index = np.arange(price.size).reshape(price.shape)
    h, w = price.shape
    parts = []
    for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1)):
        here = (slice(0, h - dy), slice(max(0, -dx), w - max(0, dx)))
        there = (slice(dy, h), slice(max(0, dx), w - max(0, -dx)))
        weight = (price[here] + price[there]) * np.hypot(dy, dx) / 2
        parts.append((index[here].ravel(), index[there].ravel(), weight.ravel()))
    a, b, weight = (np.concatenate(column) for column in zip(*parts, strict=True))
    pairs = (np.concatenate([a, b]), np.concatenate([b, a]))
    return sparse.csr_array((np.tile(weight, 2), pairs), shape=(price.size, price.size))


def draw_river(canvas: Canvas, layout: Layout, height: Field, seed: int) -> Points:
    """A river from the mountains to the sea, with bars of gravel and trees on its banks.

    Returns
    -------
    array, [n, 2]
        Its course.
    """
    rng = stream(seed, "river")
    shape = layout.category.shape
    rough = np.exp(0.9 * fractal(rng, shape, 0.12 * max(shape), octaves=4))
    climb = 1 + 8 * height / np.float32(max(float(height.max()), 1.0))
    terrain = Terrain(layout, _RIVER_COST, rough * climb)
    start = layout.centres[MOUNTAIN][0]
    # The mouth is far from the port, where a shore of sand or rock meets the sea.
    cells = np.argwhere(
        (layout.sea_m > 0.02 * layout.size_m) & (layout.sea_m < 0.03 * layout.size_m)
    )
    places = (cells[:, ::-1] + 0.5) * layout.cell_m
    cost = np.hypot(*(places - start).T) - 0.8 * np.hypot(*(places - layout.port.centre).T)
    course = terrain.route(start, places[int(cost.argmin())], 16.0)
    course = course[np.asarray(layout.sample(layout.sea_m, course)) < 6]
    share = np.linspace(0, 1, len(course))
    swing = fractal(rng, (1, len(course)), 24, octaves=3)[0]
    widths = (0.25 + 0.75 * share) * 0.0052 * layout.size_m * (1 + 0.15 * swing)
    for colour, extra in (
        ((104, 112, 70), 9.0),
        ((168, 156, 130), 3.0),
        ((62, 92, 92), 0.0),
        ((48, 80, 84), -4.0),
    ):
        for i in range(0, len(course) - 1, 2):
            width = widths[i] + extra * min(1.0, widths[i] / 8)
            if width > 0.6:
                canvas.line(course[i : i + 4], width, tint(rng, colour, 1.5))
    canvas.fell(course, float(widths.mean()))
    tangent = np.gradient(course, axis=0)
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], -1) / np.hypot(*tangent.T)[:, None]
    pick = rng.integers(0, len(course), int(1.1 * len(course)))
    side = rng.choice([-1, 1], len(pick)) * (widths[pick] / 2 + rng.gamma(2.0, 3.0, len(pick)) + 2)
    banks = course[pick] + normal[pick] * side[:, None]
    plant(canvas, rng, banks[layout.is_land(banks, 20)], 2.8)
    return course


def _way_out(layout: Layout, place: Points) -> Points:
    """The nearest place on the rim of the region that is dry."""
    height, width = layout.extent_m
    x, y = place
    ways = np.array([[x, 0.0], [x, height], [0.0, y], [width, y]])
    far = np.hypot(*(ways - place).T) + 1e6 * ~layout.is_land(ways, 20)
    return np.asarray(ways[int(far.argmin())])


def draw_roads(canvas: Canvas, layout: Layout, height: Field, seed: int, sun: Sun) -> list[Points]:
    """Country roads between city, suburbs, farmland, mountains and port.

    Returns
    -------
    list of array, [n, 2]
    """
    rng = stream(seed, "roads")
    shape = layout.category.shape
    rough = np.exp(0.5 * fractal(rng, shape, 0.15 * max(shape), octaves=3))
    dy, dx = np.gradient(height, layout.cell_m)
    terrain = Terrain(layout, _ROAD_COST, rough * (1 + 6 * np.hypot(dx, dy)))
    hub = layout.centres[CITY][0]
    others = [p for kind in (SUBURB, FARM, MOUNTAIN) for p in layout.centres[kind]]
    others = [p for p in others if layout.contains(p[None])[0] and layout.is_land(p[None], 40)[0]]
    connected = [hub]
    roads = [terrain.route(hub, layout.port.place([[0.0, -0.3 * layout.port_depth_m]])[0], 20.0)]
    for place in sorted(others, key=lambda p: float(np.hypot(*(p - hub)))):
        near = min(connected, key=lambda q: float(np.hypot(*(q - place))))
        roads.append(terrain.route(near, place, 26.0))
        connected.append(place)
    # Roads go on to the next region instead of ending in a field.
    ends = [p for kind in (FARM, MOUNTAIN) for p in layout.centres[kind]]
    for place in ends if layout.size_m > 1200 else []:
        if any(np.array_equal(place, p) for p in connected):
            roads.append(terrain.route(place, _way_out(layout, place), 26.0))
    for road in roads:
        canvas.fell(road, 8.0)
        # Over water a road is a bridge: it stands above, so it casts a shadow.
        canvas.line(road, 13.0, tint(rng, (128, 126, 88), 5))
    for road in roads:
        canvas.line(road, 8.6, tint(rng, (150, 146, 138), 4))
        canvas.line(road, 7.4, tint(rng, ASPHALT, 6), 0.4)
        for start in range(0, len(road) - 1, 2):
            canvas.line(road[start : start + 2], 0.3, (210, 208, 200), 0.4)
        for i in rng.integers(0, len(road) - 1, len(road) // 14):
            step = road[i + 1] - road[i]
            angle = float(np.arctan2(step[1], step[0]))
            lane = np.array([-np.sin(angle), np.cos(angle)]) * float(rng.choice([-1.8, 1.8]))
            car(canvas, rng, road[i] + lane, angle)
    return roads
