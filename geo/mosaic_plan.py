"""Which scenes of an archive make a mosaic, in which order, and on which grid.

Order: least cloud over the area, in steps of 5 %, as the scene's masks show it there (the
catalogue's number, which is for the whole scene, only where it has no masks); then nearest in time
to `near`; then by id. Scenes of one pass thus follow each other, and a mosaic has few dates.
Where the newest sight of each place is wanted (`MosaicRules.newest`), the order is by time alone,
and a new scene changes only those pixels that it shows clear.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime

import numpy as np
import numpy.typing as npt
import shapely
from odc.geo.geobox import GeoBox
from pyproj import CRS
from pyproj.exceptions import CRSError

from geo.area import project_area, window_of
from geo.catalog.scene import Refusal, Scene, refuse_scene
from geo.errors import CatalogError, GeoError, GridError
from geo.footprints import polygonal, turned, unwrap
from geo.mosaic import MOST_SCENES, MosaicScene, MosaicSource
from geo.mosaic_balance import fit_tones
from geo.mosaic_grid import Placed, choose_lattice, grid_over, place_on, scene_of
from geo.mosaic_look import Look, Places, look_at

# Cloud cover is not known better than this, so the date decides among what is as clear.
_CLOUD_STEP = 0.05
# What an unknown cloud cover is taken for: about the mean over land.
_UNKNOWN_CLOUD = 0.4
# Scenes looked at side by side: a look at a remote one is waiting, mostly.
_ABREAST = 8
# A scene is said to have no pixels over the area if at least so many looks found none.
_FEW_PLACES = 8

# What to do where no scene is left, by the reasons for which they are out.
_REMEDIES = {
    "outside_time_window": "other dates",
    "no_overlap": "another area",
    "nodata": "another area",
    "cloud": "a higher cloud limit",
    "missing_band": "other bands",
    "unsupported_grid": "another CRS",
}


@dataclass(frozen=True, kw_only=True)
class MosaicRules:
    """How scenes are chosen and laid together.

    Parameters
    ----------
    crs : str, optional
        Of the mosaic; by default that of the scenes which show most of the area.
    gsd_m : float, optional
        Size of its pixels on the ground in metres; by default that of those scenes.
    near : datetime, optional
        Aware; scenes near to it are preferred. By default the time of the clearest scene.
    newest : bool
        Later scenes come first, however cloudy: each pixel is the last that was seen clear, as far
        as masks tell clouds. Of scenes without masks, `max_cloud` keeps the cloudy ones out.
    max_cloud : float
        Most cloud over the area, 0 to 1, of a scene that is used.
    looks : int
        Scenes beyond those that have seen every place of the area clear so many times are left
        out (``not_needed``): what they could fill is next to nothing, and opening them takes time.
    balance : bool
        Bring the colours of all scenes to those of the best one (`geo.mosaic_balance`).
    """

    crs: str | None = None
    gsd_m: float | None = None
    near: datetime | None = None
    newest: bool = False
    max_cloud: float = 1.0
    looks: int = 4
    balance: bool = False

    def __post_init__(self) -> None:
        if self.crs is not None:
            try:
                CRS(self.crs)
            except CRSError as error:
                raise ValueError(f"crs is {self.crs!r}; wanted one like EPSG:32631") from error
        if self.gsd_m is not None and not self.gsd_m > 0:
            raise ValueError(f"gsd_m is {self.gsd_m:g}; wanted more than 0")
        if self.near is not None and self.near.tzinfo is None:
            raise ValueError(f"near is {self.near}; wanted a time with a zone")
        if self.near is not None and self.newest:
            raise ValueError("got near and newest; wanted one of them")
        if not 0 <= self.max_cloud <= 1:
            raise ValueError(f"max_cloud is {self.max_cloud:g}; wanted a share from 0 to 1")
        if self.looks < 1:
            raise ValueError(f"looks is {self.looks}; wanted 1 or more")


@dataclass(frozen=True, kw_only=True)
class MosaicPlan:
    """A mosaic, and what is not in it.

    Parameters
    ----------
    source : MosaicSource
    refusals : tuple of Refusal
        Reasons: ``no_overlap``, ``cloud``, ``nodata`` (nothing of it over the area),
        ``not_needed``, ``missing_band``, ``unsupported_grid`` (bands on different grids, or out of
        reach of the mosaic's CRS), ``other_dtype``, ``other_scale``, ``doubtful_offset``,
        ``footprint_mismatch``, and the causes of a `SourceError` such as ``unreadable``.
    """

    source: MosaicSource
    refusals: tuple[Refusal, ...] = ()


def plan_mosaic(
    scenes: Sequence[Scene],
    bands: Sequence[str],
    *,
    aoi: shapely.Geometry | None = None,
    rules: MosaicRules | None = None,
    refusals: Sequence[Refusal] = (),
) -> MosaicPlan:
    """Choose scenes and a grid; opens files, reads masks reduced and no bands.

    Where the scenes that show most of the area (or those in `crs` of `gsd_m`) lie on one lattice,
    that is the mosaic's: they are read as they are, and scenes on other lattices are resampled
    onto it. Otherwise the mosaic gets a lattice of its own.

    Parameters
    ----------
    scenes : sequence of Scene
    bands : sequence of str
    aoi : shapely geometry, optional
        Lon/lat; the mosaic reaches over its bounds, and pixels that it does not touch are holes.
        By default all ground that the scenes show.
    rules : MosaicRules, optional
    refusals : sequence of Refusal
        Of scenes that are out already; they come first among those of the plan.

    Raises
    ------
    CatalogError
        If no scene is left; the refusals are among its facts.
    GridError
        If the area reaches beyond the CRS.
    """
    rules = rules or MosaicRules()
    area, touching, beside = _overlapping(scenes, aoi)
    out = [*refusals, *beside]
    ranked = sorted(touching, key=_newest)
    if not rules.newest:
        ranked.sort(key=lambda s: _key(s, s.cloud_fraction, rules.near))
    places = Places.in_area(area) if ranked else None
    looks, told = _look_around(ranked, bands, places, rules) if places else ([], [])
    out += told
    if places is None or not looks:
        raise no_scene_error(out)
    looks.sort(key=lambda look: _newest(look.scene))
    if not rules.newest:
        near = rules.near or min(looks, key=_clearest).scene.time
        looks.sort(key=lambda look: _key(look.scene, look.cloud_fraction, near))
    lattice = choose_lattice(looks, crs=rules.crs, gsd_m=rules.gsd_m)
    wanted = None if aoi is None else project_area(aoi, lattice)
    source, told = _lay_out(looks, bands, lattice, wanted)
    out += told
    if source is None:
        raise no_scene_error(out)
    if rules.balance:
        tones = fit_tones(looks, places)
        source = replace(
            source,
            scenes=tuple(replace(scene, tone=tones.get(scene.id)) for scene in source.scenes),
        )
    return MosaicPlan(source=source, refusals=tuple(out))


def _lay_out(
    looks: Sequence[Look], bands: Sequence[str], lattice: GeoBox, area: shapely.Geometry | None
) -> tuple[MosaicSource | None, list[Refusal]]:
    """Scenes on the mosaic's final grid, and those that turn out to have no place on it."""
    placed: list[Placed] = []
    refusals: list[Refusal] = []
    for look in looks:
        try:
            placed.append(place_on(look, lattice))
        except GridError as error:
            refusals.append(refuse_scene(look.scene, "unsupported_grid", error.message))
    if not placed:
        return None, refusals
    reach = [one.window for one in placed] if area is None else [window_of(area, lattice)]
    grid = grid_over(lattice, reach)
    scenes: list[MosaicScene] = []
    for one in placed:
        scene = scene_of(one, lattice, grid, area)
        if scene is None:
            detail = "its raster lies beside the area"
            refusals.append(refuse_scene(one.look.scene, "no_overlap", detail))
        elif len(scenes) == MOST_SCENES:
            detail = f"a mosaic counts {MOST_SCENES} scenes at most"
            refusals.append(refuse_scene(one.look.scene, "not_needed", detail))
        else:
            scenes.append(scene)
    if not scenes:
        return None, refusals
    source = MosaicSource(
        geobox=grid,
        bands=tuple(bands),
        dtype=looks[0].source.dtype,
        scenes=tuple(scenes),
        area=area,
    )
    return source, refusals


def no_scene_error(refusals: Sequence[Refusal]) -> CatalogError:
    """Say why nothing is left to make a region of: how many fell to what, with an example each.

    Parameters
    ----------
    refusals : sequence of Refusal
        Of every scene that there was.
    """
    if not refusals:
        return CatalogError("no scene was given; wanted one at least", refusals=[])
    fallen: dict[str, list[Refusal]] = {}
    for refusal in refusals:
        fallen.setdefault(refusal.reason, []).append(refusal)
    listed = ", ".join(
        f"{len(some)} {reason} ({some[0].id}: {some[0].detail})" for reason, some in fallen.items()
    )
    remedies = dict.fromkeys(_REMEDIES.get(reason, "sound scenes") for reason in fallen)
    return CatalogError(
        f"no scene of {len(refusals)} can be used: {listed}; "
        f"wanted one at least: try {' or '.join(remedies)}",
        refusals=list(refusals),
    )


def _overlapping(
    scenes: Sequence[Scene], aoi: shapely.Geometry | None
) -> tuple[shapely.Geometry, list[Scene], list[Refusal]]:
    """The area in lon/lat, the scenes that share ground with it, and the others."""
    if aoi is None:
        whole = [unwrap(polygonal(scene.footprint)) for scene in scenes]
        middle = whole[0].centroid.x if whole else 0.0
        beside = [turned(w, 360 * round((middle - w.centroid.x) / 360)) for w in whole]
        return shapely.union_all(beside), list(scenes), []
    area = unwrap(polygonal(aoi))
    touching, refusals = [], []
    for scene in scenes:
        ground = unwrap(polygonal(scene.footprint))
        beside = turned(ground, 360 * round((area.centroid.x - ground.centroid.x) / 360))
        if shapely.intersection(area, beside).area > 0:
            touching.append(scene)
        else:
            refusals.append(refuse_scene(scene, "no_overlap", "its footprint lies beside the area"))
    return area, touching, refusals


def _key(scene: Scene, cloud: float | None, near: datetime | None) -> tuple[float, float, str]:
    """Order of scenes, best first."""
    step = np.floor((_UNKNOWN_CLOUD if cloud is None else cloud) / _CLOUD_STEP + 1e-9)
    gap = abs((scene.time - near).total_seconds()) if near else -scene.time.timestamp()
    return float(step), gap, scene.id


def _newest(scene: Scene) -> tuple[float, str]:
    return -scene.time.timestamp(), scene.id


def _clearest(look: Look) -> tuple[float, int, float, str]:
    """Order of scenes, clearest first, and of those as clear the one that shows most."""
    step, latest, name = _key(look.scene, look.cloud_fraction, None)
    return step, -int(look.clear.sum()), latest, name


@dataclass
class _Kind:
    """Scenes whose numbers mean the same."""

    looks: list[Look] = field(default_factory=list)
    seen: npt.NDArray[np.int64] | int = 0  # times that each place was seen clear


def _look_around(
    ranked: Sequence[Scene], bands: Sequence[str], places: Places, rules: MosaicRules
) -> tuple[list[Look], list[Refusal]]:
    """Look at scenes, those that promise most first, until the area is seen often enough."""
    kinds: dict[tuple[str, tuple[float, ...]], _Kind] = {}
    refusals: list[Refusal] = []
    with ThreadPoolExecutor(_ABREAST) as pool:
        for some in _batches(ranked, _ABREAST):
            if any(np.all(kind.seen >= rules.looks) for kind in kinds.values()):
                detail = f"the area is seen clear {rules.looks} times by better scenes"
                refusals += [refuse_scene(scene, "not_needed", detail) for scene in some]
                continue
            for look in pool.map(lambda scene: _try_look(scene, bands, places), some):
                if isinstance(look, Refusal):
                    refusals.append(look)
                elif (refusal := judge(look, rules)) is not None:
                    refusals.append(refusal)
                else:
                    kind = kinds.setdefault((look.source.dtype, look.scales), _Kind())
                    kind.looks.append(look)
                    kind.seen = kind.seen + look.clear
    if not kinds:
        return [], refusals
    most = max(kinds, key=lambda k: (np.count_nonzero(kinds[k].seen), np.sum(kinds[k].seen)))
    for (dtype, scales), kind in kinds.items():
        for look in kind.looks if (dtype, scales) != most else ():
            if dtype != most[0]:
                detail = f"its pixels are {dtype}; those of most scenes are {most[0]}"
                refusals.append(refuse_scene(look.scene, "other_dtype", detail))
            else:
                detail = f"one DN stands for {scales}; in most scenes for {most[1]}"
                refusals.append(refuse_scene(look.scene, "other_scale", detail))
    return kinds[most].looks, refusals


def _try_look(scene: Scene, bands: Sequence[str], places: Places) -> Look | Refusal:
    try:
        return look_at(scene, bands, places)
    except GeoError as error:
        by_kind = {"BandError": "missing_band", "GridError": "unsupported_grid"}
        reason = error.facts.get("cause") or by_kind.get(type(error).__name__, "unreadable")
        return refuse_scene(scene, str(reason), error.message)


def judge(look: Look, rules: MosaicRules) -> Refusal | None:
    """Refuse a scene that was looked at if it is too cloudy or shows nothing of the area."""
    cloud = look.cloud_fraction
    if cloud is not None and cloud > rules.max_cloud:
        told = "over the area by its masks" if look.cloud_measured else "by its catalogue"
        detail = f"{cloud:.0%} cloud {told}; wanted {rules.max_cloud:.0%} at most"
        return refuse_scene(look.scene, "cloud", detail)
    if look.looked >= _FEW_PLACES and not look.covered.any():
        detail = f"none of {look.looked} places of the area that it should show has pixels"
        return refuse_scene(look.scene, "nodata", detail)
    return None


def _batches(scenes: Sequence[Scene], size: int) -> Iterator[Sequence[Scene]]:
    for start in range(0, len(scenes), size):
        yield scenes[start : start + size]
