"""``skyscale upscale`` of a raster by real HTTP, from a server that fails for a while."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import rasterio

from geo import raster_door
from tests.end_to_end.upscaling import (
    BLOCKS,
    SCALE,
    folder_of,
    marked,
    place_of_tile,
    upscale,
    write_source,
)
from tests.geo.cogs import assert_same_picture
from tests.servers.stac_server import Faults, StacServer

pytestmark = pytest.mark.slow

MODEL = ("lanczos", "--scale", SCALE)
NAME = "lr_20240105.tif"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """As often as by default, but sooner."""
    monkeypatch.setattr(raster_door, "_WAITS_S", (0.01, 0.02, 0.05, 0.1))
    options = {
        "GDAL_HTTP_LOW_SPEED_TIME": 1,
        "GDAL_HTTP_RETRY_DELAY": 0.02,
        "GDAL_HTTP_TIMEOUT": 3,
    }
    monkeypatch.setattr(raster_door, "_REMOTE_OPTIONS", raster_door._REMOTE_OPTIONS | options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    write_source(folder / NAME)
    return folder


def pixels(path: Path) -> np.ndarray:
    with rasterio.open(path) as dataset:
        return dataset.read()


@dataclass(frozen=True, kw_only=True)
class Outage(Faults):
    """Some bytes of a file cannot be had: 503 or a closed connection, in turns."""

    place: slice

    def of(self, key: str, attempt: int) -> str | None:
        asked = re.search(r"bytes=(\d+)-(\d+)", key)
        if asked is None:
            return None
        first, last = map(int, asked.groups())
        beside = last < self.place.start or first >= self.place.stop
        return None if beside else ("unavailable", "refuse")[attempt % 2]


def test_short_interruptions_change_no_pixel(services: Path, folder: Path, tmp_path: Path) -> None:
    local = upscale(folder / NAME, tmp_path / "local.tif", *MODEL)
    assert local.done_before == 0
    with StacServer(folder, faults=Faults(seed=1, share=0.5, stall_s=0.3)) as server:
        url = f"{server.files}/{NAME}"
        remote = upscale(url, tmp_path / "remote.tif", *MODEL)
        met = server.met()
    assert remote.done_before == 0
    assert len(set(met) - {"answer"}) >= 4, met
    np.testing.assert_array_equal(pixels(tmp_path / "remote.tif"), pixels(tmp_path / "local.tif"))
    # The date in its name, which a file has as well, makes an item of it.
    item = json.loads((tmp_path / "remote.tif.json").read_text())
    assert item["properties"]["datetime"] == "2024-01-05T12:00:00Z"
    assert [x["href"] for x in item["links"] if x["rel"] == "derived_from"] == [url]


def test_a_long_interruption_costs_its_blocks_and_a_second_run_does_them_alone(
    services: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raster_door, "_WAITS_S", (0.01,))
    output = tmp_path / "sr.tif"
    outage = Outage(place=place_of_tile(folder / NAME, 0, 3))
    with StacServer(folder, faults=outage) as server:
        url = f"{server.files}/{NAME}"
        broken_off = upscale(url, output, *MODEL)
        assert broken_off.failed == {2, 3, 6, 7}  # whose halo reaches into the tile
        complaint = broken_off.complaint
        assert f"4 of {BLOCKS} blocks failed (block 2: {url}: reading failed" in complaint
        assert "the network may have failed, or the file may be damaged" in complaint
        assert "12 are finished and kept; run again when the cause is gone" in complaint
        finished = marked(output)
        assert finished == set(range(BLOCKS)) - broken_off.failed
        assert not output.exists()

        server.faults = Faults(share=1.0, most=100, kinds=("refuse",))  # nothing answers at all
        assert url in upscale(url, output, *MODEL).complaint
        assert marked(output) == finished

        server.faults = None
        assert upscale(url, output, *MODEL).done_before == len(finished)
        assert not folder_of(output).exists()
        assert upscale(url, tmp_path / "undisturbed.tif", *MODEL).done_before == 0
    assert_same_picture(output, tmp_path / "undisturbed.tif")
