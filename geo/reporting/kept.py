"""Rows that are scored already, so that a report which broke off goes on where it was.

A working folder beside the report's files::

    OUT/report.html.skyscale/
        plan.json    fingerprint of all that the scores depend on
        rows/INDEX   rows of a batch of tiles, as JSON

The folder is taken down when the report is written.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from geo.durable import write_whole
from geo.errors import ReportError

_FORMAT = 1


class KeptRows:
    """Rows of the batches of a report, on disk.

    Parameters
    ----------
    out : Path
        The report's folder.
    facts : mapping
        JSON-able; all that the rows depend on. Rows of other facts are thrown away.
    restart : bool
        Throw away whatever is there.

    Raises
    ------
    ReportError
        If the folder cannot be written.
    """

    def __init__(self, out: Path, facts: Mapping[str, Any], *, restart: bool = False) -> None:
        known = {"format": _FORMAT, "skyscale": version("skyscale"), **facts}
        text = json.dumps(known, sort_keys=True, default=list)
        wanted = hashlib.sha256(text.encode()).hexdigest()
        self._folder = out / "report.html.skyscale"  # as regions have theirs; no user's name
        self.discarded = False
        try:
            if restart or self._fingerprint() != wanted:
                self.discarded = self._folder.exists()
                self.remove()
                (self._folder / "rows").mkdir(parents=True)
                write_whole(self._plan, json.dumps({"fingerprint": wanted}))
        except OSError as error:
            raise ReportError(f"{out}: the report cannot be written ({error})") from error

    @property
    def _plan(self) -> Path:
        return self._folder / "plan.json"

    def _fingerprint(self) -> str | None:
        try:
            return str(json.loads(self._plan.read_text())["fingerprint"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def finished(self) -> dict[int, list[dict[str, Any]]]:
        """Rows by the index of their batch; a damaged file is none."""
        found = {}
        for path in (self._folder / "rows").iterdir():
            if path.name.isdigit():
                try:
                    found[int(path.name)] = json.loads(path.read_text())
                except ValueError:
                    path.unlink()
        return found

    def keep(self, index: int, rows: list[dict[str, Any]]) -> None:
        """Keep the rows of a batch.

        Raises
        ------
        ReportError
            If the disk does not take them.
        """
        path = self._folder / "rows" / str(index)
        part = path.with_suffix(".part")
        try:
            # Not synced: what a power cut takes is scored again.
            part.write_text(json.dumps(rows))
            part.replace(path)
        except OSError as error:
            raise ReportError(f"{path}: scores cannot be kept ({error})") from error

    def remove(self) -> None:
        """Take the folder down; killed half way, nothing in it counts."""
        self._plan.unlink(missing_ok=True)
        if self._folder.exists():
            shutil.rmtree(self._folder)
