"""The shift between any two rasters of common ground, for users of a GIS."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from odc.geo.geobox import GeoBox
from pyproj import Geod, Transformer

from geo.align import align_source
from geo.alignment import Alignment, AlignRules
from geo.errors import GridError
from geo.harmonise import HarmoniseRules
from geo.raster_io import RasterInfo, inspect_raster

_ANY_COLOURS = HarmoniseRules(min_agreement=0, max_swapped_gain=2)


def align_rasters(
    reference: str, target: str, *, rules: AlignRules | None = None
) -> tuple[Alignment, tuple[float, float]]:
    """Measure the shift of one raster against another.

    Parameters
    ----------
    reference, target : str
        Rasters of common ground. They are compared in their common bands by name, or, where the
        names have nothing in common, band by band if there are equally many, or else by the first.

    Returns
    -------
    alignment : Alignment
        In pixels of `target`.
    metres_yx : (float, float)
        Size of a pixel of `target` on the ground.

    Raises
    ------
    GridError
        If they share no ground, or `target` is rotated.
    """
    there, here = inspect_raster(reference), inspect_raster(target)
    if not here.is_north_up:
        raise GridError(f"{target}: its grid is rotated or upside down; wanted north up")
    area = _common_area(there, here)
    shared = [b for b in here.bands if b in there.bands]
    if shared:
        pairs = (there.refs(shared), here.refs(shared))
    elif len(there.bands) == len(here.bands):
        pairs = (there.refs(), here.refs())
    else:
        pairs = (there.refs()[:1], here.refs()[:1])
    # Colours may be anything here: a shift is asked for, not a pair.
    rules = replace(rules or AlignRules(), harmonise=_ANY_COLOURS)
    alignment = align_source(pairs[1], here.geobox, pairs[0], area=area, rules=rules)
    return alignment, pixel_metres(here.geobox)


def _common_area(there: RasterInfo, here: RasterInfo) -> tuple[slice, slice]:
    """Rows and columns of `here` that the outline of `there` spans."""
    outline = there.geobox.footprint(str(here.geobox.crs), buffer=0, npoints=16).boundingbox
    inverse = ~here.geobox.affine
    spans = []
    for (low, high), scale, offset, length in (
        ((outline.bottom, outline.top), inverse.e, inverse.f, here.geobox.shape.y),
        ((outline.left, outline.right), inverse.a, inverse.c, here.geobox.shape.x),
    ):
        start, stop = sorted((scale * low + offset, scale * high + offset))
        spans.append(slice(max(0, int(np.floor(start))), min(length, int(np.ceil(stop)))))
    if any(s.start >= s.stop for s in spans):
        raise GridError(f"{there.href} and {here.href} share no ground")
    return spans[0], spans[1]


def grid_metres(geobox: GeoBox) -> float:
    """Size of a pixel in metres: that of the grid in UTM, elsewhere that on the ground, about."""
    code = geobox.crs.epsg if geobox.crs is not None else None
    if code is not None and (32601 <= code <= 32660 or 32701 <= code <= 32760):
        return float(geobox.affine.a)
    return float(f"{np.mean(pixel_metres(geobox)):.3g}")  # the same for neighbouring scenes


def pixel_metres(geobox: GeoBox) -> tuple[float, float]:
    """Size of the middle pixel on the ground, along y and x, by the WGS 84 ellipsoid."""
    row, col = (n / 2 for n in geobox.shape.yx)
    project = Transformer.from_crs(str(geobox.crs), "EPSG:4326", always_xy=True)
    a = geobox.affine
    corners = [(col, row), (col, row + 1), (col + 1, row)]
    lon, lat = project.transform(
        [a.a * x + a.b * y + a.c for x, y in corners],
        [a.d * x + a.e * y + a.f for x, y in corners],
    )
    geod = Geod(ellps="WGS84")
    _, _, down = geod.inv(lon[0], lat[0], lon[1], lat[1])
    _, _, right = geod.inv(lon[0], lat[0], lon[2], lat[2])
    return float(down), float(right)
