"""The pair map as one HTML file that needs nothing else."""

from __future__ import annotations

import html
import json
import re
from importlib.resources import files
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from geo.pairmap.colours import AERIAL, SATELLITE, colours_of, is_kept
from geo.pairmap.content import Chips, Outline, PairEntry, PairMap
from geo.pairmap.table import reason_of
from geo.pairmap.view import View, arrows_of, view_of

_LISTED = 1_000  # scene pairs in the list
# Positions are whole numbers of this share of a chip, or of the view where there are no chips.
_CHIP_SHARE, _VIEW_SHARE = 64, 20_000


def build_page(content: PairMap) -> str:
    """Fill the template with data, styles and script.

    Whatever comes from catalogues travels as JSON and is put on the page as text, never as HTML.
    """
    folder = files("geo.pairmap")
    parts = {
        "title": html.escape(content.title),
        "style": (folder / "page.css").read_text(encoding="utf-8"),
        "script": (folder / "page.js").read_text(encoding="utf-8"),
        "data": _embed(_data(content)),
    }
    page = (folder / "page.html").read_text(encoding="utf-8")
    # In one pass, so that no text put in is taken for a place to fill.
    return re.sub(r"/\*(title|style|script|data)\*/", lambda found: parts[found[1]], page)


def _embed(value: Any) -> str:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _data(content: PairMap) -> dict[str, Any]:
    view = view_of(content)
    corners = view.to_km(content.chips.corners)  # [n, 4, 2]
    unit = _unit(view, corners)
    names = content.chips.names
    colours = colours_of(names)
    return {
        "title": content.title,
        "unit_km": unit,
        "view": [_whole(v, unit) for v in view.bounds],
        "lon": view.lon,
        "lat": view.lat,
        "sides": {"satellite": SATELLITE, "aerial": AERIAL},
        "outlines": [_outline(o, view, unit) for o in content.outlines],
        "names": [{"name": n, "colour": colours[n], "kept": is_kept(n)} for n in names],
        "pairs": [_pair(entry) for entry in content.pairs[:_LISTED]],
        "alone": content.alone,
        "gaps": [_short(entry.gap_days) for entry in content.pairs],
        "chips": _chips(content.chips, corners, unit),
        "arrows": [
            [a.pair, *(_whole(v, unit) for v in a.at_km), *(_short(v) for v in a.shift_yx)]
            for a in arrows_of(content, view)
        ],
        "refusals": [{k: _plain(v) for k, v in refusal.items()} for refusal in content.refusals],
        "totals": {**content.totals, "pairs": len(content.pairs)},
    }


def _unit(view: View, corners: npt.NDArray[np.float64]) -> float:
    """Kilometres of one step of the numbers that positions are written in."""
    if len(corners):
        sides = np.hypot(*np.moveaxis(corners[:, 1] - corners[:, 0], -1, 0))
        if (side := float(np.median(sides))) > 0:
            return side / _CHIP_SHARE
    left, top, right, bottom = view.bounds
    return max(right - left, bottom - top) / _VIEW_SHARE


def _outline(outline: Outline, view: View, unit: float) -> dict[str, Any]:
    tolerance = max(unit, 1e-3 * _reach(outline.footprint))
    rings = view.rings(outline.footprint, tolerance)
    return {
        "id": outline.id,
        "side": outline.side,
        "day": f"{outline.time:%Y-%m-%d}",
        "rings": [_wholes(ring, unit) for ring in rings],
    }


def _reach(geometry: shapely.Geometry) -> float:
    """Kilometres across, roughly."""
    west, south, east, north = geometry.bounds
    return float(max(east - west, north - south) * 111)


def _pair(entry: PairEntry) -> dict[str, Any]:
    return {
        "satellite": entry.satellite,
        "aerial": entry.aerial,
        "days": [f"{time:%Y-%m-%d}" for time in entry.times],
        "gap": _short(entry.gap_days),
        "state": entry.state,
        "reason": reason_of(entry),
        "detail": entry.detail[:500],
        "shift": None if entry.dy_px is None else [_short(entry.dy_px), _short(entry.dx_px)],
        "metres": entry.resolution_m,
        "reliability": _short(entry.reliability),
        "chips": dict(sorted(entry.chips.items())),
    }


def _chips(chips: Chips, corners: npt.NDArray[np.float64], unit: float) -> dict[str, Any]:
    """Columns: middle, half sides of the first chip of each scene pair, verdict, numbers."""
    shapes: dict[str, list[int]] = {}
    owners, first = np.unique(chips.pair, return_index=True)
    for owner, at in zip(owners.tolist(), first.tolist(), strict=True):
        right, down = corners[at, 1] - corners[at, 0], corners[at, 3] - corners[at, 0]
        shapes[str(owner)] = _wholes(np.stack([right, down]) / 2, unit / 16)
    return {
        "stride": chips.stride,
        "shapes": shapes,
        "at": _wholes(corners.mean(axis=1), unit),
        "pair": chips.pair.tolist(),
        "code": chips.code.tolist(),
        "covered": np.flatnonzero(chips.covered).tolist(),
        "value": [_short(v, 3) for v in chips.value.tolist()],
        "limit": [_short(v, 3) for v in chips.limit.tolist()],
    }


def _wholes(points: npt.NDArray[np.float64], unit: float) -> list[int]:
    """Positions one after the other: x, y, x, y."""
    return [int(v) for v in np.rint(points.reshape(-1) / unit)]


def _whole(value: float, unit: float) -> int:
    return round(value / unit)


def _short(value: float | None, digits: int = 4) -> float | None:
    return None if value is None or not np.isfinite(value) else float(f"{value:.{digits}g}")


def _plain(value: Any) -> Any:
    return (
        _short(value) if isinstance(value, float) else None if value is None else str(value)[:500]
    )
