"""What a report will score: grids, tiles, and the reference brought to them once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from odc.geo.geobox import GeoBox

from geo.align import align_ground
from geo.alignment import Alignment, AlignRules
from geo.catalog.scene import Mask
from geo.chips import Cell, Lattice, blocks_of
from geo.errors import GridError, ReportError
from geo.ground import GroundWindow, read_ground
from geo.harmonise import HarmoniseRules
from geo.landcover import LandCover
from geo.pairstore.config import default_data_range
from geo.raster_io import Pixels, Source, inspect_raster, read_window, source_geobox
from geo.sensor import degrade
from geo.splits import SplitRule


@dataclass(frozen=True, kw_only=True)
class ReportPlan:
    """Everything a worker needs to score tiles; picklable.

    Parameters
    ----------
    sr : str
        The upscaled raster.
    reference : Source
        The aerial scene, in the bands of `sr`.
    lr : Source or None
        The satellite scene that `sr` was made from.
    masks : tuple of Mask
        Of the satellite scene: clouds are not scored.
    sr_geobox, lr_geobox : GeoBox
    bands : tuple of str
    scale : int
    data_range : float
    lattice : Lattice
    cells : tuple of Cell
        The tiles.
    alignment : Alignment
        Of the reference, in LR pixels.
    split_rule : SplitRule or None
    landcover : LandCover or None
    gap_days : float or None
    reference_id, model : str
    """

    sr: str
    reference: Source
    lr: Source | None
    masks: tuple[Mask, ...]
    sr_geobox: GeoBox
    lr_geobox: GeoBox
    bands: tuple[str, ...]
    scale: int
    data_range: float
    lattice: Lattice
    cells: tuple[Cell, ...]
    alignment: Alignment
    split_rule: SplitRule | None
    landcover: LandCover | None
    gap_days: float | None
    reference_id: str
    model: str

    @property
    def tiles(self) -> int:
        """Number of tiles."""
        return len(self.cells)

    def batches(self) -> list[tuple[Cell, ...]]:
        """Neighbouring tiles together, few enough for bounded memory."""
        return [tuple(block) for block in blocks_of(self.cells, side=(4, 8))]


def plan_report(
    sr: str,
    reference: Source,
    *,
    lr: Source | None = None,
    masks: Sequence[Mask] = (),
    tile_lr: int = 32,
    data_range: float | None = None,
    split_rule: SplitRule | None = None,
    landcover: LandCover | None = None,
    gap_days: float | None = None,
    reference_id: str = "",
) -> ReportPlan:
    """Lay out the tiles and align the reference to the whole region, once.

    Raises
    ------
    GridError
        If `lr` is not what `sr` was made from.
    ReportError
        If the reference cannot be aligned: then a score would say nothing.
    """
    info = inspect_raster(sr)
    lr_geobox = None if lr is None else source_geobox(lr)
    scale = _scale_of(info.tags.get("SKYSCALE_SCALE"), info.geobox, lr_geobox, sr)
    coarse = _coarse_grid(info.geobox, lr_geobox, scale, sr)
    # Milder than for pairs: a poor likeness is for the scores to show.
    rules = AlignRules(max_cloud=0.95, harmonise=HarmoniseRules(min_agreement=0.2))

    def read(rows: slice, cols: slice) -> GroundWindow:
        if lr is None:
            return _see_sr(sr, coarse, scale, rows, cols)
        return read_ground(lr, coarse, rows, cols, masks)

    whole = (slice(0, coarse.shape.y), slice(0, coarse.shape.x))
    alignment = align_ground(read, coarse, reference, area=whole, rules=rules)
    if not alignment.accepted:
        raise ReportError(
            f"{reference_id or 'the reference'} cannot be aligned to {sr}: {alignment.reason} "
            f"({alignment.value} against a limit of {alignment.limit}); wanted aerial imagery of "
            "the same place and time",
            reason=alignment.reason,
        )
    affine = coarse.affine
    lattice = Lattice(crs=str(coarse.crs), resolution_xy=(affine.a, -affine.e), lr_size=tile_lr)
    cells = tuple(lattice.cells_in(coarse))
    if not cells:
        raise ReportError(
            f"{sr} is {coarse.shape.x} x {coarse.shape.y} LR px, smaller than a tile of {tile_lr}; "
            "use smaller tiles"
        )
    return ReportPlan(
        sr=sr,
        reference=reference,
        lr=lr,
        masks=tuple(masks),
        sr_geobox=info.geobox,
        lr_geobox=coarse,
        bands=info.bands,
        scale=scale,
        data_range=data_range or default_data_range(info.dtype),
        lattice=lattice,
        cells=cells,
        alignment=alignment,
        split_rule=split_rule,
        landcover=landcover,
        gap_days=gap_days,
        reference_id=reference_id,
        model=info.tags.get("SKYSCALE_MODEL_URI") or info.tags.get("SKYSCALE_MODEL", ""),
    )


def _scale_of(tag: str | None, fine: GeoBox, coarse: GeoBox | None, sr: str) -> int:
    if coarse is not None:
        ratio = coarse.affine.a / fine.affine.a
        if abs(ratio - round(ratio)) > 1e-6 or round(ratio) < 2:
            raise GridError(
                f"{sr}: its pixels are {ratio:.6g} times finer than the LR raster's; wanted a "
                "whole number, so this is not what SR was made from"
            )
        return round(ratio)
    if tag is None:
        raise ReportError(f"{sr}: no tag says its scale; name the LR raster it was made from")
    return int(tag)


def _coarse_grid(fine: GeoBox, coarse: GeoBox | None, scale: int, sr: str) -> GeoBox:
    """The LR grid; its refinement must be the SR grid to a hundredth of a pixel."""
    height, width = fine.shape.yx
    if coarse is None:
        if height % scale or width % scale:
            raise GridError(f"{sr}: {width} x {height} px is no multiple of its scale {scale}")
        return fine.zoom_out(scale)
    wanted = coarse.zoom_out(1 / scale)
    offset = ~fine.affine @ wanted.affine
    same = max(abs(offset.c), abs(offset.f)) < 0.01 and wanted.shape == fine.shape
    if not same or wanted.crs != fine.crs:
        raise GridError(
            f"{sr}: its grid ({width} x {height}) is not the LR grid "
            f"({coarse.shape.x} x {coarse.shape.y}) refined by {scale}; wanted the LR raster that "
            "SR was made from"
        )
    return coarse


def _see_sr(sr: str, coarse: GeoBox, scale: int, rows: slice, cols: slice) -> GroundWindow:
    """SR brought to LR resolution, where its LR scene is not at hand."""
    fine = read_window(
        sr,
        slice(rows.start * scale, rows.stop * scale),
        slice(cols.start * scale, cols.stop * scale),
    )
    height, width = rows.stop - rows.start, cols.stop - cols.start
    seen = degrade(fine.data.astype(np.float32), scale)  # as the reference is looked at
    valid = np.all(fine.valid.reshape(height, scale, width, scale), axis=(1, 3))
    return GroundWindow(geobox=coarse[rows, cols], pixels=Pixels(seen, valid))


def name_of(source: Source) -> str:
    """Short name of a source."""
    href = source if isinstance(source, str) else next(iter(source)).href
    return Path(href).name


def tile_name(cell: Cell) -> str:
    """Name of a tile: its place on the lattice."""
    return f"r{cell.row}_c{cell.col}"


def names_of(cells: Sequence[Cell]) -> dict[str, Cell]:
    """Tiles by name."""
    return {tile_name(cell): cell for cell in cells}
