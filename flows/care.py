"""The flow that keeps a pair store small, quick and sound: for a schedule, beside ingests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prefect import flow

from flows.artifacts import publish_result
from flows.errors import FlowError
from flows.forms import form
from flows.notices import HOOKS
from flows.pairs import PairsRequest, describe_store
from flows.stage import stage


@form
@dataclass(frozen=True, kw_only=True)
class CareConfig:
    """Which pair store is cared for, and how.

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


def _closing(result: Mapping[str, Any]) -> str:
    whole = ", none damaged" if "verify" in result else ""
    return f"{result['pairs']} pairs in version {result['version']}{whole}"


@flow(
    name="care", description="Join small parts, let old versions go, verify every pixel.", **HOOKS
)
@stage("care", _closing)
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
    verdict = result.get("verify", {"well": True, "damages": []})
    state = "" if "verify" not in result else f", {len(verdict['damages']) or 'none'} damaged"
    told = f"{result['pairs']} pairs in version {result['version']}{state}"
    publish_result("care", result, f"{told}: {config.store}")
    if not verdict["well"]:
        raise FlowError(
            f"{config.store}: {len(verdict['damages'])} damages; `skyscale pairs {config.store} "
            "--verify` lists them, `--repair` beside it forgets them for the next ingest"
        )
    return result
