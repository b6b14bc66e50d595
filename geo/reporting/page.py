"""``report.html``: one file that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from importlib.resources import files
from typing import Any

from geo.class_colours import class_colours
from geo.reporting.columns import tile_columns
from geo.reporting.gallery import draw_overview, draw_tiles
from geo.reporting.headline import cautions, headline
from geo.reporting.plan import ReportPlan
from geo.reporting.segmenter import Segmenter
from geo.reporting.summary import Rows
from geo.reporting.use_told import use_cautions, use_sentence

# In the order in which they need each other.
_SCRIPTS = (
    "base.js",
    "scores.js",
    "tiles.js",
    "colours.js",
    "chart.js",
    "headline.js",
    "map.js",
    "viewer.js",
    "use.js",
    "histogram.js",
    "scatter.js",
    "table.js",
    "main.js",
)


def build_page(
    plan: ReportPlan, rows: Rows, summary: dict[str, Any], segmenter: Segmenter | None = None
) -> str:
    """The page of scored tiles, with pictures of a chosen few.

    Parameters
    ----------
    summary : dict
        As ``summary.json`` holds it: null for what is not finite.
    segmenter : callable, optional
        The one that the plan is for, for pictures of maps.
    """
    return fill_page(
        {
            "summary": summary,
            "headline": headline(summary),
            "cautions": cautions(summary),
            "tiles": tile_columns(rows),
            "overview": draw_overview(plan),
            "pictures": draw_tiles(plan, rows, segmenter=segmenter),
            "use": _use(summary["use"]),
        },
        title=f"Super-resolution report: {plan.title}",
    )


def _use(use: dict[str, Any] | None) -> dict[str, Any] | None:
    """What the page says of maps beside the summary's numbers."""
    if use is None:
        return None
    return {
        "sentence": use_sentence(use),
        "cautions": use_cautions(use),
        "colours": class_colours(len(use["classes"])),
    }


def fill_page(data: dict[str, Any], title: str) -> str:
    """Fill the template with data, styles and scripts.

    Whatever comes from catalogues travels as JSON and is put on the page as text, never as HTML.
    The page's policy names its own script and styles by their hashes, so nothing else could run,
    and allows no network at all.
    """
    folder = files("geo.reporting") / "page"
    style = (folder / "page.css").read_text(encoding="utf-8")
    sources = [(folder / name).read_text(encoding="utf-8") for name in _SCRIPTS]
    script = '"use strict";\n(() => {\n' + "".join(sources) + "})();\n"
    parts = {
        "title": html.escape(title),
        "policy": "; ".join(
            (
                "default-src 'none'",
                "img-src data:",
                f"style-src {_hash(style)}",
                f"script-src {_hash(script)}",
                "base-uri 'none'",
                "form-action 'none'",
            )
        ),
        "style": style,
        "script": script,
        "data": _embed(data),
    }
    page = (folder / "page.html").read_text(encoding="utf-8")
    # In one pass, so that no text put in is taken for a place to fill.
    return re.sub(r"/\*(title|policy|style|script|data)\*/", lambda found: parts[found[1]], page)


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _embed(value: Any) -> str:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
