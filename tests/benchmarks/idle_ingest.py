"""A hundred nights without a new scene: what an ingest costs then, and that it adds nothing.

The flow as a worker runs it, in one process, against Prefect's API in the process; a scheduled run
has the start of a Python process before it, told in the last line.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from geo.pairstore.store import PairStore
from geo.scenes.make import SatelliteDate, ScenesConfig, make_scenes

_NIGHTS = 100


def run(write: Callable[[str], None]) -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["PREFECT_HOME"] = str(folder / "prefect")
        os.environ.pop("PREFECT_API_URL", None)
        dates = tuple(SatelliteDate(gap_days=days) for days in (-9, -4, 3, 9))
        make_scenes(folder / "scenes", ScenesConfig(width_px=1808, height_px=1680, dates=dates))
        first = _night(folder)
        before, version = _files(folder), PairStore.open(folder / "store").version
        nights = [_night(folder) for _ in range(_NIGHTS)]
        added = _files(folder) - before
        versions = PairStore.open(folder / "store").version - version
        write("| run | wall, s | processor, s |\n|---|---|---|")
        write(f"| the first, all scenes new | {first[0]:.2f} | {first[1]:.2f} |")
        for what, pick in (("median", statistics.median), ("slowest", max)):
            wall, cpu = (pick(night[i] for night in nights) for i in (0, 1))
            write(f"| {what} of {_NIGHTS} with nothing new | {wall:.2f} | {cpu:.2f} |")
        write(f"\nFiles added: {len(added)}. Versions added: {versions}.")
        assert not added, sorted(added)[:5]
        assert not versions
        write(f"Start of a process that imports the flow: {_start_s():.1f} s.\n")


def _night(folder: Path) -> tuple[float, float]:
    """Wall and processor seconds of one ingest."""
    from flows.ingest import ingest
    from flows.ingest_settings import IngestConfig

    wall, cpu = time.perf_counter(), time.process_time()
    ingest(
        IngestConfig(
            satellite=str(folder / "scenes/satellite"),
            aerial=str(folder / "scenes/aerial"),
            store=str(folder / "store"),
        )
    )
    return time.perf_counter() - wall, time.process_time() - cpu


def _files(folder: Path) -> set[Path]:
    """Of the store, its tables and maps."""
    return {path for path in (folder / "store").rglob("*") if path.is_file()}


def _start_s() -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import flows.ingest, distributed"], check=True)
    return time.perf_counter() - started
