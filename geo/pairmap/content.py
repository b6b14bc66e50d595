"""What a map of pairs shows: footprints, chips kept and refused, shifts, gaps in days."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import shapely
from pyproj import Transformer

from geo.catalog.scene import Scene
from geo.match import Candidate
from geo.pairstore.rows import scene_ids

ACCEPTED, PLANNED = "accepted", "planned"
MOST_CHIPS = 50_000
MOST_SCENES = 1_000  # footprints of each side
MOST_REFUSALS = 300
_CHIP_COLUMNS = (
    *("satellite_id", "aerial_id", "kind", "reason", "value", "limit", "crs", "row", "col"),
    *("left", "bottom", "right", "top", "resolution_x", "resolution_y", "dy_px", "dx_px"),
)
COLUMNS = (*_CHIP_COLUMNS, "detail", "reliability", "residual_px", "similarity", "shift_origin")

_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Outline:
    """A scene on the map.

    Parameters
    ----------
    id : str
    side : {"satellite", "aerial"}
    time : datetime
    footprint : shapely geometry
        Lon/lat.
    """

    id: str
    side: str
    time: datetime
    footprint: shapely.Geometry


@dataclass(kw_only=True)
class PairEntry:
    """A scene pair on the map, or a scene that is cut alone.

    Parameters
    ----------
    satellite, aerial : str
        One of them is empty for a scene alone.
    gap_days : float or None
    times : tuple of datetime
        Satellite, aerial.
    ground : shapely geometry
        Common ground that is wanted, lon/lat.
    state : {"paired", "refused", "planned"}
    reason, value, limit, detail
        Of a refused one.
    dy_px, dx_px, reliability
        As registered.
    resolution_m : float or None
        Metres of a satellite pixel, where the CRS counts metres.
    chips : Counter
        ``accepted``, ``planned`` and each reason of refusal.
    """

    satellite: str
    aerial: str
    gap_days: float | None
    times: tuple[datetime, datetime]
    ground: shapely.Geometry
    state: str = PLANNED
    reason: str | None = None
    value: float | None = None
    limit: float | None = None
    detail: str = ""
    dy_px: float | None = None
    dx_px: float | None = None
    reliability: float | None = None
    resolution_m: float | None = None
    chips: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, kw_only=True)
class Chips:
    """Chips on the map, one at each place of the arrays.

    Parameters
    ----------
    pair : array of int [n]
        Which scene pair.
    corners : array [n, 4, 2]
        Lon, lat; from the upper left clockwise.
    code : array of int [n]
        Position in `names`.
    names : tuple of str
        ``accepted``, ``planned`` and the reasons of refusal.
    value, limit : array [n]
        Why a chip was refused; NaN where there is no number.
    shift_yx : array [n, 2]
        Satellite pixels, NaN where unknown.
    stride : int
        Each chip stands for ``stride * stride`` where there are too many to draw.
    """

    pair: npt.NDArray[np.int_]
    corners: _Floats
    code: npt.NDArray[np.int_]
    names: tuple[str, ...]
    value: _Floats
    limit: _Floats
    shift_yx: _Floats
    stride: int = 1

    def __len__(self) -> int:
        return len(self.pair)

    @property
    def covered(self) -> npt.NDArray[np.bool_]:
        """Refused chips at places where another scene pair kept one: drawn small, upon it."""
        if ACCEPTED not in self.names:
            return np.zeros(len(self), dtype=np.bool_)
        kept = self.code == self.names.index(ACCEPTED)
        places = np.rint(self.corners.mean(axis=1) * 1e6).view(np.complex128)[:, 0]
        return np.asarray(~kept & np.isin(places, places[kept]))


@dataclass(frozen=True, kw_only=True)
class PairMap:
    """All that a map shows.

    Parameters
    ----------
    title : str
    outlines : list of Outline
    pairs : list of PairEntry
        Best match first.
    chips : Chips
    refusals : list of dict
        Scenes and scene pairs that never were candidates: ``satellite``, ``aerial``, ``reason``,
        ``value``, ``limit``, ``detail``.
    totals : dict of str to int
        ``chips``, ``outlines`` and ``refusals`` before anything was left out.
    alone : bool
        Scenes are cut alone: what is kept are chips, not pairs.
    """

    title: str
    outlines: Sequence[Outline]
    pairs: Sequence[PairEntry]
    chips: Chips
    refusals: Sequence[Mapping[str, Any]]
    totals: Mapping[str, int]
    alone: bool = False


def map_of_rows(
    title: str,
    scenes: Mapping[str, Sequence[Scene]],
    candidates: Sequence[Candidate],
    rows: pa.Table,
    alone: Sequence[PairEntry] = (),
) -> PairMap:
    """Map of what a store says about scene pairs.

    Parameters
    ----------
    title : str
    scenes : mapping
        ``satellite`` and ``aerial`` scenes.
    candidates : sequence of Candidate
        The scene pairs to show; rows about others are left out.
    rows : pyarrow table
        Rows of the store of all kinds, with `COLUMNS`.
    alone : sequence of PairEntry
        Scenes that were cut alone, instead of candidates; see `lone_entry`.
    """
    entries = [*alone] or _entries(candidates)
    places = {(e.satellite, e.aerial): i for i, e in enumerate(entries)}
    whole = rows.filter(pc.is_null(rows["row"]))
    refusals = []
    for row in whole.to_pylist():
        index = places.get((row["satellite_id"], row["aerial_id"]))
        if index is None:
            refusals.append(
                {
                    "satellite": row["satellite_id"] or "",
                    "aerial": row["aerial_id"] or "",
                    **{k: row[k] for k in ("reason", "value", "limit", "detail")},
                }
            )
        else:
            _decide(entries[index], row)
    refused = [r for r in refusals if r["reason"] is not None]
    chips = _chips_of(rows.filter(pc.is_valid(rows["row"])), entries, places)
    return _bounded(title, scenes, entries, chips, refused, alone=bool(alone))


def map_of_plan(
    title: str,
    scenes: Mapping[str, Sequence[Scene]],
    candidates: Sequence[Candidate],
    corners: Sequence[_Floats],
    refusals: Sequence[Mapping[str, Any]] = (),
    alone: Sequence[PairEntry] = (),
) -> PairMap:
    """Map of what would be paired, or cut alone.

    Parameters
    ----------
    corners : sequence of array [n, 4, 2]
        Chips of each candidate, or scene alone, lon/lat.
    """
    entries = [*alone] or _entries(candidates)
    for entry, some in zip(entries, corners, strict=True):
        entry.chips[PLANNED] = len(some)
    every = np.concatenate([*corners, np.empty((0, 4, 2))])
    stride = _stride(len(every))
    owner = np.repeat(np.arange(len(corners)), [len(c) for c in corners])
    if stride > 1:
        keep = np.zeros(len(every), dtype=np.bool_)
        keep[:: stride**2] = True
        every, owner = every[keep], owner[keep]
    nothing = np.full(len(every), np.nan)
    chips = Chips(
        pair=owner,
        corners=every,
        code=np.zeros(len(every), dtype=np.int_),
        names=(PLANNED,),
        value=nothing,
        limit=nothing,
        shift_yx=np.full((len(every), 2), np.nan),
        stride=stride,
    )
    return _bounded(title, scenes, entries, chips, refusals, alone=bool(alone))


def lone_entry(scene: Scene, side: str, ground: shapely.Geometry) -> PairEntry:
    """Entry of a scene that is cut alone; its side is ``lr`` or ``hr``."""
    satellite, aerial = scene_ids(side, scene.id)
    return PairEntry(
        satellite=satellite,
        aerial=aerial,
        gap_days=None,
        times=(scene.time, scene.time),
        ground=ground,
    )


def _entries(candidates: Sequence[Candidate]) -> list[PairEntry]:
    return [
        PairEntry(
            satellite=c.satellite.id,
            aerial=c.aerial.id,
            gap_days=c.gap_days,
            times=(c.satellite.time, c.aerial.time),
            ground=c.ground,
        )
        for c in candidates
    ]


def _decide(entry: PairEntry, row: Mapping[str, Any]) -> None:
    """Take over what the row of two scenes says."""
    entry.state = "paired" if row["kind"] == "scenes" else "refused"
    for name in ("reason", "value", "limit", "dy_px", "dx_px", "reliability"):
        setattr(entry, name, row[name])
    entry.detail = row["detail"] or ""
    if entry.state == "refused":  # a shift that nobody believed is none
        entry.dy_px = entry.dx_px = None


def _chips_of(
    rows: pa.Table, entries: Sequence[PairEntry], places: Mapping[tuple[str, str], int]
) -> Chips:
    """Chips of the rows that belong to scene pairs on the map."""
    table = rows.select(list(_CHIP_COLUMNS))
    keys = zip(table["satellite_id"].to_pylist(), table["aerial_id"].to_pylist(), strict=True)
    owner = np.array([places.get(key, -1) for key in keys], dtype=np.int_)
    table, owner = table.filter(pa.array(owner >= 0)), owner[owner >= 0]
    reasons = [r or ACCEPTED for r in table["reason"].to_pylist()]
    for (index, reason), count in Counter(zip(owner.tolist(), reasons, strict=True)).items():
        entries[index].chips[reason] = count
    stride = _stride(len(owner))
    if stride > 1:
        row, col = _column(table, "row"), _column(table, "col")
        keep = (row % stride == 0) & (col % stride == 0)
        table, owner = table.filter(pa.array(keep)), owner[keep]
        reasons = [r for r, kept in zip(reasons, keep, strict=True) if kept]
    names = (ACCEPTED, *sorted(set(reasons) - {ACCEPTED}))
    numbers = {name: i for i, name in enumerate(names)}
    _note_resolution(table, owner, entries)
    return Chips(
        pair=owner,
        corners=_corners(table),
        code=np.array([numbers[r] for r in reasons], dtype=np.int_),
        names=names,
        value=_column(table, "value"),
        limit=_column(table, "limit"),
        shift_yx=np.column_stack([_column(table, "dy_px"), _column(table, "dx_px")]),
        stride=stride,
    )


def _stride(count: int) -> int:
    return max(1, int(np.ceil(np.sqrt(count / MOST_CHIPS))))


def _column(table: pa.Table, name: str) -> _Floats:
    values = table[name].cast(pa.float64()).to_numpy()
    return np.asarray(values, dtype=np.float64)


def _note_resolution(
    table: pa.Table, owner: npt.NDArray[np.int_], entries: Sequence[PairEntry]
) -> None:
    """How long a pixel is on the ground, for shifts in metres."""
    if not len(owner):
        return
    size = _column(table, "resolution_x")
    crs = table["crs"].to_pylist()
    found, first = np.unique(owner, return_index=True)
    for index, at in zip(found, first, strict=True):
        if not _is_geographic(crs[at]):
            entries[index].resolution_m = float(size[at])


def _is_geographic(crs: str) -> bool:
    from pyproj import CRS

    return bool(CRS.from_user_input(crs).is_geographic)


def _corners(table: pa.Table) -> _Floats:
    """Outlines of chips in lon/lat: [n, 4, 2]."""
    left, bottom, right, top = (_column(table, n) for n in ("left", "bottom", "right", "top"))
    there = np.stack(
        [
            np.column_stack([left, top]),
            np.column_stack([right, top]),
            np.column_stack([right, bottom]),
            np.column_stack([left, bottom]),
        ],
        axis=1,
    )  # [n, 4, 2]
    crs = np.array(table["crs"].to_pylist(), dtype=object)
    return corners_lonlat(there, crs)


def corners_lonlat(corners: _Floats, crs: npt.NDArray[np.object_]) -> _Floats:
    """Bring corners [n, 4, 2], each row in a CRS of its own, to lon/lat."""
    lonlat = np.empty_like(corners)
    for name in dict.fromkeys(crs.tolist()):
        chosen = crs == name
        project = Transformer.from_crs(name, "EPSG:4326", always_xy=True)
        x, y = project.transform(corners[chosen, :, 0], corners[chosen, :, 1])
        lonlat[chosen] = np.stack([x, y], axis=-1)
    return lonlat


def _bounded(
    title: str,
    scenes: Mapping[str, Sequence[Scene]],
    entries: Sequence[PairEntry],
    chips: Chips,
    refusals: Sequence[Mapping[str, Any]],
    *,
    alone: bool,
) -> PairMap:
    """Leave out what nobody could look at; those that take part come first."""
    outlines = []
    for side in ("satellite", "aerial"):
        taking_part = {getattr(entry, side) for entry in entries}
        ordered = sorted(scenes[side], key=lambda s: s.id not in taking_part)
        outlines += [
            Outline(id=s.id, side=side, time=s.time, footprint=s.footprint)
            for s in ordered[:MOST_SCENES]
        ]
    return PairMap(
        title=title,
        outlines=outlines,
        pairs=entries,
        chips=chips,
        refusals=refusals[:MOST_REFUSALS],
        totals={
            "chips": sum(sum(entry.chips.values()) for entry in entries),
            "outlines": sum(len(s) for s in scenes.values()),
            "refusals": len(refusals),
        },
        alone=alone,
    )
