"""The images of a report: what was upscaled, from what, and the truth beside it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.console import say
from flows.errors import UsageError

if TYPE_CHECKING:
    from geo.catalog.scene import Refusal, Scene
    from geo.raster_io import RasterInfo, Source
    from geo.reporting.references import AerialScene
    from geo.reporting.satellite import SatelliteView

# Scenes whose footprints share more than this part of their ground show the same place.
_SAME_PLACE = 0.1


def time_of(info: RasterInfo) -> datetime | None:
    """When the scene was taken that a raster was upscaled from."""
    stamp = info.tags.get("SKYSCALE_TIME")
    return datetime.fromisoformat(stamp) if stamp else None


def find_satellite(lr: str | None, info: RasterInfo, bands: Sequence[str]) -> SatelliteView | None:
    """What a raster was upscaled from: as told, or as its tags or the file beside it say.

    Parameters
    ----------
    lr : str or None
        Raster or STAC item.
    info : RasterInfo
        Of the upscaled raster.
    bands : sequence of str
        Wanted, in this order.

    Returns
    -------
    SatelliteView or None
        None, and said, where nothing tells it or it is gone.

    Raises
    ------
    UsageError, GeoError
        If what was told cannot be used.
    """
    if lr is not None:
        return _told(lr, info, bands)
    found = _beside(info) or _tagged(info, bands)
    if found is None:
        say("report: no LR raster given, so there is no bicubic beside the scores (--lr)")
    return found


def _told(lr: str, info: RasterInfo, bands: Sequence[str]) -> SatelliteView:
    from geo.region_query import is_raster
    from geo.region_source import raster_source
    from geo.reporting.satellite import SatelliteView

    if is_raster(lr):
        refs = bands_of_raster(lr, bands)
        return SatelliteView(
            source=raster_source(refs, bands), id=Path(lr).stem, time=time_of(info)
        )
    scene = _one_scene(lr)
    source = raster_source(scene.band_refs(bands), bands, masks=scene.masks)
    return SatelliteView(source=source, id=scene.id, time=scene.time)


def _beside(info: RasterInfo) -> SatelliteView | None:
    from geo.hrefs import is_remote, local_path
    from geo.region_sidecar import read_source
    from geo.reporting.satellite import SatelliteView

    source = read_source(info.href)
    if source is None:
        return None
    gone = [h for h in source.hrefs if not is_remote(h) and not Path(local_path(h)).exists()]
    if gone:
        say(f"report: {gone[0]}, which SR was made from, is gone; no bicubic beside the scores")
        return None
    return SatelliteView(source=source, id=info.tags.get("SKYSCALE_ITEM"), time=time_of(info))


def _tagged(info: RasterInfo, bands: Sequence[str]) -> SatelliteView | None:
    from geo.hrefs import is_remote
    from geo.region_query import is_raster
    from geo.region_source import raster_source
    from geo.reporting.satellite import SatelliteView

    lr = info.tags.get("SKYSCALE_SOURCE", "")
    if not lr or not is_raster(lr) or "," in lr:
        return None
    if not is_remote(lr) and not Path(lr).exists():
        say(f"report: {lr}, which SR was made from, is gone; no bicubic beside the scores")
        return None
    name = info.tags.get("SKYSCALE_ITEM") or Path(lr).stem
    source = raster_source(bands_of_raster(lr, bands), bands)
    return SatelliteView(source=source, id=name, time=time_of(info))


def find_references(
    source: str | None, info: RasterInfo, bands: Sequence[str], time: datetime | None
) -> tuple[list[AerialScene], list[Refusal]]:
    """Aerial scenes over the region, and those that cannot be used.

    Parameters
    ----------
    source : str or None
        Aerial raster, STAC item, collection, API or folder.
    time : datetime or None
        Of the satellite image.

    Raises
    ------
    UsageError
        If none covers the region; if several show the same place and nothing says when the
        satellite image was taken.
    """
    from geo.catalog.footprint import lonlat_footprint
    from geo.region_query import is_raster

    if source is None:
        return [], []
    region = lonlat_footprint(info.geobox, info.href)
    if is_raster(source):
        return [_of_raster(source, bands, time)], []
    return _of_catalogue(source, info, bands, time, region)


def _of_raster(source: str, bands: Sequence[str], time: datetime | None) -> AerialScene:
    from geo.catalog.footprint import lonlat_footprint
    from geo.catalog.sources import read_scenes
    from geo.raster_io import inspect_raster
    from geo.reporting.references import AerialScene

    info = inspect_raster(source)
    dated, _ = read_scenes(source)  # a day in its name or its tags
    taken = dated[0].time if dated else None
    return AerialScene(
        source=bands_of_raster(source, bands),
        id=Path(source).name,
        footprint=lonlat_footprint(info.geobox, info.href),
        time=taken,
        gap_days=_gap(taken, time),
    )


def _of_catalogue(
    source: str, info: RasterInfo, bands: Sequence[str], time: datetime | None, region: Any
) -> tuple[list[AerialScene], list[Refusal]]:
    from geo.catalog.scene import refuse_scene
    from geo.errors import GeoError
    from geo.region_query import RegionQuery, find_scenes
    from geo.reporting.references import AerialScene

    scenes, beside = find_scenes(source, RegionQuery(aoi=region))
    refused = [refusal for refusal in beside if refusal.reason != "no_overlap"]
    if not scenes:
        why = f"; refused: {refused[0].id} ({refused[0].detail})" if refused else ""
        raise UsageError(f"{source}: none of its {len(beside)} scenes covers {info.href}{why}")
    if time is None:
        _refuse_undated(scenes, source, info.href)
    found = []
    for scene in scenes:
        try:
            refs = scene.band_refs(bands)
        except GeoError as error:
            refused.append(refuse_scene(scene, "no_band", error.message))
            continue
        found.append(
            AerialScene(
                source=refs,
                id=scene.id,
                footprint=scene.footprint,
                time=scene.time,
                gap_days=_gap(scene.time, time),
            )
        )
    return found, refused


def _refuse_undated(scenes: Sequence[Scene], source: str, href: str) -> None:
    """Without the satellite's date, scenes of one place cannot be chosen from."""
    import shapely

    areas = sum(scene.footprint.area for scene in scenes)
    together = shapely.union_all([scene.footprint for scene in scenes]).area
    if areas - together > _SAME_PLACE * together and len({s.time for s in scenes}) > 1:
        listed = ", ".join(f"{s.id} ({s.time:%Y-%m-%d})" for s in scenes[:6])
        raise UsageError(
            f"{source}: {len(scenes)} scenes cover {href} ({listed}) and nothing says when that "
            "was taken; name one of them as the reference, or the dated LR scene by --lr"
        )


def _gap(taken: datetime | None, time: datetime | None) -> float | None:
    if taken is None or time is None:
        return None
    return abs((taken - time).total_seconds()) / 86400


def bands_of_raster(source: str, wanted: Sequence[str]) -> Source:
    """Bands by name where the raster has them, else all in their order."""
    from geo.raster_io import inspect_raster

    there = inspect_raster(source)
    return there.refs(wanted if set(wanted) <= set(there.bands) else None)


def _one_scene(source: str) -> Scene:
    """The one scene of a source.

    Raises
    ------
    UsageError
        If there is none, or more than one.
    """
    from geo.catalog.sources import read_scenes

    scenes, refusals = read_scenes(source)
    if len(scenes) == 1:
        return scenes[0]
    if not scenes:
        refused = f"; refused: {refusals[0].detail}" if refusals else ""
        raise UsageError(f"{source}: no scene{refused}")
    listed = ", ".join(f"{s.id} ({s.time:%Y-%m-%d})" for s in scenes[:6])
    raise UsageError(f"{source}: {len(scenes)} scenes ({listed}); name one item")
