"""A first look at the scenes of an archive: usable or not, and how clear over an area.

An area is looked at in some thousand places. A scene's masks are read there reduced, by their
overviews where they have any, so a look costs little whatever the area's size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling

from geo.area import clip_window, lonlat_to_xy
from geo.catalog.footprint import lonlat_footprint
from geo.catalog.scene import Mask, Scene
from geo.catalog.sentinel2 import check_offset
from geo.errors import SourceError
from geo.footprints import polygonal, turned, unwrap
from geo.quality import judge_mask
from geo.raster_io import inspect_raster, read_file
from geo.region_source import RasterSource, raster_source, tells_no_nodata

_Floats = npt.NDArray[np.float64]
_Mask = npt.NDArray[np.bool_]

# Places along the longer side of an area.
_PLACES = 64
# Samples of a mask along its longer side.
_SAMPLES = 512
# Outlines of catalogues are drawn with few points; what lies this much beyond, as a share of the
# outline's size, may have pixels as well.
_OUTLINE_MARGIN = 0.05


@dataclass(frozen=True)
class Places:
    """Where an area is looked at.

    Parameters
    ----------
    lon, lat : array, [n]
        Degrees; counted on beyond 180 across the antimeridian.
    """

    lon: _Floats
    lat: _Floats

    def __len__(self) -> int:
        return len(self.lon)

    @classmethod
    def in_area(cls, area: shapely.Geometry) -> Places:
        """Places spread evenly over an area in lon/lat; one at least."""
        whole = unwrap(polygonal(area))
        west, south, east, north = whole.bounds
        narrow = np.cos(np.radians((south + north) / 2))  # a degree of longitude, in latitude's
        step = max((east - west) * narrow, north - south) / _PLACES
        axes = [
            low + (np.arange(n) + 0.5) * (high - low) / n
            for low, high, wide in ((west, east, narrow), (south, north, 1.0))
            for n in [max(1, int(np.ceil((high - low) * wide / step)))]
        ]
        lon, lat = (a.ravel() for a in np.meshgrid(*axes))
        shapely.prepare(whole)
        inside = shapely.contains_xy(whole, lon, lat)
        if not inside.any():
            point = whole.representative_point()
            return cls(np.array([point.x]), np.array([point.y]))
        return cls(lon[inside], lat[inside])

    def on(self, grid: GeoBox) -> tuple[_Floats, _Floats]:
        """Rows and columns of the places on a grid; NaN where its CRS does not reach."""
        x, y = lonlat_to_xy(self.lon, self.lat, grid)
        reached = np.isfinite(x) & np.isfinite(y)
        x, y = np.where(reached, x, np.nan), np.where(reached, y, np.nan)
        a = ~grid.affine
        return a.d * x + a.e * y + a.f, a.a * x + a.b * y + a.c


@dataclass(frozen=True, kw_only=True, eq=False)
class Look:
    """What a look at a scene found.

    Parameters
    ----------
    scene : Scene
    source : RasterSource
        Its whole raster.
    scales : tuple of float
        What one DN of each band stands for.
    outline : shapely geometry
        Lon/lat: its raster's frame, and no more of it than its footprint with a margin.
    looked : int
        Places within the outline.
    covered : array of bool, [places]
        It has pixels there, as far as outline and masks tell.
    clear : array of bool, [places]
        And they are good.
    cloud_fraction : float or None
        Of the covered places by its masks; else as the catalogue says.
    cloud_measured : bool
    """

    scene: Scene
    source: RasterSource
    scales: tuple[float, ...]
    outline: shapely.Geometry
    looked: int
    covered: _Mask
    clear: _Mask
    cloud_fraction: float | None
    cloud_measured: bool


def look_at(scene: Scene, bands: Sequence[str], places: Places) -> Look:
    """Open the files of a scene and sample its masks.

    Raises
    ------
    GeoError
        If the scene cannot be used, with the reason in ``facts["cause"]`` where it is not that of
        the error's kind: ``doubtful_offset``, ``footprint_mismatch``, those of a `SourceError`.
    """
    refs = scene.band_refs(bands)
    infos = {href: inspect_raster(href) for href in dict.fromkeys(ref.href for ref in refs)}
    source = replace(
        raster_source(refs, bands, masks=scene.masks),
        zeros_are_holes=tells_no_nodata(list(infos.values())),
    )
    if any(ref.offset_dn for ref in refs) and (check := check_offset(refs)).contradicts:
        raise SourceError(
            f"{refs[0].href}: its catalogue says that {refs[0].offset_dn:+g} is to be added to its "
            f"DN, but {check.far_below_zero:.1%} of its pixels would be far below 0 then",
            href=refs[0].href,
            cause="doubtful_offset",
        )
    outline = _outline(scene, source.geobox)
    covered = _inside(source.geobox, places) & _within(outline, places)
    looked = int(np.count_nonzero(covered))
    judged = [_sample(mask, places) for mask in source.masks]
    for one in judged:
        covered = covered & one.known
    clear = covered & ~np.any([one.bad for one in judged], axis=0) if judged else covered
    tells_clouds = any(mask.kind in ("scl", "cloud") for mask in source.masks)
    if tells_clouds and covered.any():
        cloudy = np.any([one.cloudy for one in judged], axis=0)
        cloud: float | None = float(cloudy[covered].mean())
    else:
        cloud, tells_clouds = scene.cloud_fraction, False
    return Look(
        scene=scene,
        source=source,
        scales=tuple(
            dict(zip(infos[r.href].indexes, infos[r.href].scales, strict=True)).get(r.index, 1.0)
            for r in refs
        ),
        outline=outline,
        looked=looked,
        covered=covered,
        clear=clear,
        cloud_fraction=cloud,
        cloud_measured=tells_clouds,
    )


def _outline(scene: Scene, grid: GeoBox) -> shapely.Geometry:
    """Where a scene may have pixels, in lon/lat counted on beyond 180 degrees."""
    told = unwrap(polygonal(scene.footprint))
    margin = _OUTLINE_MARGIN * float(np.sqrt(told.area))
    frame = unwrap(lonlat_footprint(grid, scene.id))
    turn = 360 * round((told.centroid.x - frame.centroid.x) / 360)
    outline = shapely.intersection(turned(frame, turn), told.buffer(margin))
    if outline.area == 0:
        raise SourceError(
            f"{scene.id}: its footprint and its raster lie at different places",
            scene=scene.id,
            cause="footprint_mismatch",
        )
    return outline


def _within(outline: shapely.Geometry, places: Places) -> _Mask:
    shapely.prepare(outline)
    middle = (outline.bounds[0] + outline.bounds[2]) / 2
    lon = places.lon - 360 * np.round((places.lon - middle) / 360)
    return np.asarray(shapely.contains_xy(outline, lon, places.lat))


def _inside(grid: GeoBox, places: Places) -> _Mask:
    rows, cols = places.on(grid)
    height, width = grid.shape.yx
    return np.asarray((rows >= 0) & (rows < height) & (cols >= 0) & (cols < width))


@dataclass(frozen=True)
class _Judged:
    """A mask at the places, [places] each."""

    bad: _Mask
    cloudy: _Mask
    known: _Mask


def _sample(mask: Mask, places: Places) -> _Judged:
    values, valid = read_sparsely(mask.href, places)
    judged = judge_mask(mask.kind, values, valid)
    return _Judged(judged.bad, judged.cloudy, judged.known)


def read_sparsely(
    href: str,
    places: Places,
    *,
    index: int | None = None,
    resampling: Resampling = Resampling.nearest,
) -> tuple[npt.NDArray[Any], _Mask]:
    """Values of a band at places, and where there are any; read reduced.

    Parameters
    ----------
    href : str
    places : Places
    index : int, optional
        Position of the band in the file, from 1; the first data band by default.
    resampling : Resampling
        How the raster is reduced.

    Raises
    ------
    SourceError
        If it cannot be read.
    """
    info = inspect_raster(href)
    at = places.on(info.geobox)
    inside = _inside(info.geobox, places)
    values, valid = np.zeros(len(places), info.dtype), np.zeros(len(places), np.bool_)
    if not inside.any():
        return values, valid
    spans = [slice(int(a[inside].min()), int(a[inside].max()) + 1) for a in at]
    window = clip_window((spans[0], spans[1]), info.geobox.shape.yx)
    assert window is not None  # there are places inside
    lengths = [span.stop - span.start for span in window]
    step = max(1, -(-max(lengths) // _SAMPLES))
    shape = (-(-lengths[0] // step), -(-lengths[1] // step))
    data, good = read_file(
        href, [index or info.indexes[0]], *window, out_shape=shape, resampling=resampling
    )  # [1, h, w] each
    row, col = (
        np.minimum(((a[inside] - span.start) * n / length).astype(np.int64), n - 1)
        for a, span, n, length in zip(at, window, shape, lengths, strict=True)
    )
    values[inside], valid[inside] = data[0][row, col], good[0][row, col]
    return values, valid
