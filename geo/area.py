"""An area of interest on a grid: brought to its CRS, as a window, and as a mask of its pixels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import shapely
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from pyproj.exceptions import ProjError
from rasterio.features import geometry_mask

from geo.errors import GridError
from geo.fixed_cells import cells_over
from geo.footprints import polygonal, unwrap
from geo.warp import once_around

_Floats = npt.NDArray[np.float64]

# Straight in lon/lat is bent in a projection: pieces this long are off by centimetres.
_STEP_DEG = 0.01
# What reaches no further into a pixel than this has not reached it.
_TOUCH_PX = 1e-6


def lonlat_to_xy(lon: _Floats, lat: _Floats, grid: GeoBox) -> tuple[_Floats, _Floats]:
    """Bring places to the CRS of a grid; x is counted on beyond 180 degrees as the grid does.

    Returns
    -------
    x, y : array
        Not finite where the CRS does not reach.

    Raises
    ------
    GridError
        If there is no way to the CRS.
    """
    try:
        project = Transformer.from_crs("EPSG:4326", str(grid.crs), always_xy=True)
    except ProjError as error:
        raise GridError(f"no way from lon/lat to {grid.crs}: {error}") from error
    x, y = project.transform(lon, lat)
    around = once_around(str(grid.crs))
    if around is not None:
        box = grid.boundingbox
        turns = np.round((x - (box.left + box.right) / 2) / around)
        x = x - around * np.where(np.isfinite(turns), turns, 0)
    return np.asarray(x), np.asarray(y)


def project_area(lonlat: shapely.Geometry, grid: GeoBox) -> shapely.Geometry:
    """Bring a lon/lat area to the CRS of a grid; its edges are bent as the projection bends them.

    Parameters
    ----------
    lonlat : shapely geometry
        Polygons; across the antimeridian cut there or not.
    grid : GeoBox

    Raises
    ------
    GridError
        If a part of it lies where the CRS does not reach.
    """
    dense = shapely.segmentize(unwrap(polygonal(lonlat)), _STEP_DEG)
    lon, lat = shapely.get_coordinates(dense).T
    x, y = lonlat_to_xy(lon, lat, grid)
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        west, south, east, north = lonlat.bounds
        raise GridError(
            f"the area {west:.3g}, {south:.3g}, {east:.3g}, {north:.3g} (degrees) reaches beyond "
            f"what {grid.crs} can show; wanted a smaller area or another CRS",
            cause="unsupported_grid",
        )
    return polygonal(shapely.make_valid(shapely.set_coordinates(dense, np.column_stack([x, y]))))


def window_of(area: shapely.Geometry, grid: GeoBox) -> tuple[slice, slice]:
    """Rows and columns of a grid that an area in its CRS reaches; they may lie beyond the grid."""
    inverse = ~grid.affine
    x, y = shapely.get_coordinates(area).T
    col, row = (
        inverse.a * x + inverse.b * y + inverse.c,
        inverse.d * x + inverse.e * y + inverse.f,
    )
    rows, cols = (
        slice(
            int(np.floor(at.min() + _TOUCH_PX)),
            max(int(np.ceil(at.max() - _TOUCH_PX)), int(np.floor(at.min() + _TOUCH_PX)) + 1),
        )
        for at in (row, col)
    )
    return rows, cols


def clip_window(window: tuple[slice, slice], shape: tuple[int, int]) -> tuple[slice, slice] | None:
    """The part of a window that lies in a grid of some shape; None if there is none."""
    rows, cols = (
        slice(max(0, span.start), min(length, span.stop))
        for span, length in zip(window, shape, strict=True)
    )
    return (rows, cols) if rows.start < rows.stop and cols.start < cols.stop else None


def area_mask(
    area: shapely.Geometry, grid: GeoBox, rows: slice, cols: slice
) -> npt.NDArray[np.bool_]:
    """Pixels of a window that an area touches, however little: [h, w].

    Parameters
    ----------
    area : shapely geometry
        In the CRS of the grid.
    grid : GeoBox
    rows, cols : slice
        Of the grid.
    """
    inside = np.zeros((rows.stop - rows.start, cols.stop - cols.start), dtype=np.bool_)
    # A copy of our own: GEOS crashes where two threads use one geometry that is prepared, and the
    # area is that of all blocks. https://github.com/libgeos/geos/issues/825
    area = shapely.from_wkb(shapely.to_wkb(area))
    shapely.prepare(area)
    for cell in cells_over(grid, rows, cols):
        outline = cell.geobox.extent.geom
        if shapely.covers(area, outline):
            inside[cell.place] = True
        elif shapely.intersects(area, outline):
            pixel = np.sqrt(abs(grid.affine.determinant))
            near = shapely.intersection(area, outline.buffer(2 * pixel))
            touched = geometry_mask(
                [near],
                cell.geobox.shape.yx,
                cell.geobox.affine,
                all_touched=True,
                invert=True,
            )
            inside[cell.place] = touched[cell.inside]
    return inside
