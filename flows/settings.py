"""What the surroundings say: the only reader of environment variables.

Without any of them everything runs on one machine, embedded: SQLite for MLflow, Prefect's
ephemeral API, a Dask cluster in this process. Each of them points the same commands at a server.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from flows.cores import usable_cores
from flows.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """Where the services are.

    Parameters
    ----------
    mlflow_uri : str
        ``MLFLOW_TRACKING_URI``; a SQLite file in the working folder by default, the one that a
        plain ``mlflow ui`` opens.
    dask_scheduler : str or None
        ``SKYSCALE_DASK_SCHEDULER``, for example ``tcp://head:8786``; embedded by default.
    workers : int
        ``SKYSCALE_WORKERS``: threads of the embedded Dask cluster; one per core by default.
    prefect_api : str or None
        ``PREFECT_API_URL``; an API in the process by default.
    auth : str or None
        ``SKYSCALE_AUTH``, ``USER:PASSWORD`` of both servers.
    notice_url : str or None
        ``SKYSCALE_NOTICE_URL``, told of flow runs that failed.
    timeout_hours : float or None
        ``SKYSCALE_TIMEOUT_HOURS``: a flow that runs longer is stopped; none by default.
    log_format : {"text", "json"}
        ``SKYSCALE_LOG_FORMAT``: ``json`` makes each line of the log an object; ``text`` by default.
    """

    mlflow_uri: str
    dask_scheduler: str | None
    workers: int
    prefect_api: str | None = None
    auth: str | None = None
    notice_url: str | None = None
    timeout_hours: float | None = None
    log_format: str = "text"


def read_surroundings() -> Surroundings:
    """Read the environment now.

    Raises
    ------
    UsageError
        If a variable cannot be what it is.
    """
    return Surroundings(
        mlflow_uri=os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db",
        dask_scheduler=os.environ.get("SKYSCALE_DASK_SCHEDULER") or None,
        workers=int(os.environ.get("SKYSCALE_WORKERS") or usable_cores()),
        prefect_api=os.environ.get("PREFECT_API_URL") or None,
        auth=os.environ.get("SKYSCALE_AUTH") or None,
        notice_url=os.environ.get("SKYSCALE_NOTICE_URL") or None,
        timeout_hours=_read_hours("SKYSCALE_TIMEOUT_HOURS"),
        log_format=_read_choice("SKYSCALE_LOG_FORMAT", "text", "json"),
    )


def _read_hours(name: str) -> float | None:
    if not (told := os.environ.get(name)):
        return None
    try:
        hours = float(told)
    except ValueError:
        hours = 0.0
    if not 0 < hours < 1e5:
        raise UsageError(f"{name} is {told}; wanted hours, for example 12 or 0.5")
    return hours


def _read_choice(name: str, *known: str) -> str:
    """One of what is known, the first by default."""
    told = os.environ.get(name) or known[0]
    if told not in known:
        raise UsageError(f"{name} is {told}; wanted {' or '.join(known)}")
    return told


def wants_json_logs() -> bool:
    """Whether each line of the log is to be a JSON object."""
    return read_surroundings().log_format == "json"


def mlflow_is_set() -> bool:
    """Whether the user has chosen a tracking server or database."""
    return bool(os.environ.get("MLFLOW_TRACKING_URI"))


def use_mlflow_beside(folder: Path) -> None:
    """Keep the MLflow database in a folder, unless the user has chosen one."""
    if not mlflow_is_set():
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{(folder / 'mlflow.db').resolve()}"


# Set before the libraries are imported, for they read them then. Each may be overridden.
_DEFAULTS = {
    # Nothing leaves the machine unless the user wants it to.
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "true",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # Its client would print addresses between what `--json` prints.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # The ephemeral server migrates its database the first time, which takes longer than 20 s.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
    # SQLite stalls under many small writes unless they come in batches.
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "200",
    "PREFECT_SERVER_DATABASE_TIMEOUT": "60",
    # Blocks are worked on side by side already; OpenBLAS's own threads would only spin.
    "OPENBLAS_NUM_THREADS": "1",
    # GDAL would keep blocks in a twentieth of the memory, in each process.
    "GDAL_CACHEMAX": "256",
    "PREFECT_LOGGING_EXTRA_LOGGERS": "skyscale",
    # The same loggers speak outside of flows, where there is no run to log to.
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
}

# For people at a terminal: the story, not the engine room.
_QUIET = {
    # Failures are told in one line; --debug shows the rest.
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    "MLFLOW_CONFIGURE_LOGGING": "false",
}

# For the ranks of a training.
_RANK = {
    # Requests to MLflow are tried again by `RunLogger`, in order and without end; its client
    # would keep the thread for four minutes with each.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    # Say what is wrong between GPUs; and end a rank whose peer is gone, so that torchrun can start
    # all of them again, instead of waiting for it.
    "NCCL_DEBUG": "WARN",
    "TORCH_NCCL_ASYNC_ERROR_HANDLING": "1",
}


def prepare_environment(*, quiet: bool = False) -> None:
    """Set defaults for the libraries that read the environment when they are imported."""
    for name, value in (_DEFAULTS | (_QUIET if quiet else {})).items():
        os.environ.setdefault(name, value)
    if auth := os.environ.get("SKYSCALE_AUTH"):
        user, _, password = auth.partition(":")
        os.environ.setdefault("PREFECT_API_AUTH_STRING", auth)
        os.environ.setdefault("MLFLOW_TRACKING_USERNAME", user)
        os.environ.setdefault("MLFLOW_TRACKING_PASSWORD", password)


def prepare_rank_environment() -> None:
    """Set defaults for what a training rank imports; each may be overridden."""
    prepare_environment(quiet=True)
    for name, value in _RANK.items():
        os.environ.setdefault(name, value)


def worker_environment(threads: int) -> dict[str, str]:
    """Environment of a training process: each uses its share of the cores and no more."""
    return {
        # glibc would give memory of each step back and ask for it again: 3,600 page faults a step,
        # a sixth of its time.
        "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
        "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": str(threads),
        "PYTHONUNBUFFERED": "1",
    }


@dataclass(frozen=True, kw_only=True)
class ServerSecrets:
    """Where local servers keep what they know, when the environment says so.

    An option would show in the list of processes; these may hold a password.

    Parameters
    ----------
    prefect_db, mlflow_db : str or None
        ``SKYSCALE_PREFECT_DB``, ``SKYSCALE_MLFLOW_DB``: URLs of PostgreSQL.
    artifacts : str or None
        ``SKYSCALE_ARTIFACTS``: URL of what MLflow keeps as files.
    """

    prefect_db: str | None
    mlflow_db: str | None
    artifacts: str | None


def read_server_secrets() -> ServerSecrets:
    """Read the environment now."""
    return ServerSecrets(
        prefect_db=os.environ.get("SKYSCALE_PREFECT_DB") or None,
        mlflow_db=os.environ.get("SKYSCALE_MLFLOW_DB") or None,
        artifacts=os.environ.get("SKYSCALE_ARTIFACTS") or None,
    )


# By this the processes of one `skyscale up` are told from all others, also after it was killed.
MARK = "SKYSCALE_UP"
# Of the server alone; what runs under the worker has no use for it.
_SERVERS_ONLY = ("SKYSCALE_PREFECT_DB", "SKYSCALE_MLFLOW_DB", "SKYSCALE_ARTIFACTS")


def server_environment(folder: Path, prefect_url: str, mlflow_url: str) -> dict[str, str]:
    """Environment of local servers and of what they run: their data in one folder."""
    prepare_environment()
    inherited = {k: v for k, v in os.environ.items() if k not in _SERVERS_ONLY}
    return inherited | {
        MARK: str(folder),
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_API_URL": prefect_url,
        "MLFLOW_TRACKING_URI": mlflow_url,
        # One server process is enough for a laptop; the jobs of MLflow's own would be eight more.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        # So soon a run begins that somebody asks for in the UI; 10 s by default.
        "PREFECT_WORKER_QUERY_SECONDS": os.environ.get("PREFECT_WORKER_QUERY_SECONDS", "3"),
        # MLflow asks for S3 by a name of its own.
        **(
            {"MLFLOW_S3_ENDPOINT_URL": endpoint}
            if (endpoint := os.environ.get("AWS_ENDPOINT_URL"))
            else {}
        ),
    }


def worker_flow_run() -> str | None:
    """Id of the flow run for which a Prefect worker has started this process, if one has."""
    return os.environ.get("PREFECT__FLOW_RUN_ID") or None


def is_run_by_worker() -> bool:
    """Whether a Prefect worker has started this process, and nobody sits at a terminal."""
    return worker_flow_run() is not None


def is_leading_rank() -> bool:
    """Whether this process is rank 0 of torchrun, or the only one."""
    return os.environ.get("RANK", "0") == "0"
