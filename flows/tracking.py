"""Runs, metrics and files in MLflow."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flows.console import LOGGER
from flows.errors import FlowError
from flows.settings import read_surroundings

EXPERIMENT = "skyscale"


def mlflow_client() -> Any:
    """Client of the tracking server or database that the surroundings name."""
    import mlflow
    from mlflow.tracking import MlflowClient

    uri = read_surroundings().mlflow_uri
    mlflow.set_tracking_uri(uri)
    return MlflowClient(tracking_uri=uri)


def check_reachable() -> None:
    """Fail soon and in one sentence when there is no tracking server where one should be.

    MLflow's client alone would go on asking for minutes.

    Raises
    ------
    FlowError
    """
    import requests

    uri = read_surroundings().mlflow_uri
    if not uri.startswith(("http://", "https://")):
        return
    try:
        requests.get(f"{uri.rstrip('/')}/health", timeout=10)
    except requests.RequestException as error:
        raise FlowError(
            f"MLflow at {uri} cannot be reached ({type(error).__name__}): start it, or leave "
            "MLFLOW_TRACKING_URI unset to track in a file"
        ) from error


def trouble() -> tuple[type[Exception], ...]:
    """What calls of a tracker that is away raise, our own `check_reachable` included."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import OperationalError

    return (FlowError, MlflowException, OSError, OperationalError)


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


def reopen_run(run_id: str, tags: Mapping[str, str]) -> None:
    """Go on with a run: its status is RUNNING again; tags are added."""
    client = mlflow_client()
    client.update_run(run_id, status="RUNNING")
    for name, value in tags.items():
        client.set_tag(run_id, name, value)


def end_run(run_id: str, *, status: str = "FINISHED") -> None:
    """Close a run: ``FINISHED``, ``FAILED`` or ``KILLED``."""
    mlflow_client().set_terminated(run_id, status)


def set_status(run_id: str, status: str) -> None:
    """Say how a run stands, if the tracker is there; what ends should not fail for that."""
    try:
        check_reachable()
        if status in ("FINISHED", "FAILED", "KILLED"):
            end_run(run_id, status=status)
        else:
            mlflow_client().update_run(run_id, status=status)
    except trouble() as error:
        LOGGER.warning("MLflow was not told that run %s is %s (%s)", run_id, status, error)


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


def curves(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Metrics for people to look at: numbers that are finite, and not only for pooling."""
    return {
        name: float(value)
        for name, value in metrics.items()
        if isinstance(value, int | float) and math.isfinite(value) and not name.endswith(_SUMS)
    }


def log_metrics(run_id: str, metrics: Mapping[str, Any], step: int = 0) -> None:
    """Log a batch of metrics now, leaving out what is for nobody to look at."""
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    entries = [Metric(name, value, now, step) for name, value in curves(metrics).items()]
    if entries:
        mlflow_client().log_batch(run_id, metrics=entries)


def ui_command() -> str:
    """How to look at the runs."""
    uri = read_surroundings().mlflow_uri
    if uri.startswith(("http://", "https://")):
        return f"open {uri}"
    return f"mlflow ui --backend-store-uri {uri}"
