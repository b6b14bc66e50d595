"""How long a command takes that does next to nothing: what is paid before any work.

Median of ten runs each, in processes of their own, wall clock and CPU seconds (user and system).
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.flows.training_store import make_store

RUNS = 10


def run(write: Callable[[str], None]) -> None:
    """Print the table."""
    write("| command | wall, s | slowest | CPU, s | wanted |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        store = make_store(Path(folder) / "store")
        for words, wanted in (
            (["--help"], "0.4"),
            (["ingest", "--help"], ""),
            (["pairs", str(store)], "1.5"),
            (["pairs", str(store), "--json"], ""),
        ):
            walls, cpus = zip(*(_timed(words) for _ in range(RUNS)), strict=True)
            told = " ".join(words).replace(str(store), "STORE")
            write(
                f"| `skyscale {told}` | {statistics.median(walls):.2f} | {max(walls):.2f} "
                f"| {statistics.median(cpus):.2f} | {wanted} |"
            )


def _timed(words: list[str]) -> tuple[float, float]:
    """Wall clock and CPU seconds of one run of the command as it is installed."""
    command = [str(Path(sys.executable).with_name("skyscale")), *words]
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=os.environ)
    wall, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
