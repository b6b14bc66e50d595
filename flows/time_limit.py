"""An end to flows that hang: they are stopped as a cancelled one is, and can go on afterwards."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from flows.console import LOGGER
from flows.errors import FlowError
from flows.settings import is_run_by_worker, read_surroundings

# What Prefect grants a cancelled flow, too; ranks save themselves within it.
_GRACE_S = 30.0


class OutOfTime(BaseException):
    """Raised in the main thread when the time is over; nothing that catches errors keeps it."""


@contextmanager
def time_limit() -> Iterator[None]:
    """Stop what runs in it after ``SKYSCALE_TIMEOUT_HOURS``, if that is set.

    The main thread is interrupted by a signal, wherever it waits, and winds down as it does when a
    flow is cancelled. A process that has not done so after 30 s is killed: it hangs in a library.

    Raises
    ------
    FlowError
        When the time was over.

    Notes
    -----
    Prefect's own ``timeout_seconds`` stands in code, the same for all deployments, and has nobody
    who insists. Its signal, SIGALRM, is used here; no flow of ours has a time of that kind.
    """
    hours = read_surroundings().timeout_hours
    in_main_thread = threading.current_thread() is threading.main_thread()
    if hours is None or not in_main_thread or _Watch.there:
        yield
        return
    watch = _Watch(3600 * hours)
    try:
        yield
    except OutOfTime:
        raise FlowError(
            f"stopped after {hours:g} h, as SKYSCALE_TIMEOUT_HOURS says; what was finished is "
            "kept, the same again (Retry) goes on"
        ) from None
    finally:
        watch.close()


class _Watch:
    """Sends the signal from a thread, and insists."""

    there = False

    def __init__(self, seconds: float) -> None:
        _Watch.there = True
        self._seconds = seconds
        self._lock = threading.Lock()  # no signal after the end
        self._over = threading.Event()
        self._before = signal.signal(signal.SIGALRM, _interrupt)
        threading.Thread(target=self._work, name="time limit", daemon=True).start()

    def close(self) -> None:
        with self._lock:
            self._over.set()
        signal.signal(signal.SIGALRM, self._before)
        _Watch.there = False

    def _work(self) -> None:
        if self._over.wait(self._seconds):
            return
        with self._lock:
            if self._over.is_set():
                return
            main = threading.main_thread().ident
            assert main is not None
            LOGGER.error("the time of this flow is over (SKYSCALE_TIMEOUT_HOURS); stopping it")
            signal.pthread_kill(main, signal.SIGALRM)
        ended = self._over.wait(_GRACE_S)
        if ended and not is_run_by_worker():
            return  # the process may have other things to do
        if ended:
            # What is left of a flow run's process may hang, too, in threads that it waits for.
            threading.Event().wait(_GRACE_S)
        os.kill(os.getpid(), signal.SIGKILL)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise OutOfTime
