"""Aerial scenes as the truth of a region: which tile is judged by which, each aligned once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import numpy.typing as npt
import shapely
from odc.geo.geobox import GeoBox

from geo.align import align_ground
from geo.alignment import Alignment, AlignRules
from geo.area import clip_window, project_area, window_of
from geo.catalog.scene import Refusal
from geo.errors import GeoError
from geo.ground import GroundWindow
from geo.harmonise import HarmoniseRules
from geo.raster_io import Source, source_refs
from geo.region_source import absolute_href

# Milder than for pairs: a poor likeness is for the scores to show.
RULES = AlignRules(max_cloud=0.95, harmonise=HarmoniseRules(min_agreement=0.2))
# Scenes that show nearly as much of a tile as the best one are as good: then the date decides.
_NEARLY_AS_MUCH = 0.9

Read = Callable[[slice, slice], GroundWindow]


@dataclass(frozen=True, kw_only=True)
class AerialScene:
    """An aerial image that may be the truth of some tiles.

    Parameters
    ----------
    source : Source
        In the bands of the upscaled raster.
    id : str
    footprint : shapely geometry
        Lon/lat.
    gap_days : float or None
        From the satellite image.
    """

    source: Source
    id: str
    footprint: shapely.Geometry
    gap_days: float | None = None
    time: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Reference:
    """An aerial image brought to the satellite's place and colours."""

    scene: AerialScene
    alignment: Alignment


@dataclass(frozen=True, kw_only=True)
class References:
    """The truth of a region.

    Parameters
    ----------
    used : tuple of Reference
    owners : array of int, [tiles]
        Which of them each tile is judged by; -1: none.
    refused : tuple of Refusal
        Scenes that would have been used and could not be aligned.
    """

    used: tuple[Reference, ...]
    owners: npt.NDArray[np.int64]
    refused: tuple[Refusal, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Alignable:
    """What a worker needs to align one scene; picklable."""

    scene: AerialScene
    grid: GeoBox
    read: Read


def align(task: Alignable) -> Alignment | Refusal:
    """Align one scene to the ground that it shows of the region."""
    grid, scene = task.grid, task.scene
    try:
        around = window_of(project_area(scene.footprint, grid), grid)
        area = clip_window(around, grid.shape.yx)
        if area is None:
            return _refuse(scene, "no_overlap", "it lies beside the region")
        found = align_ground(task.read, grid, scene.source, area=area, rules=RULES)
    except GeoError as error:
        return _refuse(scene, error.facts.get("cause") or "unreadable", error.message)
    if found.accepted:
        return found
    return _refuse(scene, str(found.reason), f"{found.value} against a limit of {found.limit}")


def choose_references(
    scenes: Sequence[AerialScene],
    tiles: npt.NDArray[np.object_],
    grid: GeoBox,
    read: Read,
    *,
    run: Callable[[Callable[[Alignable], Alignment | Refusal], list[Alignable]], Iterable[object]],
) -> References:
    """Align the scenes that tiles are best judged by.

    A tile goes to the scene nearest in time of those that show as much of it as any (within a
    tenth), and of equals to the first. Only scenes that would get a tile are aligned; where one
    cannot be, its tiles go to the next best.

    Parameters
    ----------
    tiles : array of shapely geometry, [n]
        Outlines in the CRS of `grid`.
    grid : GeoBox
        LR grid of the region.
    read : callable
        Rows and columns of `grid` to what the satellite shows there; picklable.
    run : callable
        Like ``map``: results in any order will not do.
    """
    scenes = [replace(scene, source=_anywhere(scene.source)) for scene in scenes]
    order = sorted(
        range(len(scenes)),
        key=lambda i: math.inf if (gap := scenes[i].gap_days) is None else gap,
    )
    shares = [_shares(scenes[i], tiles, grid) for i in order]
    aligned: dict[int, Alignment] = {}
    refused: dict[int, Refusal] = {}
    while True:
        owners = _assign(len(tiles), dict(zip(order, shares, strict=True)), refused)
        new = [i for i in dict.fromkeys(owners.tolist()) if i >= 0 and i not in aligned]
        if not new:
            break
        tasks = [Alignable(scene=scenes[i], grid=grid, read=read) for i in new]
        for i, found in zip(new, run(align, tasks), strict=True):
            if isinstance(found, Refusal):
                refused[i] = found
            else:
                assert isinstance(found, Alignment)
                aligned[i] = found
    used = sorted({i for i in owners.tolist() if i >= 0})
    place = {i: n for n, i in enumerate(used)} | {-1: -1}
    return References(
        used=tuple(Reference(scene=scenes[i], alignment=aligned[i]) for i in used),
        owners=np.array([place[i] for i in owners.tolist()], np.int64),
        refused=tuple(refused.values()),
    )


def _anywhere(source: Source) -> Source:
    """The same for workers in any folder."""
    if isinstance(source, str):
        return absolute_href(source)
    return tuple(replace(ref, href=absolute_href(ref.href)) for ref in source)


_Shares = tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]


def _shares(scene: AerialScene, tiles: npt.NDArray[np.object_], grid: GeoBox) -> _Shares:
    """Tiles that a scene shows, and how much of each."""
    try:
        shown = project_area(scene.footprint, grid)
    except GeoError:
        return np.empty(0, np.int64), np.empty(0)
    index = np.sort(shapely.STRtree(tiles).query(shown, predicate="intersects"))
    part = shapely.area(shapely.intersection(tiles[index], shown)) / shapely.area(tiles[index])
    return index[part > 0], part[part > 0]


def _assign(
    count: int, shares: dict[int, _Shares], refused: dict[int, Refusal]
) -> npt.NDArray[np.int64]:
    """Scene of each tile, -1 for none; `shares` in the order of preference."""
    best = np.zeros(count)
    left = {i: found for i, found in shares.items() if i not in refused}
    for index, part in left.values():
        np.maximum.at(best, index, part)
    owners = np.full(count, -1, np.int64)
    for i, (index, part) in left.items():
        good = index[(part >= _NEARLY_AS_MUCH * best[index]) & (owners[index] < 0)]
        owners[good] = i
    return owners


def _refuse(scene: AerialScene, reason: str, detail: str) -> Refusal:
    href = source_refs(scene.source)[0].href if not isinstance(scene.source, str) else scene.source
    return Refusal(id=scene.id, href=href, reason=reason, detail=detail.partition("\n")[0])
