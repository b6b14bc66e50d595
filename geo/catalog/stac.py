"""Scenes from STAC catalogues, collections and items."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pystac
import shapely
import shapely.geometry
from pystac.stac_io import DefaultStacIO
from shapely.errors import ShapelyError

from geo.catalog.scene import Asset, Refusal, Scene
from geo.errors import CatalogError, GeoError, first_line

# What a malformed item makes pystac, shapely and datetime raise.
_BAD_ITEM = (
    GeoError,
    ShapelyError,
    ArithmeticError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
)


def read_stac(href: str) -> tuple[list[Scene], list[Refusal]]:
    """Scenes of a catalogue, a collection or an item, by path or URL."""
    if "://" not in href:
        href = str(Path(href).resolve())
    stac_io = DefaultStacIO()
    try:
        root = stac_io.read_stac_object(href)
    except Exception as error:  # pystac raises whatever its parser meets
        raise CatalogError(
            f"{href}: not a STAC catalogue, collection or item ({first_line(error)})", href=href
        ) from error
    if isinstance(root, pystac.Item):
        items: Iterable[tuple[str, pystac.Item | Exception]] = [(href, root)]
    elif isinstance(root, pystac.Catalog):
        items = _walk(root, stac_io)
    else:
        raise CatalogError(f"{href}: a {type(root).__name__}; wanted a catalogue or an item")
    scenes: list[Scene] = []
    refusals: list[Refusal] = []
    for item_href, item in items:
        try:
            if isinstance(item, Exception):
                raise CatalogError(first_line(item)) from item
            scenes.append(_scene_of_item(item))
        except _BAD_ITEM as error:
            named = isinstance(item, pystac.Item) and isinstance(item.id, str) and item.id
            name = named or Path(item_href).stem
            refusals.append(
                Refusal(id=name, href=item_href, reason="bad_item", detail=first_line(error))
            )
    return scenes, refusals


def _walk(
    catalog: pystac.Catalog, stac_io: DefaultStacIO
) -> Iterator[tuple[str, pystac.Item | Exception]]:
    """Items below a catalogue; a link that cannot be followed is yielded as its error."""
    for link in catalog.links:
        if link.rel not in ("item", "child"):
            continue
        href = link.get_absolute_href() or str(link.target)
        try:
            target = stac_io.read_stac_object(href)
        except Exception as error:  # one broken item must not stop the others
            yield href, error
            continue
        if isinstance(target, pystac.Item):
            yield href, target
        elif isinstance(target, pystac.Catalog):
            yield from _walk(target, stac_io)


def _scene_of_item(item: pystac.Item) -> Scene:
    if not (isinstance(item.id, str) and item.id):
        raise CatalogError(f"an item's id is {item.id!r}; wanted a name")
    if item.geometry is None:
        raise CatalogError(f"item {item.id} has no geometry")
    footprint = shapely.make_valid(shapely.geometry.shape(item.geometry))
    if footprint.is_empty:
        raise CatalogError(f"item {item.id} has an empty geometry")
    assets = {key: _asset_of(asset) for key, asset in item.assets.items()}
    if not assets:
        raise CatalogError(f"item {item.id} has no assets")
    cloud_percent = item.properties.get("eo:cloud_cover")
    return Scene(
        id=item.id,
        time=_time_of(item),
        footprint=footprint,
        assets=assets,
        cloud_fraction=None if cloud_percent is None else float(cloud_percent) / 100,
        properties=dict(item.properties),
    )


def _time_of(item: pystac.Item) -> datetime:
    if item.datetime is not None:
        time = item.datetime
    else:
        start, end = item.common_metadata.start_datetime, item.common_metadata.end_datetime
        if start is None or end is None:
            raise CatalogError(f"item {item.id} has no time")
        time = start + (end - start) / 2
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)


def _asset_of(asset: pystac.Asset) -> Asset:
    extra = asset.extra_fields
    described = extra.get("bands") or extra.get("eo:bands") or []
    names = tuple(
        str(b.get("eo:common_name") or b.get("common_name") or b.get("name") or f"band{i}")
        for i, b in enumerate(described, 1)
    )
    return Asset(
        href=asset.get_absolute_href() or asset.href,
        bands=names,
        roles=tuple(asset.roles or ()),
    )
