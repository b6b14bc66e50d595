"""Scenes from rasters that nobody catalogued."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import shapely
from odc.geo.geobox import GeoBox

from geo.catalog.scene import Asset, Refusal, Scene
from geo.errors import CatalogError, GeoError, SourceError, first_line
from geo.raster_io import RasterInfo, inspect_raster

RASTER_SUFFIXES = frozenset({".tif", ".tiff", ".jp2", ".vrt", ".img"})

_DAY = re.compile(r"(?<!\d)(19|20)(\d\d)[-_]?(0[1-9]|1[0-2])[-_]?(0[1-9]|[12]\d|3[01])(?!\d)")
_CLASSIFICATION = re.compile(r"(?:^|[_.-])scl(?=$|[_.-])", re.IGNORECASE)


def read_folder(folder: Path) -> tuple[list[Scene], list[Refusal]]:
    """Scenes of all rasters below a folder."""
    files = sorted(
        p for p in folder.rglob("*") if p.is_file() and p.suffix.lower() in RASTER_SUFFIXES
    )
    if not files:
        raise CatalogError(
            f"{folder}: neither a collection.json nor a raster in it; wanted a STAC collection "
            f"or files ending in {', '.join(sorted(RASTER_SUFFIXES))}"
        )
    return read_rasters(files)


def read_rasters(files: Sequence[Path]) -> tuple[list[Scene], list[Refusal]]:
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
            f"{href}: its CRS cannot be brought to lon/lat ({first_line(error)})",
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
