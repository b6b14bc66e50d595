"""Rasters as large as wanted with the statistics of real imagery, and a generator trained on it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import rasterio
from rasterio.transform import from_origin
from rasterio.windows import Window

from models.config import TrainConfig
from models.data import ListedPairs, PairSpec
from models.trainer import train
from tests.benchmarks.pixels import make_pairs, source_image
from tests.benchmarks.training_runs import Curve

SCALE, LR = 4, 32
BANDS = ("red", "green", "blue", "nir")
_ROOT = Path(__file__).resolve().parents[2]


def make_source(path: Path, size: int, bands: int) -> Path:
    """A scene of ``size`` x ``size`` LR pixels, uint16, from mirrored copies of a real image."""
    image, _ = source_image(bands)
    height, width = (n // SCALE for n in image.shape[1:])
    coarse = image[:, : height * SCALE, : width * SCALE]
    coarse = coarse.reshape(bands, height, SCALE, width, SCALE).mean((2, 4)) * 12 + 300
    rng = np.random.default_rng(0)
    step = 1024
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=size,
        width=size,
        count=bands,
        dtype="uint16",
        crs="EPSG:32633",
        transform=from_origin(500_000, 5_000_000, 10, 10),
        tiled=True,
        blockxsize=512,
        blockysize=512,
        compress="DEFLATE",
        zlevel=1,
        predictor=2,
        bigtiff="IF_SAFER",
        nodata=0,
    ) as dataset:
        for band, name in enumerate(BANDS[:bands], 1):
            dataset.set_band_description(band, name)
        for top in range(0, size, step):
            for left in range(0, size, step):
                h, w = min(step, size - top), min(step, size - left)
                rows, cols = _mirrored(top, h, height), _mirrored(left, w, width)
                piece = coarse[:, rows][:, :, cols]
                noise = 6 * rng.standard_normal(piece.shape, np.float32)
                dn = np.clip(np.rint(piece + noise), 1, 65535).astype(np.uint16)
                dataset.write(dn, window=Window(left, top, w, h))
    return path


def _mirrored(start: int, length: int, period: int) -> Any:
    place = np.arange(start, start + length) % (2 * period)
    return np.minimum(place, 2 * period - 1 - place)


def quick_generator(folder: Path, bands: int, steps: int = 600) -> Path:
    """Folder of a default generator after so many steps of the content phase."""
    pairs = list(make_pairs(256, bands=bands, lr_size=LR))
    config = TrainConfig.from_dict(
        {"content_steps": steps, "adversarial_steps": 0, "val_every": 10_000, "val_pairs": 2}
    )
    result = train(
        config,
        train_pairs=ListedPairs(pairs),
        val_pairs=ListedPairs(pairs[:2]),
        spec=PairSpec(scale=SCALE, bands=BANDS[:bands], data_range=10_000.0),
        score=lambda *_: {},
        folder=folder,
        listener=Curve(),
    )
    return result.exported


def run_upscale(
    source: Path,
    output: Path,
    model: str | Path,
    *options: str,
    watched: bool = True,
    every_s: float = 0.1,
    **environment: str,
) -> dict[str, Any]:
    """What ``skyscale upscale --json`` answers, with the peak memory and disk of the run.

    Watching ten times a second takes some of the time of two cores.
    """
    with tempfile.TemporaryDirectory() as home:
        command = [
            *(sys.executable, "-m", "flows", "upscale", str(source), str(output)),
            *("--model", str(model), "--json", *options),
        ]
        surroundings = os.environ | {
            "PREFECT_HOME": home,
            "MLFLOW_TRACKING_URI": f"sqlite:///{home}/mlflow.db",
        }
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=_ROOT,
            env=surroundings | environment,
        )
        folder = Path(f"{output}.skyscale")
        peaks = watch_process(process, folder, every_s) if watched else {}
        answer, said = process.communicate()
    if process.returncode:
        raise RuntimeError(f"upscale failed: {said[-3000:]}")
    return json.loads(answer) | peaks


def watch_process(process: subprocess.Popen[str], folder: Path, every_s: float) -> dict[str, float]:
    """Resident memory of a command and all below it, and bytes in a folder, at most."""
    memory = disk = 0
    while process.poll() is None:
        memory = max(memory, sum(_resident(p) for p in _family(process.pid)))
        disk = max(disk, sum(_size(f) for f in folder.rglob("*")))
        time.sleep(every_s)
    return {"memory_mb": memory / 1e6, "scratch_mb": disk / 1e6}


def _family(pid: int) -> list[psutil.Process]:
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.Error:
        return []


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def _size(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:
        return 0
