"""STAC items: hrefs made absolute, and items as scenes."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import shapely
import shapely.geometry
from shapely.errors import ShapelyError

from geo.catalog import sentinel2
from geo.catalog.antimeridian import healed
from geo.catalog.asset import Asset, is_raster, is_rendering, mask_kind, plain_key, useful
from geo.catalog.entry import Entry, refused
from geo.catalog.query import parse_time
from geo.catalog.scene import Scene
from geo.errors import CatalogError, GeoError, SourceError, first_line
from geo.hrefs import is_web, resolve_href

# What a malformed item makes shapely, datetime and plain indexing raise.
BAD_ITEM = (
    GeoError,
    ShapelyError,
    ArithmeticError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
)

_NAIP_BANDS = ("red", "green", "blue", "nir")
_COMMON_NAMES = frozenset({"pan", "lwir", "gray"} | sentinel2.NAMES)
_RESOLUTION = re.compile(r"_(\d+)m(?:\.|$)", re.IGNORECASE)


def entry_of_item(item: Any, key: str, *, base: str | None = None, stamp: str = "") -> Entry:
    """Entry of a parsed document that should be an item.

    Parameters
    ----------
    item : Any
        Parsed JSON.
    key : str
        Where it stands.
    base : str, optional
        What its hrefs are relative to; `key` by default.
    stamp : str
        By default the digest of the content.
    """
    try:
        if not (isinstance(item, dict) and item.get("type") == "Feature"):
            kind = item.get("type") if isinstance(item, dict) else item
            raise CatalogError(f"its type is {reprlib.repr(kind)}; wanted a STAC item (Feature)")
        absolute = absolute_item(item, base or key)
        scene_of_item(absolute)
    except BAD_ITEM as error:
        name = item.get("id") if isinstance(item, dict) else None
        return refused(
            key, name if isinstance(name, str) and name else _stem(key), error, stamp=stamp
        )
    return Entry.of(absolute, key=key, stamp=stamp)


def absolute_item(item: Mapping[str, Any], base: str) -> dict[str, Any]:
    """An item with absolute hrefs of its assets and no link but to itself.

    Raises
    ------
    SourceError
        If a data or mask asset names what may not be opened; other such assets are left out.
    """
    assets = {}
    for key, asset in _assets_of(item).items():
        try:
            assets[key] = {**asset, "href": resolve_href(asset["href"], base)}
        except SourceError:
            parsed = _Assets(item).parse(key, asset)
            if is_raster(parsed) or mask_kind(key, parsed) is not None:
                raise
    return {**item, "assets": assets, "links": [{"rel": "self", "href": base}]}


def base_of(item: Any, document: str) -> str:
    """What the hrefs of an item in a list are relative to: its own place, or the list's."""
    links = item.get("links") if isinstance(item, dict) else None
    for link in links if isinstance(links, list) else ():
        if isinstance(link, dict) and link.get("rel") == "self" and is_web(str(link.get("href"))):
            return str(link["href"])
    return document


def scene_of_item(item: Mapping[str, Any]) -> Scene:
    """A scene from a STAC item with absolute hrefs.

    Raises
    ------
    CatalogError
        If something is missing; other errors of `BAD_ITEM` where something is malformed.
    """
    name = item.get("id")
    if not (isinstance(name, str) and name):
        raise CatalogError(f"an item's id is {name!r}; wanted a name")
    if not name.isprintable():
        raise CatalogError(f"an item's id is {name!r}; wanted printable characters")
    if item.get("geometry") is None:
        raise CatalogError(f"item {name} has no geometry")
    try:
        outline = shapely.force_2d(shapely.geometry.shape(item["geometry"]))
        footprint = shapely.make_valid(healed(outline))
    except BAD_ITEM as error:
        raise CatalogError(
            f"item {name} has a geometry that is no GeoJSON ({first_line(error)})"
        ) from error
    if footprint.is_empty:
        raise CatalogError(f"item {name} has an empty geometry")
    properties = _object(item.get("properties"), f"properties of item {name}")
    parser = _Assets(item)
    assets = {key: parser.parse(key, asset) for key, asset in _assets_of(item).items()}
    if not assets:
        raise CatalogError(f"item {name} has no assets")
    return Scene(
        id=name,
        time=_time_of(name, properties),
        footprint=footprint,
        assets=useful(assets),
        cloud_fraction=_cloud_of(name, properties),
        properties=properties,
    )


