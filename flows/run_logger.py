"""Logs a run from a thread of its own: training waits for no tracker and fails with none."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType

from flows.metric_spool import LANES, Entry, Lane, Spool
from flows.settings import read_surroundings
from flows.tracking import curves, mlflow_client

Send = Callable[[str, Spool, list[Entry]], None]

_TOGETHER = 200  # lines of metrics in one request: MLflow takes up to 1000 points
_LONGEST_PAUSE_S = 60.0
# A request costs about as much for one line as for many, and takes its time from training.
_PACE_S = 5.0
# What is on its way when patience ends may still arrive.
_LAST_WORD_S = 1.0
# Names of what is wrong with an entry itself. All else may be different another time: a proxy that
# stands in for a server under repair answers with almost any status.
_REFUSALS = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST")


class RunLogger:
    """Takes metrics and pictures at once, and sends them when the tracker is there.

    Parameters
    ----------
    run_id : str
    folder : Path
        Of the spool; see `Spool`.
    system : callable, optional
        Asked now and then for metrics of the machine.
    system_every_s : float
    send : mapping, optional
        How each lane is sent; to MLflow by default.

    Notes
    -----
    Entries are sent in order, with the time and step of when they were said, metrics of a few
    seconds together. When one cannot be sent, its lane pauses, each time twice as long, up to a
    minute. An entry that MLflow refuses for what it is, is left out and counted.
    """

    def __init__(
        self,
        run_id: str,
        folder: Path,
        *,
        system: Callable[[], Mapping[str, float]] | None = None,
        system_every_s: float = 10.0,
        send: Mapping[Lane, Send] | None = None,
    ) -> None:
        self._run_id = run_id
        self._spool = Spool(folder)
        self._system, self._system_every_s = system, system_every_s
        self._send = send or {"metrics": _send_metrics, "pictures": _send_pictures}
        self._pauses: dict[Lane, float] = dict.fromkeys(LANES, 0.0)
        self._next_try: dict[Lane, float] = dict.fromkeys(LANES, 0.0)
        self._troubles: dict[Lane, str] = {}
        self._refused = 0
        self._not_kept: OSError | None = None
        self._wake = threading.Event()
        self._closing = False
        self._patience_s = 0.0
        self._give_up = 0.0
        self._deadline = math.inf
        self._thread = threading.Thread(target=self._work, name="run-logger", daemon=True)
        self._thread.start()

    def __enter__(self) -> RunLogger:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Take metrics at a step."""
        self._keep(lambda: self._spool.metrics(curves(metrics), step))

    def picture(self, path: str, png: bytes, step: int) -> None:
        """Take a picture, to be logged under an artifact path."""
        self._keep(lambda: self._spool.picture(path, png, step))

    def close(self, *, patience_s: float = 30.0, most_s: float = math.inf) -> str | None:
        """Send what is left, as long as the tracker takes some of it every `patience_s` seconds.

        A request that hangs is left to itself: MLflow's client would wait minutes for its answer.

        Parameters
        ----------
        patience_s : float
        most_s : float
            For all of it, however much the tracker takes.

        Returns
        -------
        str or None
            What could not be sent and where it is kept, in a sentence; None when all was.
        """
        now = time.monotonic()
        self._patience_s, self._deadline = patience_s, now + most_s
        self._give_up = now + patience_s
        self._next_try = dict.fromkeys(LANES, 0.0)
        self._closing = True
        self._wake.set()
        while self._thread.is_alive() and (left := self._give_up_at() - time.monotonic()) > 0:
            self._thread.join(min(left, 1.0))
        self._thread.join(_LAST_WORD_S)
        return self._left()

    def _give_up_at(self) -> float:
        return min(self._give_up, self._deadline)

    def _keep(self, take: Callable[[], None]) -> None:
        try:
            take()
        except OSError as error:  # a full disk: checkpoints will tell soon enough
            self._not_kept = error
        self._wake.set()

    def _work(self) -> None:
        next_look = time.monotonic()
        while True:
            closing = self._closing  # before looking: what came before it is sent
            self._wake.clear()
            now = time.monotonic()
            if self._system is not None and now >= next_look and not closing:
                self._look(self._system)
                next_look = now + self._system_every_s
            due = [lane for lane in LANES if now >= self._next_try[lane]]
            if closing:  # no more lines to wait for; only for a tracker in trouble
                due += [lane for lane in LANES if lane not in due and lane not in self._troubles]
            done = [self._advance(lane) for lane in due]
            if any(done):
                self._give_up = time.monotonic() + self._patience_s
                if time.monotonic() < self._deadline:
                    continue
            if closing and (not self._troubles or time.monotonic() >= self._give_up_at()):
                return
            waits = [at - now for at in self._next_try.values() if at > now]
            if self._system is not None:
                waits.append(max(0.0, next_look - now))
            if closing:
                time.sleep(min(0.5, *waits) if waits else 0.0)
            else:
                self._wake.wait(min(waits, default=None))

    def _look(self, system: Callable[[], Mapping[str, float]]) -> None:
        values: Mapping[str, float] = {}
        with contextlib.suppress(Exception):  # a machine without them; training needs none
            values = system()
        if values:
            step = max(self._spool.next_step(name) for name in values)
            self._keep(lambda: self._spool.metrics(values, step))

    def _advance(self, lane: Lane) -> bool:
        """Send the oldest waiting entries of a lane; whether there were some and they went."""
        try:
            entries = self._spool.waiting(lane, _TOGETHER if lane == "metrics" else 1)
            if entries:
                self._send_or_refuse(lane, entries)
                self._spool.confirm(entries[-1])
        except Exception as error:  # of MLflow, its database, the network: any time again
            self._troubles[lane] = " ".join(str(error).split())[:300] or type(error).__name__
            longest = 2.0 if self._closing else _LONGEST_PAUSE_S
            self._pauses[lane] = min(longest, max(1.0, 2 * self._pauses[lane]))
            self._next_try[lane] = time.monotonic() + self._pauses[lane]
            return False
        self._troubles.pop(lane, None)
        self._pauses[lane] = 0.0
        if lane == "metrics" and entries and len(entries) < _TOGETHER:
            self._next_try[lane] = time.monotonic() + _PACE_S
        return bool(entries)

    def _send_or_refuse(self, lane: Lane, entries: list[Entry]) -> None:
        try:
            self._send[lane](self._run_id, self._spool, entries)
        except Exception as error:
            if getattr(error, "error_code", None) not in _REFUSALS:
                raise
            if len(entries) == 1:
                self._refused += 1
                return
            for entry in entries:
                self._send_or_refuse(lane, [entry])

    def _left(self) -> str | None:
        told = []
        points = sum(len(entry.metrics) for entry in self._spool.waiting("metrics"))
        pictures = len(self._spool.waiting("pictures"))
        if points or pictures:
            reason = next(iter(self._troubles.values()), "no time was left")
            told.append(
                f"{points} points of metrics and {pictures} pictures did not reach MLflow at "
                f"{read_surroundings().mlflow_uri} ({reason}); they are kept in "
                f"{self._spool.folder}, and --resume {self._run_id} sends them"
            )
        if self._refused:
            told.append(f"MLflow refused {self._refused} entries of {self._spool.folder}")
        if self._not_kept is not None:
            told.append(f"some metrics were neither sent nor kept ({self._not_kept})")
        return "; ".join(told) or None


def _send_metrics(run_id: str, spool: Spool, entries: list[Entry]) -> None:
    from mlflow.entities import Metric

    points = [
        Metric(name, value, entry.time_ms, entry.step)
        for entry in entries
        for name, value in entry.metrics.items()
    ]
    client = mlflow_client()
    for first in range(0, len(points), 900):
        client.log_batch(run_id, metrics=points[first : first + 900])


def _send_pictures(run_id: str, spool: Spool, entries: list[Entry]) -> None:
    for entry in entries:
        path = Path(entry.picture or "")
        file = spool.file_of(str(path))
        if file.exists():  # else it was sent, and not yet marked so
            parent = str(path.parent)
            mlflow_client().log_artifact(run_id, str(file), None if parent == "." else parent)
