"""Chips per second of the whole ingest at 1 and 2 workers, on made scenes of 4096 x 4096 px.

The yardstick reads the same windows of the satellite, warps the aerial image onto the same HR
grids and writes the same parts, with as many threads and nothing else. The profile is of one
worker: seconds inside each kind of work, what a function calls for another kind taken out.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from geo.catalog.sources import read_scenes
from geo.chips import Cell, blocks_of
from geo.cut import to_dtype
from geo.decisions import PairingRules
from geo.match import Candidate, MatchRules, match_scenes
from geo.pairing import ScenePair, cells_of, inspect_pair, lattice_of
from geo.pairstore.config import StoreConfig
from geo.pairstore.rows import PairData
from geo.pairstore.store import PairStore
from geo.raster_io import read_window
from geo.scenes.make import SatelliteDate, ScenesConfig, make_scenes
from geo.warp import warp_to

SIZE_PX = 4096
_DATES = tuple(SatelliteDate(gap_days=gap) for gap in (-6, 2, 5))
_TURNS = 3
_BANDS = ("red", "green", "blue")
# Where the time of one worker goes: function, as the module that calls it knows it.
_STEPS = (
    ("geo.ground", "read_window", "read"),
    ("geo.quality", "warp_to", "read"),
    ("flows.ingest_work", "inspect_pair", "headers"),
    ("geo.pairing", "align_source", "register and harmonise"),
    ("geo.reference", "warp_to", "warp, to register"),
    ("geo.alignment", "warp_to", "warp, to cut"),
    ("geo.pairblock", "cut_block", "judge"),
    ("geo.pairstore.store", "write_part", "write"),
    ("geo.pairstore.store", "hash_pixels", "hash"),
    ("geo.pairstore.store", "_merge", "commit"),
)


def run(write: Callable[[str], None]) -> None:
    """Print rates, their ratio and the profile."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_scenes(
            folder / "scenes", ScenesConfig(width_px=SIZE_PX, height_px=SIZE_PX, dates=_DATES)
        )
        work = plan(folder / "scenes")
        write(
            "| workers | yardstick, chips/s | ingest, chips/s | ratio | yardstick, CPU ms a chip | "
            "ingest, CPU ms a chip | whole flow, chips/s |"
        )
        write("|---|---|---|---|---|---|---|")
        profiles = []
        for workers in (1, 2):
            plain, found = [], []
            for turn in range(_TURNS):
                place = f"{workers}-{turn}"
                plain.append(measure_plain(work, folder / f"plain{place}", workers))
                found.append(measure_ingest(work, folder / f"store{place}", workers))
                shutil.rmtree(folder / f"plain{place}")
                shutil.rmtree(folder / f"store{place}")
            yardstick, best = max(plain, key=_rate), max(found, key=_rate)
            flow = measure_flow(folder, workers)
            profiles.append(best)
            write(
                f"| {workers} | {yardstick.rate:.0f} | {best.rate:.0f} | "
                f"{best.rate / yardstick.rate:.2f} | {yardstick.cpu_ms:.2f} | {best.cpu_ms:.2f} | "
                f"{flow:.0f} |"
            )
        one = profiles[0]
        write(f"\n| where {one.seconds:.1f} s of one worker go | s | share |\n|---|---|---|")
        for step, seconds in one.steps.most_common():
            write(f"| {step} | {seconds:.2f} | {seconds / one.seconds:.0%} |")


@dataclass(frozen=True, kw_only=True)
class Work:
    """The scene pairs and their cells."""

    scenes: Path
    rules: PairingRules
    candidates: list[Candidate]
    pairs: list[ScenePair]
    cells: list[list[Cell]]

    @property
    def chips(self) -> int:
        """All of them."""
        return sum(len(cells) for cells in self.cells)


def plan(scenes: Path) -> Work:
    """Find out what there is to do."""
    rules = PairingRules(bands=_BANDS)
    found = [read_scenes(str(scenes / side))[0] for side in ("satellite", "aerial")]
    candidates, _ = match_scenes(found[0], found[1], MatchRules())
    pairs = [inspect_pair(candidate, rules) for candidate in candidates]
    cells = [cells_of(pair, rules) for pair in pairs]
    return Work(scenes=scenes, rules=rules, candidates=candidates, pairs=pairs, cells=cells)


@dataclass(frozen=True, kw_only=True)
class Profile:
    """What all chips took."""

    rate: float
    seconds: float
    cpu_ms: float
    steps: Counter[str]


