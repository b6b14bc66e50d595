"""An upscaled region as a STAC item, so that it can be catalogued like any other scene.

What made it is told by STAC's own words as far as there are any: links ``derived_from`` to the
sources, and the processing extension for software and lineage. The extension for models (mlm) has
words for a model's own item, none for what a model made but such a link to that item; so model,
version and run stand in fields of ours, ``skyscale:...``.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pystac
import shapely
import shapely.geometry
from affine import Affine
from odc.geo.geobox import GeoBox

from geo.catalog.footprint import ground_gsd_m, lonlat_footprint
from geo.catalog.query import text_of
from geo.durable import write_whole
from geo.errors import UpscaleError
from geo.geozarr import crs_attributes
from geo.raster_profile import RasterProfile
from geo.region_sink import json_number

_SCHEMA = "https://stac-extensions.github.io/{}/schema.json"
_EXTENSIONS = {
    "proj": "projection/v2.0.0",
    "raster": "raster/v2.0.0",
    "eo": "eo/v2.0.0",
    "processing": "processing/v1.2.0",
    "zarr": "zarr/v1.1.0",
}
_ZARR_TYPE = f"{pystac.MediaType.VND_ZARR}; version=3"

# What holds for a product as for its source.
_CARRIED = ("constellation", "platform", "instruments", "mission", "eo:cloud_cover")

# https://github.com/stac-extensions/eo#common-band-names
_COMMON_NAME = re.compile(
    r"pan|coastal|blue|green(05)?|yellow|red(edge(071|075|078)?)?|nir(08|09)?|cirrus|swir(16|22)|"
    r"lwir(11|12)?"
)


@dataclass(frozen=True, kw_only=True)
class ItemSource:
    """A STAC item or a file that a region was made of.

    Parameters
    ----------
    href : str
        Absolute path or URL of the item; of the file where there is no item.
    time : datetime or None
        When it was taken; aware.
    title : str
    is_item : bool
    properties : mapping
        Of the item; some of them are carried over.
    """

    href: str
    time: datetime | None = None
    title: str = ""
    is_item: bool = False
    properties: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RegionModel:
    """What upscaled a region; empty where there is nothing to say.

    Parameters
    ----------
    name : str
        Its identity, as in a plan.
    uri : str
        As the user gave it, for example ``models:/skyscale-generator@champion``.
    version : str
        Of the registered model.
    run_id : str
        Run that trained it.
    """

    name: str
    uri: str = ""
    version: str = ""
    run_id: str = ""


def describe_region(
    output: Path,
    profile: RasterProfile,
    bands: Sequence[str],
    *,
    scale: int,
    sources: Sequence[ItemSource],
    model: RegionModel,
    created: datetime,
    item_id: str | None = None,
    footprint: shapely.Geometry | None = None,
    extra: Mapping[str, Any] | None = None,
) -> pystac.Item:
    """Describe an output that `write_region_item` will put its item beside.

    Parameters
    ----------
    output : Path
        A COG, or a Zarr if it ends in ``.zarr``.
    profile : RasterProfile
    bands : sequence of str
        Names.
    scale : int
        HR pixels in an LR pixel, along each axis.
    sources : sequence of ItemSource
    model : RegionModel
    created : datetime
        When the output was completed; aware.
    item_id : str, optional
        By default the output's name without its ending.
    footprint : shapely geometry, optional
        Lon/lat outline of the valid pixels; by default that of the grid.
    extra : mapping, optional
        More properties.

    Raises
    ------
    UpscaleError
        If no source has a time, which STAC wants.
    SourceError
        If the grid lies outside the world.
    """
    geobox = GeoBox((profile.height, profile.width), Affine(*profile.transform), profile.crs)
    outline = lonlat_footprint(geobox, str(output)) if footprint is None else footprint
    gsd_m = ground_gsd_m(geobox)
    first, last = _time_span(output, sources)
    item = pystac.Item(
        id=item_id or output.stem,
        geometry=json.loads(shapely.to_geojson(shapely.orient_polygons(outline))),
        bbox=lonlat_bbox(outline),
        datetime=first if first == last else None,
        start_datetime=None if first == last else first,
        end_datetime=None if first == last else last,
        properties={
            **_carried(sources),
            **(extra or {}),
            "created": text_of(created),
            "gsd": gsd_m,
            **crs_attributes(profile.crs),
            "proj:shape": [profile.height, profile.width],
            "proj:transform": list(profile.transform),
            "processing:software": {"skyscale": version("skyscale")},
            "processing:datetime": text_of(created),
            "processing:lineage": _lineage(scale, sources, model),
            "skyscale:scale": scale,
            **_model_facts(model),
        },
    )
    for source in sources:
        item.add_link(_derived_from(source))
    item.add_asset("data", _asset(item, output, profile, bands, gsd_m))
    written = json.dumps(item.to_dict(include_self_link=False, transform_hrefs=False))
    item.stac_extensions = [
        _SCHEMA.format(name) for prefix, name in _EXTENSIONS.items() if f'"{prefix}:' in written
    ]
    return item


def region_item_path(output: Path) -> Path:
    """Where the item of an output lies: beside it, with ``.json`` behind its whole name."""
    return output.with_name(output.name + ".json")


def write_region_item(item: pystac.Item, output: Path) -> Path:
    """Put an output's item beside it; an older one is replaced.

    Raises
    ------
    UpscaleError
        If the disk does not take it.
    """
    path = region_item_path(output)
    try:
        content = item.to_dict(include_self_link=False, transform_hrefs=False)
        write_whole(path, json.dumps(content, indent=2, allow_nan=False) + "\n")
    except OSError as error:
        raise UpscaleError(
            f"{path}: cannot be written ({error}); {output.name} itself is whole",
            output=str(path),
        ) from error
    return path


def lonlat_bbox(outline: shapely.Geometry) -> list[float]:
    """West, south, east, north; west is more than east across the antimeridian (RFC 7946, 5.2)."""
    west, south, east, north = outline.bounds
    parts = shapely.get_parts(outline)
    if west == -180 and east == 180 and len(parts) > 1:
        west = min(part.bounds[0] for part in parts if part.bounds[0] >= 0)
        east = max(part.bounds[2] for part in parts if part.bounds[2] <= 0)
    return [west, south, east, north]


def _time_span(output: Path, sources: Sequence[ItemSource]) -> tuple[datetime, datetime]:
    times = [source.time for source in sources if source.time is not None]
    if not times:
        raise UpscaleError(
            f"{output}: no time is known of its sources, and a STAC item needs one; give the "
            "source a date in its name (like 20230815), a TIFF date tag or a STAC item",
            output=str(output),
        )
    return min(times), max(times)


def _carried(sources: Sequence[ItemSource]) -> dict[str, Any]:
    """Properties that all sources agree on."""
    first, *others = (source.properties for source in sources)
    return {
        key: first[key]
        for key in _CARRIED
        if key in first and all(other.get(key) == first[key] for other in others)
    }


def _model_facts(model: RegionModel) -> dict[str, str]:
    facts = {
        "skyscale:model": model.name,
        "skyscale:model_uri": model.uri,
        "skyscale:model_version": model.version,
        "skyscale:run_id": model.run_id,
    }
    return {key: value for key, value in facts.items() if value}


def _lineage(scale: int, sources: Sequence[ItemSource], model: RegionModel) -> str:
    names = ", ".join(source.title or Path(source.href).name for source in sources)
    by = f"the model {model.uri or model.name}"
    return f"{names} upscaled {scale} times by {by}: details beyond the source's are inferred."


def _derived_from(source: ItemSource) -> pystac.Link:
    tiff = source.href.lower().endswith((".tif", ".tiff"))
    file_type = pystac.MediaType.GEOTIFF if tiff else None
    media_type = pystac.MediaType.GEOJSON if source.is_item else file_type
    return pystac.Link(
        "derived_from", source.href, media_type=media_type, title=source.title or None
    )


def _asset(
    item: pystac.Item, output: Path, profile: RasterProfile, bands: Sequence[str], gsd_m: float
) -> pystac.Asset:
    href = f"./{output.name}"
    described = [_band(profile, position, name) for position, name in enumerate(bands)]
    fields: dict[str, Any] = {"gsd": gsd_m, "bands": described}
    media_type = str(pystac.MediaType.COG)
    if output.suffix.lower() == ".zarr":
        # https://github.com/radiantearth/stac-best-practices/blob/main/best-practices-zarr.md
        item.add_link(pystac.Link("store", href, media_type=_ZARR_TYPE))
        media_type = f"{_ZARR_TYPE}; profile=multiscales"
        fields |= {"zarr:consolidated": True, "zarr:node_type": "group", "zarr:zarr_format": 3}
    return pystac.Asset(
        href, title="Upscaled pixels", media_type=media_type, roles=["data"], extra_fields=fields
    )


def _band(profile: RasterProfile, position: int, name: str) -> dict[str, Any]:
    band: dict[str, Any] = {"name": name, "data_type": profile.dtype}
    if _COMMON_NAME.fullmatch(name):
        band["eo:common_name"] = name
    if profile.nodata is not None:
        plain = math.isfinite(profile.nodata)
        band["nodata"] = json_number(profile.nodata) if plain else str(profile.nodata)
    # Also where they say nothing: a reader must not guess the offset of Sentinel-2's DN.
    band["raster:scale"] = profile.scales[position]
    band["raster:offset"] = profile.offsets[position]
    return band
