"""Pixels and scores of tiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from geo.alignment import read_aligned
from geo.chips import Cell
from geo.coregister import measure_window
from geo.ground import read_ground
from geo.interpolate import halo, upsample
from geo.raster_io import read_window
from geo.reporting.plan import ReportPlan, tile_name
from geo.scoring import score_pair
from geo.upscale import fill_invalid

_Stack = npt.NDArray[np.float32]

# A residual is told where its peak stands out and gradient directions agree (see coregister).
_MIN_PEAK_RATIO = 1.3


@dataclass(frozen=True, kw_only=True)
class TilePixels:
    """The images of one tile, DN on the HR grid (LR on its own)."""

    cell: Cell
    sr: _Stack  # [C, H, W]
    hr: _Stack  # [C, H, W]
    lr: _Stack | None  # [C, h, w]
    bicubic: _Stack | None  # [C, H, W]
    seen: npt.NDArray[np.bool_]  # [H, W], where SR and LR are good
    valid: npt.NDArray[np.bool_]  # [H, W], where the reference is good as well


def score_batch(plan: ReportPlan, cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """Score neighbouring tiles; a row for each, with null where there is nothing to compare."""
    return [_row(plan, tile) for tile in read_tiles(plan, cells)]


def read_tiles(plan: ReportPlan, cells: Sequence[Cell]) -> list[TilePixels]:
    """Read neighbouring tiles: what they span is read and warped at once."""
    s = plan.scale
    spans = [plan.lattice.window(cell, plan.lr_geobox) for cell in cells]
    top, left = (min(span[axis].start for span in spans) for axis in (0, 1))
    bottom, right = (max(span[axis].stop for span in spans) for axis in (0, 1))
    rows, cols = slice(top, bottom), slice(left, right)
    fine = (slice(top * s, bottom * s), slice(left * s, right * s))
    sr = read_window(plan.sr, *fine)
    hr = read_aligned(plan.reference, plan.sr_geobox[fine], plan.alignment, scale=s)
    lr, bicubic, clear = _read_lr(plan, rows, cols)
    seen = sr.valid & clear.repeat(s, axis=0).repeat(s, axis=1)
    valid = seen & hr.valid
    tiles = []
    for cell, (tile_rows, tile_cols) in zip(cells, spans, strict=True):
        y, x = tile_rows.start - top, tile_cols.start - left
        h, w = tile_rows.stop - tile_rows.start, tile_cols.stop - tile_cols.start
        here = np.s_[..., y * s : (y + h) * s, x * s : (x + w) * s]
        tiles.append(
            TilePixels(
                cell=cell,
                sr=sr.data[here].astype(np.float32),
                hr=hr.data[here],
                lr=None if lr is None else lr[:, y : y + h, x : x + w],
                bicubic=None if bicubic is None else bicubic[here],
                seen=seen[here],
                valid=valid[here],
            )
        )
    return tiles


def _read_lr(
    plan: ReportPlan, rows: slice, cols: slice
) -> tuple[_Stack | None, _Stack | None, npt.NDArray[np.bool_]]:
    """LR pixels, their bicubic with its context from beyond the window, and where it is clear."""
    shape = (rows.stop - rows.start, cols.stop - cols.start)
    if plan.lr is None:
        return None, None, np.ones(shape, np.bool_)
    reach = halo("bicubic")
    height, width = plan.lr_geobox.shape.yx
    around = (
        slice(max(0, rows.start - reach), min(height, rows.stop + reach)),
        slice(max(0, cols.start - reach), min(width, cols.stop + reach)),
    )
    seen = read_window(plan.lr, *around)
    # The same filling as before the network, so that neither has an advantage beside a hole.
    filled = fill_invalid(seen.data, seen.valid) if seen.valid.any() else seen.data
    upsampled = upsample(filled.astype(np.float32), plan.scale, "bicubic")
    y, x = rows.start - around[0].start, cols.start - around[1].start
    h, w, s = *shape, plan.scale
    ground = read_ground(plan.lr, plan.lr_geobox, rows, cols, plan.masks)
    return (
        seen.data[:, y : y + h, x : x + w].astype(np.float32),
        upsampled[:, y * s : (y + h) * s, x * s : (x + w) * s],
        ground.pixels.valid,
    )


def _row(plan: ReportPlan, tile: TilePixels) -> dict[str, Any]:
    """Scores of a tile and where it is."""
    rows, cols = plan.lattice.window(tile.cell, plan.lr_geobox)
    geobox = plan.lr_geobox[rows, cols]
    scores = score_pair(
        tile.sr,
        tile.hr,
        tile.lr,
        tile.valid,
        scale=plan.scale,
        data_range=plan.data_range,
        bicubic=tile.bicubic,
        crop_px=0,  # nothing stands alone here: SR and bicubic both saw beyond the tile
        seen=tile.seen,
    )
    return {
        "tile": tile_name(tile.cell),
        "row": tile.cell.row,
        "col": tile.cell.col,
        "geometry": geobox.footprint("EPSG:4326", buffer=0, npoints=2).geom.wkb,
        **{name: None if np.isnan(value) else value for name, value in scores.items()},
        "gap_days": plan.gap_days,
        "registration_residual_px": _residual_px(tile, plan.scale),
        "category": plan.landcover.category_of(geobox) if plan.landcover else None,
        "split": _split_of(plan, tile.cell),
    }


def _split_of(plan: ReportPlan, cell: Cell) -> str | None:
    if plan.split_rule is None:
        return None
    return plan.split_rule.split_of(plan.lattice.bounds(cell), plan.lattice.crs)


def _residual_px(tile: TilePixels, scale: int) -> float | None:
    """Shift between SR and reference that is left in this tile, in LR pixels."""
    if tile.valid.mean() < 0.6:
        return None
    shift = measure_window(tile.hr, tile.sr, tile.valid)
    if shift.peak_ratio < _MIN_PEAK_RATIO or shift.disagreement_px > 0.5 * scale:
        return None
    return float(np.hypot(shift.dy_px, shift.dx_px) / scale)
