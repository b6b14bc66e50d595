"""What each stage does in a second, on made scenes of 1536 x 1536 px, in one process and thread."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from geo.catalog.sources import read_scenes
from geo.chips import Cell, blocks_of
from geo.decisions import PairingRules
from geo.match import MatchRules, match_scenes
from geo.pairblock import BlockJob, pair_block
from geo.pairing import align_pair, cells_of, inspect_pair
from geo.pairstore.config import StoreConfig
from geo.pairstore.store import PairStore
from geo.reporting.plan import plan_report
from geo.reporting.tiles import score_batch
from geo.scenes.make import ScenesConfig, make_scenes
from geo.upsampler import BuiltinUpsampler
from geo.upscale import begin, finish, plan_upscale, run_block
from models.config_networks import GeneratorConfig
from models.generators.registry import build_generator


class Clock:
    """Seconds of a piece of work."""

    def __enter__(self) -> Clock:
        self._start = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._start


def run(write: Callable[[str], None]) -> None:
    """Print a row for each stage."""
    torch.set_num_threads(1)
    write("| stage | work | s | rate |")
    write("|---|---|---|---|")

    def row(stage: str, work: str, seconds: float, rate: str) -> None:
        write(f"| {stage} | {work} | {seconds:.2f} | {rate} |")

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scenes = folder / "scenes"
        with Clock() as clock:
            make_scenes(scenes, ScenesConfig(width_px=1536, height_px=1536))
        row("scenes", "1536 x 1536 px, 6 dates", clock.seconds, "")
        _pairs(row, scenes, folder / "store")
        _region(row, scenes, folder)
    _network(row)


Row = Callable[[str, str, float, str], None]


def _pairs(row: Row, scenes: Path, path: Path) -> None:
    config = StoreConfig(bands=("red", "green", "blue"))
    rules = PairingRules(bands=config.bands)
    found = [read_scenes(str(scenes / side))[0] for side in ("satellite", "aerial")]
    candidate = match_scenes(*found, MatchRules())[0][0]
    pair = inspect_pair(candidate, rules)
    with Clock() as clock:
        alignment = align_pair(pair, rules)
    row("align", "one scene pair", clock.seconds, "")
    store = PairStore.create_or_open(path, config)
    rows = []
    with Clock() as clock:
        for block in blocks_of(cells_of(pair, rules)):
            job = BlockJob(
                pair=pair,
                alignment=alignment,
                rules=rules,
                cells=tuple[Cell, ...](block),
                store=str(path),
                split_rule=config.split,
                landcover=None,
                run_name="bench",
            )
            rows += pair_block(job)
    row("cut and write", f"{len(rows)} chips", clock.seconds, f"{len(rows) / clock.seconds:.0f}/s")
    with Clock() as clock:
        store.commit(rows, "bench")
    row("commit", f"{len(rows)} rows", clock.seconds, "")
    reader = store.reader()
    order = np.random.default_rng(0).integers(0, len(reader), 800)
    with Clock() as clock:
        for start in range(0, len(order), 16):
            reader.read(order[start : start + 16])
    row("read pairs", "random batches of 16", clock.seconds, f"{800 / clock.seconds:.0f} pairs/s")


def _region(row: Row, scenes: Path, folder: Path) -> None:
    source = str(scenes / "satellite/sat_20240621/B04B03B02.tif")
    for method in ("nearest", "bicubic"):
        upsampler = BuiltinUpsampler(method, 4)  # type: ignore[arg-type]  # both are methods
        plan = plan_upscale(source, folder / f"{method}.tif", upsampler)
        megapixels = plan.profile.height * plan.profile.width / 1e6
        with Clock() as clock:
            begin(plan)
            for block in plan.blocks:
                run_block(plan, block, upsampler)
        blocks = clock.seconds
        row(f"upscale, {method}", "blocks", blocks, f"{megapixels / blocks:.1f} Mpx/s")
        with Clock() as clock:
            finish(plan)
        row(f"upscale, {method}", "COG", clock.seconds, f"{megapixels / clock.seconds:.1f} Mpx/s")
    report = plan_report(
        str(folder / "bicubic.tif"), str(scenes / "aerial/aerial_20240618/visual.tif"), lr=source
    )
    with Clock() as clock:
        scored = sum(len(score_batch(report, batch)) for batch in report.batches())
    row("score", f"{scored} tiles", clock.seconds, f"{scored / clock.seconds:.1f}/s")


def _network(row: Row) -> None:
    network = build_generator(GeneratorConfig(), bands=3, scale=4).eval()
    x = torch.rand(1, 3, 256, 256).to(memory_format=torch.channels_last)
    network.to(memory_format=torch.channels_last)
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        with (
            torch.inference_mode(),
            torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32),
        ):
            network(x)
            with Clock() as clock:
                for _ in range(5):
                    network(x)
        rate = f"{5 * 1.048576 / clock.seconds:.1f} output Mpx/s"
        row(f"network, {name}", "default generator, 1 thread", clock.seconds / 5, rate)
