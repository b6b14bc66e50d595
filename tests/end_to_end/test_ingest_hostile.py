"""Odd and broken rasters in one folder with good scenes: the good are paired, the bad are named.

The good scenes are real (prairie of the trial data, two dates each side); the bad ones are all of
the odd rasters and deliberately damaged copies of a good scene.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine

pytestmark = pytest.mark.slow

GOOD = {"S_20120726": "sat_20120726", "S_20200906": "sat_20200906"}
GOOD_AERIALS = {"A_20120731": "naip_20120731", "A_20200831": "naip_20200831"}
REASONS = {
    "truncated": "unreadable",
    "zero_bytes": "unreadable",
    "html": "unreadable",
    "all_nodata": "nodata",
    "nan": "nodata",
    "complex": "complex",
}
MOST_SECONDS = 150
# Libraries take 650, GDAL's cache of blocks up to 5 % of the machine's memory.
MOST_MEGABYTES = 1500


@dataclass(frozen=True)
class Hostile:
    """What the run printed, listed and took."""

    result: dict[str, Any]
    listed: list[dict[str, Any]]
    names: set[str]
    seconds: float
    megabytes: float


def copy(
    source: Path, target: Path, change: Callable[[np.ndarray], np.ndarray], **profile: Any
) -> None:
    """Write a raster again with something changed."""
    with rasterio.open(source) as dataset:
        data, kept, names = dataset.read(), dataset.profile, dataset.descriptions
    changed = change(data)
    kept |= {"dtype": changed.dtype, "driver": "GTiff"} | profile
    with rasterio.open(target, "w", **kept) as dataset:
        dataset.write(changed)
        dataset.descriptions = names


def damage(good: Path, folder: Path, day: str, *, crs: str, order: list[int]) -> None:
    """Damaged copies of a scene, each named by what is wrong with it.

    What is wrong with `crs` and `order` must differ between the sides: two images that are wrong
    in the same way fit together.
    """

    def named(what: str) -> Path:
        return folder / f"bad_{what}_{day}.tif"

    def same(data: np.ndarray) -> np.ndarray:
        return data

    whole = good.read_bytes()
    with rasterio.open(good) as dataset:
        grid, kept, names = dataset.transform, dataset.profile, dataset.descriptions
    named("truncated").write_bytes(whole[: len(whole) // 2])
    named("zero_bytes").write_bytes(b"")
    named("html").write_text("<!doctype html><title>503</title><h1>Service Unavailable</h1>")
    copy(good, named("wrong_crs"), same, crs=crs)
    copy(good, named("rotated"), same, transform=grid @ Affine.rotation(20))
    copy(good, named("swapped"), lambda data: data[order])
    copy(good, named("all_nodata"), np.zeros_like, nodata=0)
    copy(good, named("nan"), lambda d: np.full(d.shape, np.nan, np.float32), nodata=None)
    copy(good, named("complex"), lambda d: d.astype(np.complex64), nodata=None)
    huge = kept | {"width": 100_000, "height": 100_000, "sparse_ok": True, "tiled": True}
    huge |= {"blockxsize": 512, "blockysize": 512, "transform": grid @ Affine.scale(1 / 400)}
    with rasterio.open(named("huge_sparse"), "w", **huge) as dataset:
        dataset.descriptions = names


def run(*arguments: object) -> tuple[dict[str, Any], float, float]:
    """Result, seconds and peak megabytes of a command."""
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "flows", *map(str, arguments), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    output, story = process.stdout, process.stderr
    assert output is not None
    assert story is not None
    # Not `ru_maxrss`: that counts the memory of these tests as well, whose child it begins as.
    peaks: list[float] = []
    watch = threading.Thread(target=_watch_memory, args=(process, peaks))
    watch.start()
    with output, story:
        text = output.read()
        told = story.read()
    process.wait()
    watch.join()
    assert process.returncode == 0, told
    return json.loads(text), time.monotonic() - started, max(peaks)


def _watch_memory(process: subprocess.Popen[str], peaks: list[float]) -> None:
    """Its high-water mark in megabytes, again and again until it has ended."""
    while process.poll() is None:
        with contextlib.suppress(OSError):
            told = Path(f"/proc/{process.pid}/status").read_text()
            found = re.search(r"VmHWM:\s+(\d+) kB", told)
            if found is not None:
                peaks.append(int(found[1]) / 1024)
        time.sleep(0.02)


@pytest.fixture(scope="module")
def hostile(services: Path, shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Hostile:
    folder = tmp_path_factory.mktemp("hostile")
    trial = shared_data / "trial/prairie"
    satellite, aerial = folder / "satellite", folder / "aerial"
    for side in (satellite, aerial):
        side.mkdir()
        for file in sorted((shared_data / "odd").iterdir()):
            # With a day in their names, they get as far as their content lets them.
            shutil.copy(file, side / f"20120728_{file.name}")
    for name, scene in GOOD.items():
        for file, kind in (("B04B03B02.tif", ""), ("SCL.tif", "_SCL")):
            shutil.copy(trial / "satellite" / scene / file, satellite / f"{name}{kind}.tif")
    for name, scene in GOOD_AERIALS.items():
        shutil.copy(trial / "aerial" / scene / "visual.tif", aerial / f"{name}.tif")
    sound = satellite / "S_20120726.tif"
    damage(sound, satellite, "20120729", crs="EPSG:32633", order=[2, 0, 1])
    copy(
        sound, satellite / "bad_negative_20120729.tif", lambda d: (d.max() - d + 1).astype(d.dtype)
    )
    damage(aerial / "A_20120731.tif", aerial, "20120728", crs="EPSG:32733", order=[2, 1, 0])
    bad = {p.stem for side in (satellite, aerial) for p in side.iterdir()}
    bad -= {*GOOD, *GOOD_AERIALS, *(f"{name}_SCL" for name in GOOD)}
    store = folder / "store"
    sides = ("--satellite", satellite, "--aerial", aerial)
    result, seconds, megabytes = run("ingest", *sides, "--store", store)
    listed = run("pairs", store, "--rejected")[0]["rejections"]
    return Hostile(result, listed, bad, seconds, megabytes)


def test_good_scenes_are_paired_with_each_other(hostile: Hostile) -> None:
    from geo.pairstore.store import PairStore

    rows = PairStore.open(hostile.result["store"]).rows(kind="scenes").to_pylist()
    paired = {(row["satellite_id"], row["aerial_id"]) for row in rows}
    assert {("S_20120726", "A_20120731"), ("S_20200906", "A_20200831")} <= paired


def test_bad_scenes_give_no_pairs(hostile: Hostile) -> None:
    from geo.pairstore.store import PairStore

    rows = PairStore.open(hostile.result["store"]).rows(kind="pair").to_pylist()
    assert len(rows) > 20
    used = {(row["satellite_id"], row["aerial_id"]) for row in rows}
    assert {name for pair in used for name in pair} == {*GOOD, *GOOD_AERIALS}


def test_swapped_bands_are_refused_by_their_content(hostile: Hostile) -> None:
    told = {(row["satellite_id"], row["aerial_id"]): row["reason"] for row in hostile.listed}
    assert told.get(("bad_swapped_20120729", "A_20120731")) == "swapped_bands"
    assert told.get(("S_20120726", "bad_swapped_20120728")) == "swapped_bands"


def test_reasons_say_what_is_wrong(hostile: Hostile) -> None:
    for side in ("satellite_id", "aerial_id"):
        told: dict[str, set[str]] = {}
        for row in hostile.listed:
            told.setdefault(row[side], set()).add(row["reason"])
        day = "20120729" if side == "satellite_id" else "20120728"
        for what, reason in REASONS.items():
            assert reason in told[f"bad_{what}_{day}"], (side, what)
        # At the other place there is nothing, or a picture of the whole world without its bands.
        assert told[f"bad_wrong_crs_{day}"] <= {"no_overlap", "missing_band", "time_gap"}


def test_every_bad_file_is_listed_with_a_reason(hostile: Hostile) -> None:
    told = {
        row[side]: row["reason"] for row in hostile.listed for side in ("satellite_id", "aerial_id")
    }
    assert {name for name in hostile.names if name not in told} == set()
    assert all(told[name] for name in hostile.names)


def test_memory_and_time_are_bounded(hostile: Hostile) -> None:
    assert hostile.seconds < MOST_SECONDS
    assert hostile.megabytes < MOST_MEGABYTES
