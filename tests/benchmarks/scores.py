"""Scores: against independent implementations, and how many tiles a second.

Tiles of real aerial imagery, four bands, 128 x 128 px, with what the satellite would see of them
(scale 4) and two images to judge: bicubic, and the truth moved by a pixel with noise. scikit-image,
torchmetrics and opensr-test run in an environment of their own; all with one thread, by CPU time.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from geo.interpolate import upsample
from geo.scores.consistency import lr_consistency
from geo.scores.correctness import NAMES, Correctness
from geo.scores.pair import score_pair
from geo.scores.pixels import psnr_db
from geo.scores.sharpness import hf_power
from geo.scores.shifted import cpsnr_db
from geo.scores.spectra import ergas, sam_deg
from geo.scores.structure import ssim
from geo.sensor import degrade
from tests.benchmarks.pixels import source_image

HOW_TO = """The others are not here. In an environment of its own:

    python -m venv scores-env
    scores-env/bin/pip install scikit-image==0.26.0 torchmetrics==1.9.0 opensr-test==1.3.3

then again with SCORES_PYTHON=scores-env/bin/python."""

WORKER = Path(__file__).with_name("scores_worker.py")
RANGE, SCALE, SIZE, TILES = 10000.0, 4, 128, 24
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
Write = Callable[[str], None]
# hr, sr, lr in DN.
Tile = tuple[np.ndarray, np.ndarray, np.ndarray]


def run(write: Write) -> None:
    """Print the tables, or how to make the others' environment."""
    tiles = list(_tiles())
    python = os.environ.get("SCORES_PYTHON", "")
    answers: dict[int, Any] = {}
    if Path(python).is_file():
        with tempfile.TemporaryDirectory() as folder:
            answers = {rim: _ask(python, Path(folder), tiles, rim) for rim in (0, 16)}
        _differences(write, tiles, answers)
    else:
        write(HOW_TO)
    _rates(write, tiles, answers)


def _tiles() -> Sequence[Tile]:
    """Half bicubic, half the truth moved and with noise; every third in whole DN."""
    image, _ = source_image(4)
    random = np.random.default_rng(0)
    found = []
    for number in range(TILES):
        top, left = (int(random.integers(8, n - SIZE - 8)) for n in image.shape[1:])
        hr = image[:, top : top + SIZE, left : left + SIZE].astype(np.float64) * 20 + 200
        lr = degrade(hr.astype(np.float32), SCALE)
        if number % 2:
            away = image[:, top + 1 : top + 1 + SIZE, left : left + SIZE] * 20.0 + 200
            sr = 0.9 * away + random.normal(100, 60, hr.shape)
        else:
            sr = upsample(lr, SCALE, "bicubic").astype(np.float64)
        whole = number % 3 == 0
        found.append((hr, np.round(sr) if whole else sr, np.round(lr) if whole else lr))
    return found


def _ask(python: str, folder: Path, tiles: Sequence[Tile], rim: int) -> dict[str, Any]:
    asked, answered = folder / "tiles.npz", folder / "answers.json"
    arrays: dict[str, Any] = {"data_range": RANGE, "scale": SCALE, "rim": rim}
    for number, tile in enumerate(tiles):
        arrays |= {f"{part}{number}": a for part, a in zip(("hr", "sr", "lr"), tile, strict=True)}
    np.savez(asked, **arrays)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(
        # Without -P the modules beside it would be taken for others of the same name.
        [python, "-P", "-W", "ignore", str(WORKER), str(asked), str(answered)],
        env=environment | _ONE_THREAD,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"the others failed:\n{done.stderr[-2000:]}")
    return dict(json.loads(answered.read_text()))


def _differences(write: Write, tiles: Sequence[Tile], answers: dict[int, Any]) -> None:
    valid = np.ones((SIZE, SIZE), np.bool_)
    apart: dict[tuple[str, str, int], list[float]] = {}
    for rim, said in answers.items():
        for (hr, sr, lr), theirs in zip(tiles, said["tiles"], strict=True):
            rules = {"scale": SCALE, "data_range": RANGE}
            ours = score_pair(sr, hr, lr, valid, crop_px=rim, plain={"bicubic_psnr_db": 0}, **rules)
            for package, scores in theirs.items():
                for name in scores:
                    # A rim is opensr-test's alone.
                    if name in ours and (rim == 0 or package == "opensr_test"):
                        difference = abs(ours[name] - scores[name])
                        apart.setdefault((package, name, rim), []).append(difference)
    versions = next(iter(answers.values()))["versions"]
    write("| package | score | rim px | tiles | most apart |")
    write("|---|---|---|---|---|")
    for (package, name, rim), differences in sorted(apart.items()):
        row = f"{package} {versions[package]} | {name} | {rim} | {len(differences)}"
        write(f"| {row} | {max(differences):.1e} |")


def _rates(write: Write, tiles: Sequence[Tile], answers: dict[int, Any]) -> None:
    valid = np.ones((SIZE, SIZE), np.bool_)
    rules: dict[str, Any] = {"scale": SCALE, "data_range": RANGE}
    singles: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], Any]] = {
        "PSNR": lambda hr, sr, lr: psnr_db(sr, hr, valid, RANGE),
        "SSIM": lambda hr, sr, lr: ssim(sr, hr, valid, RANGE),
        "cPSNR": lambda hr, sr, lr: cpsnr_db(sr, hr, valid, RANGE),
        "spectral angle": lambda hr, sr, lr: sam_deg(sr, hr, valid),
        "ERGAS": lambda hr, sr, lr: ergas(sr, hr, valid, SCALE),
        "sharpness": lambda hr, sr, lr: hf_power(sr, valid, SCALE),
        "LR consistency": lambda hr, sr, lr: lr_consistency(sr, lr, valid, SCALE, RANGE),
        ", ".join(NAMES): lambda hr, sr, lr: Correctness(hr, lr, valid, **rules).of(sr),
        "all, with bicubic's: `score_pair`": lambda hr, sr, lr: score_pair(
            sr, hr, lr, valid, crop_px=0, **rules
        ),
    }
    theirs = {}
    if answers:
        said = answers[0]["tiles"]
        for package, name in (
            ("scikit-image", "PSNR and SSIM"),
            ("torchmetrics", "spectral angle, ERGAS and SSIM in float64"),
            ("opensr_test", ", ".join(NAMES)),
        ):
            theirs[f"{name}, {package}"] = 1e3 * min(tile[package]["seconds"] for tile in said)
    write("\n| | ms a tile | tiles a second |")
    write("|---|---|---|")
    for name, call in singles.items():
        # The fastest tile: a neighbour on the machine slows the caches for the others.
        best = min(_cpu_seconds(call, tile) for _ in range(3) for tile in tiles)
        write(f"| {name} | {1e3 * best:.2f} | {1 / best:.0f} |")
    for name, spent in theirs.items():
        write(f"| {name} | {spent:.2f} | {1e3 / spent:.0f} |")


def _cpu_seconds(call: Callable[[np.ndarray, np.ndarray, np.ndarray], Any], tile: Tile) -> float:
    started = time.process_time()
    call(*tile)
    return time.process_time() - started
