"""Going on with a training run: on its own data, with its settings and what is given anew."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from flows.errors import FlowError

if TYPE_CHECKING:
    from flows.train_job import TrainFlowConfig
    from geo.pairstore.store import PairStore


def check_beside(job: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse other labels than a run has learned from.

    Parameters
    ----------
    job : mapping
    now : mapping
        What `Kind.beside` says of the data that are given.

    Raises
    ------
    FlowError
    """
    was = job.get("beside") or {}  # older jobs know of nothing
    other = [f"{key} {now[key]}, not {was.get(key)}" for key in now if now[key] != was.get(key)]
    if other:
        raise FlowError(
            f"run {job['run_id']} has learned from other data than these: {', '.join(other)}; "
            "wanted those that it began with, or start a new run"
        )


def same_data(config: TrainFlowConfig, job: Mapping[str, Any], store: PairStore) -> dict[str, Any]:
    """Refuse pairs and chips that the run was not trained on; returns the store's summary.

    Raises
    ------
    FlowError
    """
    run, was = job["run_id"], job.get("data")
    if was is not None:
        now = {"scale": store.config.scale, "bands": list(store.config.bands)}
        other = [f"{key} {_plain(now[key])}" for key in now if now[key] != was[key]]
        if other:
            wanted = ", ".join(f"{key} {_plain(was[key])}" for key in now)
            raise FlowError(
                f"{config.store} has {', '.join(other)}, but run {run} was trained on {wanted}: "
                f"give its own store, {job['store']}, or start a new run"
            )
    if config.store_version is not None and (
        store.tags.resolve(config.store_version) != job["store_version"]
    ):
        raise FlowError(
            f"run {run} is trained on version {job['store_version']} of its store, not on "
            f"{config.store_version}: leave --store-version out or start a new run"
        )
    summary = store.summary(job["store_version"])
    chips = job.get("chips_digest")
    other_chips = chips is not None and chips != store.chips_digest(job["store_version"])
    if summary["digest"] != job["store_digest"] or other_chips:
        raise FlowError(
            f"version {job['store_version']} of {config.store} holds other pairs than run {run} "
            f"was trained on: give its own store, {job['store']}, or start a new run"
        )
    return summary


def _plain(value: Any) -> str:
    return ",".join(value) if isinstance(value, list) else str(value)


def merged_settings(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings, the new ones before the old ones."""
    merged = dict(old)
    for key, value in new.items():
        before = old.get(key)
        both = isinstance(value, Mapping) and isinstance(before, Mapping)
        merged[key] = merged_settings(before, value) if both else value  # type: ignore[arg-type]  # a mapping
    return merged


def changed_settings(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the new settings that are not as they were."""
    return {key: value for key, value in new.items() if old.get(key) != value}
