"""Where on Earth a raster lies: its frame, the part of it that has pixels, and its pixel size."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import shapely
import shapely.affinity
import shapely.geometry
from odc.geo.geobox import GeoBox
from pyproj import Geod, Transformer
from pyproj.exceptions import ProjError
from rasterio.features import shapes

from geo.catalog.antimeridian import wrapped
from geo.errors import SourceError, first_line
from geo.quality import find_empty
from geo.raster_io import RasterInfo, open_raster, read_file

# The valid part is drawn from at most this many samples on a side ...
_SIDE = 256
# ... decoding at most about this much of the file.
_BUDGET_BYTES = 256 * 2**20
# ... or this much, only to look for black beyond the image where nodata is not told.
_CHEAP_BYTES = 64 * 2**20
# Holes and islands below this share of the valid part are left out of its outline.
_SMALLEST_PART = 0.005
_POINTS_A_SIDE = 16


def lonlat_footprint(geobox: GeoBox, href: str) -> shapely.Geometry:
    """Outline of a grid in lon/lat, in two parts where it crosses the antimeridian.

    Raises
    ------
    SourceError
        If the grid lies outside the world, for example on another planet or beyond the horizon.
    """
    height, width = geobox.shape.yx
    return _to_lonlat(shapely.box(0, 0, width, height), geobox, href)


def valid_footprint(info: RasterInfo) -> shapely.Geometry:
    """Outline in lon/lat of the part of a raster that has valid pixels.

    Drawn from a thinned mask, up to 256 samples on a side and 1.5 samples too wide rather than
    too narrow. Where a file of integers tells no nodata, patches of 0 in all bands are taken for
    it, as long as looking is cheap.

    Raises
    ------
    SourceError
        With cause ``nodata`` if no pixel seen is valid; if the pixels cannot be read; or as
        `lonlat_footprint`.
    """
    frame = lonlat_footprint(info.geobox, info.href)
    valid = _thin_mask(info)  # [h, w]
    if valid is None or valid.all():
        return frame
    if not valid.any():
        raise SourceError(
            f"{info.href}: no pixel of it is valid; wanted an image", href=info.href, cause="nodata"
        )
    return _to_lonlat(_outline(valid, info.geobox.shape.yx), info.geobox, info.href)


def ground_gsd_m(geobox: GeoBox) -> float:
    """Pixel size in metres on the ground, at the centre of a grid, to three digits.

    Neither degrees nor metres of a Mercator map are metres on the ground, hence the ellipsoid.
    """
    height, width = geobox.shape.yx
    x = np.array([width / 2, width / 2 + 1, width / 2])
    y = np.array([height / 2, height / 2, height / 2 + 1])
    lon, lat = _project(x, y, geobox, "")
    _, _, metres = Geod(ellps="WGS84").inv([lon[0]] * 2, [lat[0]] * 2, lon[1:], lat[1:])
    return float(f"{np.sqrt(metres[0] * metres[1]):.3g}")


def _thin_mask(info: RasterInfo) -> npt.NDArray[np.bool_] | None:
    """Validity at up to 256 x 256 places, of overviews where there are any: [h, w]."""
    height, width = info.geobox.shape.yx
    step = max(1, -(-max(height, width) // _SIDE))
    out = (-(-height // step), -(-width // step))
    with open_raster(info.href) as dataset:
        reduced = max((o for o in dataset.overviews(info.indexes[0]) if o <= step), default=1)
        block_rows = dataset.block_shapes[info.indexes[0] - 1][0]
    row_bytes = width * np.dtype(info.dtype).itemsize * len(info.indexes)
    cols = slice(0, width)
    cost = height * row_bytes / reduced**2
    told = info.nodata is not None or info.has_mask or np.issubdtype(info.dtype, np.floating)
    if not told and cost > _CHEAP_BYTES:
        return None
    if cost <= _BUDGET_BYTES:
        return _valid(info, slice(0, height), cols, out, told=told)
    # Large and without overviews: some single rows, each costs the blocks it runs through.
    count = int(np.clip(_BUDGET_BYTES // (row_bytes * block_rows), 2, out[0]))
    rows = ((np.arange(count) + 0.5) * height / count).astype(int)
    return np.concatenate(
        [_valid(info, slice(int(r), int(r) + 1), cols, (1, out[1]), told=True) for r in rows]
    )


def _valid(
    info: RasterInfo, rows: slice, cols: slice, out: tuple[int, int], *, told: bool
) -> npt.NDArray[np.bool_]:
    data, good = read_file(info.href, info.indexes, rows, cols, out_shape=out)  # [c, h, w] each
    if data.dtype.kind == "f":
        good &= np.isfinite(data)
    valid = np.asarray(good.all(axis=0))
    return valid if told else valid & ~find_empty(data, valid)


def _outline(valid: npt.NDArray[np.bool_], shape: tuple[int, int]) -> shapely.Geometry:
    """Outline of a thinned mask, in pixels of the raster that has `shape`."""
    cells = shapes(valid.astype(np.uint8), mask=valid, connectivity=8)
    parts = [shapely.geometry.shape(cell) for cell, _ in cells]
    total = sum(part.area for part in parts)
    kept = [part for part in parts if part.area >= _SMALLEST_PART * total] or parts
    filled = [
        shapely.Polygon(
            part.exterior,
            [r for r in part.interiors if shapely.Polygon(r).area >= _SMALLEST_PART * total],
        )
        for part in kept
    ]
    height, width = valid.shape
    drawn = shapely.union_all(filled).simplify(1.5).buffer(1.5, join_style="mitre")
    drawn = drawn.intersection(shapely.box(0, 0, width, height))
    return shapely.affinity.scale(drawn, shape[1] / width, shape[0] / height, origin=(0, 0))


def _to_lonlat(outline: shapely.Geometry, geobox: GeoBox, href: str) -> shapely.Geometry:
    """A geometry in pixels of a grid as lon/lat within -180 to 180."""
    longest = max(geobox.shape.yx) / _POINTS_A_SIDE
    parts = []
    for polygon in shapely.get_parts(shapely.segmentize(outline, longest)):
        shell, *holes = (
            _ring_to_lonlat(ring, geobox, href) for ring in (polygon.exterior, *polygon.interiors)
        )
        # Each ring is unrolled from its own beginning: bring holes to the turn of their shell.
        turned = [h + np.array([360 * np.round((shell[0, 0] - h[0, 0]) / 360), 0]) for h in holes]
        parts.append(shapely.make_valid(shapely.Polygon(shell, turned)))
    whole = shapely.union_all(parts)
    _, south, _, north = whole.bounds
    # Points that change the outline by less than half a pixel only cost time later.
    return wrapped(whole.simplify((north - south) / max(geobox.shape.yx) / 2))


def _ring_to_lonlat(ring: shapely.LinearRing, geobox: GeoBox, href: str) -> npt.NDArray[np.float64]:
    """A ring as lon/lat [n, 2], its longitudes unrolled so that none jumps by a turn."""
    x, y = shapely.get_coordinates(ring).T
    lon, lat = _project(x, y, geobox, href)
    seen = np.isfinite(lon) & np.isfinite(lat)
    lon, lat = lon[seen], lat[seen]
    if geobox.crs is not None and geobox.crs.geographic:
        # PROJ brings longitudes into one turn; the grid knows which turn it means.
        written = (geobox.affine.a * x + geobox.affine.b * y + geobox.affine.c)[seen]
        lon = lon + 360 * np.round((written - lon) / 360)
        lon[np.abs(lon) > 361] = np.inf
    else:
        lon = np.unwrap(lon, period=360)
    if not (len(lon) > 3 and np.abs(lat).max() <= 90.001 and np.isfinite(lon).all()):
        ends = [lon.min(), lat.min(), lon.max(), lat.max()] if len(lon) else []
        told = [f"{end:.3g}" for end in ends]
        raise SourceError(
            f"{href}: bounds {', '.join(told) or 'beyond the horizon'} are no place in lon/lat; "
            "wanted a georeference on Earth",
            href=href,
            cause="no_georeference",
        )
    lat = np.clip(lat, -90, 90)
    if abs(lon[-1] - lon[0]) > 180:  # the ring goes round a pole
        pole = np.copysign(90.0, lat.mean())
        lon = np.concatenate([lon, [lon[-1], lon[0]]])
        lat = np.concatenate([lat, [pole, pole]])
    return np.column_stack([lon, lat])


def _project(
    x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], geobox: GeoBox, href: str
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Positions in pixels as longitudes and latitudes."""
    a = geobox.affine
    try:
        transformer = Transformer.from_crs(str(geobox.crs), "EPSG:4326", always_xy=True)
        lon, lat = transformer.transform(
            a.a * x + a.b * y + a.c, a.d * x + a.e * y + a.f, errcheck=False
        )
    except ProjError as error:
        raise SourceError(
            f"{href}: its CRS cannot be brought to lon/lat ({first_line(error)})",
            href=href,
            cause="unknown_crs",
        ) from error
    return np.asarray(lon), np.asarray(lat)
