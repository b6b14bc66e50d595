"""Scenes as files whose mosaic is known, for the tests of mosaics."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from geo.catalog.asset import Asset
from geo.catalog.footprint import lonlat_footprint
from geo.catalog.scene import Scene
from geo.mosaic import MosaicSource
from geo.mosaic_plan import MosaicPlan, MosaicRules, plan_mosaic
from tests.geo import rasters

BANDS = ("red", "nir")
CLEAR, SHADOW, CLOUD = 4, 3, 9
DAY_0 = datetime(2024, 6, 1, 10, tzinfo=UTC)
GRID = rasters.grid((60, 80))
ALL = (slice(0, 60), slice(0, 80))


def write_scene(
    folder: Path,
    name: str,
    data: Any,
    geobox: GeoBox,
    *,
    days: float = 0,
    scl: Any = None,
    scl_geobox: GeoBox | None = None,
    cloud: float | None = None,
    footprint: shapely.Geometry | None = None,
    nodata: float | None = 0,
    bands: Sequence[str] = BANDS,
    offset_dn: float = 0.0,
    **profile: Any,
) -> Scene:
    """A scene of one file [C, h, w], with its classes where they are given."""
    href = rasters.write(
        folder / f"{name}.tif", np.asarray(data), geobox, nodata=nodata, bands=bands, **profile
    )
    assets = {"data": Asset(href=href, bands=tuple(bands), roles=("data",), offset_dn=offset_dn)}
    if scl is not None:
        there = scl_geobox or geobox
        classes = np.asarray(scl, np.uint8)[None]
        path = rasters.write(folder / f"{name}_scl.tif", classes, there, nodata=0)
        assets["scl"] = Asset(href=path)
    return Scene(
        id=name,
        time=DAY_0 + timedelta(days=days),
        footprint=lonlat_footprint(geobox, name) if footprint is None else footprint,
        assets=assets,
        cloud_fraction=cloud,
    )


def flat(geobox: GeoBox, value: int, dtype: str = "uint16") -> Any:
    """Two bands of one value: red, and ten times as much."""
    ones = np.ones(geobox.shape.yx, dtype)
    return np.stack([value * ones, 10 * value * ones])


def lonlat(grid: GeoBox, rows: slice, cols: slice) -> shapely.Geometry:
    """Ground of some pixels of a grid in lon/lat."""
    return lonlat_of(grid, shapely.box(cols.start, rows.start, cols.stop, rows.stop))


def lonlat_of(grid: GeoBox, polygon: shapely.Geometry) -> shapely.Geometry:
    """A polygon in pixels of a grid as lon/lat."""
    a = grid.affine
    project = Transformer.from_crs(str(grid.crs), "EPSG:4326", always_xy=True)

    def there(x: Any, y: Any) -> Any:
        return project.transform(a.a * x + a.b * y + a.c, a.d * x + a.e * y + a.f)

    return shapely.transform(shapely.segmentize(polygon, 1.0), there, interleaved=False)


def plan(scenes: Sequence[Scene], aoi: Any = None, **rules: Any) -> MosaicPlan:
    """A mosaic of scenes by rules that are told by name."""
    return plan_mosaic(scenes, BANDS, aoi=aoi, rules=MosaicRules(**rules))


def compose(source: MosaicSource) -> Any:
    """All of it, with which scene each pixel is from."""
    height, width = source.geobox.shape.yx
    return source.compose(slice(0, height), slice(0, width))


def order(source: MosaicSource) -> list[str]:
    """Ids of its scenes, best first."""
    return [scene.id for scene in source.scenes]


def reasons(refused: MosaicPlan) -> dict[str, str]:
    """Why scenes are not in it, by their ids."""
    return {refusal.id: refusal.reason for refusal in refused.refusals}


def classes(grid: GeoBox = GRID, **blocks: tuple[slice, slice]) -> Any:
    """Clear ground with blocks of other classes: ``cloud=(rows, cols)``."""
    scl = np.full(grid.shape.yx, CLEAR)
    for name, block in blocks.items():
        scl[block] = {"cloud": CLOUD, "shadow": SHADOW, "nothing": 0}[name]
    return scl
