"""Upscaling a region end to end against the network alone, and against other ways to do it.

A scene of 6144 x 6144 px of three bands (604 Mpx out), uint16, from real imagery, and the default
generator after a short training. *Forward*: the network on blocks that lie in memory as tensors,
two threads of one torch thread each, of the block sizes tried the fastest; nothing is read, rounded
or written. *upscale*: ``skyscale upscale``, from opening the source to the finished COG. *Loop*: by
hand, one process, two torch threads: read a block with its halo, infer, crop, round, write into an
uncompressed tiled GeoTIFF without overviews. *Loop to COG's content*: the same into DEFLATE with
two of GDAL's threads, then average overviews by GDAL. Targets: upscale at least 0.9 of forward, no
slower than the loop.
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
from rasterio.enums import Resampling
from rasterio.windows import Window

from geo.tiling import Tiling, halo_window
from models.export import load_generator
from models.predict import Predictor
from tests.benchmarks.region_data import SCALE, make_source, quick_generator, run_upscale

Write = Callable[[str], None]
SIZE, BANDS = 6144, 3
_MEGAPIXELS = (SIZE * SCALE) ** 2 / 1e6
_STAGES = ("read", "infer", "write", "finish")


def run(write: Write) -> None:
    """Print a table."""
    write("| precision | way | s | Mpx/s | of forward | read, infer, write, finish, s | MB |")
    write("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = make_source(folder / "lr.tif", SIZE, BANDS)
        model = quick_generator(folder / "run", BANDS)
        for precision in ("float32", "bfloat16"):
            forward = max(_forward(model, block, precision) for block in (128, 256, 512, 256, 128))
            write(f"| {precision} | forward | | {forward:.1f} | 1 | | |")

            def row(way: str, seconds: float, notes: str = " | ") -> None:
                rate = _MEGAPIXELS / seconds
                write(
                    f"| {precision} | {way} | {seconds:.0f} | {rate:.1f} | {rate / forward:.2f} "  # noqa: B023
                    f"| {notes} |"
                )

            for compression in (
                ("deflate", "zstd", "none") if precision == "float32" else ("deflate",)
            ):
                output = folder / "sr.tif"
                options = ("--compression", compression, "--precision", precision)
                told = run_upscale(source, output, model, *options, watched=False)
                stages = ", ".join(f"{told['seconds_in_stages'][s]:.1f}" for s in _STAGES)
                size = output.stat().st_size / 1e6
                row(f"upscale, {compression}", told["seconds"], f"{stages} | {size:.0f}")
                output.unlink()
            if precision == "float32":
                row("loop", _loop(source, folder / "loop.tif", model))
                seconds = _loop(source, folder / "loop.tif", model, compressed=True)
                row("loop to COG's content", seconds)


def _forward(model: Path, block: int, precision: str) -> float:
    """Output megapixels a second of the network alone, two calls side by side."""
    generator, _ = load_generator(model)
    generator = generator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    x = 0.1 * torch.rand(1, BANDS, block, block).to(memory_format=torch.channels_last)
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


def _loop(
    source: Path, output: Path, model: Path, block: int = 512, *, compressed: bool = False
) -> float:
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
        if compressed:
            profile |= {"compress": "DEFLATE", "zlevel": 1, "predictor": 2, "num_threads": 2}
        with rasterio.open(output, "w", **profile) as hr:
            for tile in Tiling(lr.height, lr.width, block):
                window = halo_window(tile, predictor.halo, lr.height, lr.width)
                pixels = lr.read(window=Window.from_slices(window.rows, window.cols))
                sr = predictor(window.lay_out(pixels).astype(np.float32))
                margin, fine = predictor.halo * SCALE, tile.scaled(SCALE)
                sr = sr[:, margin : margin + fine.shape[0], margin : margin + fine.shape[1]]
                dn = np.clip(np.rint(sr), 1, 65535).astype(np.uint16)
                hr.write(dn, window=Window.from_slices(fine.rows, fine.cols))
    if compressed:
        with rasterio.Env(GDAL_NUM_THREADS="2"), rasterio.open(output, "r+") as hr:
            hr.build_overviews([2, 4, 8, 16, 32], Resampling.average)
    return time.perf_counter() - start
