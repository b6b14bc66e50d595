"""Where the land covers of a made region lie: one noise-warped map that everything else asks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from geo.scenes.noise import Field, fractal, stream

CATEGORIES = ("ocean", "coastline", "port", "city", "suburb", "farm", "mountain")
OCEAN, COASTLINE, PORT, CITY, SUBURB, FARM, MOUNTAIN = range(7)

Points = npt.NDArray[np.float64]
T = TypeVar("T", bound=np.generic)

# The plan before it is turned, jittered and warped: p grows inland, q along the coast, both 0 to 1.
# The weight says how far a centre reaches.
_CENTRES: tuple[tuple[int, float, float, float], ...] = (
    (CITY, 0.42, 0.60, 1.05),
    (SUBURB, 0.46, 0.36, 0.85),
    (SUBURB, 0.63, 0.68, 0.80),
    (SUBURB, 0.40, 0.90, 0.75),
    (FARM, 0.46, 0.10, 1.00),
    (FARM, 0.68, 0.43, 1.00),
    (FARM, 0.66, 0.93, 0.90),
    (FARM, 0.88, 0.70, 0.80),
    (MOUNTAIN, 0.84, 0.18, 1.15),
    (MOUNTAIN, 0.97, 0.97, 0.80),
)
_SHORE_P, _PORT_Q = 0.25, 0.60


@dataclass(frozen=True, kw_only=True)
class Frame:
    """A place with its own directions: `along` and `across` are unit vectors in metres (x, y down).

    In a port `along` follows the quay and `across` points to sea.
    """

    centre: Points
    along: Points
    across: Points

    def place(self, points: npt.ArrayLike) -> Points:
        """World positions (metres) of local ones, [n, 2]."""
        local = np.asarray(points, np.float64)
        world = self.centre + local[..., :1] * self.along + local[..., 1:] * self.across
        return np.asarray(world, np.float64)

    def locate(self, points: npt.ArrayLike) -> Points:
        """Local positions of world ones, [n, 2]."""
        offset = np.asarray(points, np.float64) - self.centre
        return np.stack([offset @ self.along, offset @ self.across], axis=-1)

    @property
    def angle(self) -> float:
        """Direction of `along` in radians, from x towards y."""
        return float(np.arctan2(self.along[1], self.along[0]))


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Land covers of a region on a coarse grid, in metres from its upper left corner, y down.

    Parameters
    ----------
    cell_m : float
        Size of a cell.
    extent_m : (float, float)
        Height and width of the ground.
    category : array of uint8, [gh, gw]
        Index into `CATEGORIES`.
    sea_m : array of float32, [gh, gw]
        Distance from the natural shore: positive at sea, negative on land.
    port : Frame
    port_length_m, port_depth_m, port_reach_m : float
        Along the quay; inland of it; to sea of it.
    centres : dict of int to array, [n, 2]
        Centres of cities, suburbs, farmland and mountains.
    """

    cell_m: float
    extent_m: tuple[float, float]
    category: npt.NDArray[np.uint8]
    sea_m: Field
    port: Frame
    port_length_m: float
    port_depth_m: float
    port_reach_m: float
    centres: dict[int, Points]

    @cached_property
    def size_m(self) -> float:
        """Mean side of the region."""
        return float(np.mean(self.extent_m))

    @cached_property
    def _inside(self) -> Callable[[int], Field]:
        @cache
        def distance(category: int) -> Field:
            inside = self.category == category
            if not inside.any():
                return np.full(inside.shape, -self.size_m, np.float32)
            inner = ndimage.distance_transform_edt(np.pad(inside, 1, mode="edge"))[1:-1, 1:-1]
            outer = ndimage.distance_transform_edt(~inside)
            return np.asarray((inner - outer) * self.cell_m, np.float32)

        return distance

    def inside_m(self, category: int) -> Field:
        """Distance from the border of a land cover: positive inside it, on the coarse grid."""
        return self._inside(category)

    def sample(self, field: npt.NDArray[T], points: npt.ArrayLike) -> npt.NDArray[T]:
        """Values of a coarse field at points in metres (x, y), [n, 2]; the rim goes on outside."""
        xy = np.asarray(points, np.float64)
        cols = np.clip((xy[..., 0] / self.cell_m).astype(np.intp), 0, field.shape[1] - 1)
        rows = np.clip((xy[..., 1] / self.cell_m).astype(np.intp), 0, field.shape[0] - 1)
        return np.asarray(field[rows, cols])

    def is_land(self, points: npt.ArrayLike, margin_m: float = 0.0) -> npt.NDArray[np.bool_]:
        """Whether points lie on natural land, at least `margin_m` from the shore."""
        return np.asarray(self.sample(self.sea_m, points) < -margin_m)

    def category_at(self, points: npt.ArrayLike) -> npt.NDArray[np.uint8]:
        """Land cover at points."""
        return np.asarray(self.sample(self.category, points), np.uint8)

    def contains(self, points: npt.ArrayLike, margin_m: float = 0.0) -> npt.NDArray[np.bool_]:
        """Whether points lie on the ground of the region."""
        xy = np.asarray(points, np.float64)
        height, width = self.extent_m
        inside = (xy > margin_m) & (xy < np.array([width - margin_m, height - margin_m]))
        return np.asarray(inside.all(axis=-1))


