"""From what a user says to the source of a region: an archive, an area, dates, a limit of cloud."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

import shapely

from geo.catalog.folder import RASTER_SUFFIXES
from geo.catalog.http import HttpRules
from geo.catalog.query import SceneQuery
from geo.catalog.scene import Refusal, Scene, refuse_scene
from geo.catalog.sources import answers_queries, read_scenes
from geo.errors import CatalogError, GeoError
from geo.mosaic_look import Places, look_at
from geo.mosaic_plan import MosaicRules, judge, no_scene_error, plan_mosaic
from geo.region_source import RegionSource, crop_to, raster_source


@dataclass(frozen=True, kw_only=True)
class RegionQuery:
    """What is wanted of an archive.

    Parameters
    ----------
    aoi : shapely geometry, optional
        Lon/lat, see `geo.catalog.aoi.read_aoi`.
    start, end : datetime, optional
        Aware; `end` is not in it.
    time_pattern : str, optional
        For times in the paths of rasters, see `geo.catalog.acquired.compile_pattern`.
    """

    aoi: shapely.Geometry | None = None
    start: datetime | None = None
    end: datetime | None = None
    time_pattern: str | None = None

    def __post_init__(self) -> None:
        for name, time in (("start", self.start), ("end", self.end)):
            if time is not None and time.tzinfo is None:
                raise ValueError(f"{name} is {time}; wanted a time with a zone")
        if self.start and self.end and self.start >= self.end:
            raise ValueError(
                f"the time window is empty: start {_told(self.start)} is not before "
                f"end {_told(self.end)}, which is not in it"
            )

    @property
    def dates(self) -> str:
        """The time window in words; empty without one."""
        since = f"from {_told(self.start)}" if self.start else ""
        until = f"before {_told(self.end)}" if self.end else ""
        return " and ".join(text for text in (since, until) if text)


@dataclass(frozen=True, kw_only=True)
class Region:
    """The source of a region, and what was not used for it.

    Parameters
    ----------
    source : RegionSource
    scenes : tuple of Scene
        Those that the source is made of, best first; none for a raster that no catalogue knows.
    refusals : tuple of Refusal
    """

    source: RegionSource
    scenes: tuple[Scene, ...] = ()
    refusals: tuple[Refusal, ...] = ()


def is_raster(source: str) -> bool:
    """Whether a source is one raster by its name, and no catalogue."""
    path = urlsplit(source).path if "://" in source else source
    return path.lower().endswith(tuple(RASTER_SUFFIXES))


def find_scenes(
    source: str, query: RegionQuery | None = None, *, http: HttpRules | None = None
) -> tuple[list[Scene], list[Refusal]]:
    """List the scenes of an archive that a region may be made of.

    Parameters
    ----------
    source : str
        As for `geo.catalog.sources.read_scenes`.
    query : RegionQuery, optional
    http : HttpRules, optional

    Returns
    -------
    scenes : list of Scene
        Ordered by time and id.
    refusals : list of Refusal
        What could not be read, or lies beside the dates (``outside_time_window``) or the area
        (``no_overlap``); an archive that answers queries lists none of these.

    Raises
    ------
    CatalogError
        If the source as a whole cannot be read.
    """
    query = query or RegionQuery()
    asked = SceneQuery()
    if answers_queries(source):
        asked = SceneQuery(start=query.start, end=query.end, intersects=query.aoi)
    found, refusals = read_scenes(source, asked, time_pattern=query.time_pattern, http=http)
    scenes = []
    for scene in found:
        if (query.start and scene.time < query.start) or (query.end and scene.time >= query.end):
            detail = f"taken {_told(scene.time)}; wanted {query.dates}"
            refusals.append(refuse_scene(scene, "outside_time_window", detail))
        elif query.aoi is not None and not shapely.intersects(query.aoi, scene.footprint):
            detail = "its footprint lies beside the area"
            refusals.append(refuse_scene(scene, "no_overlap", detail))
        else:
            scenes.append(scene)
    return scenes, refusals


def open_region(
    source: str,
    bands: Sequence[str] | None = None,
    *,
    query: RegionQuery | None = None,
    rules: MosaicRules | None = None,
    http: HttpRules | None = None,
) -> Region:
    """Find what a region is to be read from.

    A raster by its name is read as it is. One scene is read on its own pixels, with holes where
    its masks find clouds. Several scenes are composed (`geo.mosaic_plan.plan_mosaic`), and so is
    one if the rules ask for another grid.

    Parameters
    ----------
    source : str
        A raster, or what `geo.catalog.sources.read_scenes` takes.
    bands : sequence of str, optional
        All bands by default; of several scenes, those of the first that can be read.
    query : RegionQuery, optional
    rules : MosaicRules, optional
    http : HttpRules, optional

    Raises
    ------
    CatalogError
        If the archive cannot be read, or no scene of it can be used.
    SourceError, BandError, GridError
        If a raster given by its name, or the only scene, cannot be used.
    """
    query, rules = query or RegionQuery(), rules or MosaicRules()
    if is_raster(source):
        return Region(source=raster_source(source, bands, aoi=query.aoi))
    scenes, refusals = find_scenes(source, query, http=http)
    if not scenes and not refusals:
        where = "over the area" if query.aoi is not None else ""
        asked = " ".join(text for text in ("no scene found", query.dates, where) if text)
        raise CatalogError(
            f"{source}: {asked}; wanted one at least: try other dates, another area or source",
            refusals=[],
        )
    return region_of(scenes, bands, aoi=query.aoi, rules=rules, refusals=refusals)


def region_of(
    scenes: Sequence[Scene],
    bands: Sequence[str] | None = None,
    *,
    aoi: shapely.Geometry | None = None,
    rules: MosaicRules | None = None,
    refusals: Sequence[Refusal] = (),
) -> Region:
    """Make a region of scenes: one on its own pixels, several composed.

    Parameters
    ----------
    refusals : sequence of Refusal
        Of scenes that are out already; they come first among those of the region.

    Others and Raises as of `open_region`.
    """
    rules = rules or MosaicRules()
    if not scenes:
        raise no_scene_error(refusals)
    names = tuple(bands or _all_bands(scenes))
    if len(scenes) > 1 or rules.crs is not None or rules.gsd_m is not None:
        plan = plan_mosaic(scenes, names, aoi=aoi, rules=rules, refusals=refusals)
        by_id = {scene.id: scene for scene in scenes}
        return Region(
            source=plan.source,
            scenes=tuple(by_id[scene.id] for scene in plan.source.scenes),
            refusals=plan.refusals,
        )
    [scene] = scenes
    look = look_at(scene, names, Places.in_area(scene.footprint if aoi is None else aoi))
    if (refusal := judge(look, rules)) is not None:
        raise no_scene_error([*refusals, refusal])
    whole = look.source
    return Region(
        source=whole if aoi is None else crop_to(whole, aoi),
        scenes=(scene,),
        refusals=tuple(refusals),
    )


def _all_bands(scenes: Sequence[Scene]) -> tuple[str, ...]:
    """Bands of the first scene that tells them: one that cannot be read never stops the others."""
    for scene in scenes[:-1]:
        with suppress(GeoError):
            if names := scene.band_names():
                return names
    return scenes[-1].band_names()


def _told(time: datetime) -> str:
    """A time in UTC; a day alone at its beginning."""
    time = time.astimezone(UTC)
    at_midnight = time.replace(hour=0, minute=0, second=0, microsecond=0) == time
    return f"{time:%Y-%m-%d}" if at_midnight else f"{time:%Y-%m-%dT%H:%M:%SZ}"
