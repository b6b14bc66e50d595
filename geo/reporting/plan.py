"""What a report will score: grids, tiles, and the truth of each, brought to them once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from odc.geo.geobox import GeoBox

from geo.catalog.scene import Refusal
from geo.chips import Cell, Lattice, blocks_of
from geo.errors import BandError, GridError, ReportError
from geo.ground import GroundWindow
from geo.labels import Labels, check_classes
from geo.landcover import LandCover
from geo.pairstore.config import default_data_range
from geo.raster_io import Pixels, RasterInfo, inspect_raster, read_window
from geo.region_source import absolute_href, geobox_to_dict
from geo.reporting.references import AerialScene, Reference, choose_references
from geo.reporting.satellite import SatelliteView
from geo.reporting.segmenter import SegmenterFacts
from geo.sensor import degrade
from geo.splits import SplitRule
from geo.upscale_plan import FileStamp

UNCERTAINTY = "uncertainty"  # the band of `geo.ensemble`


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """An upscaled raster and who drew it.

    Parameters
    ----------
    href : str
    model : str
        As it was asked for.
    model_version : str or None
        ``NAME/VERSION`` of the registered model.
    """

    href: str
    model: str = ""
    model_version: str | None = None

    @classmethod
    def of(cls, info: RasterInfo) -> Drawn:
        """By the tags of a raster that `skyscale upscale` wrote."""
        tags = info.tags
        model = tags.get("SKYSCALE_MODEL_URI") or tags.get("SKYSCALE_MODEL", "")
        version = tags.get("SKYSCALE_MODEL_VERSION")
        if version and "/" not in version and model.startswith("models:/"):
            name = model.removeprefix("models:/").split("@")[0].split("/")[0]
            version = f"{name}/{version}"
        return cls(href=info.href, model=model, model_version=version or None)


@dataclass(frozen=True)
class Batch:
    """Neighbouring tiles that are judged by the same reference (None: by none)."""

    cells: tuple[Cell, ...]
    reference: int | None


@dataclass(frozen=True, kw_only=True)
class ReportPlan:
    """Everything a worker needs to score tiles; picklable.

    Parameters
    ----------
    sr : Drawn
        What is judged.
    other : Drawn or None
        What is judged beside it, on the same grid in the same bands.
    references : tuple of Reference
        The truth; none where there is no reference at all.
    refused : tuple of Refusal
        Of the references that were wanted.
    lr : SatelliteView or None
        What `sr` was made from.
    sr_geobox, lr_geobox : GeoBox
    bands : tuple of str
    scale : int
    data_range : float
    block_px : int or None
        Edge of the blocks that `sr` was computed in, in its pixels.
    lattice : Lattice
    cells : tuple of Cell
        The tiles.
    owners : array of int, [tiles]
        Reference of each; -1: none.
    split_rule : SplitRule or None
    landcover : LandCover or None
    store_version : str or None
        Of the pair store whose split that is.
    has_uncertainty : bool
        `sr` tells how sure it is of each pixel.
    segmenter : SegmenterFacts or None
        Of what maps of the images are made by.
    labels : Labels or None
        What those maps are held against, beside the map of the reference.
    """

    sr: Drawn
    other: Drawn | None
    references: tuple[Reference, ...]
    refused: tuple[Refusal, ...]
    lr: SatelliteView | None
    sr_geobox: GeoBox
    lr_geobox: GeoBox
    bands: tuple[str, ...]
    scale: int
    data_range: float
    block_px: int | None
    lattice: Lattice
    cells: tuple[Cell, ...]
    owners: npt.NDArray[np.int64]
    split_rule: SplitRule | None
    landcover: LandCover | None
    store_version: str | None
    has_uncertainty: bool
    segmenter: SegmenterFacts | None = None
    labels: Labels | None = None

    @property
    def tiles(self) -> int:
        """Number of tiles."""
        return len(self.cells)

    @property
    def title(self) -> str:
        """What the report is about."""
        named = [reference.scene.id for reference in self.references]
        return named[0] if len(named) == 1 else self.sr.model

    def batches(self) -> list[Batch]:
        """All tiles, few enough at a time for bounded memory."""
        owner = dict(zip(self.cells, self.owners.tolist(), strict=True))
        found = []
        for block in blocks_of(self.cells, side=(4, 8)):
            by_owner: dict[int, list[Cell]] = {}
            for cell in block:
                by_owner.setdefault(owner[cell], []).append(cell)
            found += [Batch(tuple(cells), _known(who)) for who, cells in by_owner.items()]
        return found

    def batch_of(self, name: str) -> Batch:
        """One tile by its name."""
        row, col = (int(text) for text in name[1:].split("_c"))
        cell = Cell(row, col)
        return Batch((cell,), _known(int(self.owners[self.cells.index(cell)])))

    def for_workers(self) -> ReportPlan:
        """The same without the list of tiles, which their tasks bring along."""
        return replace(self, cells=(), owners=np.empty(0, np.int64))

    @property
    def facts(self) -> dict[str, Any]:
        """Plain values of all that the scores of tiles depend on."""
        drawn = [self.sr, *([self.other] if self.other else [])]
        hrefs = [one.href for one in drawn]
        for reference in self.references:
            refs = reference.scene.source
            hrefs += [refs] if isinstance(refs, str) else [ref.href for ref in refs]
        hrefs += self.lr.source.hrefs if self.lr else ()
        cover = self.landcover
        return {
            "drawn": [asdict(one) for one in drawn],
            "stamps": [asdict(FileStamp.of(href)) for href in dict.fromkeys(hrefs)],
            "lr": self.lr and {**self.lr.source.to_dict(), "id": self.lr.id},
            "references": [
                {"id": r.scene.id, "gap": r.scene.gap_days, "alignment": r.alignment.to_dict()}
                for r in self.references
            ],
            "owners": self.owners.tolist(),
            "grids": [geobox_to_dict(self.sr_geobox), geobox_to_dict(self.lr_geobox)],
            "bands": self.bands,
            "data_range": self.data_range,
            "tile": self.lattice.lr_size,
            "cells": self.tiles,
            "split": self.split_rule and asdict(self.split_rule),
            "landcover": cover and [cover.categories, [p.wkb_hex for p in cover.polygons]],
            "store_version": self.store_version,
            "segmenter": self.segmenter and asdict(self.segmenter),
            "labels": self.labels
            and [asdict(FileStamp.of(self.labels.source)), self.labels.classes],
        }


def plan_report(
    sr: Drawn,
    references: Sequence[AerialScene] = (),
    *,
    lr: SatelliteView | None = None,
    other: Drawn | None = None,
    tile_lr: int = 32,
    data_range: float | None = None,
    block_px: int | None = None,
    split_rule: SplitRule | None = None,
    landcover: LandCover | None = None,
    store_version: str | None = None,
    refused: Sequence[Refusal] = (),
    segmenter: SegmenterFacts | None = None,
    labels: Labels | None = None,
    run: Callable[..., Iterable[object]] = map,
) -> ReportPlan:
    """Lay out the tiles and align the references to the region, each once.

    Parameters
    ----------
    references : sequence of AerialScene
        In the bands of `sr`; without any, only what needs no truth is scored.
    refused : sequence of Refusal
        References that are out already.
    labels : Labels, optional
        Read where there is a segmenter.
    run : callable
        Like ``map``, for aligning references side by side.

    Raises
    ------
    GridError, BandError
        If `lr` is not what `sr` was made from, or `other` is not of its grid and bands; or the
        segmenter looks at bands that `sr` has not.
    ReportError
        If no reference can be aligned: then a score would say nothing. If there is neither
        reference nor label to hold the maps of a segmenter against.
    CatalogError
        If no class of the labels is known to the segmenter.
    """
    sr, other = _anywhere(sr), other and _anywhere(other)
    info = inspect_raster(sr.href)
    bands = tuple(name for name in info.bands if name != UNCERTAINTY)
    scale = _scale_of(info, lr)
    if lr is not None:
        lr = lr.on(info.geobox, scale, sr.href)
    coarse = _coarse_grid(info, scale) if lr is None else lr.geobox
    if other is not None:
        _check_other(inspect_raster(other.href), info, bands)
    if segmenter is not None:
        segmenter.check(sr.href, bands)
        _check_held(segmenter, labels, has_reference=bool(references))
    affine = coarse.affine
    lattice = Lattice(crs=str(coarse.crs), resolution_xy=(affine.a, -affine.e), lr_size=tile_lr)
    cells = tuple(lattice.cells_in(coarse))
    if not cells:
        raise ReportError(
            f"{sr.href} is {coarse.shape.x} x {coarse.shape.y} LR px, smaller than a tile of "
            f"{tile_lr}; use smaller tiles"
        )
    boxes = np.array([lattice.bounds(cell) for cell in cells]).T
    reader = _GroundReader(sr.href, bands, coarse, scale, lr)
    found = choose_references(references, shapely.box(*boxes), coarse, reader, run=run)
    refusals = (*refused, *found.refused)
    if (references or refused) and not found.used:
        raise ReportError(_unaligned(sr.href, refusals), reason=_reason(refusals))
    tagged = info.tags.get("SKYSCALE_BLOCK_LR_PX")
    return ReportPlan(
        sr=sr,
        other=other,
        references=found.used,
        refused=refusals,
        lr=lr,
        sr_geobox=info.geobox,
        lr_geobox=coarse,
        bands=bands,
        scale=scale,
        data_range=data_range or default_data_range(info.dtype),
        block_px=block_px or (int(tagged) * scale if tagged else None),
        lattice=lattice,
        cells=cells,
        owners=found.owners,
        split_rule=split_rule,
        landcover=landcover,
        store_version=store_version,
        has_uncertainty=UNCERTAINTY in info.bands,
        segmenter=segmenter,
        labels=None if segmenter is None else labels,
    )


def _check_held(segmenter: SegmenterFacts, labels: Labels | None, *, has_reference: bool) -> None:
    if labels is not None:
        check_classes(labels, segmenter.classes)
    elif not has_reference:
        raise ReportError(
            f"{segmenter.name} makes maps that nothing can be held against: wanted labels, an "
            "aerial reference whose map it can make too, or both"
        )


def _anywhere(drawn: Drawn) -> Drawn:
    """The same for workers in any folder."""
    return replace(drawn, href=absolute_href(drawn.href))


def tile_name(cell: Cell) -> str:
    """Name of a tile: its place on the lattice."""
    return f"r{cell.row}_c{cell.col}"


def _known(owner: int) -> int | None:
    return None if owner < 0 else owner


def _reason(refusals: Sequence[Refusal]) -> str:
    return refusals[0].reason if refusals else "no_overlap"


def _unaligned(sr: str, refusals: Sequence[Refusal]) -> str:
    if not refusals:
        return f"no reference shows any tile of {sr}; wanted aerial imagery of the same place"
    first = refusals[0]
    more = f", and {len(refusals) - 1} more" if len(refusals) > 1 else ""
    return (
        f"{first.id} cannot be aligned to {sr}: {first.reason} ({first.detail}){more}; wanted "
        "aerial imagery of the same place and time, or no reference at all"
    )


def _scale_of(info: RasterInfo, lr: SatelliteView | None) -> int:
    if lr is not None:
        ratio = lr.geobox.affine.a / info.geobox.affine.a
        if abs(ratio - round(ratio)) > 1e-6 or round(ratio) < 2:
            raise GridError(
                f"{info.href}: its pixels are {ratio:.6g} times finer than the LR raster's; wanted "
                "a whole number, so this is not what SR was made from"
            )
        return round(ratio)
    tag = info.tags.get("SKYSCALE_SCALE")
    if tag is None:
        raise ReportError(
            f"{info.href}: no tag says its scale; name the LR raster it was made from"
        )
    return int(tag)


def _coarse_grid(info: RasterInfo, scale: int) -> GeoBox:
    height, width = info.geobox.shape.yx
    if height % scale or width % scale:
        raise GridError(f"{info.href}: {width} x {height} px is no multiple of its scale {scale}")
    return info.geobox.zoom_out(scale)


def _check_other(other: RasterInfo, info: RasterInfo, bands: tuple[str, ...]) -> None:
    mine, theirs = info.geobox, other.geobox
    corner = ~mine.affine @ theirs.affine
    same = max(abs(corner.c), abs(corner.f), abs(corner.a - 1)) < 0.01
    if not same or mine.shape != theirs.shape or mine.crs != theirs.crs:
        raise GridError(
            f"{other.href} ({theirs.shape.x} x {theirs.shape.y}) lies on another grid than "
            f"{info.href} ({mine.shape.x} x {mine.shape.y}); wanted the same region upscaled by "
            "another model"
        )
    missing = [name for name in bands if name not in other.bands]
    if missing:
        raise BandError(
            f"{other.href} has no band {', '.join(missing)}; it has {', '.join(other.bands)}",
            href=other.href,
            missing=missing,
        )


@dataclass(frozen=True)
class _GroundReader:
    """What a reference is aligned to: the satellite image, or SR at its resolution; picklable."""

    sr: str
    bands: tuple[str, ...]
    coarse: GeoBox
    scale: int
    lr: SatelliteView | None

    def __call__(self, rows: slice, cols: slice) -> GroundWindow:
        if self.lr is not None:
            return self.lr.look(rows, cols).ground
        s = self.scale
        fine = read_window(
            self.sr,
            slice(rows.start * s, rows.stop * s),
            slice(cols.start * s, cols.stop * s),
            self.bands,
        )
        height, width = rows.stop - rows.start, cols.stop - cols.start
        seen = degrade(fine.data.astype(np.float32), s)  # as the reference is looked at
        valid = np.all(fine.valid.reshape(height, s, width, s), axis=(1, 3))
        return GroundWindow(geobox=self.coarse[rows, cols], pixels=Pixels(seen, valid))
