"""Servers for one machine: Prefect with a worker and our deployments, and MLflow."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flows.console import say
from flows.errors import FlowError
from flows.lost_trainings import RunningTrainings
from flows.serve_options import (
    ServeOptions,
    check_options,
    check_ports,
    mlflow_environment,
    prefect_environment,
)
from flows.serve_prefect import POOL, PrefectServer, register, worker_name
from flows.serve_processes import Server, stop_all, sweep, watch
from flows.settings import server_environment
from flows.web import ServiceError, ask

# The first start makes the databases.
_START_TIMEOUT_S = 180.0
ADDRESSES = "addresses.json"


def serve(options: ServeOptions) -> dict[str, Any]:
    """Run the servers until interrupted.

    Raises
    ------
    UsageError
        If the options cannot work or are not safe.
    FlowError
        If a server does not start, or ends again and again.
    """
    auth = check_options(options)
    options = replace(options, folder=options.folder.resolve())
    options.folder.mkdir(parents=True, exist_ok=True)
    options.folder.chmod(0o700)  # databases, logs, results
    with _alone(options.folder):
        if left := sweep(options.folder):
            say(f"up: stopped {left} processes that an earlier run had left behind")
        check_ports(options)  # which these may have held
        return _serve(options, auth)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep a second `up` out of the folder; the lock goes with the process that holds it."""
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise FlowError(
                f"{folder} has servers already (skyscale status --folder {folder}); stop them or "
                "give another --folder"
            ) from error
        yield


def _serve(options: ServeOptions, auth: str | None) -> dict[str, Any]:
    started = time.monotonic()
    base = server_environment(options.folder, f"{options.prefect_url}/api", options.mlflow_url)
    api = PrefectServer(options.prefect_url, auth)
    mlflow, prefect, worker = servers = _servers(options, base, auth)
    running = False

    def end_lost_trainings() -> None:
        with suppress(ServiceError):  # MLflow is away; skyscale status names them
            RunningTrainings(options.mlflow_url, auth).end_lost(api.state_of)

    try:
        mlflow.start()
        prefect.start()
        _wait_for(f"{options.prefect_url}/api/health", prefect)
        register(api, options.folder, base)
        api.limit_gpu_queue(options.count_slots())
        api.crash_cut_off_runs(worker_name(options.folder))
        api.resume_cut_off_runs()
        _wait_for(f"{options.mlflow_url}/health", mlflow)
        _check_account(options, auth)
        end_lost_trainings()
        begun = datetime.now(UTC)
        worker.start()
        running = True
        _wait_for_worker(api, worker, begun)
        _tell(options, auth, time.monotonic() - started)
        health = Health(options)

        def clean_up(ended: Server) -> bool:
            if ended is worker:
                sweep(options.folder, only_flow_runs=True)
                try:
                    api.crash_cut_off_runs(worker_name(options.folder))
                    api.resume_cut_off_runs()
                except ServiceError:  # Prefect itself is away
                    return False
                end_lost_trainings()
            return True

        def look() -> None:
            health.look()
            with suppress(ServiceError):  # which `health` tells
                api.resume_cut_off_runs(lambda run: sweep(options.folder, flow_run=run))
                api.end_stale_tasks()

        watch(servers, before_restart=clean_up, look=look)
    except KeyboardInterrupt:
        say("up: stopping")
    finally:
        (options.folder / ADDRESSES).unlink(missing_ok=True)
        worker.ask_to_stop()  # it begins nothing more, and would wait for what runs
        sweep(options.folder, only_flow_runs=True)
        worker.stop()
        try:
            if running:
                with suppress(ServiceError):
                    api.crash_cut_off_runs(worker_name(options.folder))
        finally:
            stop_all(servers, options.folder)
    return {"prefect": options.prefect_url, "mlflow": options.mlflow_url}


