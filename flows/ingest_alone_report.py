"""What an ingest without partners ends with: numbers, a table of scenes, and a map."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flows.ingest_report import publish_map, say_counts

if TYPE_CHECKING:
    from flows.ingest_alone_line import LoneOutcome
    from flows.ingest_settings import IngestConfig
    from flows.ingest_sources import Found
    from geo.lone_scene import LoneRules
    from geo.pairmap.content import PairMap
    from geo.pairstore.store import PairStore


def result_alone(
    store: PairStore,
    before: Mapping[str, Any],
    outcomes: Sequence[LoneOutcome],
    found: Found,
    refused: Sequence[str],
    *,
    derived: bool,
) -> dict[str, Any]:
    """What ``skyscale ingest --json`` prints.

    Parameters
    ----------
    before : mapping
        Summary of the store as it was.
    refused : sequence of str
        Why scenes were not even looked at.
    derived : bool
        Whether chips became pairs; those of places that had one already replaced it.
    """
    summary = store.summary()
    was, chips = _chips(before), _chips(summary)
    made = sum(outcome.counts["kept"] for outcome in outcomes)
    reasons = Counter(refused)
    reasons.update(r.reason for side in found.refusals.values() for r in side)
    for outcome in outcomes:
        if outcome.state in ("refused", "failed"):
            reasons[str(outcome.reason)] += 1
        reasons.update({k: n for k, n in outcome.counts.items() if k != "kept"})
    return {
        "alone": True,
        "derived_added": sum(summary["derived"].values()) - sum(before["derived"].values()),
        "derived_made": made if derived else 0,
        "store": store.url,
        "pairs_added": summary["pairs"] - before["pairs"],
        "pairs_total": summary["pairs"],
        "chips_added": {side: n - was[side] for side, n in chips.items()},
        "chips_total": chips,
        "derived_total": sum(summary["derived"].values()),
        "rejected": summary["rejected"],
        "scenes": dict(sorted(Counter(outcome.state for outcome in outcomes).items())),
        "refused": dict(sorted(reasons.items())),
        "splits": summary["splits"],
        "chip_splits": summary["chips"],
        "categories": summary["categories"],
        "version": summary["version"],
        "digest": summary["digest"],
        "config": store.config.to_dict(),
    }


def _chips(summary: Mapping[str, Any]) -> dict[str, int]:
    return {side: sum(splits.values()) for side, splits in summary["chips"].items()}


def sentence_alone(result: Mapping[str, Any]) -> str:
    """What an ingest without partners came to."""
    added = f"Added {_added(result)}" if result["news"] else "Nothing new"
    derived = f", {result['derived_total']} of them derived" if result["derived_total"] else ""
    return (
        f"{added}; {result['store']} holds {_told(result['chips_total'])} and "
        f"{result['pairs_total']} pairs{derived} (version {result['version']}). "
        f"Refused: {say_counts(result['rejected'])}."
    )


def _added(result: Mapping[str, Any]) -> str:
    derived, chips = result["derived_made"], result["chips_added"]
    parts = [f"{derived} derived pairs"] if derived else []
    parts += [_told(chips)] if any(chips.values()) or not derived else []
    return " and ".join(parts)


def closing_alone(result: Mapping[str, Any]) -> str:
    """The same in a line of the log."""
    if result.get("dry_run"):
        most = _told(result["chips_at_most"])
        return (
            f"nothing written; {result['scenes']} scenes, at most {most}; refused: "
            f"{say_counts(result['rejected'])}"
        )
    return (
        f"{_added(result)} added, {_told(result['chips_total'])} and {result['pairs_total']} pairs "
        "in the store; "
        f"scenes: {say_counts(result['scenes'])}; refused: {say_counts(result['refused'])}"
    )


def _told(chips: Mapping[str, int]) -> str:
    return f"{chips['lr']} LR and {chips['hr']} HR chips without partners"


def publish_alone(
    result: dict[str, Any],
    config: IngestConfig,
    store: PairStore,
    found: Found,
    outcomes: Sequence[LoneOutcome],
    rules: LoneRules,
    run_name: str,
    *,
    news: bool,
) -> None:
    """Draw the map and put it, with the table, where people look; `result` tells where."""
    result["news"] = news

    def content() -> PairMap:
        return _content(store, found, outcomes, rules, run_name)

    publish_map(result, sentence_alone(result), config, content, run_name)


def _content(
    store: PairStore,
    found: Found,
    outcomes: Sequence[LoneOutcome],
    rules: LoneRules,
    run_name: str,
) -> PairMap:
    import pyarrow as pa

    from geo.pairmap.content import COLUMNS, lone_entry, map_of_rows
    from geo.pairstore.index import among

    digests = [rules.digest(side) for side in ("lr", "hr")]
    scenes = [rules.scene_digest(o.side, o.ground) for o in outcomes]
    whole = (
        f'side IS NOT NULL AND "row" IS NULL AND {among("settings_digest", [*digests, *scenes])}'
    )
    chips = f'"row" IS NOT NULL AND {among("settings_digest", digests)}'
    what = "Chips" if rules.derived is None else "Derived pairs"
    return map_of_rows(
        f"{what} of {store.place.name}: run {run_name}",
        found.scenes,
        [],
        pa.concat_tables([store.rows(columns=COLUMNS, where=where) for where in (whole, chips)]),
        alone=[lone_entry(o.scene, o.side, o.ground) for o in outcomes],
    )
