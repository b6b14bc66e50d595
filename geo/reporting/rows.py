"""A row of the report for each tile: its scores, where it is, and what they rest on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from geo.chips import Cell
from geo.coregister import measure_window
from geo.errors import GeoError
from geo.pictures import colour_bands
from geo.reporting.map_scores import MAP_COLUMNS, score_maps
from geo.reporting.plan import Batch, ReportPlan, tile_name
from geo.reporting.segmenter import Segmenter
from geo.reporting.tiles import TilePixels, read_tiles
from geo.scores.pair import NAMES, Perceptual, score_pair

# A residual is told where its peak stands out and gradient directions agree (see coregister).
_MIN_PEAK_RATIO = 1.3
_MIN_SHOWN = 0.6
# What a row holds beside scores and place.
_FACTS = (
    *("seen_fraction", "cloud_share", "registration_residual_px", "uncertainty", "gap_days"),
    *("category", "split", "satellite_id", "aerial_id", "model", "model_version", "store_version"),
    "error",
)


def score_batch(
    plan: ReportPlan,
    batch: Batch,
    perceptual: Perceptual | None = None,
    segmenter: Segmenter | None = None,
) -> list[dict[str, Any]]:
    """Score neighbouring tiles.

    A tile whose pixels cannot be read does not stop the others: its row says why in ``error``.

    Parameters
    ----------
    perceptual : callable, optional
        See `geo.scores.pair.score_pair`.
    segmenter : callable, optional
        The one that the plan is for.

    Returns
    -------
    list of dict
        A row for each tile, JSON-able, with null where there is nothing to compare; its outline is
        added by `with_outlines`.
    """
    try:
        tiles = read_tiles(plan, batch, segmenter)
    except GeoError as error:
        if len(batch.cells) == 1:
            return [_unread_row(plan, batch.cells[0], error)]
        alone = (Batch((cell,), batch.reference) for cell in batch.cells)
        return [row for one in alone for row in score_batch(plan, one, perceptual, segmenter)]
    return [_row(plan, tile, batch.reference, perceptual) for tile in tiles]


def with_outlines(plan: ReportPlan, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with ``geometry``, the outline of each tile in lon/lat as WKB."""
    return [{**row, "geometry": _outline(plan, Cell(row["row"], row["col"]))} for row in rows]


def _outline(plan: ReportPlan, cell: Cell) -> bytes:
    rows, cols = plan.lattice.window(cell, plan.lr_geobox)
    footprint = plan.lr_geobox[rows, cols].footprint("EPSG:4326", buffer=0, npoints=2)
    return bytes(footprint.geom.wkb)


def _row(
    plan: ReportPlan, tile: TilePixels, reference: int | None, perceptual: Perceptual | None
) -> dict[str, Any]:
    scores = score_pair(
        tile.sr,
        tile.hr,
        tile.lr,
        tile.seen if tile.valid is None else tile.valid,
        scale=plan.scale,
        data_range=plan.data_range,
        bicubic=tile.bicubic,
        other=tile.other,
        crop_px=0,  # nothing stands alone here: SR and bicubic both saw beyond the tile
        seen=tile.seen,
        perceptual=_in_colours(perceptual, plan.bands),
    )
    return {
        "tile": tile_name(tile.cell),
        "row": tile.cell.row,
        "col": tile.cell.col,
        **{name: None if np.isnan(value) else float(value) for name, value in scores.items()},
        **({} if plan.references else {"valid_fraction": None}),
        "seen_fraction": float(tile.seen.mean()),
        "cloud_share": None if tile.cloudy is None else float(tile.cloudy.mean()),
        "registration_residual_px": _residual_px(tile, plan.scale),
        "uncertainty": _uncertainty(tile),
        **(score_maps(tile, plan.segmenter.classes) if plan.segmenter else {}),
        **_provenance(plan, tile, reference),
        "error": None,
    }


def _unread_row(plan: ReportPlan, cell: Cell, error: GeoError) -> dict[str, Any]:
    """The row of a tile of which nothing is known but its place."""
    whos = ("", "bicubic_", *(("other_",) if plan.other else ()))
    names = [f"{who}{name}" for who in whos for name in (*NAMES, "gain_db")]
    names += MAP_COLUMNS if plan.segmenter else ()
    known = {"error": error.message, "split": _split_of(plan, cell), "values": 0.0}
    return {
        "tile": tile_name(cell),
        "row": cell.row,
        "col": cell.col,
        **dict.fromkeys([*names, *_FACTS, "real_hf_power", "valid_fraction"]),
        **known,
    }


def _in_colours(perceptual: Perceptual | None, bands: tuple[str, ...]) -> Perceptual | None:
    """The distance of red, green and blue, in whatever order the bands come."""
    if perceptual is None:
        return None
    chosen = colour_bands(bands)
    return lambda image, hr, valid: perceptual(image[chosen], hr[chosen], valid)


def _provenance(plan: ReportPlan, tile: TilePixels, reference: int | None) -> dict[str, Any]:
    """What the tile is of, and who drew it."""
    satellite_id = satellite_time = gap_days = aerial_id = None
    if plan.lr is not None:
        satellite_id, satellite_time = plan.lr.scene_of(tile.scene)
    if reference is not None:
        scene = plan.references[reference].scene
        aerial_id, gap_days = scene.id, scene.gap_days
        if tile.scene is not None and satellite_time and scene.time:
            gap_days = abs((scene.time - satellite_time).total_seconds()) / 86400
    rows, cols = plan.lattice.window(tile.cell, plan.lr_geobox)
    category = plan.landcover.category_of(plan.lr_geobox[rows, cols]) if plan.landcover else None
    return {
        "gap_days": gap_days,
        "category": category,
        "split": _split_of(plan, tile.cell),
        "satellite_id": satellite_id,
        "aerial_id": aerial_id,
        "model": plan.sr.model or None,
        "model_version": plan.sr.model_version,
        "store_version": plan.store_version,
    }


def _split_of(plan: ReportPlan, cell: Cell) -> str | None:
    if plan.split_rule is None:
        return None
    return plan.split_rule.split_of(plan.lattice.bounds(cell), plan.lattice.crs)


def _uncertainty(tile: TilePixels) -> float | None:
    if tile.uncertainty is None or not tile.seen.any():
        return None
    return float(tile.uncertainty[tile.seen].mean(dtype=np.float64))


def _residual_px(tile: TilePixels, scale: int) -> float | None:
    """Shift between SR and reference that is left in this tile, in LR pixels."""
    if tile.hr is None or tile.valid is None or tile.valid.mean() < _MIN_SHOWN:
        return None
    shift = measure_window(tile.hr, tile.sr, tile.valid)
    if shift.peak_ratio < _MIN_PEAK_RATIO or shift.disagreement_px > 0.5 * scale:
        return None
    return float(np.hypot(shift.dy_px, shift.dx_px) / scale)