def make_layout(seed: int, extent_m: tuple[float, float], *, cells: int = 400) -> Layout:
    """Lay out a region with a coast, a port, a city, suburbs, farmland and mountains.

    Parameters
    ----------
    seed : int
        Turns and mirrors the plan, moves the centres, warps the borders.
    extent_m : (float, float)
        Height and width of the ground in metres.
    cells : int
        Cells along the longer side.

    Returns
    -------
    Layout
    """
    rng = stream(seed, "layout")
    height, width = extent_m
    size = (height + width) / 2
    cell = max(extent_m) / cells
    shape = (int(np.ceil(height / cell)), int(np.ceil(width / cell)))
    turn, mirror = int(rng.integers(4)), bool(rng.integers(2))

    v, u = np.meshgrid(
        (np.arange(shape[0]) + 0.5) * cell / height,
        (np.arange(shape[1]) + 0.5) * cell / width,
        indexing="ij",
    )
    plan = _to_plan(np.stack([u, v], axis=-1), turn, mirror)  # [gh, gw, 2]
    warp = np.stack([fractal(rng, shape, 0.35 * cells, octaves=7, gain=0.5) for _ in range(2)], -1)
    fine = fractal(rng, shape, 0.06 * cells, octaves=5, gain=0.6)

    centres = [
        (kind, p + rng.uniform(-0.04, 0.04), q + rng.uniform(-0.04, 0.04), weight)
        for kind, p, q, weight in _CENTRES
    ]
    port_q = _PORT_Q + rng.uniform(-0.05, 0.05)

    # Near the port the shore is kept straight: nobody builds quays around headlands.
    calm = 1 - 0.9 * np.exp(-(((plan[..., 1] - port_q) / 0.15) ** 2))
    inland = plan[..., 0] - _SHORE_P + calm * (0.06 * warp[..., 0] + 0.012 * fine)
    sea = _largest(inland < 0)
    inner = ndimage.distance_transform_edt(sea)
    outer = ndimage.distance_transform_edt(~sea)
    sea_m = np.asarray((inner - outer) * cell, np.float32)

    warped = plan + 0.035 * warp + 0.006 * fine[..., None]
    reach = np.stack(
        [np.hypot(warped[..., 0] - p, warped[..., 1] - q) / weight for _, p, q, weight in centres]
    )
    kinds = np.array([kind for kind, *_ in centres], np.uint8)
    category = kinds[reach.argmin(axis=0)]  # [gh, gw]
    wander = np.clip(1 + 0.25 * warp[..., 1], 0.6, 1.6)
    category[sea_m > -0.046 * size * wander] = COASTLINE
    category[sea_m > 0.036 * size * wander] = OCEAN

    port_centre, across = _shore_near(plan, sea_m, port_q, cell)
    along = np.array([-across[1], across[0]])
    port = Frame(centre=port_centre, along=along, across=across)
    length, depth, out = (
        min(0.27 * size, 1100.0),
        min(0.085 * size, 380.0),
        min(0.105 * size, 420.0),
    )
    xs = (np.arange(shape[1]) + 0.5) * cell
    ys = (np.arange(shape[0]) + 0.5) * cell
    local = port.locate(np.stack(np.meshgrid(xs, ys), axis=-1))
    local += 0.006 * size * warp
    in_port = (
        (np.abs(local[..., 0]) < length / 2) & (local[..., 1] > -depth) & (local[..., 1] < out)
    )
    category[in_port] = PORT

    by_kind = {
        kind: _from_plan(np.array([[p, q] for k, p, q, _ in centres if k == kind]), turn, mirror)
        * np.array([width, height])
        for kind in (CITY, SUBURB, FARM, MOUNTAIN)
    }
    return Layout(
        cell_m=cell,
        extent_m=extent_m,
        category=_without_crumbs(category, max(4, round((0.012 * cells) ** 2))),
        sea_m=sea_m,
        port=port,
        port_length_m=length,
        port_depth_m=depth,
        port_reach_m=out,
        centres=by_kind,
    )


