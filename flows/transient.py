"""Which errors may pass by themselves, so that trying again is worth while."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

from flows.errors import UsageError
from flows.runtime import ClusterLostError
from flows.settings import is_run_by_worker
from flows.web import ServiceError

_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
# Networks, servers and locks, by name: their libraries are not to be imported for this.
_NAMES = frozenset(
    {
        *("requests.exceptions.ConnectionError", "requests.exceptions.Timeout"),
        *("requests.exceptions.ChunkedEncodingError", "requests.exceptions.ConnectTimeout"),
        *("requests.exceptions.ReadTimeout", "urllib3.exceptions.MaxRetryError"),
        *("urllib3.exceptions.ProtocolError", "urllib3.exceptions.ReadTimeoutError"),
        *("httpx.ConnectError", "httpx.ConnectTimeout", "httpx.ReadError", "httpx.ReadTimeout"),
        *("httpx.RemoteProtocolError", "httpx.WriteError", "httpx.PoolTimeout"),
        "sqlalchemy.exc.OperationalError",
        "distributed.comm.core.CommClosedError",
        "distributed.scheduler.KilledWorker",
    }
)


def is_transient(error: BaseException | None) -> bool:
    """Whether an error may pass by itself: a lost connection, a busy server, a time-out.

    What was refused never passes: wrong settings, bad rasters, missing files, 4xx.

    Parameters
    ----------
    error : BaseException
        With what caused it.
    """
    return any(map(_passes, _chain(error))) and not any(
        isinstance(link, UsageError) for link in _chain(error)
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and what it says that it was raised from."""
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _passes(error: BaseException) -> bool:
    if isinstance(error, ServiceError):
        return error.status is None or error.status in _PASSING
    if isinstance(error, ClusterLostError | ConnectionError | TimeoutError | socket.gaierror):
        return True
    if getattr(error, "facts", {}).get("cause") == "unreachable":  # of `geo`, asked several times
        return True
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(status, int):
        return status in _PASSING
    return f"{type(error).__module__}.{type(error).__qualname__}" in _NAMES


def may_pass(task: Any, run: Any, state: Any) -> bool:
    """Prefect's condition of trying a task again.

    At a terminal nobody wants to wait for it: only what a worker runs is tried again.
    """
    if not is_run_by_worker():
        return False
    error = state.result(raise_on_failure=False) if state.is_final() else None
    return isinstance(error, BaseException) and is_transient(error)


def will_be_tried_again() -> bool:
    """Whether the task that runs now is `TRIED_AGAIN` should it fail by what passes."""
    from prefect.runtime import task_run

    return is_run_by_worker() and (task_run.run_count or 1) <= TRIED_AGAIN["retries"]


# Of tasks that talk to networks: two minutes after the first failure, seven in all.
TRIED_AGAIN: dict[str, Any] = {
    "retries": 4,
    "retry_delay_seconds": [10, 30, 90, 270],
    "retry_jitter_factor": 0.3,
    "retry_condition_fn": may_pass,
}
