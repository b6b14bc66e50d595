"""Flow runs that are cancelled or killed in the middle, as the UI does it, and tried again."""

from __future__ import annotations

import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import rasterio

from flows.web import ask
from geo.raster_io import inspect_raster
from tests.geo import rasters
from tests.servers.skyscale_up import SkyscaleUp, wait_for


def many_dates(scenes: Path, folder: Path, count: int = 6) -> Path:
    """A collection that has the clear scene of `scenes` under as many names, which takes longer."""
    shutil.copytree(scenes / "satellite", folder)
    name = "sat_20240621"
    collection = json.loads((folder / "collection.json").read_text())
    item = json.loads((folder / name / f"{name}.json").read_text())
    for number in range(1, count):
        copy = f"{name}_{number}"
        (folder / name / f"{copy}.json").write_text(json.dumps(item | {"id": copy}))
        collection["links"].append({"rel": "item", "href": f"./{name}/{copy}.json"})
    (folder / "collection.json").write_text(json.dumps(collection))
    return folder


def repeated(scenes: Path, path: Path) -> str:
    """The clear scene, each pixel four times four: an image that a report can judge."""
    scene = str(scenes / "sat_20240621/B04B03B02.tif")
    with rasterio.open(scene) as dataset:
        pixels = dataset.read().repeat(4, axis=1).repeat(4, axis=2)
    grid = inspect_raster(scene).geobox.zoom_out(1 / 4)
    return rasters.write(path, pixels, grid, bands=("red", "green", "blue"))


class Run:
    """A flow run of a deployment.

    Parameters
    ----------
    up : SkyscaleUp
    flow : str
    work : Path
        Folder with a file for each piece of finished work, at any depth.
    least : int
        So many of them, and it is in the middle.
    config : object
        Parameters of the flow.
    """

    def __init__(
        self, up: SkyscaleUp, flow: str, work: Path, least: int = 2, **config: Any
    ) -> None:
        self.up, self.flow, self._work, self._least = up, flow, work, least
        self.id = up.run(flow, **config)

    def cancel_in_the_middle(self) -> float:
        """Cancel it once it has done some work; seconds until it is gone."""
        wait_for(lambda: True if self._done() >= self._least else None, seconds=300)
        begun = time.monotonic()
        self.up.set_state(self.id, "CANCELLING", "Cancelling")
        wait_for(lambda: None if processes_of(self.up, self.id) else True)
        gone_after = time.monotonic() - begun
        assert self.up.await_end(self.id) == "CANCELLED"
        return gone_after

    def retry(self) -> None:
        """Try it again, as the UI does."""
        self.up.set_state(self.id, "SCHEDULED", "AwaitingRetry", force=True)

    def _done(self) -> int:
        return sum(path.is_file() for path in self._work.rglob("*")) if self._work.exists() else 0


class Cancelled:
    """An ingest, a report and a pipeline, side by side, each cancelled in the middle, then tried
    again; and a report that nobody disturbs."""

    def __init__(self, up: SkyscaleUp, scenes: Path, folder: Path) -> None:
        self.folder = folder
        satellite = str(many_dates(scenes, folder / "satellite"))
        aerial, clear = str(scenes / "aerial"), f"{satellite}/sat_20240621/sat_20240621.json"
        pairing = {"satellite": satellite, "aerial": aerial, "lr_size": 16, "workers": 1}
        scoring = {"sr": repeated(scenes / "satellite", folder / "sr.tif"), "reference": aerial}
        scoring |= {"lr": clear, "tile": 8, "workers": 1}
        store, output = str(folder / "pipeline/store"), str(folder / "pipeline/sr.tif")
        steps = {"content_steps": 400, "adversarial_steps": 0, "checkpoint_every": 20}
        training = {"batch_size": 2, "patch_lr": 16, "val_pairs": 2, "device": "cpu"}
        stages = {
            "ingest": pairing | {"store": store},
            "train": {"store": store, "out": str(folder / "runs"), "settings": training | steps},
            "upscale": {"source": clear, "output": output, "model": "", "workers": 1},
            "report": scoring
            | {"sr": output, "out": str(folder / "pipeline/report"), "tile": 32, "store": store},
        }
        kept = folder / "report/report.html.skyscale/rows"
        ingested = folder / "store"
        runs = {
            "ingest": Run(up, "ingest", ingested, 40, store=str(ingested), **pairing),
            "report": Run(up, "report", kept, out=str(folder / "report"), **scoring),
            "pipeline": Run(up, "pipeline", folder / "runs", 8, **stages),
        }
        undisturbed = up.run("report", out=str(folder / "undisturbed"), **scoring)
        with ThreadPoolExecutor(len(runs)) as pool:  # each as soon as it is in the middle
            gone = pool.map(Run.cancel_in_the_middle, runs.values())
            self.seconds = dict(zip(runs, gone, strict=True))
        self.ids = {name: run.id for name, run in runs.items()}
        for run in runs.values():
            run.retry()
        ends = [*self.ids.values(), undisturbed]
        self.states = [up.await_end(run, seconds=400) for run in ends]


