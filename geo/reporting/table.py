"""The files of a report: ``tiles.parquet``, ``summary.json``, ``report.html``, ``map.png``."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import geopandas
import shapely

from geo.errors import ReportError
from geo.reporting.map_picture import draw_map
from geo.reporting.page import build_page
from geo.reporting.plan import ReportPlan
from geo.reporting.segmenter import Segmenter
from geo.reporting.summary import Rows, summarise

# The contract's columns stand first and are always there, also where nothing is known.
COLUMNS = (
    "tile",
    "psnr_db",
    "bicubic_psnr_db",
    "gain_db",
    "ssim",
    "cpsnr_db",
    "sam_deg",
    "lr_consistency",
    "valid_fraction",
    "gap_days",
    "registration_residual_px",
    "category",
)


def write_report(
    plan: ReportPlan,
    rows: Rows,
    out: Path,
    *,
    seams: Mapping[str, Any] | None = None,
    segmenter: Segmenter | None = None,
) -> tuple[dict[str, Any], dict[str, Path]]:
    """Write all files.

    Parameters
    ----------
    rows : sequence of dict
        With outlines (`geo.reporting.rows.with_outlines`).
    seams : mapping, optional
        See `geo.reporting.seams.seam_score`.
    segmenter : callable, optional
        The one that the plan is for, for pictures of maps.

    Returns
    -------
    summary : dict
        What ``summary.json`` holds.
    files : dict of str to Path
        ``tiles``, ``summary``, ``page`` and ``map``.

    Raises
    ------
    ReportError
        If there is no tile, or the folder cannot be written.
    """
    if not rows:
        raise ReportError("no tiles were scored; wanted at least one")
    files = {
        "tiles": out / "tiles.parquet",
        "summary": out / "summary.json",
        "page": out / "report.html",
        "map": out / "map.png",
    }
    summary = summarise(rows, plan, seams)
    try:
        out.mkdir(parents=True, exist_ok=True)
        tiles_frame(rows).to_parquet(files["tiles"], index=False)
        files["summary"].write_text(json.dumps(plain(summary), indent=2) + "\n")
        files["map"].write_bytes(draw_map(rows))
        page = build_page(plan, rows, plain(summary), segmenter)
        files["page"].write_text(page, encoding="utf-8")
    except OSError as error:
        raise ReportError(f"{out}: the report cannot be written ({error})") from error
    return summary, files


def tiles_frame(rows: Rows) -> geopandas.GeoDataFrame:
    """Tiles with their outlines in lon/lat."""
    others = [name for name in rows[0] if name not in (*COLUMNS, "geometry")]
    columns = {name: [row[name] for row in rows] for name in (*COLUMNS, *others)}
    outlines = shapely.from_wkb([row["geometry"] for row in rows])
    return geopandas.GeoDataFrame(columns, geometry=outlines, crs="EPSG:4326")


def plain(value: Any) -> Any:
    """Values as JSON has them: null for what is not finite."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
