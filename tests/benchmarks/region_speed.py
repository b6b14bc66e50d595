"""Upscaling a region end to end against the network alone, and against other ways to do it.

A scene of 4096 x 4096 px (268 Mpx out), uint16, from real imagery, and the default generator after
a short training. *Forward*: the network on blocks that lie in memory as tensors, two threads of one
torch thread each, of the block sizes tried the fastest; nothing is read, rounded or written.
*upscale*: ``skyscale upscale``, from opening the source to the finished COG, which is checked.
*Loop*: by hand, one process, two torch threads: read a block with its halo, infer, crop, round,
write into an uncompressed tiled GeoTIFF without overviews. Turns alternate, the best of each
counts. Targets: upscale at least 0.9 of forward, no slower than the loop.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import rasterio
import torch
from rasterio.windows import Window

from geo.tiling import Tiling, halo_window
from models.export import load_generator
from models.predict import Predictor
from tests.benchmarks.region_data import SCALE, make_source, quick_generator, run_upscale

Write = Callable[[str], None]
SIZE, TURNS = 4096, 2
_BLOCKS = (128, 256, 512)


def run(write: Write) -> None:
    """Print a table for three and four bands."""
    write("| bands | precision | way | Mpx/s | of forward | read, infer, write, finish, s | MB |")
    write("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        for bands in (3, 4):
            folder = Path(name) / str(bands)
            folder.mkdir()
            source = make_source(folder / "lr.tif", SIZE, bands)
            model = quick_generator(folder / "run", bands)
            for precision in ("float32", "bfloat16"):
                _table(write, folder, source, model, bands, precision)


def _table(
    write: Write, folder: Path, source: Path, model: Path, bands: int, precision: str
) -> None:
    megapixels = (SIZE * SCALE) ** 2 / 1e6
    rates: dict[str, float] = {}
    notes: dict[str, str] = {}
    for _ in range(TURNS):
        for block in _BLOCKS:
            rate = _forward(model, bands, block, precision)
            if rate > rates.get("forward", 0):
                rates["forward"], notes["forward"] = rate, f"blocks of {block} | "
        for compression in ("deflate", "zstd", "none"):
            output = folder / "sr.tif"
            way = f"upscale, {compression}"
            told = run_upscale(
                source, output, model, "--compression", compression, "--precision", precision
            )
            stages = told["seconds_in_stages"]
            rate = megapixels / told["seconds"]
            if rate > rates.get(way, 0):
                rates[way] = rate
                notes[way] = (
                    ", ".join(f"{stages[s]:.1f}" for s in ("read", "infer", "write", "finish"))
                    + f" | {output.stat().st_size / 1e6:.0f}"
                )
        if precision == "float32":
            rate = megapixels / _loop(source, folder / "loop.tif", model)
            rates["loop"] = max(rates.get("loop", 0), rate)
            notes["loop"] = " | "
    for way, rate in rates.items():
        write(
            f"| {bands} | {precision} | {way} | {rate:.1f} | {rate / rates['forward']:.2f} "
            f"| {notes[way]} |"
        )


def _forward(model: Path, bands: int, block: int, precision: str) -> float:
    """Output megapixels a second of the network alone, two calls side by side."""
    generator, _ = load_generator(model)
    generator = generator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    x = 0.1 * torch.rand(1, bands, block, block).to(memory_format=torch.channels_last)
    calls = max(2, int(2e7 / (block * SCALE) ** 2)) * 2

    def call(_: int) -> None:
        torch.set_num_threads(1)
        with (
            torch.inference_mode(),
            torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32),
        ):
            generator(x)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(call, range(2)))
        start = time.perf_counter()
        list(pool.map(call, range(calls)))
        return calls * (block * SCALE) ** 2 / 1e6 / (time.perf_counter() - start)


def _loop(source: Path, output: Path, model: Path, block: int = 512) -> float:
    """Seconds of the write-once loop."""
    predictor = Predictor.load(model, threads=2)
    start = time.perf_counter()
    with rasterio.open(source) as lr:
        profile = {
            **{key: lr.profile[key] for key in ("driver", "count", "dtype", "crs", "nodata")},
            "height": lr.height * SCALE,
            "width": lr.width * SCALE,
            "transform": lr.transform @ lr.transform.scale(1 / SCALE),
            "tiled": True,
            "blockxsize": 512,
            "blockysize": 512,
            "bigtiff": "YES",
        }
        with rasterio.open(output, "w", **profile) as hr:
            for tile in Tiling(lr.height, lr.width, block):
                window = halo_window(tile, predictor.halo, lr.height, lr.width)
                pixels = lr.read(window=Window.from_slices(window.rows, window.cols))
                sr = predictor(window.lay_out(pixels).astype(np.float32))
                margin, fine = predictor.halo * SCALE, tile.scaled(SCALE)
                sr = sr[:, margin : margin + fine.shape[0], margin : margin + fine.shape[1]]
                dn = np.clip(np.rint(sr), 1, 65535).astype(np.uint16)
                hr.write(dn, window=Window.from_slices(fine.rows, fine.cols))
    return time.perf_counter() - start
