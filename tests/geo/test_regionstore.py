from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from geo.errors import UpscaleError
from geo.regionstore import RegionStore, begin_region, fingerprint, remove_region
from geo.tiling import Block, Tiling

BLOCKS = Tiling(7, 10, 4)
FACTS = {"model": "a", "scale": 3}


@dataclass(frozen=True)
class Files:
    """A sink that keeps a file for each block."""

    block_multiple_lr_px: int = 1
    facts: dict[str, Any] = field(default_factory=dict)

    def create(self, folder: Path) -> None:
        (folder / "blocks").mkdir()

    def write(
        self,
        folder: Path,
        block: Block,
        strips: Iterable[np.ndarray] | None,
        valid: np.ndarray,
    ) -> None:
        if any(strip.max() > 200 for strip in strips or ()):
            raise OSError("no space left on device")
        (folder / "blocks" / str(block.index)).write_text(str(strips is not None))

    def mover(self, folder: Path) -> None:
        return None

    def finish(self, folder: Path, output: Path, tags: Mapping[str, str]) -> Path:
        for name in sorted(os.listdir(folder / "blocks"), key=int):
            if not (folder / "blocks" / name).read_text():
                raise UpscaleError("damaged", damaged=int(name))
        output.write_text(",".join(sorted(os.listdir(folder / "blocks"), key=int)))
        return output


SINK = Files()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "out.tif.skyscale"


def write_blocks(folder: Path, indexes: list[int]) -> None:
    store = RegionStore(folder, SINK, fingerprint(FACTS))
    for index in indexes:
        shape = BLOCKS[index].shape
        store.write(BLOCKS[index], [np.ones((2, *shape), np.uint16)], np.ones(shape, bool))


def test_blocks_are_done_when_they_are_written(folder: Path, tmp_path: Path) -> None:
    assert begin_region(folder, SINK, FACTS).state == "new"
    write_blocks(folder, [0, 2])
    store = RegionStore(folder, SINK, fingerprint(FACTS))
    assert store.finished() == {0, 2}
    store.finish(tmp_path / "out.tif", {})
    assert (tmp_path / "out.tif").read_text() == "0,2"
    assert store.finished() == {0, 2}  # what follows may need them, and be done again
    store.remove()
    assert not folder.exists()


def test_the_same_work_goes_on_and_other_work_starts_anew(folder: Path) -> None:
    begin_region(folder, SINK, FACTS)
    write_blocks(folder, [0, 3])
    again = begin_region(folder, SINK, FACTS)
    assert (again.state, again.finished) == ("continued", {0, 3})
    other = begin_region(folder, SINK, {**FACTS, "model": "b"})
    assert (other.state, other.finished) == ("discarded", frozenset())


def test_restart_begins_anew(folder: Path) -> None:
    begin_region(folder, SINK, FACTS)
    write_blocks(folder, [1])
    assert begin_region(folder, SINK, FACTS, restart=True).state == "discarded"
    assert begin_region(folder, SINK, FACTS).finished == frozenset()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"fingerprint": 1}', '{"other": 2}'])
def test_a_folder_that_says_nothing_usable_is_thrown_away(folder: Path, text: str) -> None:
    begin_region(folder, SINK, FACTS)
    write_blocks(folder, [1])
    (folder / "plan.json").write_text(text)
    assert begin_region(folder, SINK, FACTS).state == "discarded"


def test_the_plan_says_what_is_being_made(folder: Path) -> None:
    begin_region(folder, SINK, FACTS)
    plan = json.loads((folder / "plan.json").read_text())
    assert plan["model"] == "a"
    assert plan["fingerprint"] == fingerprint(FACTS)


def test_a_folder_taken_down_half_way_counts_for_nothing(folder: Path) -> None:
    begin_region(folder, SINK, FACTS)
    write_blocks(folder, [1])
    (folder / "plan.json").unlink()  # the first thing that `remove_region` does
    assert begin_region(folder, SINK, FACTS).finished == frozenset()
    remove_region(folder)
    assert not folder.exists()


def test_many_processes_write_at_once(folder: Path) -> None:
    begin_region(folder, SINK, FACTS)
    context = multiprocessing.get_context("fork")
    processes = [
        context.Process(target=write_blocks, args=(folder, [index])) for index in range(len(BLOCKS))
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    store = RegionStore(folder, SINK, fingerprint(FACTS))
    assert store.finished() == frozenset(range(len(BLOCKS)))


def test_a_full_disk_is_an_error_and_the_block_is_not_done(folder: Path) -> None:
    begin_region(folder, SINK, FACTS)
    store = RegionStore(folder, SINK, fingerprint(FACTS))
    block = BLOCKS[1]
    with pytest.raises(UpscaleError, match="finished blocks are kept") as caught:
        store.write(block, [np.full((2, *block.shape), 999)], np.ones(block.shape, bool))
    assert caught.value.facts["block"] == 1
    assert store.finished() == frozenset()


def test_a_damaged_block_is_forgotten(folder: Path, tmp_path: Path) -> None:
    begin_region(folder, SINK, FACTS)
    write_blocks(folder, [0, 1, 2])
    (folder / "blocks" / "1").write_text("")
    store = RegionStore(folder, SINK, fingerprint(FACTS))
    with pytest.raises(UpscaleError, match="damaged"):
        store.finish(tmp_path / "out.tif", {})
    assert begin_region(folder, SINK, FACTS).finished == {0, 2}


def test_what_has_not_begun_or_is_anothers_is_refused(folder: Path) -> None:
    with pytest.raises(UpscaleError, match="has not begun"):
        RegionStore(folder, SINK, "x")
    begin_region(folder, SINK, FACTS)
    with pytest.raises(UpscaleError, match="another run"):
        RegionStore(folder, SINK, "x")


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UpscaleError, match="cannot make the working folder"):
        begin_region(tmp_path / "file" / "out.tif.skyscale", SINK, FACTS)
