"""What an ingest ends with: numbers, a table of scene pairs, and a map, here and in Prefect."""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.artifacts import publish_markdown, publish_table
from flows.console import say
from flows.ingest_settings import home_of

if TYPE_CHECKING:
    from flows.ingest_scenes import Outcome
    from flows.ingest_settings import IngestConfig
    from flows.ingest_sources import Found
    from geo.match import Candidate
    from geo.pairmap.content import PairMap
    from geo.pairstore.store import PairStore

# Prefect keeps artifacts in its database: a larger picture is left where it lies.
_MOST_IMAGE_BYTES = 400_000


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


def publish(
    result: dict[str, Any],
    config: IngestConfig,
    store: PairStore,
    found: Found,
    candidates: Sequence[Candidate],
    run_name: str,
) -> None:
    """Draw the map and put it, with the table, where people look; `result` tells where.

    A map that cannot be drawn is said, and no reason to lose a run whose pairs are committed.
    """
    publish_table("ingest", result, title="Ingest")
    result["table"] = []
    try:
        content = _content(config, store, found, candidates, run_name)
        folder = home_of(config.store) / "maps" if config.map_dir is None else Path(config.map_dir)
        _publish_content(content, folder, run_name, result)
    except Exception as error:
        say(f"ingest: no map ({type(error).__name__}: {error})")


def _content(
    config: IngestConfig,
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
                store.rows(columns=COLUMNS, where='"row" IS NULL'),
                store.rows(
                    columns=COLUMNS,
                    where='"row" IS NOT NULL',
                    scenes=[(c.satellite.id, c.aerial.id) for c in candidates],
                ),
            ]
        ),
    )


def _publish_content(content: PairMap, folder: Path, run_name: str, result: dict[str, Any]) -> None:
    from geo.pairmap.table import as_markdown, as_text, table_of

    lines = table_of(content)
    result["table"] = as_text(lines)
    result["map"] = write_map(content, folder, run_name)
    publish_markdown(
        "ingest-map",
        f"{_image(Path(result['map']['png']))}\n\n{as_markdown(lines)}\n\n"
        f"The same to look at closely: `{result['map']['html']}`\n",
        title=content.title,
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


def _image(png: Path) -> str:
    """The picture within the text, for the browser may be far from the file."""
    data = png.read_bytes()
    if len(data) > _MOST_IMAGE_BYTES:
        return f"Picture: `{png}`"
    return f"![map of pairs](data:image/png;base64,{base64.b64encode(data).decode()})"


def say_counts(counts: Mapping[str, int]) -> str:
    """For example ``3 cloud, 2 nodata``."""
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "none"
