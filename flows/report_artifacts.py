"""A report where reviewers of the Prefect UI look: its sentence, numbers, map and where it lies."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flows import tracking
from flows.artifacts import embed_picture, publish_link, publish_markdown
from flows.model_card import escape_markdown

# Of the summary's table of scores: what is told first.
_FIRST = (
    ("psnr_db", "PSNR, dB", ".2f"),
    ("cpsnr_db", "cPSNR, dB", ".2f"),
    ("ssim", "SSIM", ".3f"),
    ("detail", "detail", ".0%"),
    ("hallucination", "hallucination", ".3f"),
    ("lpips", "LPIPS", ".3f"),
    ("lr_consistency", "LR consistency", ".4f"),
    ("fcn_mean_iou", "mean IoU of maps against labels", ".3f"),
    ("fcn_same_mean_iou", "mean IoU of maps against the real image's", ".3f"),
)
_WHO = {"sr": "SR", "bicubic": "bicubic", "other": "other model"}


def publish_report(summary: Mapping[str, Any], files: Mapping[str, Path], run_id: str) -> None:
    """Publish the summary with the map, and a link to the page."""
    from geo.reporting.headline import headline

    text = report_markdown(summary, files["map"], links=_links(files["page"], run_id))
    publish_markdown("report", text, title=headline(dict(summary)))
    publish_link(
        "report-page",
        page_link(files["page"], run_id),
        text="Open the report",
        title="The whole report: map, all tiles, pictures",
    )


def publish_way(summary: Mapping[str, Any], page: Path, run_id: str) -> None:
    """Publish the sentence of a report as the way to it, for the flow that has called for it.

    The UI shows the artifacts of a flow that was called with that flow alone.
    """
    from geo.reporting.headline import headline

    sentence = headline(dict(summary))
    link = page_link(page, run_id)
    publish_link("region-report", link, text=escape_markdown(sentence), title=sentence)


def report_markdown(summary: Mapping[str, Any], picture: Path, *, links: str = "") -> str:
    """The sentence, the ways on, cautions, the scores that are told first, and the map."""
    from geo.reporting.headline import cautions, headline
    from geo.reporting.use_told import use_cautions, use_sentence

    lines = [f"**{escape_markdown(headline(dict(summary)))}**", ""]
    lines += [links, ""] if links else []
    lines += [f"- {escape_markdown(caution)}" for caution in cautions(dict(summary))]
    lines += ["", *_table(summary)]
    if use := summary.get("use"):
        lines += ["", escape_markdown(use_sentence(use)), ""]
        lines += [f"- {escape_markdown(caution)}" for caution in use_cautions(use)]
    if seams := summary.get("seams"):
        lines += ["", f"Seams along edges of blocks: {seams['score']:+.3f} (0: none)"]
    return "\n".join([*lines, "", embed_picture(picture.read_bytes(), "Map of tiles")])


def _table(summary: Mapping[str, Any]) -> list[str]:
    scores = summary["scores"]
    whos = [who for who in _WHO if any(who in by_who for by_who in scores.values())]
    if not whos:
        return []
    lines = [
        f"| score | {' | '.join(_WHO[who] for who in whos)} |",
        f"|---|{'---|' * len(whos)}",
    ]
    for name, title, form in _FIRST:
        if name in scores:
            told = [scores[name].get(who, {}) for who in whos]
            values = [of.get("pooled", of.get("mean")) for of in told]
            shown = ["" if v is None else format(v, form) for v in values]
            lines.append(f"| {title} | {' | '.join(shown)} |")
    return lines


def _links(page: Path, run_id: str) -> str:
    """The ways to page and run, where a server shows them."""
    run = tracking.run_page(run_id)
    return (
        ""
        if run is None
        else f"[Open the report]({page_link(page, run_id)}) · [Run in MLflow]({run})"
    )


def page_link(page: Path, run_id: str) -> str:
    """Where the page opens: on the MLflow server if there is one, else the file."""
    return tracking.run_page(run_id, f"report/{page.name}") or page.resolve().as_uri()
