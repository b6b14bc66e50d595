"""The flow that keeps a pair store small, quick and sound: for a schedule, beside ingests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from prefect import flow

from flows.artifacts import publish_table
from flows.console import say
from flows.errors import FlowError
from flows.pairs import PairsRequest, describe_store


@dataclass(frozen=True, kw_only=True)
class CareConfig:
    """Parameters of the flow.

    Parameters
    ----------
    store : str
        Folder or s3:// URL of the pair store.
    compact : bool
        Join small parts into large ones.
    expire : bool
        Let go of old versions without a tag.
    keep_days : float
        Versions replaced longer ago are old.
    verify : bool
        Read every row and pixel again; the run fails where something is damaged.
    """

    store: str
    compact: bool = True
    expire: bool = True
    keep_days: float = 7.0
    verify: bool = True


@flow(name="care", description="Join small parts, let old versions go, verify every pixel.")
def care(config: CareConfig) -> dict[str, Any]:
    """Care for a store; returns what ``skyscale pairs --json`` prints."""
    result = describe_store(
        PairsRequest(
            store=config.store,
            compact=config.compact,
            expire=config.expire,
            keep_days=config.keep_days,
            verify=config.verify,
        )
    )
    publish_table("care", result, title="Care of the pair store")
    say(f"care: {result['pairs']} pairs in version {result['version']}")
    verdict = result.get("verify", {"well": True, "damages": []})
    if not verdict["well"]:
        raise FlowError(
            f"{config.store}: {len(verdict['damages'])} damages; `skyscale pairs {config.store} "
            "--verify` lists them, `--repair` beside it forgets them for the next ingest"
        )
    return result
