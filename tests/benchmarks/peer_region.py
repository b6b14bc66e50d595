"""Upscaling a region against opensr-utils 2.1.0: the same network, threads and raster.

A scene of three bands, uint16, from real imagery, and the default generator after a short training,
float32, two threads. Both from opening the source to a file that is complete: ours a COG with
overviews and checksums, the peer's an uncompressed GeoTIFF without overviews. The peer with its
defaults (windows of 128 px that overlap by 8), and with settings under which its output is right
(12 px of each window's rim left out, for the network looks 11 px far) and which were the fastest of
those tried: windows of 128, 256 and 512 px, batches, plain and channels-last weights, two threads
or two processes. *Seconds* are without starting and imports, *command* is with them; *disk* is the
most that lies there at a time, output included; *off* compares with the network on the whole image
at once, in DN, but for the rim of the scene, beyond which one continues the edge and the other has
zeros. Turns alternate, the best of each counts. Target: 3 times the peer's rate.

``SKYSCALE_PEER_PYTHON`` names an interpreter that has opensr-utils.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
import torch
from rasterio.windows import Window

from models.export import load_generator
from tests.benchmarks.region_data import (
    SCALE,
    make_source,
    quick_generator,
    run_upscale,
    watch_process,
)

Write = Callable[[str], None]
SIZE, BANDS, TURNS, THREADS = 3072, 3, 2, 2
# Name, ranks, channels last, options.
PEERS: tuple[tuple[str, int, bool, dict[str, Any]], ...] = (
    (
        "its defaults",
        1,
        False,
        {"window_size": (128, 128), "overlap": 8, "eliminate_border_px": 0, "batch_size": 16},
    ),
    (
        "without seams",
        1,
        True,
        {"window_size": (512, 512), "overlap": 26, "eliminate_border_px": 12, "batch_size": 1},
    ),
)
_LOOK_EVERY_S = 1.0
_ROOT = Path(__file__).resolve().parents[2]


def run(write: Write) -> None:
    """Print a table, or why there is none."""
    python = os.environ.get("SKYSCALE_PEER_PYTHON")
    if not python:
        write("opensr-utils left out: SKYSCALE_PEER_PYTHON names no interpreter that has it.")
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = make_source(folder / "lr.tif", SIZE, BANDS)
        model = quick_generator(folder / "run", BANDS)
        best = _race(python, folder, source, model)
        if isinstance(best, str):
            write(f"opensr-utils left out: {best}")
            return
        whole, rim = _whole_image(source, model)
        write(
            "| way | s | Mpx/s | command, s | disk, MB | memory, MB | output, MB | off, most "
            "| off by more than 1 |"
        )
        write("|---|---|---|---|---|---|---|---|---|")
        for way, told in best.items():
            most, share = _off(told["output"], whole, rim)
            write(
                f"| {way} | {told['seconds']:.1f} | {told['rate']:.1f} | {told['command_s']:.1f} "
                f"| {told['scratch_mb']:.0f} | {told['memory_mb']:.0f} "
                f"| {told['output'].stat().st_size / 1e6:.0f} | {most} | {share:.2%} |"
            )
        ours = best["skyscale, deflate"]["rate"]
        ratios = ", ".join(
            f"{ours / told['rate']:.2f} times opensr-utils {way.partition(', ')[2]}"
            for way, told in best.items()
            if way.startswith("opensr-utils")
        )
        write(f"\nOurs is {ratios}.")


def _race(python: str, folder: Path, source: Path, model: Path) -> dict[str, dict[str, Any]] | str:
    best: dict[str, dict[str, Any]] = {}
    for _ in range(TURNS):
        for way, told in _turn(python, folder, source, model):
            if isinstance(told, str):
                return told
            told["rate"] = (SIZE * SCALE) ** 2 / 1e6 / told["seconds"]
            if told["rate"] > best.get(way, {"rate": 0.0})["rate"]:
                best[way] = told
    return best


def _turn(
    python: str, folder: Path, source: Path, model: Path
) -> Iterator[tuple[str, dict[str, Any] | str]]:
    for compression in ("deflate", "none"):
        output = folder / f"ours-{compression}.tif"
        started = time.perf_counter()
        told = run_upscale(
            source, output, model, "--compression", compression, every_s=_LOOK_EVERY_S
        )
        spent = time.perf_counter() - started
        yield f"skyscale, {compression}", told | {"output": output, "command_s": spent}
    for name, ranks, channels_last, options in PEERS:
        output = folder / f"{name.replace(' ', '-')}" / "sr.tif"
        wanted = {
            "source": str(source),
            "output": str(output),
            "model": str(model),
            "threads": THREADS // ranks,
            "channels_last": channels_last,
            "options": options | {"overwrite": True},
        }
        yield f"opensr-utils, {name}", _peer(python, output, wanted, ranks)


def _peer(python: str, output: Path, wanted: dict[str, Any], ranks: int) -> dict[str, Any] | str:
    """What the peer's process measured, with peak memory and disk, or why there is nothing."""
    output.parent.mkdir(exist_ok=True)
    output.unlink(missing_ok=True)
    launch = ("-m", "torch.distributed.run", "--nproc-per-node", str(ranks)) if ranks > 1 else ()
    worker = str(Path(__file__).with_name("peer_opensr.py"))
    environment = {
        **os.environ,
        "PYTHONPATH": str(_ROOT),
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": str(THREADS // ranks),
        "OPENSR_RUN_ID": f"run{time.time_ns()}",
    }
    started = time.perf_counter()
    with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as answer:
        process = subprocess.Popen(
            [python, *launch, worker, json.dumps(wanted)],
            stdout=answer,
            stderr=said,
            text=True,
            env=environment,
        )
        peaks = watch_process(process, output.parent, _LOOK_EVERY_S)
        spent = time.perf_counter() - started
        said.seek(0)
        answer.seek(0)
        if process.returncode:
            return (said.read().strip().splitlines() or ["no words"])[-1]
        told = json.loads(answer.read().strip().splitlines()[-1])
    return told | peaks | {"output": output, "command_s": spent}


def _whole_image(source: Path, model: Path) -> tuple[npt.NDArray[np.uint16], int]:
    """The network on all of the scene at once, [C, H, W], and the pixels that see its edge."""
    generator, card = load_generator(model)
    with rasterio.open(source) as dataset:
        lr = torch.from_numpy(dataset.read().astype(np.float32))
    with torch.inference_mode():
        sr = generator((lr / card.data_range)[None])[0].mul_(card.data_range)
        whole = sr.round_().clamp_(1, 65535).numpy().astype(np.uint16)
    return whole, card.halo * card.scale


def _off(
    output: Path, whole: npt.NDArray[np.uint16], rim: int, rows: int = 1024
) -> tuple[int, float]:
    """Most difference in DN, and the share of values that differ by more than one."""
    most = far = count = 0
    with rasterio.open(output) as dataset:
        stop, width = dataset.height - rim, dataset.width - 2 * rim
        for top in range(rim, stop, rows):
            height = min(rows, stop - top)
            pixels = dataset.read(window=Window(rim, top, width, height)).astype(np.int32)
            off = np.abs(pixels - whole[:, top : top + height, rim : rim + width])
            most = max(most, int(off.max()))
            far += int(np.count_nonzero(off > 1))
            count += off.size
    return most, far / count
