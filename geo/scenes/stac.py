"""Made scenes as files: GeoTIFFs, STAC items and collections, land cover as GeoJSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyproj
import rasterio
import rasterio.features
import shapely
from odc.geo.geobox import GeoBox

from geo.scenes.layout import CATEGORIES, Layout

Floats = npt.NDArray[np.float64]

COLOURS = ("red", "green", "blue")
_EXTENSIONS = ("projection/v2.0.0", "eo/v2.0.0", "raster/v2.0.0")


def write_json(path: Path, content: Any) -> None:
    """Write JSON that people can read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def write_raster(
    path: Path,
    data: npt.NDArray[Any],
    geobox: GeoBox,
    bands: Sequence[str],
    nodata: float | None = None,
) -> None:
    """Write a tiled GeoTIFF, [C, h, w]; its bytes depend on nothing but the arguments."""
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {
        "driver": "GTiff",
        "dtype": data.dtype.name,
        "count": len(data),
        "height": geobox.shape.y,
        "width": geobox.shape.x,
        "crs": str(geobox.crs),
        "transform": geobox.affine,
        "nodata": nodata,
        "tiled": True,
        "blockxsize": 256,
        "blockysize": 256,
        "compress": "deflate",
        "zlevel": 6,
        "predictor": 2,
        "interleave": "pixel",
    }
    if len(data) == 3:
        profile["photometric"] = "RGB"
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.write(data)
        dataset.descriptions = tuple(bands)


def stamp(time: datetime) -> str:
    """Time as STAC writes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def data_asset(
    href: str, dtype: str, *, nodata: int | None = None, scale: float | None = None
) -> dict[str, Any]:
    """A raster of red, green and blue."""
    bands: list[dict[str, Any]] = []
    for colour in COLOURS:
        band: dict[str, Any] = {"name": colour, "eo:common_name": colour, "data_type": dtype}
        if nodata is not None:
            band["nodata"] = nodata
        if scale is not None:
            band |= {"raster:scale": scale, "raster:offset": 0.0}
        bands.append(band)
    return {"href": href, "type": _TIFF, "bands": bands, "roles": ["data"]}


def class_asset(href: str) -> dict[str, Any]:
    """A scene classification."""
    band = {"name": "scl", "data_type": "uint8", "nodata": 0}
    return {"href": href, "type": _TIFF, "bands": [band], "roles": ["metadata"]}


_TIFF = "image/tiff; application=geotiff"


def write_item(
    folder: Path,
    *,
    collection: str,
    time: datetime,
    geobox: GeoBox,
    assets: dict[str, Any],
    properties: dict[str, Any],
) -> dict[str, Any]:
    """Write a STAC item named as its folder, with relative hrefs.

    Returns
    -------
    dict
        The item.
    """
    outline = _lonlat(geobox)
    item = {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [
            f"https://stac-extensions.github.io/{e}/schema.json" for e in _EXTENSIONS
        ],
        "id": folder.name,
        "geometry": shapely.geometry.mapping(outline),
        "bbox": list(outline.bounds),
        "properties": {
            "datetime": stamp(time),
            "gsd": abs(geobox.affine.e),
            "proj:code": str(geobox.crs),
            "proj:shape": list(geobox.shape.yx),
            "proj:transform": list(geobox.affine)[:6],
            **properties,
        },
        "links": [
            {"rel": rel, "href": "../collection.json", "type": "application/json"}
            for rel in ("root", "collection", "parent")
        ],
        "assets": assets,
        "collection": collection,
    }
    write_json(folder / f"{folder.name}.json", item)
    return item


def write_collection(
    folder: Path, *, name: str, description: str, items: list[dict[str, Any]]
) -> Path:
    """Write the STAC collection of items that lie in folders below it."""
    boxes = np.array([item["bbox"] for item in items])
    times = sorted(item["properties"]["datetime"] for item in items)
    links = [{"rel": "root", "href": "./collection.json", "type": "application/json"}]
    links += [
        {"rel": "item", "href": f"./{i['id']}/{i['id']}.json", "type": "application/geo+json"}
        for i in items
    ]
    path = folder / "collection.json"
    write_json(
        path,
        {
            "type": "Collection",
            "id": name,
            "stac_version": "1.1.0",
            "description": description,
            "links": links,
            "extent": {
                "spatial": {"bbox": [[*boxes[:, :2].min(axis=0), *boxes[:, 2:].max(axis=0)]]},
                "temporal": {"interval": [[times[0], times[-1]]]},
            },
            "license": "CC0-1.0",
        },
    )
    return path


def _world(geobox: GeoBox, cols: Floats, rows: Floats) -> tuple[Floats, Floats]:
    """World positions of positions on a grid that is north up."""
    a = geobox.affine
    return a.c + a.a * cols, a.f + a.e * rows


def _lonlat(geobox: GeoBox) -> shapely.Polygon:
    """Outline of a grid in lon/lat; its sides have points between, since they are curves there."""
    h, w = geobox.shape
    steps = np.linspace(0, 1, 9)[:-1]
    cols = np.concatenate([steps * w, np.full(8, w), w - steps * w, np.zeros(8)])
    rows = np.concatenate([np.zeros(8), steps * h, np.full(8, h), h - steps * h])
    x, y = _world(geobox, cols, rows)
    to_lonlat = pyproj.Transformer.from_crs(str(geobox.crs), "EPSG:4326", always_xy=True)
    return shapely.Polygon(np.stack(to_lonlat.transform(x, y), axis=-1)[::-1])


def write_landcover(path: Path, layout: Layout, ground: GeoBox) -> None:
    """Write land cover as labelled polygons in lon/lat that leave no gap.

    Parameters
    ----------
    path : Path
    layout : Layout
    ground : GeoBox
        Grid of the ground that the layout covers.
    """
    cells = layout.category
    patches = rasterio.features.shapes(cells, connectivity=4)
    outlines = [shapely.geometry.shape(geometry).boundary for geometry, _ in patches]
    # Neighbours must share every vertex before their borders can be smoothed together.
    faces = shapely.get_parts(shapely.polygonize([shapely.unary_union(outlines)]))
    kinds = [cells[int(p.y), int(p.x)] for p in shapely.point_on_surface(faces)]
    smooth = shapely.coverage_simplify(faces, 1.3, simplify_boundary=False)
    step = layout.cell_m / abs(ground.affine.e)
    to_lonlat = pyproj.Transformer.from_crs(str(ground.crs), "EPSG:4326", always_xy=True)

    def place(points: Floats) -> Floats:
        x, y = _world(ground, points[:, 0] * step, points[:, 1] * step)
        return np.round(np.stack(to_lonlat.transform(x, y), axis=-1), 8)

    features = [
        {
            "type": "Feature",
            "properties": {"category": CATEGORIES[kind]},
            "geometry": shapely.geometry.mapping(shapely.transform(face, place)),
        }
        for kind, face in zip(kinds, smooth, strict=True)
    ]
    write_json(path, {"type": "FeatureCollection", "features": features})