def _servers(
    options: ServeOptions, base: dict[str, str], auth: str | None
) -> tuple[Server, Server, Server]:
    """MLflow, Prefect and the worker, none of them started."""
    folder, host = options.folder, options.host
    app = ("--app-name", "basic-auth") if auth else ()
    mlflow = Server(
        name="mlflow",
        command=(
            *("mlflow", "server", "--host", host, "--port", str(options.mlflow_port)),
            *("--workers", "1", *app),
        ),
        folder=folder,
        environment=mlflow_environment(base, options, auth),
    )
    prefect = Server(
        name="prefect",
        command=(
            *("prefect", "server", "start", "--host", host),
            *("--port", str(options.prefect_port)),
        ),
        folder=folder,
        environment=prefect_environment(base, options, auth),
    )
    worker = Server(
        name="worker",
        command=("prefect", "worker", "start", "--pool", POOL, "--name", worker_name(folder)),
        folder=folder,
        environment=base,
    )
    return mlflow, prefect, worker


def _wait_for(url: str, server: Server) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline:
        if server.status is not None:
            raise FlowError(f"{server.name} ended at once: {_last_words(server.log)}")
        try:
            ask(url, timeout_s=2)
            return
        except ServiceError:
            time.sleep(0.2)
    raise FlowError(f"{url} did not answer within {_START_TIMEOUT_S:.0f} s; see {server.log}")


def _wait_for_worker(api: PrefectServer, worker: Server, begun: datetime) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while not api.has_heard(worker_name(worker.folder), begun):
        if worker.status is not None:
            raise FlowError(f"the worker ended at once: {_last_words(worker.log)}")
        if time.monotonic() > deadline:
            raise FlowError(f"the worker is not heard of; see {worker.log}")
        time.sleep(0.2)


def _last_words(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines()]
    return f"{next((line for line in reversed(lines) if line), 'no word')} (log: {log})"


def _check_account(options: ServeOptions, auth: str | None) -> None:
    """MLflow keeps the password of its first start."""
    try:
        search = {"max_results": 1}
        ask(f"{options.mlflow_url}/api/2.0/mlflow/experiments/search", search, auth=auth)
    except ServiceError as error:
        if error.status != 401:
            raise
        raise FlowError(
            f"MLflow knows another account than SKYSCALE_AUTH: remove "
            f"{options.folder / 'mlflow_auth.db'} to begin with this one"
        ) from error


class Health:
    """Says when a server stops answering, and when it is back.

    Parameters
    ----------
    options : ServeOptions
    """

    def __init__(self, options: ServeOptions) -> None:
        self._urls = {
            "Prefect": f"{options.prefect_url}/api/health",
            "MLflow": f"{options.mlflow_url}/health",
        }
        self._silent: set[str] = set()

    def look(self) -> None:
        """Ask each of them once."""
        for name, url in self._urls.items():
            try:
                ask(url, timeout_s=5)
            except ServiceError as error:
                if name not in self._silent:
                    say(f"up: {name} is not well: {error}")
                    self._silent.add(name)
            else:
                if name in self._silent:
                    say(f"up: {name} is well again")
                    self._silent.remove(name)


def _tell(options: ServeOptions, auth: str | None, seconds: float) -> None:
    prefect, mlflow, folder = options.prefect_url, options.mlflow_url, options.folder
    addresses = {
        "prefect": f"{prefect}/api",
        "mlflow": mlflow,
        "pid": os.getpid(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    (folder / ADDRESSES).write_text(json.dumps(addresses))
    say(f"up: all well after {seconds:.0f} s")
    say(f"up: Prefect  {prefect}  (deployments, schedules, runs)")
    say(f"up: MLflow   {mlflow}  (training runs, models)")
    say(
        f"up: to use them from another shell: export PREFECT_API_URL={prefect}/api "
        f"MLFLOW_TRACKING_URI={mlflow}" + (" and SKYSCALE_AUTH as here" if auth else "")
    )
    say(f"up: logs in {folder}; skyscale status --folder {folder}; Ctrl-C stops all")
