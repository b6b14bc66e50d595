"""What a line of the log looks like: for people at a terminal, or as JSON for programs."""

from __future__ import annotations

import json
import logging
import math
import re
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

# "ingest: 3 scene pairs match": what is said of a stage begins with its name.
_STAGE = re.compile(r"(?!skyscale)([a-z]+): ")


class ElapsedFormatter(logging.Formatter):
    """Minutes and seconds since the command began stand before each line."""

    def __init__(self) -> None:
        super().__init__("%(message)s")
        self._start = time.monotonic()

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        minutes, seconds = divmod(int(time.monotonic() - self._start), 60)
        mark = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        return f"{minutes:3d}:{seconds:02d}  {mark}{super().format(record)}"


class JsonFormatter(logging.Formatter):
    """One JSON object a line.

    Its keys are ``time`` (UTC), ``level``, ``flow``, ``run``, ``stage`` (null where none is known)
    and ``message``; ``traceback`` of an error; and the numbers of the message where it has some.
    """

    def __init__(self) -> None:
        super().__init__("%(message)s")
        self._whose: tuple[str | None, str | None] = None, None

    def format(self, record: logging.LogRecord) -> str:
        """One line, whatever is in it."""
        message = record.getMessage()
        stage = _STAGE.match(message) if record.name == "skyscale" else None
        self._whose = _whose(record) or self._whose
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "flow": self._whose[0],
            "run": self._whose[1],
            "stage": stage[1] if stage else None,
            "message": message,
        }
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        if record.exc_text:
            line["traceback"] = record.exc_text
        facts = {k: v for k, v in getattr(record, "facts", {}).items() if k not in line}
        return json.dumps(finite(line | facts), default=str)


def _whose(record: logging.LogRecord) -> tuple[str | None, str | None] | None:
    """Names of flow and run that speak; None in threads that know of none, as Dask's."""
    if name := getattr(record, "flow_run_name", None):
        flow = getattr(
            record, "flow_name", "<unknown>"
        )  # as Prefect's engine calls some of its own
        return None if flow.startswith("<") else (flow, name)
    if (prefect := sys.modules.get("prefect.context")) is None:
        return None
    context: Any = prefect.FlowRunContext.get()
    if context is None or context.flow_run is None:
        return None
    return context.flow.name, context.flow_run.name


def finite(value: Any) -> Any:
    """Replace what JSON cannot say (infinities, NaN) by None, at any depth."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    return value
