"""What a run has to tell its tracker, kept on disk until the tracker has it."""

from __future__ import annotations

import errno
import json
import math
import os
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

Lane = Literal["metrics", "pictures"]
LANES: tuple[Lane, ...] = ("metrics", "pictures")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A line of the record.

    Parameters
    ----------
    time_ms : int
        When it was said, since 1970.
    step : int
    metrics : mapping
        By name; empty for a picture.
    picture : str or None
        Artifact path of a picture.
    end : int
        Byte of the record after this line.
    """

    time_ms: int
    step: int
    metrics: Mapping[str, float]
    picture: str | None
    end: int

    @property
    def lane(self) -> Lane:
        """Where it travels: a picture that cannot be sent must not hold up metrics."""
        return "metrics" if self.picture is None else "pictures"


class Spool:
    """Append-only record of a run's metrics and pictures, with marks of what was sent.

    Parameters
    ----------
    folder : Path
        Gets ``record.jsonl``, one JSON object a line; ``sent.json``, how far each lane was sent;
        and ``pictures/``, those not yet sent. A former process's record is gone on with.

    Notes
    -----
    A step is told once. After a crash, or when an ill run goes back, steps behind the last
    checkpoint are done again; of each name only steps beyond the last one told are taken, so no
    curve has two points at one step, and the first one stands.

    Entries are marked as sent after the tracker has taken them: those sent right before a process
    was killed are sent again. They carry their first time, and MLflow takes a point of the same
    name, time, step and value for the same point.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._record = folder / "record.jsonl"
        self._marks = folder / "sent.json"
        self._lock = threading.Lock()
        self._last: dict[str, int] = {}
        (folder / "pictures").mkdir(parents=True, exist_ok=True)
        self._mend()
        self._sent = self._read_marks()
        for entry in self.entries():
            for name in entry.metrics or (entry.picture or "",):
                self._last[name] = max(entry.step, self._last.get(name, entry.step))

    def metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Take what is finite and was not told of this step or a later one."""
        with self._lock:
            new = {
                name: float(value)
                for name, value in metrics.items()
                if math.isfinite(value) and step > self._last.get(name, -1)
            }
            if new:
                self._last.update(dict.fromkeys(new, step))
                self._append({"step": step, "metrics": new})

    def picture(self, path: str, png: bytes, step: int) -> None:
        """Take a picture, unless its path is told already."""
        with self._lock:
            if path in self._last:
                return
            self._last[path] = step
            file = self.file_of(path)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(png)
            self._append({"step": step, "picture": path})

    def next_step(self, name: str) -> int:
        """The step after the last one told of a name, for series without a step of their own."""
        return self._last.get(name, -1) + 1

    def file_of(self, picture: str) -> Path:
        """Where a picture waits."""
        return self.folder / "pictures" / PurePosixPath(picture)

    def entries(self, start: int = 0) -> Iterator[Entry]:
        """Lines of the record from a byte on; one that is not whole is passed over."""
        try:
            file = self._record.open("rb")
        except OSError:
            return
        with file:
            file.seek(start)
            end = start
            for line in file:
                if not line.endswith(b"\n"):
                    return
                end += len(line)
                if (entry := _entry(line, end)) is not None:
                    yield entry

    def waiting(self, lane: Lane, most: int | None = None) -> list[Entry]:
        """The oldest entries of a lane that were not sent, in order, at most so many."""
        found: list[Entry] = []
        end = self._sent[lane]
        for entry in self.entries(end):
            end = entry.end
            if entry.lane == lane:
                found.append(entry)
                if len(found) == most:
                    break
        if not found:
            self._sent[lane] = end  # or lines of the other lane would be read each time
        return found

    def confirm(self, entry: Entry) -> None:
        """Mark an entry, and all before it in its lane, as sent."""
        self._sent[entry.lane] = entry.end
        partial = self._marks.with_suffix(".partial")
        partial.write_text(json.dumps(self._sent))
        os.replace(partial, self._marks)
        if entry.picture is not None:
            self.file_of(entry.picture).unlink(missing_ok=True)

    def _append(self, values: Mapping[str, Any]) -> None:
        line = (json.dumps({"time_ms": int(time.time() * 1000), **values}) + "\n").encode()
        # One write of a whole line, opened anew: nothing is left in buffers of a killed process.
        with self._record.open("ab", buffering=0) as file:
            written = file.write(line)
        if written != len(line):
            self._mend()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._record))

    def _mend(self) -> None:
        """End a line that a killed process left half written, so that the next one is whole."""
        if not self._record.exists() or not self._record.stat().st_size:
            return
        with self._record.open("rb+") as file:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")

    def _read_marks(self) -> dict[Lane, int]:
        try:
            known = json.loads(self._marks.read_text())
            size = self._record.stat().st_size
        except (OSError, ValueError):
            return dict.fromkeys(LANES, 0)
        return {lane: min(size, int(known.get(lane, 0))) for lane in LANES}


def _entry(line: bytes, end: int) -> Entry | None:
    try:
        values = json.loads(line)
        return Entry(
            time_ms=int(values["time_ms"]),
            step=int(values["step"]),
            metrics=values.get("metrics", {}),
            picture=values.get("picture"),
            end=end,
        )
    except (ValueError, KeyError, TypeError):
        return None
