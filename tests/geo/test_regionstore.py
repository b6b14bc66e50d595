from __future__ import annotations

import json
import multiprocessing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zarr

from geo.errors import UpscaleError
from geo.regionstore import (
    RegionLayout,
    RegionStore,
    begin_region,
    fingerprint,
    json_number,
    remove_region,
)
from geo.tiling import Tiling

LAYOUT = RegionLayout(
    bands=2, height=7, width=10, scale=3, block_lr_px=4, dtype="uint16", fill=9.0, masked=True
)
BLOCKS = Tiling(7, 10, 4)
FACTS = {"model": "a", "scale": 3}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "out.tif.skyscale"


def block_pixels(index: int) -> np.ndarray:
    height, width = BLOCKS[index].scaled(3).shape
    return np.full((2, height, width), 100 + index, np.uint16)


def block_valid(index: int) -> np.ndarray:
    return np.full(BLOCKS[index].shape, index % 2 == 0)


def write_blocks(folder: Path, indexes: list[int]) -> None:
    store = RegionStore(folder, LAYOUT, fingerprint(FACTS))
    for index in indexes:
        store.write(BLOCKS[index], block_pixels(index), block_valid(index))


def test_what_was_written_is_read(folder: Path) -> None:
    assert begin_region(folder, LAYOUT, FACTS).state == "new"
    write_blocks(folder, list(range(len(BLOCKS))))
    store = RegionStore(folder, LAYOUT, fingerprint(FACTS))
    assert store.finished() == frozenset(range(len(BLOCKS)))

    pixels = np.zeros((2, 21, 30), np.uint16)
    valid = np.zeros((21, 30), bool)
    for block in BLOCKS:
        hr = block.scaled(3)
        pixels[:, hr.rows, hr.cols] = block_pixels(block.index)
        valid[hr.rows, hr.cols] = block_valid(block.index).repeat(3, 0).repeat(3, 1)
    # A window that starts and ends inside LR pixels.
    got_pixels, got_valid = store.read(slice(4, 20), slice(1, 26))
    np.testing.assert_array_equal(got_pixels, pixels[:, 4:20, 1:26])
    assert got_valid is not None
    np.testing.assert_array_equal(got_valid, valid[4:20, 1:26])

    # Other readers of Zarr see the same, and no two blocks share a chunk.
    array = zarr.open_group(folder / "region.zarr", mode="r")["pixels"]
    assert array.chunks == (2, 12, 12)
    np.testing.assert_array_equal(array[:], pixels)


def test_an_empty_block_leaves_the_fill_value_and_no_file(folder: Path) -> None:
    begin_region(folder, LAYOUT, FACTS)
    store = RegionStore(folder, LAYOUT, fingerprint(FACTS))
    store.write(BLOCKS[0], None, np.zeros((4, 4), bool))
    assert store.finished() == {0}
    pixels, valid = store.read(slice(0, 12), slice(0, 12))
    assert (pixels == 9).all()
    assert valid is not None
    assert not valid.any()
    assert not list((folder / "region.zarr" / "pixels").rglob("c/*"))


def test_the_same_run_goes_on_and_another_starts_anew(folder: Path) -> None:
    begin_region(folder, LAYOUT, FACTS)
    write_blocks(folder, [1, 3])
    again = begin_region(folder, LAYOUT, FACTS)
    assert (again.state, again.finished) == ("continued", {1, 3})

    other = begin_region(folder, LAYOUT, {**FACTS, "model": "b"})
    assert (other.state, other.finished) == ("discarded", frozenset())
    with pytest.raises(UpscaleError, match="another run's work"):
        write_blocks(folder, [0])
    pixels, _ = RegionStore(folder, LAYOUT, fingerprint({**FACTS, "model": "b"})).read(
        slice(0, 21), slice(0, 30)
    )
    assert (pixels == 9).all()  # nothing of the first run is left


def test_restart_starts_anew(folder: Path) -> None:
    begin_region(folder, LAYOUT, FACTS)
    write_blocks(folder, [1])
    assert begin_region(folder, LAYOUT, FACTS, restart=True).state == "discarded"
    assert begin_region(folder, LAYOUT, FACTS).finished == frozenset()


@pytest.mark.parametrize("content", ["", '{"fingerprint": ', "{}"])
def test_a_folder_without_a_whole_plan_counts_for_nothing(folder: Path, content: str) -> None:
    begin_region(folder, LAYOUT, FACTS)
    write_blocks(folder, [1])
    (folder / "plan.json").write_text(content)
    assert begin_region(folder, LAYOUT, FACTS).state == "discarded"


def test_plan_is_written_for_people_too(folder: Path) -> None:
    begin_region(folder, LAYOUT, FACTS)
    plan = json.loads((folder / "plan.json").read_text())
    assert plan == {"fingerprint": fingerprint(FACTS), "format": 1, **FACTS}


def test_processes_write_different_blocks_side_by_side(folder: Path) -> None:
    begin_region(folder, LAYOUT, FACTS)
    context = multiprocessing.get_context("spawn")
    indexes = list(range(len(BLOCKS)))
    workers = [
        context.Process(target=_write_in_process, args=(str(folder), indexes[start::2]))
        for start in range(2)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    store = RegionStore(folder, LAYOUT, fingerprint(FACTS))
    assert store.finished() == set(indexes)
    for index in indexes:
        hr = BLOCKS[index].scaled(3)
        np.testing.assert_array_equal(store.read(hr.rows, hr.cols)[0], block_pixels(index))


def _write_in_process(folder: str, indexes: list[int]) -> None:
    write_blocks(Path(folder), indexes)


@pytest.mark.parametrize("fill", [float("nan"), float("-inf"), -9999.0, 0.0])
def test_fill_values_of_floats(folder: Path, fill: float) -> None:
    layout = replace(LAYOUT, dtype="float32", fill=fill, masked=False)
    begin_region(folder, layout, FACTS)
    pixels, valid = RegionStore(folder, layout, fingerprint(FACTS)).read(slice(0, 5), slice(0, 5))
    assert valid is None
    np.testing.assert_array_equal(pixels, np.full((2, 5, 5), fill, np.float32))


def test_json_numbers() -> None:
    values = [None, float("nan"), float("inf"), float("-inf"), 0.0, -9999.0, 0.5]
    written = [json_number(v) for v in values]
    assert written == [None, "NaN", "Infinity", "-Infinity", 0, -9999, 0.5]


def test_a_region_that_has_not_begun_is_refused(folder: Path) -> None:
    with pytest.raises(UpscaleError, match="has not begun"):
        RegionStore(folder, LAYOUT, "x")
    remove_region(folder)  # nothing to remove is no error


def test_a_place_that_cannot_hold_the_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UpscaleError, match="cannot make the working folder"):
        begin_region(tmp_path / "file" / "out.tif.skyscale", LAYOUT, FACTS)
