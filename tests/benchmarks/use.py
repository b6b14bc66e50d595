"""Does a map made of SR serve as well as one made of the real image? By the command line.

A made region of 4096 x 4096 aerial pixels is ingested; a segmenter (settings of the guide) is
trained on its aerial chips and land cover, a generator (default settings) on its pairs, each so
many minutes. Then scored, with the labels: the region's own held-out test ground, and a second
made region that nobody has seen. Mean IoU and accuracy of maps of the real image, SR and bicubic
against labels, and against the map of the real image; 95 % intervals are over places; the last
column says by how much each is better than the next. Where ``../shared/data`` is there, so are
trial regions of real aerial images. No land cover is known of them, so maps are held against that
of the real image alone, by a segmenter that has learned made ground: a hard case, told as it is.

``SKYSCALE_BENCH_MINUTES`` (default 5,8) are those of segmenter and generator,
``SKYSCALE_BENCH_OUT`` a folder that keeps everything, reports to look at among them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.docs.shell import toml_files_of

_SIZE = 4096
_SEEDS = {"seen": 7, "unseen": 8}
_DATE = "sat_20240621"
_TRIALS = Path(__file__).resolve().parents[3] / "shared" / "data" / "trial"
_IMAGES = {"real": "real", "sr": "SR", "bicubic": "bicubic"}

Write = Callable[[str], None]


def run(write: Write) -> None:
    """Print a row for each region and image."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(os.environ.get("SKYSCALE_BENCH_OUT", temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        segmenter, generator = _train(write, folder)
        write("\n| ground | map of | against | accuracy | mean accuracy | mean IoU | better by |")
        write("|---|---|---|---|---|---|---|")
        for name in _SEEDS:
            scenes = folder / name
            store = ["--store", folder / "store"] if name == "seen" else []
            labels = ["--labels", scenes / "landcover.geojson"]
            use = _report(folder, name, scenes / "satellite", generator, segmenter, labels + store)
            _tell(write, f"made, {name}", use)
        for trial in sorted(path.parent for path in _TRIALS.glob("*/satellite")):
            satellite = trial / "satellite"
            use = _report(folder, trial.name, satellite, generator, segmenter, [])
            _tell(write, f"real, {trial.name}", use)


def _train(write: Write, folder: Path) -> tuple[str, str]:
    """Both networks; their folders."""
    for name, seed in _SEEDS.items():
        if not (folder / name).exists():
            _skyscale(folder, "scenes", folder / name, "--seed", seed, "--size", _SIZE)
    seen, store = folder / "seen", folder / "store"
    _skyscale(
        folder,
        *("ingest", "--satellite", seen / "satellite", "--aerial", seen / "aerial"),
        *("--landcover", seen / "landcover.geojson", "--store", store),
    )
    settings = toml_files_of("docs/guides/training.md")["segment.toml"]
    file = folder / "segment.toml"
    file.write_text(settings.replace("my-scenes", str(seen)))
    minutes = os.environ.get("SKYSCALE_BENCH_MINUTES", "5,8").split(",")
    made = []
    for at, options in enumerate((["--config", file], [])):
        told = _skyscale(folder, "train", "--store", store, "--max-minutes", minutes[at], *options)
        made.append(told["segmenter" if options else "generator"])
        name = "mean_iou" if options else "gain_db"
        write(
            f"{'segmenter' if options else 'generator'}, {minutes[at]} min: "
            + ", ".join(f"{s} {name} {told[s][name]:.3f}" for s in ("val", "test") if told[s])
        )
    return made[0], made[1]


def _report(
    folder: Path,
    name: str,
    satellite: Path,
    generator: str,
    segmenter: str,
    options: list[Any],
) -> dict[str, Any]:
    """Upscale one date of a region and score it; what the report says of its use."""
    item = _item_of(satellite)
    sr = folder / f"{name}.tif"
    _skyscale(folder, "upscale", item, sr, "--model", generator)
    summary = _skyscale(
        folder,
        *("report", sr, satellite.parent / "aerial", "--out", folder / f"report-{name}"),
        *("--segmenter", segmenter, *options),
    )
    return dict(summary["use"])


def _item_of(satellite: Path) -> Path:
    """The date without clouds that made regions have, else the first of a collection."""
    items = sorted(
        path
        for path in satellite.rglob("*.json")
        if json.loads(path.read_text()).get("type") == "Feature"
    )
    return next((path for path in items if path.stem == _DATE), items[0])


def _tell(write: Write, ground: str, use: dict[str, Any]) -> None:
    steps = {(d["against"], d["a"]): d for d in use["differences"] if d["b"] != "other"}
    for against in ("labels", "real"):
        part = use[f"against_{against}"]
        for image, told in (part["images"] if part else {}).items():
            scores = " | ".join(
                f"{told[n]['value']:.3f}{_interval(told[n]['interval'])}"
                for n in ("accuracy", "mean_accuracy", "mean_iou")
            )
            step = steps.get((against, image))
            better = f"{step['difference']:+.3f}{_interval(step['interval'])}" if step else ""
            held = "labels" if against == "labels" else "the real image's map"
            write(f"| {ground} | {_IMAGES.get(image, image)} | {held} | {scores} | {better} |")
        if part and against == "labels":
            for image in part["images"]:
                ious = part["images"][image]["iou"].items()
                told = ", ".join(f"{n} {v:.2f}" for n, v in ious if v is not None)
                write(f"| {ground} | {_IMAGES.get(image, image)} | IoU by class: {told} | | | | |")
            write(f"| {ground} | order real > SR > bicubic: {use['order']['verdict']} | | | | | |")


def _interval(ends: list[float] | None) -> str:
    return "" if ends is None else f" ({ends[0]:.3f} to {ends[1]:.3f})"


def _skyscale(folder: Path, *arguments: Any) -> dict[str, Any]:
    """Run a command; what it says in JSON."""
    done = subprocess.run(
        [sys.executable, "-m", "flows", *map(str, arguments), "--json"],
        env={
            **os.environ,
            "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
            "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
        },
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"skyscale {' '.join(map(str, arguments))}: {done.stderr[-2000:]}")
    return dict(json.loads(done.stdout))
