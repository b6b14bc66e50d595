"""The demo: made scenes, then the same path that real scenes take."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from flows.console import say
from flows.errors import UsageError
from flows.settings import use_mlflow_beside

_MARK = ".skyscale-demo"


def make_demo_scenes(out: Path, *, seed: int, size: int, scale: int) -> dict[str, Any]:
    """Make scenes; returns what ``skyscale scenes --json`` prints."""
    from geo.scenes.make import ScenesConfig, make_scenes

    try:
        config = ScenesConfig(seed=seed, width_px=size, height_px=size, scale=scale)
    except ValueError as error:
        raise UsageError(str(error)) from error
    summary = make_scenes(out, config, progress=lambda step: say(f"scenes: {step}"))
    return {**asdict(summary), "satellite_scenes": len(summary.scenes), "aerial_scenes": 1}


def clearest(made: Mapping[str, Any]) -> Path:
    """Item of the scene with the least cloud, and among those the nearest in time."""
    scene = min(made["scenes"], key=lambda s: (s["cloud_cover_percent"], abs(s["gap_days"])))
    return Path(made["satellite"]).parent / scene["id"] / f"{scene['id']}.json"


def run_demo(out: Path, *, minutes: float, seed: int, size: int) -> dict[str, Any]:
    """Make scenes in `out` and run the pipeline on them."""
    _clear(out)
    use_mlflow_beside(out)
    started = time.monotonic()
    scenes = out / "scenes"
    made = make_demo_scenes(scenes, seed=seed, size=size, scale=4)
    seconds = time.monotonic() - started
    say(f"scenes: done in {seconds:.0f} s")

    # Imported late: Prefect reads its settings when it is imported.
    from flows.ingest_settings import IngestConfig
    from flows.pipeline import PipelineConfig, pipeline
    from flows.report import ReportFlowConfig
    from flows.train import TrainFlowConfig
    from flows.upscale import UpscaleFlowConfig

    store, sr = str(out / "store"), str(out / "region_sr.tif")
    landcover, aerial = str(scenes / "landcover.geojson"), str(scenes / "aerial")
    clear = str(clearest(made))
    result = pipeline(
        PipelineConfig(
            ingest=IngestConfig(
                satellite=str(scenes / "satellite"),
                aerial=aerial,
                store=store,
                landcover=landcover,
            ),
            train=TrainFlowConfig(
                store=store, max_minutes=minutes, seed=seed, out=str(out / "runs")
            ),
            upscale=UpscaleFlowConfig(source=clear, output=sr, model=""),
            report=ReportFlowConfig(
                sr=sr,
                reference=aerial,
                out=str(out / "report"),
                lr=clear,
                store=store,
                landcover=landcover,
            ),
        )
    )
    result["scenes"] = made
    result["seconds"] = {"scenes": round(seconds, 1), **result["seconds"]}
    return result


def _clear(out: Path) -> None:
    """Start from nothing, but never delete a folder that the demo did not make."""
    if out.exists() and any(out.iterdir()):
        if not (out / _MARK).exists():
            raise UsageError(f"{out}: not empty and not made by the demo; choose another --out")
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / _MARK).touch()
