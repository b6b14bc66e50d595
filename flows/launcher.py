"""Starts training ranks as processes and listens to them."""

from __future__ import annotations

import ctypes
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flows.errors import FlowError
from flows.settings import usable_cores, worker_environment

# Ranks that outlive their parent would train on as orphans (Linux, prctl(2)).
_PR_SET_PDEATHSIG = 1


def launch_ranks(
    job: Path,
    *,
    log: Path,
    nproc: int = 1,
    nnodes: int = 1,
    rendezvous: str | None = None,
) -> Iterator[dict[str, Any]]:
    """Run ``flows.train_worker`` on a job until it ends.

    Parameters
    ----------
    job : Path
        The job's JSON file.
    log : Path
        Where everything that the ranks print is kept.
    nproc, nnodes, rendezvous
        As torchrun has them; one process on one machine needs no torchrun.

    Yields
    ------
    dict
        What rank 0 reports: JSON lines on its standard output.

    Raises
    ------
    FlowError
        When the ranks fail, with the last lines of their log.
    """
    command = _command(job, nproc, nnodes, rendezvous)
    threads = max(1, usable_cores() // nproc)
    with (
        log.open("a") as record,
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=record,
            text=True,
            env=worker_environment(threads),
            start_new_session=True,
            preexec_fn=die_with_parent,
        ) as process,
    ):
        try:
            assert process.stdout is not None
            for line in process.stdout:
                record.write(line)
                record.flush()
                if line.startswith("{"):
                    yield json.loads(line)
        except BaseException:
            _stop(process)
            raise
        status = process.wait()
    if status != 0:
        raise FlowError(f"training failed (status {status}): {_last_words(log)} (log: {log})")


def _command(job: Path, nproc: int, nnodes: int, rendezvous: str | None) -> list[str]:
    worker = ["-m", "flows.train_worker", str(job)]
    if nproc == 1 and nnodes == 1:
        return [sys.executable, *worker]
    meeting = (
        ["--rdzv-backend=c10d", f"--rdzv-endpoint={rendezvous}"] if rendezvous else ["--standalone"]
    )
    return [
        sys.executable,
        "-m",
        "torch.distributed.run",
        *meeting,
        f"--nnodes={nnodes}",
        f"--nproc-per-node={nproc}",
        "--max-restarts=3",
        *worker,
    ]


def die_with_parent() -> None:
    """Have the kernel stop this process when its parent ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _stop(process: subprocess.Popen[str], grace_s: float = 20.0) -> None:
    """Ask, then insist."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(grace_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _last_words(log: Path) -> str:
    """The last line that says something; tracebacks end in it."""
    lines = [line.strip() for line in log.read_text().splitlines()[-60:]]
    told = [line for line in lines if line and not line.startswith(("{", "File", "Traceback"))]
    return told[-1] if told else "no word from the ranks"
