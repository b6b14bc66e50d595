"""The processes of a system of ours that may die, by what they are."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

import psutil

from tests.servers.dask_cluster import DaskCluster
from tests.servers.skyscale_up import SkyscaleUp

EVERYTHING = "power cut"
UP = "skyscale up"
# By what their command lines say.
_KINDS: Mapping[str, tuple[str, ...]] = {
    "Prefect server": ("prefect server start",),
    "MLflow server": ("mlflow server", "mlflow.server"),
    "worker": ("prefect worker start",),
    "flow run": ("prefect.runner", "prefect.engine"),  # the first becomes the second
    "torchrun": ("torch.distributed.run",),
    "rank": ("flows.train_worker",),
}


def find_victims(up: SkyscaleUp, cluster: DaskCluster | None) -> dict[str, list[psutil.Process]]:
    """Processes that are alive, by kind; of `EVERYTHING` and `UP` the command's own."""
    assert up.process is not None
    itself = psutil.Process(up.process.pid)
    found: dict[str, list[psutil.Process]] = {EVERYTHING: [itself], UP: [itself]}
    for kind, words in _KINDS.items():
        found[kind] = up.running(*words)
    found["rank"] = [p for p in found["rank"] if p not in found["torchrun"]]
    for nanny in cluster.workers if cluster is not None else ():
        with contextlib.suppress(psutil.Error):
            workers = [p for p in psutil.Process(nanny.pid).children() if "spawn_main" in _line(p)]
            found.setdefault("Dask worker", []).extend(workers)
    return {kind: processes for kind, processes in found.items() if processes}


def _line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
