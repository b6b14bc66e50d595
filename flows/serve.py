"""Local servers: Prefect with a worker and our deployments, and MLflow; one Ctrl-C stops all."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from flows.console import say
from flows.errors import FlowError, UsageError
from flows.launcher import die_with_parent
from flows.settings import server_environment

_POOL = "skyscale"
_START_TIMEOUT_S = 180.0


def serve(folder: Path, *, prefect_port: int, mlflow_port: int) -> dict[str, Any]:
    """Run the servers until interrupted. They listen on this machine only."""
    _insist_on_free_port(prefect_port, "--prefect-port")
    _insist_on_free_port(mlflow_port, "--mlflow-port")
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    prefect_url = f"http://127.0.0.1:{prefect_port}"
    mlflow_url = f"http://127.0.0.1:{mlflow_port}"
    environment = server_environment(folder, f"{prefect_url}/api", mlflow_url)
    with ExitStack() as stack:

        def start(name: str, *command: str) -> subprocess.Popen[bytes]:
            return stack.enter_context(_process(name, command, folder, environment))

        mlflow = start(
            "mlflow",
            *("mlflow", "server", "--host", "127.0.0.1", "--port", str(mlflow_port)),
            *("--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"),
            *("--artifacts-destination", str(folder / "mlartifacts")),
        )
        prefect = start(
            "prefect",
            *("prefect", "server", "start", "--host", "127.0.0.1", "--port", str(prefect_port)),
        )
        _wait_for(f"{prefect_url}/api/health", prefect)
        _wait_for(f"{mlflow_url}/health", mlflow)
        _prepare_pool(environment)
        worker = start("worker", "prefect", "worker", "start", "--pool", _POOL)
        say(f"up: Prefect  {prefect_url}  (deployments, schedules, runs)")
        say(f"up: MLflow   {mlflow_url}  (training runs, models)")
        say(f"up: logs in {folder}; Ctrl-C stops all")
        say(
            f"up: to use them from another shell: export PREFECT_API_URL={prefect_url}/api "
            f"MLFLOW_TRACKING_URI={mlflow_url}"
        )
        try:
            _watch({"mlflow": mlflow, "prefect": prefect, "worker": worker})
        except KeyboardInterrupt:
            say("up: stopping")
    return {"prefect": prefect_url, "mlflow": mlflow_url}


def _insist_on_free_port(port: int, option: str) -> None:
    """Refuse to mistake another server for ours."""
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise UsageError(f"port {port} is in use on this machine; choose another by {option}")


@contextmanager
def _process(
    name: str, command: tuple[str, ...], folder: Path, environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program of this Python environment; stop it and its children at the end."""
    program = [str(Path(sys.executable).with_name(command[0])), *command[1:]]
    with (folder / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(
            program,
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=dict(environment),
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
    try:
        yield process
    finally:
        # Prefect's worker stops its flow runs on SIGTERM, not on SIGINT.
        _signal_group(process, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            _signal_group(process, signal.SIGKILL)
            process.wait()


def _signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    if process.poll() is None:
        os.killpg(process.pid, number)


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise FlowError(f"the server for {url} ended at once; see its log")
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)
    raise FlowError(f"{url} did not answer within {_START_TIMEOUT_S:.0f} s; see its log")


def _prepare_pool(environment: Mapping[str, str]) -> None:
    """Make the work pool and register the deployments of ``prefect.yaml``."""
    prefect = str(Path(sys.executable).with_name("prefect"))
    file = Path(__file__).resolve().parents[1] / "prefect.yaml"
    for command in (
        [prefect, "work-pool", "create", _POOL, "--type", "process", "--overwrite"],
        [prefect, "--no-prompt", "deploy", "--all", "--prefect-file", str(file)],
    ):
        done = subprocess.run(
            command, env=dict(environment), cwd=file.parent, capture_output=True, text=True
        )
        if done.returncode != 0:
            tail = (done.stdout + done.stderr).strip().splitlines()[-3:]
            raise FlowError(f"{' '.join(command[1:4])} failed: {' | '.join(tail)}")


def _watch(processes: Mapping[str, subprocess.Popen[bytes]]) -> None:
    while True:
        for name, process in processes.items():
            if process.poll() is not None:
                raise FlowError(f"{name} ended (status {process.returncode}); see {name}.log")
        time.sleep(1)
