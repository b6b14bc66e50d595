"""Trainings that MLflow takes for running, though nobody trains: killed, and never resumed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flows.console import LOGGER, say
from flows.errors import FlowError
from flows.progress import duration
from flows.settings import read_surroundings
from flows.tracking import EXPERIMENT, FLOW_RUN_TAG
from flows.web import ServiceError, ask

# Who trains tells of its machine every few seconds, unless MLflow was away for a while.
_SILENT_S = 1800.0
_ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
_UNDER_WAY = ("SCHEDULED", "PENDING", "RUNNING", "PAUSED", "CANCELLING")


@dataclass(frozen=True, kw_only=True)
class Training:
    """A run that MLflow takes for running.

    Parameters
    ----------
    run_id, store : str
    flow_run : str or None
        The flow run under a worker that trains it; None where it began at a terminal.
    heard : float
        When it last told something, in seconds since 1970.
    """

    run_id: str
    store: str
    flow_run: str | None
    heard: float

    @property
    def resume(self) -> str:
        """The command that goes on with it."""
        return f"skyscale train --store {self.store} --resume {self.run_id}"


class RunningTrainings:
    """Those of a tracking server, over HTTP: quick, and nothing of MLflow is imported.

    Parameters
    ----------
    url : str
        Of MLflow.
    auth : str or None
        ``USER:PASSWORD``.
    timeout_s : float
    """

    def __init__(self, url: str, auth: str | None, *, timeout_s: float = 10.0) -> None:
        self._url, self._auth, self._timeout_s = url.rstrip("/"), auth, timeout_s

    def find(self) -> list[Training]:
        """List them, at most 200.

        Raises
        ------
        ServiceError
        """
        try:
            found = self._ask(f"experiments/get-by-name?experiment_name={EXPERIMENT}")
        except ServiceError as error:
            if error.status == 404:  # nobody has tracked anything yet
                return []
            raise
        wanted = {
            "experiment_ids": [found["experiment"]["experiment_id"]],
            "filter": "tags.stage = 'train' and attributes.status = 'RUNNING'",
            "max_results": 200,
        }
        return [_training(run) for run in self._ask("runs/search", wanted).get("runs", [])]

    def end(self, training: Training) -> None:
        """Have MLflow know that it was killed, when it was last heard of."""
        end = {"status": "KILLED", "end_time": int(1000 * training.heard)}
        self._ask("runs/update", {"run_id": training.run_id, **end})

    def end_lost(self, state_of: Callable[[str], str]) -> int:
        """End those whose flow run has ended; how many.

        Parameters
        ----------
        state_of : callable
            Given the id of a flow run, says the type of its state, ``UNKNOWN`` where nobody knows
            it: another Prefect server may.
        """
        lost = [t for t in self.find() if t.flow_run and state_of(t.flow_run) in _ENDED]
        for training in lost:
            self.end(training)
            say(f"train: run {training.run_id} was killed; {training.resume} goes on")
        return len(lost)

    def troubles(self, state_of: Callable[[str], str]) -> list[str]:
        """A sentence for each that seems to be no more."""
        told = []
        for training in self.find():
            silent_s = time.time() - training.heard
            state = state_of(training.flow_run) if training.flow_run else "UNKNOWN"
            if state in _ENDED:
                told.append(
                    f"training {training.run_id} is running by MLflow, but its flow run is "
                    f"{state.lower()}; {training.resume} goes on"
                )
            elif state not in _UNDER_WAY and silent_s > _SILENT_S:
                told.append(
                    f"training {training.run_id} is running by MLflow, which has not heard of it "
                    f"for {duration(silent_s)}; if it is no more, {training.resume} goes on"
                )
        return told

    def _ask(self, path: str, body: Any = None) -> Any:
        url = f"{self._url}/api/2.0/mlflow/{path}"
        return ask(url, body, auth=self._auth, timeout_s=self._timeout_s)


def _training(run: dict[str, Any]) -> Training:
    tags = {tag["key"]: tag["value"] for tag in run["data"].get("tags", [])}
    told = [metric["timestamp"] for metric in run["data"].get("metrics", [])]
    return Training(
        run_id=run["info"]["run_id"],
        store=tags.get("store", "STORE"),
        flow_run=tags.get(FLOW_RUN_TAG),
        heard=max(map(int, [run["info"]["start_time"], *told])) / 1000,
    )


def end_trainings_of(flow: Any, flow_run: Any, state: Any) -> None:
    """Prefect's hook of runs that crashed; the worker calls it when a process was killed."""
    told = read_surroundings()
    if not told.mlflow_uri.startswith(("http://", "https://")):
        return
    crashed = str(flow_run.id)
    try:
        RunningTrainings(told.mlflow_uri, told.auth).end_lost(
            lambda run: "CRASHED" if run == crashed else "RUNNING"
        )
    except FlowError as error:
        LOGGER.warning("MLflow was not told which trainings ended with %s (%s)", crashed, error)
