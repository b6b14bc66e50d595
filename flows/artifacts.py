"""Results of flow runs where reviewers of the Prefect UI look: artifacts."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import Any

from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from flows.console import finite


def publish_table(key: str, result: Mapping[str, Any], *, title: str) -> None:
    """Publish a flat result as a table; nested mappings become dotted names."""
    rows = [{"what": name, "value": str(value)} for name, value in _flatten(finite(result))]
    create_table_artifact(key=_slug(key), table=rows, description=title)


def publish_markdown(key: str, text: str, *, title: str) -> None:
    """Publish a page."""
    create_markdown_artifact(key=_slug(key), markdown=text, description=title)


def progress_teller(key: str, *, title: str, every_s: float = 5.0) -> Callable[[float], None]:
    """A bar in the UI for long work: call it with how far the work is, 0 to 1, at any rate."""
    artifact: Any = create_progress_artifact(key=_slug(key), progress=0.0, description=title)
    told_at = time.monotonic()

    def tell(share: float) -> None:
        nonlocal told_at
        now = time.monotonic()
        if share >= 1 or now - told_at >= every_s:
            told_at = now
            update_progress_artifact(artifact_id=artifact, progress=100 * share)

    return tell


def _flatten(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            rows += _flatten(value, f"{prefix}{name}.")
        else:
            rows.append((f"{prefix}{name}", value))
    return rows


def _slug(key: str) -> str:
    """Prefect wants lower-case letters, numbers and dashes."""
    return re.sub(r"[^a-z0-9-]+", "-", key.lower()).strip("-")
