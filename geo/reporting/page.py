"""``report.html``: one file that needs nothing else."""

from __future__ import annotations

import base64
import html
import json
import re
from importlib.resources import files
from typing import Any

import numpy as np
import numpy.typing as npt

from geo.interpolate import upsample
from geo.pictures import encode_jpeg, stretch_limits, to_rgb8
from geo.raster_io import open_raster
from geo.reporting.plan import ReportPlan, names_of
from geo.reporting.summary import Rows, headline_rows, rank_tiles
from geo.reporting.tiles import TilePixels, read_tiles

_OVERVIEW_PX = 900
_SHOWN = (
    "psnr_db",
    "bicubic_psnr_db",
    "gain_db",
    "ssim",
    "bicubic_ssim",
    "cpsnr_db",
    "sam_deg",
    "lr_consistency",
    "valid_fraction",
    "registration_residual_px",
)


def build_page(plan: ReportPlan, rows: Rows, summary: dict[str, Any]) -> str:
    """Fill the template with data, pictures, styles and script.

    Whatever comes from catalogues travels as JSON and is put on the page as text, never as HTML.
    """
    folder = files("geo.reporting")
    data = {
        "summary": summary,
        "tiles": [_tile(row) for row in rows],
        "overview": _overview(plan),
        "pictures": _pictures(plan, rows),
    }
    parts = {
        "title": html.escape(f"Super-resolution report: {plan.reference_id}"),
        "style": (folder / "page.css").read_text(encoding="utf-8"),
        "script": (folder / "page.js").read_text(encoding="utf-8"),
        "data": _embed(data),
    }
    page = (folder / "page.html").read_text(encoding="utf-8")
    # In one pass, so that no text put in is taken for a place to fill.
    return re.sub(r"/\*(title|style|script|data)\*/", lambda found: parts[found[1]], page)


def _embed(value: Any) -> str:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _tile(row: dict[str, Any]) -> dict[str, Any]:
    scores = {name: _short(row[name]) for name in _SHOWN}
    return {
        "tile": row["tile"],
        "row": row["row"],
        "col": row["col"],
        "category": row["category"],
        "split": row["split"],
        **scores,
    }


def _short(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else float(f"{value:.5g}")


def _overview(plan: ReportPlan) -> dict[str, Any]:
    """A small picture of the region and where it lies on the tile lattice, in tiles."""
    height, width = plan.sr_geobox.shape.yx
    shrink = max(1.0, max(height, width) / _OVERVIEW_PX)
    shape = (max(1, round(height / shrink)), max(1, round(width / shrink)))
    with open_raster(plan.sr) as dataset:
        bands = list(range(1, len(plan.bands) + 1))
        data = dataset.read(bands, out_shape=(len(bands), *shape)).astype(np.float32)
        valid = dataset.dataset_mask(out_shape=shape) > 0
    picture = to_rgb8(data, stretch_limits(data, valid), plan.bands, valid)
    origin = plan.lattice.window(plan.cells[0], plan.lr_geobox)
    size = plan.lattice.lr_size
    return {
        "image": _uri(picture),
        "top": plan.cells[0].row - origin[0].start / size,
        "left": plan.cells[0].col - origin[1].start / size,
        "height": plan.lr_geobox.shape.y / size,
        "width": plan.lr_geobox.shape.x / size,
    }


def _pictures(plan: ReportPlan, rows: Rows) -> list[dict[str, Any]]:
    """Best, median and worst tiles with their images."""
    cells = names_of(plan.cells)
    _, scope = headline_rows(rows)
    pictures = []
    for rank, chosen in rank_tiles(scope).items():
        for row in chosen:
            [tile] = read_tiles(plan, [cells[row["tile"]]])
            pictures.append({"rank": rank, "tile": row["tile"], "images": _images(plan, tile)})
    return pictures


def _images(plan: ReportPlan, tile: TilePixels) -> dict[str, str]:
    """Images of a tile under one stretch: that of the reference."""
    limits = stretch_limits(tile.hr, tile.valid)
    shown: dict[str, npt.NDArray[np.uint8]] = {}
    if tile.lr is not None and tile.bicubic is not None:
        pixels = upsample(tile.lr, plan.scale, "nearest")
        shown["LR"] = to_rgb8(pixels, limits, plan.bands)
        shown["bicubic"] = to_rgb8(tile.bicubic, limits, plan.bands)
    shown["SR"] = to_rgb8(tile.sr, limits, plan.bands)
    shown["aerial"] = to_rgb8(tile.hr, limits, plan.bands, tile.valid)
    return {name: _uri(picture) for name, picture in shown.items()}


def _uri(picture: npt.NDArray[np.uint8]) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(encode_jpeg(picture)).decode()
