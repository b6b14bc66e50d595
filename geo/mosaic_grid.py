"""The lattice of a mosaic, and where scenes lie on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from geo.area import clip_window, project_area, window_of
from geo.catalog.footprint import ground_gsd_m
from geo.errors import GridError
from geo.mosaic import MosaicScene
from geo.mosaic_look import Look
from geo.warp import once_around

# Sizes of pixels that differ by rounding only; grids off by so little of a pixel are the same.
_SAME_SIZE, _SAME_PLACE_PX = 1e-6, 0.01
# Relative: a pixel of 9.96 m is meant when 10 m are asked for.
_SAME_GSD = 0.01
# Around an outline, which is drawn by few points.
_OUTLINE_PX = 2

Window = tuple[slice, slice]
"""Rows and columns of a mosaic."""


def corner_in(scene: GeoBox, mosaic: GeoBox) -> tuple[int, int] | None:
    """Row and column of a scene where a mosaic's first pixel lies; None: not on its lattice.

    Parameters
    ----------
    scene, mosaic : GeoBox
        The mosaic's is north up; its first pixel may lie beyond the scene.
    """
    if scene.crs != mosaic.crs or not is_north_up(scene):
        return None
    there = ~mosaic.affine @ Affine.translation(_turn(scene, mosaic), 0) @ scene.affine
    if max(abs(there.a - 1), abs(there.e - 1)) > _SAME_SIZE:
        return None
    row, col = round(there.f), round(there.c)
    height, width = scene.shape.yx
    far_x, far_y = there @ (width, height)
    off = (there.f - row, there.c - col, far_y - row - height, far_x - col - width)
    return (-row, -col) if max(map(abs, off)) <= _SAME_PLACE_PX else None


def is_north_up(grid: GeoBox) -> bool:
    """Rows run south and columns run east, without rotation or shear."""
    a = grid.affine
    return bool(a.b == 0 and a.d == 0 and a.a > 0 and a.e < 0)


def _turn(scene: GeoBox, mosaic: GeoBox) -> float:
    """What has to be added to a scene's x so that it counts as the mosaic does."""
    around = once_around(str(scene.crs))
    if around is None:
        return 0.0
    here, there = scene.boundingbox, mosaic.boundingbox
    apart = float(there.left + there.right - here.left - here.right) / 2
    return around * round(apart / around)


@dataclass
class _Lattice:
    grid: GeoBox
    covered: npt.NDArray[np.bool_]


def choose_lattice(
    looks: Sequence[Look], *, crs: str | None = None, gsd_m: float | None = None
) -> GeoBox:
    """The lattice that most of the area is seen on, or one made for `crs` and `gsd_m`.

    Where two zones of UTM show as much, the choice does not depend on the order of the looks: a
    mosaic that is brought up to date every night keeps its grid.

    Returns
    -------
    GeoBox
        Any grid of it.
    """
    lattices: list[_Lattice] = []
    for look in looks:
        grid = look.source.geobox
        suits = (crs is None or grid.crs == crs) and (
            gsd_m is None or abs(ground_gsd_m(grid) / gsd_m - 1) <= _SAME_GSD
        )
        if not (suits and is_north_up(grid)):
            continue
        for lattice in lattices:
            if corner_in(grid, lattice.grid) is not None:
                lattice.covered = lattice.covered | look.covered
                break
        else:
            lattices.append(_Lattice(grid, look.covered))
    if lattices:
        most = max(lattices, key=lambda one: (np.count_nonzero(one.covered), str(one.grid.crs)))
        return most.grid
    reference = looks[0].source.geobox
    return _make_lattice(reference, crs or str(reference.crs), gsd_m)


