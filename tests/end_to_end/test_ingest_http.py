"""Ingestion over a network that fails: an API and COGs by real HTTP give what local files give."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.servers.stac_server import Faults, StacServer

pytestmark = pytest.mark.slow


def ingest(satellite: object, aerial: object, store: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "flows", "ingest", "--satellite", satellite]
    command += ["--aerial", aerial, "--store", store, "--lr-size", "16", "--json"]
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, env=os.environ
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def items_below(folder: Path, url: str) -> list[dict[str, Any]]:
    """Items of a static collection, their assets served at a URL."""
    items = []
    for file in sorted(folder.glob("*/*.json")):
        item = json.loads(file.read_text())
        for asset in item["assets"].values():
            place = (file.parent / asset["href"]).resolve().relative_to(folder.resolve())
            asset["href"] = f"{url}/{place.as_posix()}"
        items.append(item | {"links": [], "collection": folder.name})
    return items


def test_a_network_that_fails_changes_nothing(services: Path, scenes: Path, tmp_path: Path) -> None:
    local = ingest(scenes / "satellite", scenes / "aerial", tmp_path / "local")
    assert local["pairs_total"] > 50
    faults = Faults(seed=3, share=0.3, most=1, stall_s=0.3)
    collections: dict[str, list[dict[str, Any]]] = {}
    with StacServer(scenes, collections, faults=faults, page=2) as server:
        collections["satellite"] = items_below(scenes / "satellite", f"{server.files}/satellite")
        remote = ingest(
            f"stac-api:{server.api}#satellite",
            f"{server.files}/aerial/collection.json",
            tmp_path / "remote",
        )
        met = server.met()
    assert len(set(met) - {"answer"}) >= 4, met
    assert remote["pairs_total"] == local["pairs_total"]
    # An API is not even asked for scenes that are far in time from every aerial one.
    assert local["rejected"].pop("time_gap") == 1
    assert remote["rejected"] == local["rejected"]
    assert remote["digest"] == local["digest"]
