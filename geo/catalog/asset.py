"""One file of a scene, and what it is good for: bands, a mask, or only a picture to look at.

Publishers name their assets in many ways (``red``, ``B04``, ``B04_20m``, ``red-jp2``), publish one
band several times (resolutions, formats, hosts), and put renderings for the eye beside the data.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal
from urllib.parse import urlsplit

from geo.hrefs import is_remote

MaskKind = Literal["scl", "cloud", "data"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Asset:
    """One file of a scene.

    Parameters
    ----------
    href : str
        Absolute path or URL.
    bands : tuple of str
        Names by position in the file; common names (``red``) where the catalogue gives them.
        Empty where it says nothing: then the file is asked.
    roles : tuple of str
    title : str
    media_type : str
    gsd_m : float or None
        Pixel size on the ground, as far as the catalogue says.
    offset_dn : float
        To be added to its DN (see `geo.catalog.sentinel2`).
    offset_evidence : str
        Where that offset was read.
    """

    href: str
    bands: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    title: str = ""
    media_type: str = ""
    gsd_m: float | None = None
    offset_dn: float = 0.0
    offset_evidence: str = ""


@dataclass(frozen=True, kw_only=True)
class Mask:
    """A raster that tells good pixels of a scene from bad ones, on any grid.

    Parameters
    ----------
    href : str
    kind : {"scl", "cloud", "data"}
        ``scl``: classes of Sentinel-2's scene classification. ``cloud``: not 0 is cloud or its
        shadow. ``data``: 0 is not valid.
    """

    href: str
    kind: MaskKind


# Keys and file names are compared without resolution, format and separators: "SCL_20m" is "scl".
_DECORATION = re.compile(r"[-_.](?:\d+m|jp2|tif|tiff|cog)$")
_CLOUD_KEYS = frozenset(
    {"cloud_mask", "cloudmask", "clouds", "cloud_shadow", "cloudshadow", "cloud_shadow_mask"}
)
_DATA_KEYS = frozenset({"data_mask", "datamask", "valid_mask", "validmask"})
_RENDERED_KEYS = frozenset({"visual", "tci", "true_color", "truecolor", "rgb"})
_PREVIEW_KEYS = frozenset({"thumbnail", "preview", "overview", "rendered_preview", "quicklook"})
_PREVIEW_ROLES = frozenset({"thumbnail", "overview", "preview", "tiles", "metadata", "graphic"})
_NO_RASTER = frozenset(
    {".json", ".geojson", ".xml", ".txt", ".html", ".pdf", ".csv", ".zip", ".safe", ".yaml", ".kml"}
)
_RASTER_TYPES = ("image/", "application/x-geotiff", "application/geotiff")


def mask_kind(key: str, asset: Asset) -> MaskKind | None:
    """What kind of mask an asset is, by its key, bands, role or title; None if it is none."""
    plain = plain_key(key)
    if plain == "scl" or tuple(b.lower() for b in asset.bands) == ("scl",):
        return "scl"
    if "scene classification" in asset.title.lower() and "scl" in asset.href.lower():
        return "scl"
    if plain in _DATA_KEYS or "data-mask" in asset.roles:
        return "data"
    if plain in _CLOUD_KEYS or {"cloud", "cloud-shadow"} & set(asset.roles):
        # Probabilities of a cloud (Sentinel-2's CLD) are above 0 on clear ground as well.
        probability = "probabilit" in asset.title.lower() or "cld" in asset.href.lower()
        return None if probability else "cloud"
    return None


def masks_of(assets: Mapping[str, Asset]) -> tuple[Mask, ...]:
    """Masks of a scene; of one mask in several files the best one."""
    best: dict[tuple[str, str], tuple[tuple[object, ...], Mask]] = {}
    for key, asset in assets.items():
        kind = mask_kind(key, asset)
        if kind is None:
            continue
        group = (kind, "shadow" if "shadow" in f"{plain_key(key)} {asset.roles}" else "")
        ranked = (rank(key, asset), Mask(href=asset.href, kind=kind))
        if group not in best or ranked[0] < best[group][0]:
            best[group] = ranked
    return tuple(mask for _, mask in best.values())


def data_assets(assets: Mapping[str, Asset]) -> Iterator[tuple[str, Asset]]:
    """Assets that hold a scene's own pixels, the best first.

    Renderings (8 bits for the eye) count only where there is nothing else, and files of unknown
    content (angles, water vapour) only where no file has bands with names.
    """
    rasters = {
        key: asset
        for key, asset in assets.items()
        if is_raster(asset)
        and mask_kind(key, asset) is None
        and plain_key(key) not in _PREVIEW_KEYS
        and not _PREVIEW_ROLES & set(asset.roles)
        and not {"cloud", "snow-ice", "angles"} & set(asset.roles)
    }
    declared = {k: a for k, a in rasters.items() if {"data", "reflectance"} & set(a.roles)}
    chosen = declared or rasters
    true = {k: a for k, a in chosen.items() if not is_rendering(k, a)}
    chosen = true or chosen
    named = {k: a for k, a in chosen.items() if a.bands}
    yield from sorted((named or chosen).items(), key=lambda pair: rank(*pair))


def useful(assets: Mapping[str, Asset]) -> dict[str, Asset]:
    """Assets that a scene takes bands or masks from; all of them where it takes nothing.

    Publishers list dozens; a catalogue in memory needs none of the others.
    """
    bands: set[str] = set()
    kept = set()
    for key, asset in data_assets(assets):
        if not asset.bands or not bands.issuperset(asset.bands):
            kept.add(key)
            bands.update(asset.bands)
    masks = {mask.href for mask in masks_of(assets)}
    kept |= {k for k, a in assets.items() if a.href in masks and mask_kind(k, a)} if kept else set()
    return {key: asset for key, asset in assets.items() if key in kept} or dict(assets)


def rank(key: str, asset: Asset) -> tuple[object, ...]:
    """Order among files of one band: readable, finest, more bands, GeoTIFF, web, key."""
    path = urlsplit(asset.href).path.lower()
    readable = is_remote(asset.href) or "://" not in asset.href
    tiff = path.endswith((".tif", ".tiff")) or "tiff" in asset.media_type
    deprecated = "deprecated" in key.lower()
    return (
        not readable or path.endswith(".vrt"),
        asset.gsd_m if asset.gsd_m is not None else float("inf"),
        deprecated,
        -len(asset.bands),
        not tiff,
        asset.href.startswith("s3://"),  # may need an account
        key,
    )


def is_raster(asset: Asset) -> bool:
    """Whether an asset may be a raster, by its media type or else its ending."""
    if asset.media_type:
        return asset.media_type.startswith(_RASTER_TYPES) or "geotiff" in asset.media_type
    ending = re.search(r"\.[a-z0-9]+$", urlsplit(asset.href).path.lower())
    return not (ending and ending.group() in _NO_RASTER)


@lru_cache(4096)
def plain_key(key: str) -> str:
    """Key without what only tells resolution and format: ``B04_20m`` and ``b04-jp2`` are b04."""
    plain = key.lower()
    while (shorter := _DECORATION.sub("", plain)) != plain:
        plain = shorter
    return plain.replace("-", "_")


def is_rendering(key: str, asset: Asset) -> bool:
    """Whether an asset is a rendering of the bands in 8 bits (true colour)."""
    return plain_key(key) in _RENDERED_KEYS or "visual" in asset.roles