def _to_plan(unit: Points, turn: int, mirror: bool) -> Points:
    """From positions in the region (0 to 1, x then y down) to the plan's."""
    x, y = unit[..., 0], unit[..., 1]
    for _ in range(turn):
        x, y = y, 1 - x
    return np.stack([x, 1 - y if mirror else y], axis=-1)


def _from_plan(plan: Points, turn: int, mirror: bool) -> Points:
    """Inverse of `_to_plan`."""
    x, y = plan[..., 0], plan[..., 1]
    if mirror:
        y = 1 - y
    for _ in range(turn):
        x, y = 1 - y, x
    return np.stack([x, y], axis=-1)


def _largest(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The largest connected part, without holes: one sea, no inland ponds by accident."""
    labels, count = ndimage.label(mask)
    if count > 1:
        mask = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
    land, parts = ndimage.label(~mask)
    small = np.bincount(land.ravel()) < 60
    small[0] = False
    return np.asarray(mask | small[land]) if parts else mask


def _without_crumbs(category: npt.NDArray[np.uint8], smallest: int) -> npt.NDArray[np.uint8]:
    """Patches of fewer cells than `smallest` go to the nearest land cover."""
    crumbs = np.zeros(category.shape, np.bool_)
    for kind in range(len(CATEGORIES)):
        labels, _ = ndimage.label(category == kind)
        small = np.bincount(labels.ravel()) < smallest
        small[0] = False
        crumbs |= small[labels]
    nearest = ndimage.distance_transform_edt(crumbs, return_distances=False, return_indices=True)
    return np.asarray(category[tuple(nearest)])


def _shore_near(plan: Points, sea_m: Field, port_q: float, cell: float) -> tuple[Points, Points]:
    """A point of the shore beside the plan's `port_q`, and the direction to sea there."""
    smooth = ndimage.gaussian_filter(sea_m, 0.03 * max(sea_m.shape))
    cost = np.abs(smooth) / (cell * max(sea_m.shape)) + 2 * np.abs(plan[..., 1] - port_q)
    row, col = np.unravel_index(int(cost.argmin()), cost.shape)
    dy, dx = np.gradient(smooth)
    direction = np.array([dx[row, col], dy[row, col]], np.float64)
    norm = float(np.hypot(*direction)) or 1.0
    return np.array([(col + 0.5) * cell, (row + 0.5) * cell]), direction / norm