class Training:
    """A flow run that would train for hours."""

    def __init__(self, up: SkyscaleUp, folder: Path, store: Path) -> None:
        self._up, self._out = up, folder / "runs"
        settings = {"batch_size": 8, "patch_lr": 16, "content_steps": 100_000, "device": "cpu"}
        self.run = up.run(
            "train",
            store=str(store),
            out=str(self._out),
            nproc=2,
            settings=settings | {"checkpoint_every": 20, "val_pairs": 4},
        )

    def await_progress(self) -> None:
        """Wait until it has written a checkpoint that was not there."""
        before = self._checkpoints()
        wait_for(lambda: True if self._checkpoints() - before else None)

    def status(self) -> str:
        """As MLflow has it."""
        (folder,) = self._out.glob("*")
        return run_status(self._up, folder.name)

    def _checkpoints(self) -> set[Path]:
        return set(self._out.glob("*/checkpoints/*"))

    def told(self) -> list[str]:
        """States that it was in, those of waiting left out."""
        waiting = ("Scheduled", "Late", "Pending", "Submitting", "AwaitingConcurrencySlot")
        return [name for name in self._up.states(self.run) if name not in waiting]

    def await_start(self, times: int) -> None:
        """Wait until it runs for the so-many-th time, and gets on with the work that it began."""
        wait_for(lambda: True if self.told().count("Running") == times else None)
        self.await_progress()
        assert self.told() == ["Running", *(["Crashed", "AwaitingRetry", "Running"] * (times - 1))]
        assert len(list(self._out.glob("*"))) == 1


def processes_of(up: SkyscaleUp, run: str) -> list[psutil.Process]:
    """All processes of a flow run."""
    return [p for p in up.processes() if _flow_run_of(p) == run]


def _flow_run_of(process: psutil.Process) -> str | None:
    try:
        return process.environ().get("PREFECT__FLOW_RUN_ID")
    except psutil.Error:
        return None


def ask_mlflow(up: SkyscaleUp, path: str, body: Any = None) -> Any:
    return ask(f"{up.mlflow}/api/2.0/mlflow/{path}", body)


def open_training(up: SkyscaleUp, flow_run: str) -> str:
    """A run of MLflow as a training leaves it that was killed long ago; its id."""
    found = ask_mlflow(up, "experiments/get-by-name?experiment_name=skyscale")
    tags = {"stage": "train", "store": "my-store", "flow_run": flow_run}
    run = {
        "experiment_id": found["experiment"]["experiment_id"],
        "start_time": 1_700_000_000_000,
        "tags": [{"key": key, "value": value} for key, value in tags.items()],
    }
    return str(ask_mlflow(up, "runs/create", run)["run"]["info"]["run_id"])


def run_status(up: SkyscaleUp, run: str) -> str:
    return str(ask_mlflow(up, f"runs/get?run_id={run}")["run"]["info"]["status"])
