"""``skyscale up`` as users start it, and the API of its Prefect server as its UI asks it."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import psutil

from flows.web import ask

_T = TypeVar("_T")
_ROOT = Path(__file__).resolve().parents[2]
_START_S = 180.0
# 30 s are promised on a machine that does nothing else; tests share theirs.
SOON_S = 45.0
# Nothing of a server that a test has named before.
_NOT_INHERITED = ("PREFECT_API_URL", "MLFLOW_TRACKING_URI", "PREFECT_HOME")


def wait_for(asked: Callable[[], _T | None], *, seconds: float = 240) -> _T:
    """What is asked for, once it is there."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if (found := asked()) is not None:
            return found
        time.sleep(0.1)
    raise TimeoutError(f"{asked} had nothing within {seconds} s")


class SkyscaleUp:
    """The command, in a folder that survives it.

    Parameters
    ----------
    folder : Path
    options : object
        More options of the command.
    environment : str
        Beside this process's own.
    """

    def __init__(self, folder: Path, *options: object, **environment: str) -> None:
        self.folder = folder
        self._options, self._environment = options, environment
        self._ports = _free_ports(2)
        self.auth = environment.get("SKYSCALE_AUTH")
        self.api = f"http://127.0.0.1:{self._ports[0]}/api"
        self.mlflow = f"http://127.0.0.1:{self._ports[1]}"
        self.process: subprocess.Popen[str] | None = None
        self.said: list[str] = []

    def start(self) -> float:
        """Start it; seconds until all is well."""
        begun = time.monotonic()
        inherited = {k: v for k, v in os.environ.items() if k not in _NOT_INHERITED}
        ports = ("--prefect-port", self._ports[0], "--mlflow-port", self._ports[1])
        command = (sys.executable, "-m", "flows", "up", "--folder", self.folder, *ports)
        self.process = subprocess.Popen(
            [*map(str, command), *map(str, self._options)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=_ROOT,
            env=inherited | {"PYTHONPATH": str(_ROOT)} | self._environment,
        )
        lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._listen, args=(self.process, lines), daemon=True).start()
        while True:
            line = lines.get(timeout=_START_S - (time.monotonic() - begun))
            if "Ctrl-C stops all" in line:
                return time.monotonic() - begun
            assert line, "".join(self.said)

    def _listen(self, process: subprocess.Popen[str], lines: queue.Queue[str]) -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                self.said.append(line)
                lines.put(line)
        lines.put("")

    def stop(self, number: int = signal.SIGINT) -> float:
        """Stop it as Ctrl-C does; seconds that it took."""
        begun = time.monotonic()
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(120)
        return time.monotonic() - begun

    def kill(self) -> None:
        """Kill it and all that it has started, at once, as a power cut does."""
        if self.process is not None:
            self.process.kill()
        while left := self.processes():  # what one of them was just starting, too
            for process in left:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            psutil.wait_procs(left, 1)
        if self.process is not None:
            self.process.wait()

    def processes(self) -> list[psutil.Process]:
        """All that it has started, whoever their parent is by now."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("SKYSCALE_UP") == str(self.folder.resolve()):
                    found.append(process)
            except (psutil.Error, OSError):
                continue
        return found

    def running(self, *words: str) -> list[psutil.Process]:
        """Those with one of these words in their command; not one that has just ended."""
        found = []
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                line = " ".join(process.cmdline())
                if any(word in line for word in words):
                    found.append(process)
        return found

    def ask(self, path: str, body: Any = None, **how: Any) -> Any:
        """Ask Prefect's API."""
        return ask(f"{self.api}/{path}", body, auth=self.auth, timeout_s=30, attempts=20, **how)

    def run(self, flow: str, environment: dict[str, str] | None = None, **config: Any) -> str:
        """Start a flow run of a deployment as the UI does; its id."""
        deployment = self.ask(f"deployments/name/{flow}/{flow}")
        body: dict[str, Any] = {"parameters": {"config": config}, "state": {"type": "SCHEDULED"}}
        if environment:
            body["job_variables"] = {"env": environment}
        run = self.ask(f"deployments/{deployment['id']}/create_flow_run", body)
        return str(run["id"])

    def state(self, run: str) -> str:
        return str(self.ask(f"flow_runs/{run}")["state_type"])

    def states(self, run: str) -> list[str]:
        """Names of all states that a flow run has had."""
        found = self.ask(f"flow_run_states/?flow_run_id={run}")
        return [s["name"] for s in sorted(found, key=lambda s: s["timestamp"])]

    def await_state(self, run: str, *wanted: str, seconds: float = 240) -> str:
        return wait_for(lambda: s if (s := self.state(run)) in wanted else None, seconds=seconds)

    def await_end(self, run: str, seconds: float = 300) -> str:
        return self.await_state(run, "COMPLETED", "FAILED", "CRASHED", "CANCELLED", seconds=seconds)

    def set_state(self, run: str, kind: str, name: str, *, force: bool = False) -> None:
        body = {"state": {"type": kind, "name": name}, "force": force}
        done = self.ask(f"flow_runs/{run}/set_state", body)
        assert done["status"] == "ACCEPT", done

    def messages(self, run: str) -> str:
        """The log of a flow run."""
        body = {"logs": {"flow_run_id": {"any_": [run]}}, "limit": 200, "offset": 0}
        told: list[str] = []
        while found := self.ask("logs/filter", body):
            told += [entry["message"] for entry in found]
            body["offset"] = len(told)
        return "\n".join(told)


def status(up: SkyscaleUp, *options: str) -> tuple[int, dict[str, Any], float]:
    """Exit status, answer and seconds of ``skyscale status``."""
    command = [sys.executable, "-m", "flows", "status", "--folder", str(up.folder), *options]
    not_said = ("PREFECT_API_URL", "MLFLOW_TRACKING_URI", "SKYSCALE_DASK_SCHEDULER")
    environment = {k: v for k, v in os.environ.items() if k not in not_said}
    begun = time.monotonic()
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, env=environment)
    return done.returncode, json.loads(done.stdout), time.monotonic() - begun


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports
