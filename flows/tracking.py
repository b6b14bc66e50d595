"""Runs, metrics and files in MLflow."""

from __future__ import annotations

import contextvars
import math
import random
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from flows import mlflow_pages
from flows.console import LOGGER
from flows.errors import FlowError
from flows.experiment_page import NOTE, welcome
from flows.run_notes import with_section
from flows.settings import read_surroundings, worker_flow_run
from geo.secrets import holds_user, without_user

EXPERIMENT = "skyscale"
# As long as anybody waits for MLflow to take the status of a run.
_STATUS_S = 10.5
# Of a training: the flow run under a worker that trains it.
FLOW_RUN_TAG = "flow_run"


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


# Runs that end together; each must lose at most once to each other one.
_BESIDE = 8


def try_beside_others(work: Callable[[], object]) -> None:
    """Do what other runs may do at the same moment.

    MLflow looks whether a dataset or a tag is there, then adds it. Of those who look together only
    one may add it, and its database refuses the others; when they look again, they find it.
    """
    from mlflow.exceptions import MlflowException

    for tries_left in reversed(range(_BESIDE)):
        try:
            work()
            return
        except MlflowException:
            if not tries_left:
                raise
            time.sleep(random.uniform(0.05, 0.3))


# Tag of runs by which a flow run that was cut off knows its own.
_WORK = "work"


def start_run(
    name: str, tags: Mapping[str, str], params: Mapping[str, Any], *, work: str | None = None
) -> str:
    """Open a run in the experiment ``skyscale``; it stays open until `end_run`.

    Parameters
    ----------
    work : str, optional
        See `work_key`: a run that an earlier try of the same work has opened is thrown away.

    Returns
    -------
    str
        Its run id.
    """
    client = mlflow_client()
    experiment = client.get_experiment_by_name(EXPERIMENT)
    experiment_id = experiment.experiment_id if experiment else _create_experiment(client)
    try_beside_others(lambda: welcome(client, experiment_id))
    if work is not None:
        for former in client.search_runs([experiment_id], f"tags.{_WORK} = '{work}'"):
            client.delete_run(former.info.run_id)
        tags = {**tags, _WORK: work}
    run = client.create_run(experiment_id, run_name=name, tags=dict(tags))
    log_params(run.info.run_id, params)
    return str(run.info.run_id)


def _create_experiment(client: Any) -> str:
    """Keep artifacts beside a SQLite database, so that both move together."""
    from mlflow.exceptions import MlflowException

    uri = read_surroundings().mlflow_uri
    location = None
    if uri.startswith("sqlite:///"):
        folder = Path(uri.removeprefix("sqlite:///")).resolve().parent
        location = (folder / "mlartifacts").as_uri()
    # Without this tag the UI takes the runs for evaluations of language models.
    tags = {"mlflow.experimentKind": "custom_model_development"}
    try:
        return str(client.create_experiment(EXPERIMENT, artifact_location=location, tags=tags))
    except MlflowException:  # another run, that began at the same time, was quicker
        if (made := client.get_experiment_by_name(EXPERIMENT)) is None:
            raise
        return str(made.experiment_id)


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


def describe_run(run_id: str, section: str) -> None:
    """Write a section of what a reviewer reads first on the page of the run; see `run_notes`."""
    client = mlflow_client()
    note = client.get_run(run_id).data.tags.get(NOTE)
    client.set_tag(run_id, NOTE, with_section(note, section))


def describe_version(version: str, section: str) -> None:
    """Write a section of the description of a model version, ``NAME/VERSION``."""
    client, (name, number) = mlflow_client(), version.rsplit("/", 1)
    note = client.get_model_version(name, number).description
    client.update_model_version(name, number, with_section(note, section))


def name_version(run_id: str, version: str) -> None:
    """Name the model version, ``NAME/VERSION``, in the name of a run: after its first word.

    Tables of runs show the first 18 letters or so.
    """
    client, number = mlflow_client(), f"v{version.rsplit('/', 1)[-1]}"
    stage, *rest = (client.get_run(run_id).info.run_name or "run").split(" ")
    if number not in rest[:1]:
        client.update_run(run_id, name=" ".join((stage, number, *rest)))


def find_run(run_id: str | None) -> Any | None:
    """A run by its id; None where it is not known here."""
    from mlflow.exceptions import MlflowException

    if not run_id:
        return None
    try:
        return mlflow_client().get_run(run_id)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def reopen_run(run_id: str, tags: Mapping[str, str]) -> None:
    """Go on with a run: its status is RUNNING again; tags are added."""
    client = mlflow_client()
    client.update_run(run_id, status="RUNNING")
    for name, value in tags.items():
        client.set_tag(run_id, name, value)


def name_flow_run(run_id: str) -> None:
    """Note who trains: the flow run under a worker, by which one knows whether it still does."""
    try:
        check_reachable()
        mlflow_client().set_tag(run_id, FLOW_RUN_TAG, worker_flow_run() or "")
    except trouble() as error:
        LOGGER.warning("MLflow was not told who trains run %s (%s)", run_id, error)


def end_run(run_id: str, *, status: str = "FINISHED") -> None:
    """Close a run: ``FINISHED``, ``FAILED`` or ``KILLED``."""
    mlflow_client().set_terminated(run_id, status)


def set_status(run_id: str, status: str) -> None:
    """Say how a run stands, if the tracker is there and answers soon.

    What ends should not fail for that, nor wait: Prefect kills who does not end in 30 s.
    """
    here = contextvars.copy_context()  # Prefect knows by it whose words they are
    told = threading.Thread(target=here.run, args=(_tell_status, run_id, status), daemon=True)
    told.start()
    told.join(_STATUS_S)
    if told.is_alive():
        LOGGER.warning(
            "MLflow was not told that run %s is %s (no answer in %.0f s)", run_id, status, _STATUS_S
        )


def _tell_status(run_id: str, status: str) -> None:
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
    """Log a batch of metrics now, leaving out what is for nobody to look at, and what is known."""
    from mlflow.entities import Metric

    client, now = mlflow_client(), int(time.time() * 1000)
    known = client.get_run(run_id).data.metrics
    new = {k: v for k, v in curves(metrics).items() if known.get(k) != v}
    if new:
        client.log_batch(run_id, metrics=[Metric(k, v, now, step) for k, v in new.items()])


def run_page(run_id: str, file: str = "") -> str | None:
    """Address of a run in the UI, or of a file of it; None without a server."""
    uri = read_surroundings().mlflow_uri
    if not uri.startswith(("http://", "https://")):
        return None
    experiment = str(mlflow_client().get_run(run_id).info.experiment_id)
    if file:
        page = mlflow_pages.file_page(experiment, run_id, file)
    else:
        page = mlflow_pages.run_page(experiment, run_id)
    return f"{without_user(uri).rstrip('/')}/{page}"


def ui_command() -> str:
    """How to look at the runs."""
    uri = read_surroundings().mlflow_uri
    if uri.startswith(("http://", "https://")):
        return f"open {without_user(uri).rstrip('/')}/{_runs()}"
    told = '"$MLFLOW_TRACKING_URI"' if holds_user(uri) else uri
    return f"mlflow ui --backend-store-uri {told}; then open http://127.0.0.1:5000/{_runs()}"


def _runs() -> str:
    """Page of our runs, or of nothing in particular where the tracker is away."""
    try:
        check_reachable()
        experiment = mlflow_client().get_experiment_by_name(EXPERIMENT)
    except trouble():
        return ""
    return mlflow_pages.runs_page(experiment.experiment_id) if experiment else ""
