"""Rasters that nobody catalogued, described as STAC items; and items that lie among them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import shapely

from geo.catalog.acquired import DEFAULT_PATTERN, read_sidecar, sidecars, time_of_raster
from geo.catalog.entry import Entry, Known
from geo.catalog.footprint import ground_gsd_m, lonlat_footprint, valid_footprint
from geo.catalog.query import text_of
from geo.catalog.scene import Refusal
from geo.catalog.stac import entry_of_item
from geo.errors import CatalogError, GeoError
from geo.hrefs import is_remote
from geo.raster_io import RasterInfo, inspect_raster

__all__ = [
    "RASTER_SUFFIXES",
    "is_raster_url",
    "lonlat_footprint",
    "read_folder",
    "read_raster_url",
    "read_rasters",
]

# VRT is among them so that it is listed as refused, with the reason.
RASTER_SUFFIXES = frozenset({".tif", ".tiff", ".jp2", ".vrt", ".img", ".jpg", ".jpeg", ".png"})

# Masks beside a raster by a word of their name; the keys of STAC that mean the same.
_MASK_WORDS = {
    "scl": re.compile(r"(?:^|[_.-])scl(?=$|[_.-])", re.IGNORECASE),
    "cloud_mask": re.compile(r"(?:^|[_.-])(?:cloud[_-]?mask|clouds)(?=$|[_.-])", re.IGNORECASE),
    "data_mask": re.compile(
        r"(?:^|[_.-])(?:data[_-]?mask|valid[_-]?mask)(?=$|[_.-])", re.IGNORECASE
    ),
}
_ITEM_BYTES = 16 * 2**20


def read_folder(
    folder: Path, known: Known, pattern: re.Pattern[str] | None = None
) -> Iterator[Entry]:
    """Entries of all items and rasters below a folder.

    Rasters that an item among them names belong to that item and are no scenes of their own.

    Parameters
    ----------
    folder : Path
    known : dict
        Earlier entries by path; files of the same sizes and times are not opened again.
    pattern : re.Pattern, optional
        For times in paths, see `geo.catalog.acquired.compile_pattern`.

    Raises
    ------
    CatalogError
        If there is nothing of the kind.
    """
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    rasters = [p for p in files if p.suffix.lower() in RASTER_SUFFIXES]
    items = [e for p in files if p.suffix.lower() == ".json" for e in _item_entry(p, known)]
    if not rasters and not items:
        raise CatalogError(
            f"{folder}: neither a collection.json nor a raster in it; wanted a STAC collection "
            f"or files ending in {', '.join(sorted(RASTER_SUFFIXES))}"
        )
    yield from items
    described = [item for entry in items if (item := entry.item)]
    taken = {asset["href"] for item in described for asset in item["assets"].values()}
    free = [p for p in rasters if str(p.absolute()) not in taken]
    yield from read_rasters(free, known, pattern, folder=folder)


def read_rasters(
    files: Sequence[Path],
    known: Known,
    pattern: re.Pattern[str] | None = None,
    *,
    folder: Path | None = None,
) -> Iterator[Entry]:
    """Entries of rasters, each a scene; masks beside it (``_SCL``) belong to that of their day.

    Parameters
    ----------
    files : sequence of Path
        Masks among them are no scenes, unless there is nothing else.
    known, pattern
        As for `read_folder`.
    folder : Path, optional
        Ids are paths below it; otherwise the name alone.
    """
    beside: dict[Path, list[tuple[str, Path]]] = {}
    for parent in dict.fromkeys(path.parent for path in files):
        siblings = sorted(p for p in parent.iterdir() if p.suffix.lower() in RASTER_SUFFIXES)
        beside[parent] = [(k, p) for p in siblings for k in _mask_keys(p)]
    for path in files:
        masks = beside[path.parent]
        if len(files) > 1 and any(path == mask for _, mask in masks):
            continue
        inside = path.relative_to(folder) if folder else Path(path.name)
        mine = {k: m for k, m in masks if m != path and _day(m) == _day(path)}
        yield _raster_entry(path, inside.with_suffix("").as_posix(), mine, known, pattern)


def is_raster_url(source: str) -> bool:
    """Whether a source is a URL that ends like a raster."""
    return is_remote(source) and urlsplit(source).path.lower().endswith(tuple(RASTER_SUFFIXES))


def read_raster_url(url: str, pattern: re.Pattern[str] | None = None) -> Entry:
    """Entry of one raster behind a URL; nothing is looked for beside it.

    Its footprint is its whole frame: to look for holes would fetch a good part of it.

    Parameters
    ----------
    url : str
    pattern : re.Pattern, optional
        As for `read_folder`.
    """
    path = Path(unquote(urlsplit(url).path))

    def item() -> dict[str, Any]:
        info = inspect_raster(url)
        time = time_of_raster(path, path.stem, info.tags, {}, pattern)
        footprint = lonlat_footprint(info.geobox, url)
        return _item_of_raster(info, footprint, path.stem, text_of(time), {}, {})

    return _entry(url, path.stem, "", item)


def _raster_entry(
    path: Path,
    name: str,
    masks: dict[str, Path],
    known: Known,
    pattern: re.Pattern[str] | None,
) -> Entry:
    key = str(path.absolute())
    told_by = pattern.pattern if pattern else ""
    stamp = " ".join([*map(_stamp, (path, *sidecars(path), *masks.values())), told_by])
    earlier = known.get(key)
    if earlier is not None and earlier.stamp == stamp:
        return earlier

    def item() -> dict[str, Any]:
        info = inspect_raster(key)
        sidecar = read_sidecar(path)
        time = time_of_raster(path, name, info.tags, sidecar, pattern)
        return _item_of_raster(info, valid_footprint(info), name, text_of(time), sidecar, masks)

    return _entry(key, name, stamp, item)


def _entry(key: str, name: str, stamp: str, make: Callable[[], dict[str, Any]]) -> Entry:
    try:
        return Entry.of(make(), key=key, stamp=stamp)
    except GeoError as error:
        reason = str(error.facts.get("cause", "unreadable"))
        refusal = Refusal(id=name, href=key, reason=reason, detail=error.message)
        return Entry(key=key, stamp=stamp, refusal=refusal)


def _item_of_raster(
    info: RasterInfo,
    footprint: shapely.Geometry,
    name: str,
    time: str | None,
    sidecar: dict[str, Any],
    masks: dict[str, Path],
) -> dict[str, Any]:
    """A STAC item; what a sidecar's item says (clouds, baseline) is kept."""
    gsd_m = ground_gsd_m(info.geobox)
    data: dict[str, Any] = {"href": info.href, "roles": ["data"], "gsd": gsd_m}
    if info.indexes == tuple(range(1, len(info.bands) + 1)):
        data["bands"] = [{"name": band} for band in info.bands]
    told = sidecar.get("properties")
    crs = str(info.geobox.crs)
    placed = {"proj:code": crs} if crs.startswith("EPSG:") else {"proj:wkt2": crs}
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": ["https://stac-extensions.github.io/projection/v2.0.0/schema.json"],
        "id": name,
        "geometry": json.loads(shapely.to_geojson(footprint)),
        "bbox": list(footprint.bounds),
        "properties": {
            **(told if isinstance(told, dict) else {}),
            "datetime": time,
            "gsd": gsd_m,
            **placed,
            "proj:shape": list(info.geobox.shape.yx),
            "proj:transform": list(info.geobox.affine)[:6],
        },
        "links": [{"rel": "self", "href": info.href}],
        "assets": {
            "data": data,
            **{key: {"href": str(path.absolute())} for key, path in masks.items()},
        },
    }


def _item_entry(path: Path, known: Known) -> Iterator[Entry]:
    """The entry of a JSON file if it is a STAC item with assets of its own."""
    key = str(path.absolute())
    stamp = _stamp(path)
    earlier = known.get(key)
    if earlier is not None and earlier.stamp == stamp:
        yield earlier
        return
    try:
        if path.stat().st_size > _ITEM_BYTES:
            return
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return
    if isinstance(content, dict) and content.get("type") == "Feature" and content.get("assets"):
        yield entry_of_item(content, key, stamp=stamp)


def _mask_keys(path: Path) -> list[str]:
    return [key for key, word in _MASK_WORDS.items() if word.search(path.stem)]


def _day(path: Path) -> str | None:
    match = DEFAULT_PATTERN.search(path.stem)
    return f"{match['year']}{match['month']}{match['day']}" if match else None


def _stamp(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:
        return "gone"
    return f"{status.st_size}:{status.st_mtime_ns}"