def _rate(profile: Profile) -> float:
    return profile.rate


@contextmanager
def measured(chips: int) -> Iterator[list[Profile]]:
    """Take the time of what is inside; afterwards the list holds the profile."""
    found: list[Profile] = []
    with stopwatches() as steps:
        started, cpu = time.perf_counter(), time.process_time()
        yield found
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    steps["scheduling and waiting, less what overlaps"] = seconds - sum(steps.values())
    found.append(
        Profile(rate=chips / seconds, seconds=seconds, cpu_ms=1000 * cpu / chips, steps=steps)
    )


def measure_plain(work: Work, path: Path, threads: int) -> Profile:
    """Reading, warping and writing alone."""
    store = PairStore.create_or_open(path, StoreConfig(bands=_BANDS))
    jobs = [
        (pair, block)
        for pair, cells in zip(work.pairs, work.cells, strict=True)
        for block in blocks_of(cells)
    ]
    with ThreadPoolExecutor(threads) as pool, measured(work.chips) as found:
        list(pool.map(lambda job: _plain_block(job[0], job[1], work.rules, store), jobs))
    return found[0]


def _plain_block(
    pair: ScenePair, cells: Sequence[Cell], rules: PairingRules, store: PairStore
) -> None:
    windows = [lattice_of(pair.geobox, rules.lr_size).window(cell, pair.geobox) for cell in cells]
    top, left = (min(w[axis].start for w in windows) for axis in (0, 1))
    bottom, right = (max(w[axis].stop for w in windows) for axis in (0, 1))
    rows, cols = slice(top, bottom), slice(left, right)
    lr = read_window(pair.satellite, rows, cols)
    hr = warp_to(pair.aerial, pair.geobox[rows, cols].zoom_out(1 / rules.scale))
    fine = to_dtype(hr.data, lr.data.dtype)
    s = rules.scale
    data = [
        PairData(
            row={"identity": f"{cell}"},
            lr=lr.data[:, r.start - top : r.stop - top, c.start - left : c.stop - left],
            hr=fine[
                :,
                s * (r.start - top) : s * (r.stop - top),
                s * (c.start - left) : s * (c.stop - left),
            ],
            valid=hr.valid[
                s * (r.start - top) : s * (r.stop - top), s * (c.start - left) : s * (c.stop - left)
            ],
        )
        for cell, (r, c) in zip(cells, windows, strict=True)
    ]
    store.write_part(data)


def measure_ingest(work: Work, path: Path, workers: int) -> Profile:
    """Align, cut and commit everything, without Prefect."""
    from flows.ingest_scenes import PairingLine
    from flows.runtime import dask_client

    store = PairStore.create_or_open(path, StoreConfig(bands=_BANDS))
    with dask_client(workers) as client, measured(work.chips) as found:
        line = PairingLine(
            client, store, work.candidates, work.rules, landcover=None, run_name="bench"
        )
        for outcome in line:
            assert outcome.state == "paired", outcome
        line.flush()
    return found[0]


def measure_flow(folder: Path, workers: int) -> float:
    """Chips a second of the whole flow: catalogue, Prefect, summary and map included."""
    from flows.ingest import ingest
    from flows.ingest_settings import IngestConfig

    started = time.perf_counter()
    result = ingest(
        IngestConfig(
            satellite=str(folder / "scenes/satellite"),
            aerial=str(folder / "scenes/aerial"),
            store=str(folder / f"flow{workers}"),
            workers=workers,
        )
    )
    return float(result["pairs_added"] / (time.perf_counter() - started))


@contextmanager
def stopwatches() -> Iterator[Counter[str]]:
    """Count the seconds that threads spend in each step, inner steps taken out of outer ones."""
    steps: Counter[str] = Counter()  # seconds
    lock, stack = threading.Lock(), threading.local()
    originals = []

    def watched(function: Callable[..., Any], step: str) -> Callable[..., Any]:
        def timed(*arguments: Any, **named: Any) -> Any:
            inner = getattr(stack, "inner", 0.0)
            stack.inner = 0.0
            started = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                seconds = time.perf_counter() - started
                with lock:
                    steps[step] += seconds - stack.inner
                stack.inner = inner + seconds

        return timed

    for module_name, name, step in _STEPS:
        module = import_module(module_name)
        if (function := getattr(module, name, None)) is not None:
            originals.append((module, name, function))
            setattr(module, name, watched(function, step))
    try:
        yield steps
    finally:
        for module, name, function in originals:
            setattr(module, name, function)
