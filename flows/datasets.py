"""Data that a run has seen, as datasets in MLflow."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from flows import tracking

if TYPE_CHECKING:
    from geo.pairstore.store import PairStore
    from geo.reporting.scored import ScoredTiles


def log_store(run_id: str, store: PairStore, summary: Mapping[str, Any], *, context: str) -> None:
    """Say which pairs a run sees: the store, with the digest of the version.

    Parameters
    ----------
    run_id : str
    store : PairStore
    summary : mapping
        Of the version, as the store tells it.
    context : str
        ``training`` or ``evaluation``.
    """
    _log(
        run_id,
        name=store.place.name,
        digest=str(summary["digest"]),
        kind="skyscale-pair-store",
        source={"path": store.url, "version": summary["version"]},
        profile={name: summary[name] for name in ("pairs", "splits", "derived", "chips")},
        context=context,
    )


def log_ground(run_id: str, scored: ScoredTiles) -> None:
    """Say what a report scored against: reports of the same ground have the same digest."""
    facts = scored.facts
    references = sorted({str(name) for name in scored.text("aerial_id") if name is not None})
    _log(
        run_id,
        name=str(facts.get("reference") or ", ".join(references[:3]) or "no reference"),
        digest=ground_digest(scored),
        kind="skyscale-report-ground",
        source={"references": references or [facts.get("reference")]},
        profile={"tiles": len(scored), "scale": facts.get("scale"), "bands": facts.get("bands")},
        context="evaluation",
    )


def ground_digest(scored: ScoredTiles) -> str:
    """Digest of tiles, references and rules; what no model has a part in, in any order."""
    rules = {name: scored.facts.get(name) for name in ("data_range", "scale", "bands", "mask")}
    outlines = scored.columns.get("geometry", scored.text("geometry"))
    whole = str(scored.facts.get("reference"))
    rows = zip(scored.columns["tile"], outlines, scored.text("aerial_id"), strict=True)
    known = hashlib.blake2b(json.dumps(rules).encode(), digest_size=16)
    for row in sorted(f"{tile} {outline!r} {name or whole}" for tile, outline, name in rows):
        known.update(row.encode())
    return known.hexdigest()


def _log(
    run_id: str,
    *,
    name: str,
    digest: str,
    kind: str,
    source: Mapping[str, Any],
    profile: Mapping[str, Any],
    context: str,
) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    dataset = Dataset(
        name=name[:500],
        digest=digest[:36],  # MLflow takes no longer one
        source_type=kind,
        source=json.dumps(source),
        profile=json.dumps(profile),
    )
    inputs = [DatasetInput(dataset, [InputTag("mlflow.data.context", context)])]
    client = tracking.mlflow_client()
    tracking.try_beside_others(lambda: client.log_inputs(run_id, inputs))
