"""Scenes from STAC or from folders of rasters, in one form.

STAC is the catalogue; a folder of rasters is read as if it were one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pystac
import shapely
import shapely.geometry
from odc.geo.geobox import GeoBox
from pystac.stac_io import DefaultStacIO
from shapely.errors import ShapelyError

from geo.errors import BandError, CatalogError, GeoError, SourceError
from geo.raster_io import BandRef, RasterInfo, inspect_raster

RASTER_SUFFIXES = frozenset({".tif", ".tiff", ".jp2", ".vrt", ".img"})


@dataclass(frozen=True, kw_only=True)
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
    """

    href: str
    bands: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One acquisition.

    Parameters
    ----------
    id : str
        STAC item id.
    time : datetime
        Aware, UTC.
    footprint : shapely geometry
        Lon/lat.
    assets : dict of str to Asset
    cloud_fraction : float or None
        As the catalogue says, 0 to 1.
    properties : dict
        The STAC properties.
    """

    id: str
    time: datetime
    footprint: shapely.Geometry
    assets: dict[str, Asset]
    cloud_fraction: float | None = None
    properties: dict[str, Any] = field(default_factory=dict)

    def band_refs(self, bands: Sequence[str] | None = None) -> tuple[BandRef, ...]:
        """Where bands lie; without names, all bands of the data asset in their order.

        Raises
        ------
        BandError
            If a band is in no asset.
        SourceError
            If an asset that must be asked for its bands cannot be opened.
        """
        found: dict[str, BandRef] = {}
        for asset in self._data_assets():
            info = None
            names = asset.bands
            if not names:
                info = inspect_raster(asset.href)
                names = info.bands
            for position, name in enumerate(names):
                index = info.indexes[position] if info else position + 1
                found.setdefault(name, BandRef(href=asset.href, index=index))
        if not found:
            raise BandError(f"scene {self.id} has no data asset; it has {', '.join(self.assets)}")
        missing = [b for b in bands or () if b not in found]
        if missing:
            raise BandError(
                f"scene {self.id} has no band {', '.join(missing)}; it has {', '.join(found)}",
                scene=self.id,
                missing=missing,
            )
        return tuple(found[b] for b in bands) if bands else tuple(found.values())

    def band_names(self) -> tuple[str, ...]:
        """Names of all data bands, in order."""
        names: dict[str, None] = {}
        for asset in self._data_assets():
            names.update(dict.fromkeys(asset.bands or inspect_raster(asset.href).bands))
        return tuple(names)

    @property
    def classification(self) -> Asset | None:
        """Scene classification in the classes of Sentinel-2 (SCL), where there is one."""
        for key, asset in self.assets.items():
            if key.lower() == "scl" or tuple(b.lower() for b in asset.bands) == ("scl",):
                return asset
        return None

    def _data_assets(self) -> Iterator[Asset]:
        classification = self.classification
        declared = [a for a in self.assets.values() if "data" in a.roles]
        for asset in declared or self.assets.values():
            if asset != classification and not {"thumbnail", "overview"} & set(asset.roles):
                yield asset


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Something in a source that is no usable scene, and why."""

    id: str
    href: str
    reason: str
    detail: str


def read_scenes(source: str) -> tuple[list[Scene], list[Refusal]]:
    """List the scenes of a source.

    Parameters
    ----------
    source : str
        Path or URL of a STAC catalogue, collection or item; or a folder with a
        ``collection.json`` or ``catalog.json``; or a folder of rasters; or one raster.

    Returns
    -------
    scenes : list of Scene
        Ordered by time and id.
    refusals : list of Refusal
        What could not be used, with reasons; one bad scene never stops the others.

    Raises
    ------
    CatalogError
        If the source as a whole cannot be read.
    """
    path = Path(source)
    remote = "://" in source
    if not remote and not path.exists():
        raise CatalogError(
            f"{source}: no such file or folder; wanted a STAC collection or item, "
            "a folder of rasters, or a raster"
        )
    if not remote and path.is_dir():
        for name in ("collection.json", "catalog.json"):
            if (path / name).exists():
                return _sorted(*_read_stac(str(path / name)))
        return _sorted(*_read_folder(path))
    if not remote and path.suffix.lower() in RASTER_SUFFIXES:
        return _sorted(*_read_rasters([path]))
    return _sorted(*_read_stac(source))


def _sorted(scenes: list[Scene], refusals: list[Refusal]) -> tuple[list[Scene], list[Refusal]]:
    return sorted(scenes, key=lambda s: (s.time, s.id)), refusals


# --- STAC ---------------------------------------------------------------------------------------


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


