"""Results of flow runs where reviewers of the Prefect UI look: artifacts."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from flows.console import LOGGER
from flows.log_lines import finite
from flows.model_card import escape_markdown
from flows.progress import EVERY_S, Pace
from flows.transient import is_transient

_MOST_PICTURE_BYTES = 400_000
# A server that is started again is back sooner.
_PATIENCE_S, _PAUSE_S = 90.0, 1.0


def publish_result(key: str, result: Mapping[str, Any], sentence: str) -> None:
    """Publish what a run came to: in one sentence, and as a table of all that it tells.

    The sentence is what the UI shows of the table before it is opened.

    Parameters
    ----------
    result : mapping
        Nested mappings become dotted names.
    """
    rows = [{"what": name, "value": _shown(value)} for name, value in _flatten(finite(result))]
    told = escape_markdown(sentence)
    _tell(create_table_artifact, key=_slug(key), table=rows, description=told)


def publish_markdown(key: str, text: str, *, title: str) -> None:
    """Publish a page; the title is what the UI shows of it before it is opened."""
    told = escape_markdown(title)
    _tell(create_markdown_artifact, key=_slug(key), markdown=text, description=told)


def embed_picture(picture: bytes, alt: str, *, kind: str = "png", where: str = "") -> str:
    """Markdown of a picture that travels within the text, for the browser may be far from the file.

    Parameters
    ----------
    picture : bytes
        The file.
    where : str
        Where it lies: told instead where it would be too large for the server's database.
    """
    if len(picture) > _MOST_PICTURE_BYTES:
        return f"{alt}: `{where}`" if where else ""
    return f"![{alt}](data:image/{kind};base64,{base64.b64encode(picture).decode()})"


def publish_link(key: str, link: str, *, text: str, title: str) -> None:
    """Publish an address."""
    told = escape_markdown(title)
    _tell(create_link_artifact, key=_slug(key), link=link, link_text=text, description=told)


def progress_teller(key: str, *, title: str, every_s: float = EVERY_S) -> Callable[[Pace], None]:
    """A bar in the UI for long work, its pace beside it: call it at any rate."""
    artifact = _tell(create_progress_artifact, key=_slug(key), progress=0.0, description=title)
    told_at = time.monotonic()

    def tell(pace: Pace) -> None:
        nonlocal told_at
        now = time.monotonic()
        if artifact is not None and (pace.share >= 1 or now - told_at >= every_s):
            told_at = now
            patience_s = None if pace.share >= 1 else 0.0  # or it is told soon again
            _tell(
                update_progress_artifact,
                patience_s=patience_s,
                artifact_id=artifact,
                progress=100 * pace.share,
                description=f"{title}: {pace}",
            )

    return tell


def _tell(publish: Callable[..., Any], *, patience_s: float | None = None, **what: Any) -> Any:
    """Publish, when the server is there: a run is not to fail for want of a page about it.

    Prefect's client alone gives up at once where it was not connected before.
    """
    give_up = time.monotonic() + (_PATIENCE_S if patience_s is None else patience_s)
    while True:
        try:
            return publish(**what)
        except Exception as error:
            if not is_transient(error):
                raise
            if time.monotonic() >= give_up:
                LOGGER.warning("not shown in Prefect: %s", error)
                return None
            time.sleep(_PAUSE_S)


def _flatten(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            rows += _flatten(value, f"{prefix}{name}.")
        else:
            rows.append((f"{prefix}{name}", value))
    return rows


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_shown(of)}" for name, of in value.items())
    if isinstance(value, list | tuple):
        # Records, such as scenes that were refused, want more than commas between them.
        between = "; " if any(isinstance(of, Mapping) for of in value) else ", "
        return between.join(map(_shown, value))
    return "" if value is None else str(value)


def _slug(key: str) -> str:
    """Prefect wants lower-case letters, numbers and dashes."""
    return re.sub(r"[^a-z0-9-]+", "-", key.lower()).strip("-")
