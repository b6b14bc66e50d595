"""``skyscale upscale`` on a Dask cluster by address: two workers against one, and workers killed.

Real scheduler and worker processes on one machine, each worker with one thread of Dask, torch and
BLAS; the default generator after a short training, three bands, uint16. *Command* is all of the
run, from its plan to the finished COG; *blocks* the time from an empty working folder to the last
block's mark. Workers have imported all and read the network beforehand. Best of two turns each.
Target: two workers at least 1.8 times as fast as one.

Then a run that loses a worker by SIGKILL every 20 s, each replaced at once, and once its scheduler,
which is started again; workers that end with it are replaced as a supervisor would. Targets: the
pixels of all levels are those of an undisturbed run on the embedded cluster; no block is begun
again once it is finished.
"""

from __future__ import annotations

import contextlib
import filecmp
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from distributed import Client
from rasterio.windows import Window

from flows.registry import find_model
from flows.upscale_work import UpsamplerRequest, load_upsampler
from tests.benchmarks.block_log import VARIABLE, count_begun
from tests.benchmarks.block_watch import BlockWatch
from tests.benchmarks.region_data import make_source, quick_generator, run_upscale
from tests.servers.dask_cluster import DaskCluster

Write = Callable[[str], None]
SIZE, TURNS = 6144, 2
LONG, KILL_EVERY_S = 8192, 20.0


def run(write: Write) -> None:
    """Print a table of workers, then what became of the disturbed run."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = quick_generator(folder / "run", 3)
        _one_and_two(write, folder, model)
        _killed(write, folder, model)


def _one_and_two(write: Write, folder: Path, model: Path) -> None:
    source = make_source(folder / "lr.tif", SIZE, 3)
    best: dict[int, dict[str, Any]] = {}
    for _ in range(TURNS):
        for workers in (1, 2):
            with _cluster(workers, model) as cluster:
                told = _watched(source, folder / "sr.tif", model, cluster)
            if workers not in best or told["blocks_s"] < best[workers]["blocks_s"]:
                best[workers] = told
    write("| workers | blocks | blocks, s | Mpx/s | command, s | Mpx/s | read, infer, write, s |")
    write("|---|---|---|---|---|---|---|")
    for workers, told in best.items():
        megapixels, stages = told["output_megapixels"], told["seconds_in_stages"]
        write(
            f"| {workers} | {told['blocks']} "
            f"| {told['blocks_s']:.1f} | {megapixels / told['blocks_s']:.1f} "
            f"| {told['seconds']:.1f} | {megapixels / told['seconds']:.1f} "
            f"| {', '.join(f'{stages[s]:.1f}' for s in ('read', 'infer', 'write'))} |"
        )
    gain = {key: best[1][key] / best[2][key] for key in ("blocks_s", "seconds")}
    write(
        f"\nTwo workers are {gain['blocks_s']:.2f} times as fast as one at the blocks, "
        f"{gain['seconds']:.2f} times at the whole command."
    )
    source.unlink()


def _killed(write: Write, folder: Path, model: Path) -> None:
    source = make_source(folder / "lr.tif", LONG, 3)
    calm, disturbed, log = (folder / name for name in ("calm.tif", "disturbed.tif", "blocks.log"))
    undisturbed = run_upscale(source, calm, model, watched=False)
    preload = ("--preload", "tests.benchmarks.block_log")
    with (
        _cluster(2, model, *preload, **{VARIABLE: str(log)}) as cluster,
        _Trouble(cluster) as trouble,
    ):
        told = _watched(source, disturbed, model, cluster)
    begun, again = count_begun(log)
    write(
        f"\n{LONG} x {LONG} px in {told['blocks']} blocks: undisturbed "
        f"{undisturbed['seconds']:.0f} s, disturbed {told['seconds']:.0f} s, in which "
        f"{trouble.killed} workers were killed, and the scheduler {trouble.schedulers} time(s), "
        f"with which {trouble.ended} workers ended. "
        f"Pixels of all levels: {_differences(calm, disturbed)}; the files' bytes: "
        f"{'equal' if filecmp.cmp(calm, disturbed, shallow=False) else 'not equal'}. Blocks begun "
        f"{begun} times, of which {again} when they were finished already."
    )


def _differences(one: Path, other: Path) -> str:
    """How many values differ, over bands and overviews."""
    with rasterio.open(one) as dataset:
        levels = len(dataset.overviews(1))
    count = different = 0
    for level in (None, *range(levels)):
        options = {} if level is None else {"overview_level": level}
        with rasterio.open(one, **options) as a, rasterio.open(other, **options) as b:
            if a.shape != b.shape or a.profile != b.profile:
                return f"another shape or profile at level {level}"
            for window in _windows(*a.shape):
                pixels = a.read(window=window)
                different += int(np.count_nonzero(pixels != b.read(window=window)))
                count += pixels.size
    return f"{different} of {count} values differ"


def _windows(height: int, width: int, rows: int = 512) -> Iterator[Window]:
    for top in range(0, height, rows):
        yield Window(0, top, width, min(rows, height - top))


@contextlib.contextmanager
def _cluster(workers: int, model: Path, *options: str, **environment: str) -> Iterator[DaskCluster]:
    """A cluster whose workers have imported all and read the network."""
    cluster = DaskCluster(*options, **environment)
    try:
        cluster.start_scheduler()
        for _ in range(workers):
            cluster.start_worker()
        with Client(cluster.address, timeout=60) as client:
            client.wait_for_workers(workers, timeout=60)
            client.run(_warm_up, str(model))
        yield cluster
    finally:
        cluster.close()


def _warm_up(model: str) -> None:
    load_upsampler(UpsamplerRequest(model=find_model(model)))


def _watched(source: Path, output: Path, model: Path, cluster: DaskCluster) -> dict[str, Any]:
    """What the command answers, with the seconds of its blocks."""
    output.unlink(missing_ok=True)
    with BlockWatch(Path(f"{output}.skyscale")) as watch:
        told = run_upscale(
            source, output, model, watched=False, SKYSCALE_DASK_SCHEDULER=cluster.address
        )
    if len(watch.finished) != told["blocks"]:
        raise RuntimeError(f"saw {len(watch.finished)} of {told['blocks']} blocks being finished")
    return told | {"blocks_s": watch.seconds}


class _Trouble:
    """Kills workers now and then, and the scheduler once, half way between two of them."""

    def __init__(self, cluster: DaskCluster) -> None:
        self.killed = self.schedulers = self.ended = 0
        self._cluster = cluster
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._go)

    def __enter__(self) -> _Trouble:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _go(self) -> None:
        started = time.monotonic()
        while not self._over.wait(0.5):
            turns = (time.monotonic() - started) / KILL_EVERY_S
            if turns >= self.killed + 1:
                self._cluster.kill_worker()
                self._cluster.start_worker()
                self.killed += 1
            elif turns >= 2.5 and not self.schedulers:
                self._cluster.kill_scheduler()
                self._cluster.start_scheduler()
                self.schedulers += 1
            else:
                self.ended += self._cluster.replace_ended()
