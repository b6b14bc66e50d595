"""Runs, metrics and files in MLflow."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from flows.settings import read_surroundings

EXPERIMENT = "skyscale"


def mlflow_client() -> Any:
    """Client of the tracking server or database that the surroundings name."""
    import mlflow
    from mlflow.tracking import MlflowClient

    uri = read_surroundings().mlflow_uri
    mlflow.set_tracking_uri(uri)
    return MlflowClient(tracking_uri=uri)


def start_run(name: str, tags: Mapping[str, str], params: Mapping[str, Any]) -> str:
    """Open a run in the experiment ``skyscale``; it stays open until `end_run`.

    Returns
    -------
    str
        Its run id.
    """
    client = mlflow_client()
    experiment = client.get_experiment_by_name(EXPERIMENT)
    experiment_id = experiment.experiment_id if experiment else _create_experiment(client)
    run = client.create_run(experiment_id, run_name=name, tags=dict(tags))
    log_params(run.info.run_id, params)
    return str(run.info.run_id)


def _create_experiment(client: Any) -> str:
    """Keep artifacts beside a SQLite database, so that both move together."""
    uri = read_surroundings().mlflow_uri
    location = None
    if uri.startswith("sqlite:///"):
        folder = Path(uri.removeprefix("sqlite:///")).resolve().parent
        location = (folder / "mlartifacts").as_uri()
    # Without this tag the UI takes the runs for evaluations of language models.
    tags = {"mlflow.experimentKind": "custom_model_development"}
    return str(client.create_experiment(EXPERIMENT, artifact_location=location, tags=tags))


def log_params(run_id: str, params: Mapping[str, Any]) -> None:
    """Log parameters; nested ones get dotted names."""
    from mlflow.entities import Param

    flat = [Param(k, str(v)[:6000]) for k, v in _flatten(params)]
    mlflow_client().log_batch(run_id, params=flat)


def _flatten(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    flat: list[tuple[str, Any]] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat += _flatten(value, f"{prefix}{key}.")
        else:
            flat.append((f"{prefix}{key}", value))
    return flat


def describe_run(run_id: str, markdown: str) -> None:
    """Write what a reviewer reads first on the page of the run."""
    mlflow_client().set_tag(run_id, "mlflow.note.content", markdown)


def end_run(run_id: str, *, failed: bool = False) -> None:
    """Close a run."""
    mlflow_client().set_terminated(run_id, "FAILED" if failed else "FINISHED")


def log_files(run_id: str, files: Mapping[str, Path]) -> None:
    """Log files under artifact folders: ``{path: artifact folder}`` turned round.

    Parameters
    ----------
    files : mapping of str to Path
        File by the artifact folder it goes to; an empty key means the root.
    """
    client = mlflow_client()
    for folder, path in files.items():
        if path.is_dir():
            client.log_artifacts(run_id, str(path), folder or None)
        else:
            client.log_artifact(run_id, str(path), folder or None)


# Sums from which scores are pooled; no curve for people to look at.
_SUMS = ("squared_error", "values", "hf_power")


def log_metrics(run_id: str, metrics: Mapping[str, float], step: int = 0) -> None:
    """Log a batch of metrics, leaving out what is not finite and what is only for pooling."""
    import math

    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    entries = [
        Metric(name, float(value), now, step)
        for name, value in metrics.items()
        if isinstance(value, int | float) and math.isfinite(value) and not name.endswith(_SUMS)
    ]
    if entries:
        mlflow_client().log_batch(run_id, metrics=entries)


@dataclass(frozen=True)
class _Job:
    metrics: dict[str, float]
    step: int
    picture: tuple[str, bytes] | None = None


class RunLogger:
    """Logs to a run from a thread of its own, so that training never waits for the tracker.

    Parameters
    ----------
    run_id : str

    Raises
    ------
    Exception
        `close` raises what the thread met, for lost metrics must not pass in silence.
    """

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._drain, name="run-logger", daemon=True)
        self._thread.start()

    def metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Queue metrics at a step."""
        self._queue.put(_Job(dict(metrics), step))

    def picture(self, path: str, png: bytes, step: int) -> None:
        """Queue a picture, to be logged under an artifact path."""
        self._queue.put(_Job({}, step, (path, png)))

    def close(self) -> None:
        """Wait until all is logged."""
        self._queue.put(None)
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _drain(self) -> None:
        while (job := self._queue.get()) is not None:
            try:
                self._log(job)
            except Exception as error:  # told at close; training goes on meanwhile
                self._error = error

    def _log(self, job: _Job) -> None:
        if job.metrics:
            log_metrics(self._run_id, job.metrics, job.step)
        if job.picture is not None:
            log_bytes(self._run_id, *job.picture)


def log_bytes(run_id: str, path: str, content: bytes) -> None:
    """Log bytes as an artifact file."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / Path(path).name
        file.write_bytes(content)
        parent = str(Path(path).parent)
        mlflow_client().log_artifact(run_id, str(file), None if parent == "." else parent)


def log_json(run_id: str, path: str, value: Any) -> None:
    """Log a value as a JSON artifact."""
    log_bytes(run_id, path, json.dumps(value, indent=2, default=str).encode())


def ui_command() -> str:
    """How to look at the runs."""
    uri = read_surroundings().mlflow_uri
    if uri.startswith(("http://", "https://")):
        return f"open {uri}"
    return f"mlflow ui --backend-store-uri {uri}"
