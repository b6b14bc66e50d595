"""What a store of 200,000 pairs costs: files, opening, appending, memory, and caring for it.

LR 3 x 16 x 16, HR 3 x 64 x 64, uint16; a batch is a scene pair of 500 pairs, written as four parts
and committed, as an ingest does. Appending is timed at each size over ten batches, pixels and
commit apart; memory is what the process holds then. Listing is what `skyscale pairs` does, from
opening to counts, balance and digest.
"""

from __future__ import annotations

import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from geo.pairstore.care import compact_store, expire_store
from geo.pairstore.config import StoreConfig
from geo.pairstore.rows import PairData
from geo.pairstore.store import PairStore
from geo.pairstore.verify import verify_store
from tests.benchmarks.pixels import make_pairs, row_of

SIZES = (2_000, 20_000, 200_000)
BATCH, TIMED = 500, 10
CONFIG = StoreConfig(bands=("red", "green", "blue"), lr_size=16)


def run(write: Callable[[str], None]) -> None:
    """Print a row for each size, then what care does to the largest."""
    pixels = list(make_pairs(2_000, bands=3, lr_size=16))
    with tempfile.TemporaryDirectory() as name:
        store = PairStore.create_or_open(Path(name) / "store", CONFIG)
        write(
            "| pairs | files | MB | append 500, ms | of it the commit, ms | open and list, s | "
            "memory, MB |"
        )
        write("|---|---|---|---|---|---|---|")
        number = 0
        for size in SIZES:
            taken: list[tuple[float, float]] = []
            for number in range(number, size, BATCH):  # noqa: B020 - goes on where it was
                taken.append(_append(store, pixels, number))
            number += BATCH
            last = taken[-TIMED:]
            whole = statistics.median(a + b for a, b in last)
            commit = statistics.median(b for _, b in last)
            memory = _memory_mb()
            write(
                f"| {size:,} | {_files(name)} | {_megabytes(name):.0f} | {1000 * whole:.0f} | "
                f"{1000 * commit:.0f} | {_listing(store.url):.2f} | {memory:.0f} |"
            )
        _care(write, store, name)


def _append(store: PairStore, pixels: list[PairData], first: int) -> tuple[float, float]:
    """Seconds to write the pixels of a batch, and to commit its rows."""
    batch = [
        PairData(row=row_of(n, CONFIG.scale), lr=p.lr, hr=p.hr, valid=p.valid)
        for n, p in zip(range(first, first + BATCH), itertools.cycle(pixels), strict=False)
    ]
    started = time.perf_counter()
    rows = store.write_part(batch)
    written = time.perf_counter()
    store.commit(rows, f"batch {first}")
    return written - started, time.perf_counter() - written


def _listing(url: str) -> float:
    """Seconds, in a process of its own: what it holds is not counted as the writer's."""
    code = (
        "import sys, time\nfrom geo.pairstore.store import PairStore\n"
        "started = time.perf_counter()\nPairStore.open(sys.argv[1]).summary()\n"
        "print(time.perf_counter() - started)"
    )
    done = subprocess.run([sys.executable, "-c", code, url], capture_output=True, check=True)
    return float(done.stdout)


def _care(write: Callable[[str], None], store: PairStore, folder: str) -> None:
    write("\n| then | s | files | MB | open and list, s | memory, MB |")
    write("|---|---|---|---|---|---|")
    works: tuple[tuple[str, Callable[[], object]], ...] = (
        ("verify", lambda: verify_store(store)),
        ("compact", lambda: compact_store(store, "bench")),
        ("expire", lambda: expire_store(store, keep_days=0, grace_s=0)),
        ("verify", lambda: verify_store(store)),
    )
    for name, work in works:
        started = time.perf_counter()
        work()
        seconds = time.perf_counter() - started
        write(
            f"| {name} | {seconds:.1f} | {_files(folder)} | {_megabytes(folder):.0f} | "
            f"{_listing(store.url):.2f} | {_memory_mb():.0f} |"
        )


def _files(folder: str) -> int:
    return sum(len(files) for _, _, files in os.walk(folder))


def _megabytes(folder: str) -> float:
    return sum(p.stat().st_size for p in Path(folder).rglob("*") if p.is_file()) / 1e6


def _memory_mb() -> float:
    """What the process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
