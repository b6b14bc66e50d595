"""What a run of the pipeline has left, and how it differs from what another has left."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import rasterio

from geo.pairstore.store import PairStore
from geo.pairstore.verify import verify_store

# Curves that are the same each time; the others measure time, memory, or the machine.
_GROUPS = ("train/", "val/", "val_final/", "test/", "report/")
_OF_TIME = ("per_s", "seconds", "data_wait", "_mb", "_ms", "memory", "share_of_time")
# Of a report's table: what names the run, not what was found.
_NAMES = ("model", "model_version", "store_version")

Facts = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """Facts by kind and name, each a number or a digest; and what is wrong whatever the others say.

    Parameters
    ----------
    facts : mapping of (kind, name) to number or text
    doubled : list of str
        What is there twice.
    wrong : list of str
        What is damaged or unfinished.
    """

    facts: Mapping[tuple[str, str], Any]
    doubled: list[str]
    wrong: list[str]

    def against(self, wanted: Outputs) -> tuple[list[str], list[str]]:
        """What is lost, and what is other or too much."""
        lost = [f"{kind} {name}" for kind, name in wanted.facts if (kind, name) not in self.facts]
        other = [
            f"{kind} {name}: new" for kind, name in self.facts if (kind, name) not in wanted.facts
        ]
        for key, value in wanted.facts.items():
            if key in self.facts and self.facts[key] != value:
                other.append(f"{key[0]} {key[1]}: {self.facts[key]}, wanted {value}")
        return lost, other


def read_outputs(folder: Path, mlflow: str) -> Outputs:
    """Read all that a pipeline of `config_of` has left in a folder and in MLflow."""
    facts: dict[tuple[str, str], Any] = {}
    doubled: list[str] = []
    wrong: list[str] = []
    for read in (_pairs, _region, _report):
        for key, value in read(folder, doubled, wrong):
            facts[key] = value
    for key, value in _tracked(folder, mlflow, doubled, wrong):
        facts[key] = value
    return Outputs(facts=facts, doubled=doubled, wrong=wrong)


Found = Iterator[tuple[tuple[str, str], Any]]


def _pairs(folder: Path, doubled: list[str], wrong: list[str]) -> Found:
    """Identity and hash (metadata, pixels) of each pair, and each decision against one."""
    store = PairStore.open(folder / "store")
    wrong += [f"store: {damage}" for damage in verify_store(store).damages]
    rows = store.rows(columns=["kind", "reason", "row_sha256"]).to_pylist()
    times = Counter(row["identity"] for row in rows)
    doubled += [f"row {identity}" for identity, count in times.items() if count > 1]
    for row in rows:
        told = row["row_sha256"] if row["kind"] == "pair" else row["reason"]
        yield (row["kind"], row["identity"]), told


def _region(folder: Path, doubled: list[str], wrong: list[str]) -> Found:
    """Decoded pixels: compressed bytes may differ from run to run."""
    with rasterio.open(folder / "sr.tif") as image:
        for band in range(1, image.count + 1):
            yield ("region", f"band {band}"), hashlib.sha256(image.read(band).tobytes()).hexdigest()
    wrong += [f"left over: {path.name}" for path in folder.iterdir() if ".skyscale" in path.name]


def _report(folder: Path, doubled: list[str], wrong: list[str]) -> Found:
    for name in ("report", "sr-report"):
        table = pq.read_table(folder / name / "tiles.parquet").drop_columns(["geometry"])
        times = Counter(table["tile"].to_pylist())
        doubled += [f"{name} tile {tile}" for tile, count in times.items() if count > 1]
        for row in table.to_pylist():
            told = {key: _plain(value) for key, value in row.items() if key not in _NAMES}
            yield (name, str(row["tile"])), json.dumps(told, sort_keys=True, default=str)
        summary = json.loads((folder / name / "summary.json").read_text())
        for key, value in summary.items():
            if isinstance(value, int | float):
                yield (name, key), value


def _tracked(folder: Path, mlflow: str, doubled: list[str], wrong: list[str]) -> Found:
    """The run that trained, that of the report beside the region, and the registered version."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=mlflow)
    experiment = client.get_experiment_by_name("skyscale")
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    wrong += [
        f"MLflow run {r.info.run_name} is running" for r in runs if r.info.status == "RUNNING"
    ]
    mine = {
        "train": [r for r in runs if r.data.tags.get("store") == str(folder / "store")],
        "report": [r for r in runs if r.data.params.get("sr") == str(folder / "sr.tif")],
    }
    for kind, found in mine.items():
        doubled += [f"MLflow run {kind}: {r.info.run_id} {r.info.status}" for r in found[1:]]
        if not found:
            continue
        run = found[-1]
        yield (f"MLflow run {kind}", "status"), run.info.status
        for name in run.data.metrics:
            if not name.startswith(_GROUPS) or any(part in name for part in _OF_TIME):
                continue
            points = [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, name)]
            if len({step for step, _ in points}) < len(points):
                doubled.append(f"MLflow points of {kind} {name}")
            for step, value in points:
                # Of training, means of the updates since the point before: of those that came after
                # where a run was cut off in between.
                told = "told" if name.startswith("train/") else _plain(value)
                yield (f"MLflow {kind}", f"{name} at {step}"), told
        for path in _artifacts(client, run.info.run_id, ""):
            yield (f"MLflow {kind}", f"file {path}"), True
    for number, run in enumerate(mine["train"]):
        versions = client.search_model_versions(f"run_id = '{run.info.run_id}'")
        doubled += [f"version {version.version}" for version in versions[1:]]
        for version in versions:
            yield ("version", f"weights of training {number}"), version.tags["weights_sha256"]


def _artifacts(client: Any, run: str, folder: str) -> Iterator[str]:
    for entry in client.list_artifacts(run, folder):
        if entry.is_dir:
            yield from _artifacts(client, run, entry.path)
        else:
            yield entry.path


def _plain(value: Any) -> Any:
    """NaN equals nothing, itself included."""
    return "nan" if isinstance(value, float) and math.isnan(value) else value
