"""What an ingest ends with: numbers, a table of scene pairs, and a map, here and in Prefect."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.artifacts import embed_picture, publish_markdown, publish_result
from flows.console import say
from flows.ingest_settings import home_of

if TYPE_CHECKING:
    from flows.ingest_scenes import Outcome
    from flows.ingest_settings import IngestConfig
    from flows.ingest_sources import Found
    from geo.match import Candidate
    from geo.pairmap.content import PairMap
    from geo.pairstore.store import PairStore

# Of chips: those that are there, and those that others of the same place made needless.
_NOT_REFUSED = ("pairs", "enough_dates")


def result_of(store: PairStore, before: int, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """What ``skyscale ingest --json`` prints."""
    summary = store.summary()
    states = Counter(outcome.state for outcome in outcomes)
    skipped = sum(outcome.counts["enough_dates"] for outcome in outcomes)
    return {
        "store": store.url,
        "pairs_added": summary["pairs"] - before,
        "pairs_total": summary["pairs"],
        "rejected": summary["rejected"],
        "scene_pairs": dict(sorted(states.items())),
        "enough_dates": skipped,
        "splits": summary["splits"],
        "categories": summary["categories"],
        "version": summary["version"],
        "digest": summary["digest"],
        "config": store.config.to_dict(),
    }


def sentence_of(result: Mapping[str, Any]) -> str:
    """What an ingest came to."""
    added = f"Added {result['pairs_added']} pairs" if result["news"] else "Nothing new"
    return (
        f"{added}; {result['store']} holds {result['pairs_total']} (version {result['version']}). "
        f"Refused: {say_counts(result['rejected'])}."
    )


def publish(
    result: dict[str, Any],
    config: IngestConfig,
    store: PairStore,
    found: Found,
    candidates: Sequence[Candidate],
    run_name: str,
    *,
    news: bool = True,
) -> None:
    """Draw the map and put it, with the table, where people look; `result` tells where.

    A map that cannot be drawn is said, and no reason to lose a run whose pairs are committed.

    Parameters
    ----------
    news : bool
        Without any, the map of the run before stands, unless a folder was named for this one's:
        a hundred nights would fill disk and database with the same picture.
    """
    result["news"] = news

    def content() -> PairMap:
        return _content(store, found, candidates, run_name)

    publish_map(result, sentence_of(result), config, content, run_name)


def publish_map(
    result: dict[str, Any],
    sentence: str,
    config: IngestConfig,
    draw: Callable[[], PairMap],
    run_name: str,
) -> None:
    """Put the result, and what `draw` makes, where people look; see `publish`."""
    publish_result("ingest", result, sentence)
    result["table"] = []
    try:
        content = draw()
        if not (result["news"] or config.map_dir):
            from geo.pairmap.table import as_text, head_of, table_of

            result["table"] = as_text(table_of(content), head_of(content))
            return
        folder = home_of(config.store) / "maps" if config.map_dir is None else Path(config.map_dir)
        _publish_content(content, folder, run_name, result)
    except Exception as error:
        say(f"ingest: no map ({type(error).__name__}: {error})")


def _content(
    store: PairStore,
    found: Found,
    candidates: Sequence[Candidate],
    run_name: str,
) -> PairMap:
    import pyarrow as pa

    from geo.pairmap.content import COLUMNS, map_of_rows

    return map_of_rows(
        f"Pairs of {store.place.name}: run {run_name}",
        found.scenes,
        candidates,
        pa.concat_tables(
            [
                store.rows(columns=COLUMNS, where='"row" IS NULL AND side IS NULL'),
                store.rows(
                    columns=COLUMNS,
                    where='"row" IS NOT NULL',
                    scenes=[(c.satellite.id, c.aerial.id) for c in candidates],
                ),
            ]
        ),
    )


def _publish_content(content: PairMap, folder: Path, run_name: str, result: dict[str, Any]) -> None:
    from geo.pairmap.table import as_markdown, as_text, head_of, table_of

    lines, head = table_of(content), head_of(content)
    result["table"] = as_text(lines, head)
    result["map"] = write_map(content, folder, run_name)
    png = Path(result["map"]["png"])
    picture = embed_picture(png.read_bytes(), "map of pairs", where=str(png))
    publish_markdown(
        "ingest-map",
        f"{picture}\n\n{as_markdown(lines, head)}\n\n"
        f"The same to look at closely: `{result['map']['html']}`\n",
        title="Where pairs lie, how far each scene was shifted, what was refused",
    )


def write_map(content: PairMap, folder: Path, name: str) -> dict[str, str]:
    """Write the page and the picture; returns where."""
    from geo.pairmap.page import build_page
    from geo.pairmap.picture import draw_png

    folder.mkdir(parents=True, exist_ok=True)
    stem = re.sub(r"[^\w.-]+", "-", name).strip(".-") or "map"
    html, png = folder / f"{stem}.html", folder / f"{stem}.png"
    html.write_text(build_page(content), encoding="utf-8")
    png.write_bytes(draw_png(content))
    say(f"ingest: map {html} and {png}")
    return {"html": str(html), "png": str(png)}


def count_refusals(
    found: Found, rejections: Sequence[Any], outcomes: Sequence[Outcome]
) -> dict[str, int]:
    """What this run refused, by reason: scenes, scene pairs, chips."""
    refused = Counter(r.reason for r in rejections)
    refused.update(r.reason for side in found.refusals.values() for r in side)
    for outcome in outcomes:
        if outcome.state in ("refused", "failed"):
            refused[str(outcome.reason)] += 1
        refused.update(outcome.counts)
    return {name: n for name, n in sorted(refused.items()) if name not in _NOT_REFUSED}


def closing(result: Mapping[str, Any]) -> str:
    """What an ingest ends with, in a line."""
    if result.get("alone"):
        from flows.ingest_alone_report import closing_alone

        return closing_alone(result)
    if result.get("dry_run"):
        return (
            f"nothing written; {result['scene_pairs']} scene pairs, at most "
            f"{result['chips_at_most']} pairs; refused: {say_counts(result['rejected'])}"
        )
    return (
        f"{result['pairs_added']} pairs added, {result['pairs_total']} in the store; scene pairs: "
        f"{say_counts(result['scene_pairs'])}; refused: {say_counts(result['refused'])}"
    )


def say_counts(counts: Mapping[str, int]) -> str:
    """For example ``3 cloud, 2 nodata``."""
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "none"
