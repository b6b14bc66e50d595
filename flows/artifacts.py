"""Results of flow runs where reviewers of the Prefect UI look: artifacts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from flows.console import finite


def publish_table(key: str, result: Mapping[str, Any], *, title: str) -> None:
    """Publish a flat result as a table; nested mappings become dotted names."""
    rows = [{"what": name, "value": str(value)} for name, value in _flatten(finite(result))]
    create_table_artifact(key=_slug(key), table=rows, description=title)


def publish_markdown(key: str, text: str, *, title: str) -> None:
    """Publish a page."""
    create_markdown_artifact(key=_slug(key), markdown=text, description=title)


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
