"""Starts training ranks as processes and listens to them."""

from __future__ import annotations

import contextlib
import ctypes
import json
import signal
import subprocess
import sys
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import psutil

from flows.cores import usable_cores
from flows.errors import FlowError
from flows.settings import worker_environment

# Ranks that outlive their parent would train on as orphans (Linux, prctl(2)).
_PR_SET_PDEATHSIG = 1
# Prefect kills a cancelled flow 30 s after asking it to stop; a rank that was asked saves itself
# after the step that it is in, and MLflow is told afterwards.
_GRACE_S = 18.0
# A killed rank is started again by torchrun so often; torchrun itself, or a rank alone, by us.
_MOST_RESTARTS = 3
# torchrun (2.13) would give ranks that it starts again the store of the ranks before them, where
# they read each other's old addresses and wait for ever.
_TORCHRUN = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}


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
        What rank 0 reports, if it is one of these: JSON lines on its standard output, with
        ``say``, ``pace`` (see `flows.progress.Pace`), both or something else.

    Raises
    ------
    FlowError
        When the ranks fail, with what rank 0 says of it, or the last line of their log; when
        someone stopped them.
    """
    command = _command(job, nproc, nnodes, rendezvous)
    threads = max(1, usable_cores() // nproc)
    for restarts_left in reversed(range(_MOST_RESTARTS + 1 if nnodes == 1 else 1)):
        status, last = yield from _run(command, log, threads)
        if status == 0:
            return
        if status != -signal.SIGKILL or not restarts_left:
            break
        yield {"say": "the ranks were killed; they are started again"}
    if last.get("stopped"):
        raise FlowError("training was stopped; its state is saved")
    raise FlowError(f"training failed (status {status}): {_last_words(log)} (log: {log})")


def _run(
    command: Sequence[str], log: Path, threads: int
) -> Generator[dict[str, Any], None, tuple[int, dict[str, Any]]]:
    """Run the ranks once; returns the exit status and what rank 0 reported last."""
    last: dict[str, Any] = {}
    with (
        log.open("a") as record,
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=record,
            text=True,
            env={**_TORCHRUN, **worker_environment(threads)},
            start_new_session=True,
            preexec_fn=die_with_parent,
        ) as process,
    ):
        try:
            assert process.stdout is not None
            for line in process.stdout:
                record.write(line)
                record.flush()
                if (event := _event(line)) is None:
                    continue
                last = event
                if "failed" in event:  # torchrun would try again, and it would fail again
                    raise FlowError(f"training failed: {event['failed']} (log: {log})")
                yield event
        except BaseException:
            _stop(process, record)
            raise
        return process.wait(), last


def _event(line: str) -> dict[str, Any] | None:
    """What rank 0 reports; None for what libraries print."""
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) else None


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
        f"--max-restarts={_MOST_RESTARTS}",
        *worker,
    ]


def die_with_parent() -> None:
    """Have the kernel stop this process when its parent ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _stop(process: subprocess.Popen[str], record: TextIO) -> None:
    """Ask the ranks to save themselves, then insist; what they still say is kept."""
    everyone = _with_children(process)
    if process.poll() is None:
        process.terminate()
    try:
        said, _ = process.communicate(timeout=_GRACE_S)
    except subprocess.TimeoutExpired:
        for one in everyone:  # torchrun gives each rank a session of its own
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        said, _ = process.communicate()
    record.write(said or "")


def _with_children(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """A process and all that it has started; psutil never takes another of the same number."""
    try:
        parent = psutil.Process(process.pid)
        return [*parent.children(recursive=True), parent]
    except psutil.NoSuchProcess:
        return []


def _last_words(log: Path) -> str:
    """The last line that says something; tracebacks end in it."""
    lines = [line.strip() for line in log.read_text().splitlines()[-60:]]
    told = [line for line in lines if line and not line.startswith(("{", "File", "Traceback"))]
    return told[-1] if told else "no word from the ranks"
