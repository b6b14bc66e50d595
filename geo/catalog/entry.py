"""What a source lists: items, and what is none."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from geo.catalog.scene import Refusal
from geo.errors import GeoError, first_line


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One thing that a source lists: a STAC item, or why it is none.

    Parameters
    ----------
    key : str
        Where it stands: path or URL of the item or raster; its identity within the source.
    stamp : str
        Changes when it changes (size and time of a file, ETag, time of update). Empty: unknown,
        then it is read again each time.
    text : str or None
        STAC item with absolute hrefs, as JSON: parsed it would take ten times the memory, and a
        refresh holds all entries of a source.
    refusal : Refusal or None
    """

    key: str
    stamp: str
    text: str | None = None
    refusal: Refusal | None = None

    def __post_init__(self) -> None:
        if (self.text is None) == (self.refusal is None):
            raise ValueError(f"entry {self.key}: wanted either an item or a refusal")
        # JSON and file names may hold halves of characters, which no table can.
        for name in ("key", "stamp"):
            text = getattr(self, name).encode("utf-8", "backslashreplace").decode()
            object.__setattr__(self, name, text)

    @classmethod
    def of(cls, item: Mapping[str, Any], *, key: str, stamp: str = "") -> Entry:
        """Entry of an item; its content is the stamp where nothing else is."""
        text = json.dumps(item, separators=(",", ":"), default=str)
        return cls(key=key, stamp=stamp or digest_of(text), text=text)

    @property
    def item(self) -> dict[str, Any] | None:
        """The item, parsed anew each time."""
        return None if self.text is None else dict(json.loads(self.text))


Known = Mapping[str, Entry]
"""Entries of an earlier reading by their keys; those with the same stamp are not read again."""


def refused(key: str, name: str, error: BaseException, *, stamp: str = "") -> Entry:
    """Entry of something that could not be read."""
    cause = error.facts.get("cause") if isinstance(error, GeoError) else None
    # What may pass is tried again at the next reading.
    kept_stamp = "" if cause in ("unreachable", "missing") else stamp
    reason = str(cause) if cause in _REASONS else "bad_item"
    detail = error.message if isinstance(error, GeoError) else first_line(error)
    refusal = Refusal(id=name, href=key, reason=reason, detail=first_line(Exception(detail)))
    return Entry(key=key, stamp=kept_stamp, refusal=refusal)


# Causes that say more than "bad_item"; a document that is not there is a bad link of its parent.
_REASONS = frozenset({"forbidden_href", "unreachable", "too_large"})


def digest_of(text: str) -> str:
    """Stamp of an item by its content."""
    return "sha256: " + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
