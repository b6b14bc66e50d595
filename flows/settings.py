"""What the surroundings say: the only reader of environment variables.

Without any of them everything runs on one machine, embedded: SQLite for MLflow, Prefect's
ephemeral API, a Dask cluster in this process. Each of them points the same commands at a server.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


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
    """

    mlflow_uri: str
    dask_scheduler: str | None
    workers: int


def read_surroundings() -> Surroundings:
    """Read the environment now."""
    return Surroundings(
        mlflow_uri=os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db",
        dask_scheduler=os.environ.get("SKYSCALE_DASK_SCHEDULER") or None,
        workers=int(os.environ.get("SKYSCALE_WORKERS") or usable_cores()),
    )


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


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


def server_environment(folder: Path, prefect_url: str, mlflow_url: str) -> dict[str, str]:
    """Environment of local servers and of what they run: their data in one folder."""
    prepare_environment()
    return os.environ | {
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_API_URL": prefect_url,
        "MLFLOW_TRACKING_URI": mlflow_url,
        # One server process is enough for a laptop; the jobs of MLflow's own would be eight more.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }


def is_leading_rank() -> bool:
    """Whether this process is rank 0 of torchrun, or the only one."""
    return os.environ.get("RANK", "0") == "0"