def _read_stac(href: str) -> tuple[list[Scene], list[Refusal]]:
    if "://" not in href:
        href = str(Path(href).resolve())
    stac_io = DefaultStacIO()
    try:
        root = stac_io.read_stac_object(href)
    except Exception as error:  # pystac raises whatever its parser meets
        raise CatalogError(
            f"{href}: not a STAC catalogue, collection or item ({_say(error)})", href=href
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
                raise CatalogError(_say(item)) from item
            scenes.append(_scene_of_item(item))
        except _BAD_ITEM as error:
            named = isinstance(item, pystac.Item) and isinstance(item.id, str) and item.id
            name = named or Path(item_href).stem
            refusals.append(Refusal(id=name, href=item_href, reason="bad_item", detail=_say(error)))
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


# --- folders of rasters -------------------------------------------------------------------------

_DAY = re.compile(r"(?<!\d)(19|20)(\d\d)[-_]?(0[1-9]|1[0-2])[-_]?(0[1-9]|[12]\d|3[01])(?!\d)")
_CLASSIFICATION = re.compile(r"(?:^|[_.-])scl(?=$|[_.-])", re.IGNORECASE)


def _read_folder(folder: Path) -> tuple[list[Scene], list[Refusal]]:
    files = sorted(
        p for p in folder.rglob("*") if p.is_file() and p.suffix.lower() in RASTER_SUFFIXES
    )
    if not files:
        raise CatalogError(
            f"{folder}: neither a collection.json nor a raster in it; wanted a STAC collection "
            f"or files ending in {', '.join(sorted(RASTER_SUFFIXES))}"
        )
    return _read_rasters(files)


def _read_rasters(files: Sequence[Path]) -> tuple[list[Scene], list[Refusal]]:
    """Each raster a scene; a classification (``_SCL``) belongs to the scene of the same day."""
    scenes: list[Scene] = []
    refusals: list[Refusal] = []
    masks = [p for p in files if _CLASSIFICATION.search(p.stem)]
    for path in files:
        if path in masks:
            continue
        try:
            info = inspect_raster(str(path.resolve()))
            scenes.append(_scene_of_raster(path, info, _mask_beside(path, masks)))
        except GeoError as error:
            reason = str(error.facts.get("cause", "unreadable"))
            refusals.append(
                Refusal(id=path.stem, href=str(path), reason=reason, detail=error.message)
            )
    return _with_unique_ids(scenes), refusals


def _mask_beside(path: Path, masks: Sequence[Path]) -> Path | None:
    day = _DAY.search(path.stem)
    for mask in masks:
        if mask.parent == path.parent:
            mask_day = _DAY.search(mask.stem)
            if (mask_day and mask_day.group()) == (day and day.group()):
                return mask
    return None


def _scene_of_raster(path: Path, info: RasterInfo, mask: Path | None) -> Scene:
    assets = {"data": Asset(href=info.href, roles=("data",))}
    if mask is not None:
        assets["scl"] = Asset(href=str(mask.resolve()), bands=("scl",))
    return Scene(
        id=path.stem,
        time=_time_of_raster(path, info),
        footprint=lonlat_footprint(info.geobox, info.href),
        assets=assets,
        properties={"gsd": abs(info.geobox.resolution.y)},
    )


def lonlat_footprint(geobox: GeoBox, href: str) -> shapely.Geometry:
    """Outline of a grid in lon/lat.

    Raises
    ------
    SourceError
        If the grid lies outside the world, for example on another planet or beyond the horizon.
    """
    try:
        geometry = geobox.footprint("EPSG:4326", buffer=0, npoints=16).geom
    except Exception as error:  # PROJ's refusals come through several libraries
        raise SourceError(
            f"{href}: its CRS cannot be brought to lon/lat ({_say(error)})",
            href=href,
            cause="unknown_crs",
        ) from error
    west, south, east, north = geometry.bounds if not geometry.is_empty else (0, 0, 0, 0)
    inside = -180.0 <= west < east <= 180.0 and -90.0 <= south < north <= 90.0
    if not inside:
        raise SourceError(
            f"{href}: bounds {west:.3g}, {south:.3g}, {east:.3g}, {north:.3g} are no place in "
            "lon/lat; wanted a georeference on Earth",
            href=href,
            cause="no_georeference",
        )
    return geometry


def _time_of_raster(path: Path, info: RasterInfo) -> datetime:
    stamp = info.tags.get("TIFFTAG_DATETIME") or info.tags.get("ACQUISITIONDATETIME")
    if stamp:
        for pattern in ("%Y:%m:%d %H:%M:%S", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d"):
            try:
                return datetime.strptime(stamp, pattern).replace(tzinfo=UTC)
            except ValueError:
                continue
    for text in (path.stem, path.parent.name):
        if match := _DAY.search(text):
            century, year, month, day = match.groups()
            try:
                return datetime(int(century + year), int(month), int(day), 12, tzinfo=UTC)
            except ValueError:
                continue
    raise SourceError(
        f"{path}: no time; wanted a date in its name (like 20230815) or a TIFF date tag",
        href=str(path),
        cause="no_time",
    )


def _with_unique_ids(scenes: list[Scene]) -> list[Scene]:
    """Files of one name in several folders keep apart by their folder's name."""
    counts: dict[str, int] = {}
    for scene in scenes:
        counts[scene.id] = counts.get(scene.id, 0) + 1
    renamed = []
    for scene in scenes:
        if counts[scene.id] > 1:
            folder = Path(scene.assets["data"].href).parent.name
            scene = Scene(**{**scene.__dict__, "id": f"{folder}/{scene.id}"})
        renamed.append(scene)
    return renamed


def _say(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return f"{text[0]}" if text else type(error).__name__
