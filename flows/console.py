"""What people at a terminal see: the story on standard error, the result on standard output."""

from __future__ import annotations

import json
import logging
import math
import sys
import time
from collections.abc import Mapping
from typing import Any

LOGGER = logging.getLogger("skyscale")
# The story is told at this level; under a Prefect worker nobody else would let it through.
LOGGER.setLevel(logging.INFO)


class _ElapsedFormatter(logging.Formatter):
    """Minutes and seconds since the command began stand before each line."""

    def __init__(self) -> None:
        super().__init__("%(message)s")
        self._start = time.monotonic()

    def format(self, record: logging.LogRecord) -> str:
        minutes, seconds = divmod(int(time.monotonic() - self._start), 60)
        mark = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        return f"{minutes:3d}:{seconds:02d}  {mark}{super().format(record)}"


def tell_people() -> None:
    """Send the story (the logger ``skyscale``) to standard error, and nowhere else before."""
    for old in list(LOGGER.handlers):
        if isinstance(old.formatter, _ElapsedFormatter):
            LOGGER.removeHandler(old)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_ElapsedFormatter())
    LOGGER.addHandler(handler)
    # GDAL's remarks on damaged files: what cannot be used is refused with a reason of our own.
    logging.getLogger("rasterio").setLevel(logging.ERROR)
    LOGGER.propagate = False


def say(message: str) -> None:
    """Tell one step of the story."""
    LOGGER.info(message)


class Progress:
    """A line now and then about long work: how far, how fast, how much longer.

    Parameters
    ----------
    what : str
        For example ``"upscale"``.
    total : int
        Pieces of work.
    unit : str
    every_s : float
        Least seconds between lines.
    """

    def __init__(self, what: str, total: int, unit: str, *, every_s: float = 5.0) -> None:
        self._what, self._total, self._unit, self._every_s = what, total, unit, every_s
        self._done = 0
        self._start = self._last = time.monotonic()

    def add(self, count: int = 1) -> None:
        """Count finished pieces."""
        self._done += count
        now = time.monotonic()
        if now - self._last >= self._every_s:
            self._last = now
            rate = self._done / max(now - self._start, 1e-9)
            left = (self._total - self._done) / max(rate, 1e-9)
            say(
                f"{self._what}: {self._done} of {self._total} {self._unit}, "
                f"{rate:.1f} a second, {left:.0f} s to go"
            )


def print_json(result: Mapping[str, Any]) -> None:
    """Print one JSON object, with null where a number is not finite."""
    sys.stdout.write(json.dumps(finite(result), indent=2, default=str) + "\n")


def finite(value: Any) -> Any:
    """Replace what JSON cannot say (infinities, NaN) by None, at any depth."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    return value
