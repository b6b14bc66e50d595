"""What an ingest would read, pair and write, from catalogues and file headers alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.console import say
from flows.ingest_report import write_map
from flows.ingest_sources import Found
from flows.runtime import run_all
from geo.errors import GeoError

if TYPE_CHECKING:
    from flows.ingest_settings import IngestConfig
    from geo.decisions import PairingRules
    from geo.match import Candidate
    from geo.pairmap.expect import Expectation


def estimate(
    client: Any,
    config: IngestConfig,
    found: Found,
    candidates: Sequence[Candidate],
    rejections: Sequence[Any],
    rules: PairingRules,
) -> dict[str, Any]:
    """Answer a dry run; draws the map when the configuration names a folder for it."""
    jobs = ((index, candidate, rules) for index, candidate in enumerate(candidates))
    looked = dict(run_all(client, _look, jobs))
    refused = Counter(r.reason for r in rejections)
    refused.update(r.reason for side in found.refusals.values() for r in side)
    expected: dict[int, Expectation] = {}
    for index in range(len(candidates)):
        match looked[index]:
            case GeoError() as error:
                refused[str(error.facts.get("cause", "unreadable"))] += 1
                say(f"ingest: refused {candidates[index].satellite.id}: {error}")
            case expectation:
                expected[index] = expectation
    cells = sum(len(e.cells) for e in expected.values())
    chips = _chips(candidates, expected, config.dates_per_chip)
    written = sum(e.write_bytes for e in expected.values()) * chips / max(cells, 1)
    result: dict[str, Any] = {
        "dry_run": True,
        "satellite_scenes": len(found.scenes["satellite"]),
        "aerial_scenes": len(found.scenes["aerial"]),
        "scene_pairs": len(expected),
        "chips_at_most": chips,
        "megabytes_at_most": round(written / 1e6, 1),
        "megabytes_to_read": round(sum(e.read_bytes for e in expected.values()) / 1e6, 1),
        "satellite_megapixels": round(sum(e.satellite_px for e in expected.values()) / 1e6, 2),
        "aerial_megapixels": round(sum(e.aerial_px for e in expected.values()) / 1e6, 2),
        "rejected": dict(sorted(refused.items())),
        "bands": list(rules.bands),
        "table": [],
    }
    _draw(config, found, candidates, rejections, expected, result)
    return result


def _look(
    job: tuple[int, Candidate, PairingRules],
) -> tuple[int, Expectation | GeoError]:
    """Headers of one scene pair, on a worker."""
    from geo.pairmap.expect import expect_pair

    index, candidate, rules = job
    try:
        return index, expect_pair(candidate, rules)
    except GeoError as error:
        return index, error


def _chips(
    candidates: Sequence[Candidate], expected: dict[int, Expectation], most: int | None
) -> int:
    """Pairs to expect if nothing is refused."""
    if most is None:
        return sum(len(e.cells) for e in expected.values())
    dates: Counter[tuple[str, str, int, int]] = Counter()
    for index, e in expected.items():
        aerial = candidates[index].aerial.id
        dates.update((aerial, e.crs, cell.row, cell.col) for cell in e.cells)
    return sum(min(count, most) for count in dates.values())


def _draw(
    config: IngestConfig,
    found: Found,
    candidates: Sequence[Candidate],
    rejections: Sequence[Any],
    expected: dict[int, Expectation],
    result: dict[str, Any],
) -> None:
    from geo.pairmap.content import map_of_plan
    from geo.pairmap.table import as_text, table_of

    refusals = [
        {"satellite": r.satellite_id, "aerial": r.aerial_id, "reason": r.reason}
        | {"value": r.value, "limit": r.limit, "detail": r.detail}
        for r in rejections
    ]
    refusals += [
        {"satellite": "", "aerial": "", side: r.id, "reason": r.reason, "detail": r.detail}
        for side, those in found.refusals.items()
        for r in those
    ]
    content = map_of_plan(
        f"What would be paired: {config.satellite} and {config.aerial}",
        found.scenes,
        [candidates[index] for index in expected],
        [e.corners for e in expected.values()],
        refusals,
    )
    result["table"] = as_text(table_of(content))
    if config.map_dir is not None:
        result["map"] = write_map(content, Path(config.map_dir), "dry-run")
