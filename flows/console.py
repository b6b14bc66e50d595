"""What people at a terminal see: the story on standard error, the result on standard output."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from typing import Any

from flows.log_lines import ElapsedFormatter, JsonFormatter, finite
from flows.settings import is_run_by_worker, wants_json_logs
from geo.secrets import mask

LOGGER = logging.getLogger("skyscale")
# The story is told at this level; under a Prefect worker nobody else would let it through.
LOGGER.setLevel(logging.INFO)
# By these Prefect tells of runs, tracebacks of any library among it, on its pages and here.
_PREFECTS = ("prefect.flow_runs", "prefect.task_runs", "prefect.engine")
_TRACEBACKS = logging.Formatter()


def _hide_secrets(record: logging.LogRecord) -> bool:
    """Mask a record before any handler, Prefect's among them, has seen it."""
    record.msg, record.args = mask(record.getMessage()), None
    if record.exc_info and not record.exc_text:
        record.exc_text = _TRACEBACKS.formatException(record.exc_info)
    if record.exc_text:  # what handlers write instead of making it anew
        record.exc_text = mask(record.exc_text)
    return True


for _logger in (LOGGER, *map(logging.getLogger, _PREFECTS)):
    _logger.addFilter(_hide_secrets)


class _Story(logging.StreamHandler[Any]):
    """Ours among other handlers."""


def tell_people() -> None:
    """Send the story (the logger ``skyscale``) to standard error, and nowhere else before."""
    for old in [handler for handler in LOGGER.handlers if isinstance(handler, _Story)]:
        LOGGER.removeHandler(old)
    handler = _Story(sys.stderr)
    handler.setFormatter(JsonFormatter() if wants_json_logs() else ElapsedFormatter())
    LOGGER.addHandler(handler)
    LOGGER.propagate = False
    _quieten_libraries()


def tell_worker() -> None:
    """Have the process of a flow run under a worker print no secret, and JSON if that is wanted.

    Prefect's pages get text anyway: they have handlers of their own.
    """
    root = logging.getLogger()
    if not is_run_by_worker():
        return
    if wants_json_logs() and not any(isinstance(handler, _Story) for handler in root.handlers):
        handler = _Story(sys.stderr)
        handler.setFormatter(JsonFormatter())
        root.handlers = [handler]
    _quieten_libraries()


def _quieten_libraries() -> None:
    # GDAL's remarks on damaged files: what cannot be used is refused with a reason of our own.
    logging.getLogger("rasterio").setLevel(logging.ERROR)
    for handler in logging.getLogger().handlers:
        if _hide_secrets not in handler.filters:
            handler.addFilter(_hide_secrets)


def say(message: str, **facts: Any) -> None:
    """Tell one step of the story.

    Parameters
    ----------
    message : str
        For people; of a stage, it begins with its name and a colon.
    **facts
        Its numbers, for programs that read logs.
    """
    masked = {k: mask(v) if isinstance(v, str) else v for k, v in facts.items()}
    LOGGER.info(message, extra={"facts": masked})


def complain(message: str) -> None:
    """Tell why a command ends: on standard error, as the story."""
    if any(isinstance(handler.formatter, JsonFormatter) for handler in LOGGER.handlers):
        LOGGER.error(message)
    else:
        sys.stderr.write(f"{mask(message)}\n")


def print_json(result: Mapping[str, Any]) -> None:
    """Print one JSON object, with null where a number is not finite."""
    sys.stdout.write(json.dumps(finite(result), indent=2, default=str) + "\n")