def _make_lattice(reference: GeoBox, crs: str, gsd_m: float | None) -> GeoBox:
    """North-up pixels as large as a grid's, or of some size on the ground, at round places."""
    height, width = reference.shape.yx
    # One pixel in the middle, as it lies in the other CRS.
    col = width / 2 + np.array([0.0, 1.0, 0.0])
    row = height / 2 + np.array([0.0, 0.0, 1.0])
    a = reference.affine
    project = Transformer.from_crs(str(reference.crs), crs, always_xy=True)
    x, y = project.transform(a.a * col + a.b * row + a.c, a.d * col + a.e * row + a.f)
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise GridError(f"{crs} does not reach the scenes; wanted another CRS", crs=crs)
    down, right = np.array([x[2] - x[0], y[2] - y[0]]), np.array([x[1] - x[0], y[1] - y[0]])
    if reference.crs == crs and abs(down[0]) + abs(right[1]) < 1e-9 * abs(right[0]):
        size_x, size_y = abs(right[0]), abs(down[1])
    else:
        size_x = size_y = float(np.sqrt(abs(right[0] * down[1] - right[1] * down[0])))
    if gsd_m is not None:
        larger = gsd_m / ground_gsd_m(reference)
        size_x, size_y = size_x * larger, size_y * larger
    size_x, size_y = float(f"{size_x:.3g}"), float(f"{size_y:.3g}")
    left, top = np.floor(x[0] / size_x) * size_x, np.ceil(y[0] / size_y) * size_y
    return GeoBox((1, 1), Affine(size_x, 0, float(left), 0, -size_y, float(top)), crs)


@dataclass(frozen=True)
class Placed:
    """A scene that was looked at, on the lattice of a mosaic.

    Parameters
    ----------
    look : Look
    outline : shapely geometry
        In the CRS of the mosaic.
    window : (rows, cols)
        Of the lattice, counted from the grid it was described by.
    """

    look: Look
    outline: shapely.Geometry
    window: Window


def place_on(look: Look, lattice: GeoBox) -> Placed:
    """Find a scene's place.

    Raises
    ------
    GridError
        If the CRS of the lattice does not reach it.
    """
    outline = project_area(look.outline, lattice)
    near = outline.buffer(_OUTLINE_PX * _pixel(lattice))
    corner = corner_in(look.source.geobox, lattice)
    if corner is None:  # a warp gives nothing at the very edge
        return Placed(look, near, window_of(outline, lattice))
    reach = window_of(near, lattice)
    rows, cols = (
        slice(max(span.start, -first), min(span.stop, length - first))
        for span, first, length in zip(reach, corner, look.source.geobox.shape.yx, strict=True)
    )
    return Placed(look, near, (rows, cols))


def _pixel(grid: GeoBox) -> float:
    return float(np.sqrt(abs(grid.affine.determinant)))


def grid_over(lattice: GeoBox, windows: Sequence[Window]) -> GeoBox:
    """Grid of a lattice around some of its windows."""
    top, left = (min(window[axis].start for window in windows) for axis in (0, 1))
    bottom, right = (max(window[axis].stop for window in windows) for axis in (0, 1))
    affine = lattice.affine @ Affine.translation(left, top)
    return GeoBox((bottom - top, right - left), affine, lattice.crs)


def scene_of(
    placed: Placed, lattice: GeoBox, grid: GeoBox, area: shapely.Geometry | None
) -> MosaicScene | None:
    """A scene on the final grid of a mosaic; None if it does not reach the area there."""
    down, right = (round(v) for v in reversed(~grid.affine @ lattice.affine @ (0.0, 0.0)))
    moved = tuple(
        slice(span.start + by, span.stop + by)
        for span, by in zip(placed.window, (down, right), strict=True)
    )
    window = clip_window((moved[0], moved[1]), grid.shape.yx)
    if window is None or (area is not None and not shapely.intersects(area, placed.outline)):
        return None
    look = placed.look
    return MosaicScene(
        id=look.scene.id,
        time=look.scene.time,
        cloud_fraction=look.cloud_fraction,
        cloud_measured=look.cloud_measured,
        source=look.source,
        outline=placed.outline,
        rows=window[0],
        cols=window[1],
        corner_yx=corner_in(look.source.geobox, grid),
    )