def _time_of(name: str, properties: Mapping[str, Any]) -> datetime:
    if properties.get("datetime") is not None:
        time = parse_time(properties["datetime"])
        if time is None:
            raise CatalogError(
                f"item {name} has the time {reprlib.repr(properties['datetime'])}; "
                "wanted one like 2023-08-15T10:00:00Z"
            )
        return time
    start, end = (parse_time(properties.get(f"{k}_datetime")) for k in ("start", "end"))
    if start is None or end is None:
        raise CatalogError(
            f"item {name} has no time; wanted a datetime, or start_datetime and end_datetime"
        )
    return start + (end - start) / 2


def _cloud_of(name: str, properties: Mapping[str, Any]) -> float | None:
    """Share of clouds; what some publishers write for unknown, -1 or NaN, is unknown."""
    percent = properties.get("eo:cloud_cover")
    if percent is None:
        return None
    try:
        cloud = float(percent) / 100
    except (TypeError, ValueError) as error:
        raise CatalogError(
            f"item {name} has the cloud cover {reprlib.repr(percent)}; wanted a percentage"
        ) from error
    return min(cloud, 1.0) if cloud >= 0 else None


def _assets_of(item: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Assets of an item, each an object with an href."""
    assets = _object(item.get("assets") or {}, "assets")
    for key, asset in assets.items():
        href = _object(asset, f"asset {key}").get("href")
        if not isinstance(href, str):
            raise CatalogError(f"asset {key} has the href {reprlib.repr(href)}; wanted text")
    return assets


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise CatalogError(f"{what}: got {reprlib.repr(value)}; wanted a JSON object")
    return dict(value)


class _Assets:
    """Reads the assets of one item; what holds for all of them is looked up once."""

    def __init__(self, item: Mapping[str, Any]) -> None:
        sentinel = sentinel2.is_sentinel2(item)
        self._offset = sentinel2.OffsetEvidence.of(item) if sentinel else None
        self._naip = "naip" in str(item.get("collection", "")).lower()

    def parse(self, key: str, asset: Mapping[str, Any]) -> Asset:
        parsed = Asset(
            href=asset["href"],
            bands=self._band_names(plain_key(key), asset),
            roles=tuple(str(role) for role in asset.get("roles") or ()),
            title=str(asset.get("title") or ""),
            media_type=str(asset.get("type") or ""),
            gsd_m=_gsd_of(key, asset),
        )
        reflectance = not sentinel2.NAMES.isdisjoint(parsed.bands)
        if self._offset is None or not reflectance or is_rendering(key, parsed):
            return parsed
        offset, evidence = self._offset.offset(asset)
        return replace(parsed, offset_dn=offset, offset_evidence=evidence)

    def _band_names(self, plain: str, asset: Mapping[str, Any]) -> tuple[str, ...]:
        """Names by position; what the catalogue does not say is known for a few publishers."""
        sentinel = self._offset is not None
        described = asset.get("bands") or asset.get("eo:bands") or []
        names = []
        for i, band in enumerate(described, 1):
            common = band.get("eo:common_name") or band.get("common_name")
            # Sentinel-2's three red edges and two NIRs share common names; its own do not.
            hints = (band.get("name"), plain if len(described) == 1 else None, common)
            own = sentinel2.band_name(*hints) if sentinel else None
            names.append(str(own or common or band.get("name") or f"band{i}"))
        if names:
            return tuple(names)
        if sentinel and (own := sentinel2.band_name(plain)):
            return (own,)
        if plain in _COMMON_NAMES:
            return (plain,)
        if self._naip and ("rgbir" in plain or plain == "image"):
            return _NAIP_BANDS
        if self._naip and plain.endswith(("_rgb", "_rgb_deprecated")):
            return _NAIP_BANDS[:3]
        return ()


def _gsd_of(key: str, asset: Mapping[str, Any]) -> float | None:
    """Pixel size in metres: stated, of its bands, or in the name (``B04_20m``)."""
    for place in (asset, *(asset.get("raster:bands") or ()), *(asset.get("bands") or ())):
        for name in ("gsd", "spatial_resolution", "raster:spatial_resolution"):
            value = place.get(name)
            if isinstance(value, int | float) and value > 0:
                return float(value)
    for text in (str(asset.get("href", "")).rsplit("/", 1)[-1], key):
        if match := _RESOLUTION.search(text):
            return float(match.group(1))
    return None


def _stem(key: str) -> str:
    return re.sub(r"\.[A-Za-z0-9]+$", "", key.rstrip("/").rsplit("/", 1)[-1]) or key
