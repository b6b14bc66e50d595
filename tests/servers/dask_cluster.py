"""A Dask scheduler and workers that can be killed and started again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
# Of torch, OpenBLAS and MKL, which would otherwise take all cores in each worker.
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class DaskCluster:
    """A scheduler and workers of one thread on this machine, each a process group of its own.

    Parameters
    ----------
    worker_options : str
        More of ``dask worker``.
    environment : str
        Of workers, beside this process's own.
    """

    def __init__(self, *worker_options: str, **environment: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{self.port}"
        self.scheduler: subprocess.Popen[bytes] | None = None
        self.workers: list[subprocess.Popen[bytes]] = []
        self._worker_options = worker_options
        self._environment = environment

    def start_scheduler(self) -> None:
        self.scheduler = _start(
            "scheduler", "--host", "127.0.0.1", "--port", self.port, "--no-dashboard", "--no-show"
        )

    def start_worker(self) -> None:
        options = ("--nthreads", 1, "--no-dashboard", "--host", "127.0.0.1")
        command = ("worker", self.address, *options, *self._worker_options)
        self.workers.append(_start(*command, **self._environment))

    def kill_worker(self) -> None:
        """Kill the oldest worker, with the nanny that would start it again."""
        _kill(self.workers.pop(0))

    def kill_scheduler(self) -> None:
        assert self.scheduler is not None
        _kill(self.scheduler)

    def replace_ended(self) -> int:
        """Start a worker for each that has ended by itself, as a supervisor does; how many."""
        ended = [worker for worker in self.workers if worker.poll() is not None]
        for worker in ended:
            self.workers.remove(worker)
            self.start_worker()
        return len(ended)

    def close(self) -> None:
        for process in (*self.workers, *([self.scheduler] if self.scheduler else [])):
            _kill(process)
        self.workers.clear()


def _start(*command: object, **environment: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "dask", *map(str, command)],
        cwd=_ROOT,
        env=os.environ | _ONE_THREAD | {"PYTHONPATH": str(_ROOT)} | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
