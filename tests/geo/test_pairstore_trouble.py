"""Full disks, forks, many processes, and readers of other makes."""

from __future__ import annotations

import multiprocessing
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray
import zarr

from geo.errors import StoreError
from geo.pairstore import parts, shards
from geo.pairstore.care import compact_store, expire_store
from geo.pairstore.config import StoreConfig
from geo.pairstore.store import PairStore
from geo.pairstore.verify import verify_store
from tests.geo.stores import CONFIG, check_whole, ingest, make_pair


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small file system can be mounted by root alone")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path, leave: int) -> Path:
    """Leave so many bytes free."""
    ballast = folder / "ballast"
    free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
    ballast.write_bytes(b"x" * max(0, free - leave))
    return ballast


@pytest.mark.parametrize("leave", range(0, 40_000, 4096))
def test_a_full_disk_loses_nothing_and_work_goes_on_when_there_is_room(
    small_disk: Path, leave: int
) -> None:
    """Wherever it gets full: in the pixels, the rows, the log."""
    store = PairStore.create_or_open(small_disk / "store", CONFIG)
    ingest(store, range(2))
    ballast = fill(small_disk, leave)
    told = ""
    try:
        ingest(store, range(2, 6))
    except StoreError as error:
        told = error.message
    assert "o space left" in (told or "no space left")
    ballast.unlink()
    store = PairStore.open(store.url)
    assert verify_store(store).is_well
    assert check_whole(store) == (2 if told else 6)
    ingest(store, range(2, 6))
    assert check_whole(store) == 6
    assert verify_store(store).is_well


@pytest.mark.parametrize("leave", [0, 8192, 16_384])
def test_care_on_a_full_disk_loses_nothing(small_disk: Path, leave: int) -> None:
    store = PairStore.create_or_open(small_disk / "store", CONFIG)
    for n in range(4):
        ingest(store, range(n, n + 1))
    digest = store.digest()
    ballast = fill(small_disk, leave)
    with pytest.raises(StoreError, match="o space left"):
        compact_store(store, "test")
    ballast.unlink()
    assert (store.digest(), verify_store(store).is_well) == (digest, True)
    compact_store(store, "test")
    expire_store(store, keep_days=0, grace_s=-1)
    assert (store.digest(), verify_store(store).is_well) == (digest, True)


def _read_all(url: str) -> str:
    """Read in another process; returns the digest of the reader."""
    store = PairStore.open(url)
    check_whole(store)
    return store.reader().digest


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_new_processes_can_read(store: PairStore, method: str) -> None:
    ingest(store, range(8))
    check_whole(store)
    with multiprocessing.get_context(method).Pool(2) as pool:
        found = pool.map_async(_read_all, [store.url] * 4).get(timeout=60)
    assert found == [store.reader().digest] * 4


# A program of its own: what forks must not be pytest, with all the threads that tests have left.
_FORK = """
import multiprocessing, sys
from geo.errors import StoreError
from geo.pairstore.store import PairStore
from tests.geo.stores import make_pair

def tell(name, work):
    try:
        print(name, work(), flush=True)
    except StoreError as error:
        print(name, error.message, flush=True)

def child():
    tell("read", lambda: int(reader.read([1])[0].hr.sum()))
    tell("open", lambda: PairStore.open(sys.argv[1]).version)
    tell("write", lambda: store.write_part([make_pair(1)]))

store = PairStore.open(sys.argv[1])
reader = store.reader()
store.write_part([make_pair(2)])
print("wanted", int(reader.read([1])[0].hr.sum()), flush=True)
process = multiprocessing.get_context("fork").Process(target=child)
process.start()
process.join(30)
print("hung" if process.is_alive() else "ended", flush=True)
process.kill()
"""


@pytest.mark.slow
def test_a_fork_reads_from_a_local_disk_and_says_what_it_cannot_do(any_store: PairStore) -> None:
    """As workers of a DataLoader read by default; nobody waits for threads that are not there."""
    ingest(any_store, range(3))
    command = [sys.executable, "-c", _FORK, any_store.url]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, cwd=root, check=True)
    told = dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)
    if any_store.url.startswith("s3://"):
        assert "forked process" in told["read"]
    else:
        assert told["read"] == told["wanted"]
    assert "forked process" in told["open"]
    assert "forked process" in told["write"]
    assert done.stdout.endswith("ended\n")


class TestOtherReaders:
    def test_plain_zarr_and_xarray_read_the_parts(self, store: PairStore) -> None:
        """What docs/guides/pair-store.md shows."""
        ingest(store, range(3))
        row = store.rows(kind="pair").to_pylist()[1]
        folder = f"{store.url}/parts/{row['part']}"
        wanted = make_pair(row["col"])
        group = zarr.open_group(folder, mode="r")
        np.testing.assert_array_equal(group["hr"][row["part_index"]], wanted.hr)
        assert group.attrs["bands"] == ["red", "green"]
        data = xarray.open_zarr(folder, consolidated=False, zarr_format=3)
        assert data.hr.dims == ("pair", "band", "y", "x")
        np.testing.assert_array_equal(data.lr.isel(pair=row["part_index"]), wanted.lr)
        np.testing.assert_array_equal(data.valid.isel(pair=row["part_index"]), wanted.valid)

    @pytest.mark.parametrize("compacted", [False, True])
    @pytest.mark.parametrize("chunk_lr", [4, 8, 16])
    def test_both_ways_to_read_agree(
        self, tmp_path: Path, chunk_lr: int, compacted: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The quick one and tensorstore, whole pairs and windows, whatever the chunks."""
        config = StoreConfig(bands=("a", "b"), scale=2, lr_size=16, chunk_lr=chunk_lr)
        store = PairStore.create_or_open(tmp_path / "store", config)
        ingest(store, range(3))
        ingest(store, range(3, 5))
        if compacted:
            compact_store(store, "test")
        rng = np.random.default_rng(chunk_lr)
        windows = [(int(y), int(x), 7) for y, x in rng.integers(0, 10, (5, 2))]
        reader = store.reader()
        quick = [reader.read(range(5)), reader.read(range(5), windows)]
        monkeypatch.setattr(parts, "_read_local", lambda *_: None)
        slow = [reader.read(range(5)), reader.read(range(5), windows)]
        for way in (quick, slow):
            for whole, cut, (y, x, n) in zip(way[0], way[1], windows, strict=True):
                fine = np.s_[..., 2 * y : 2 * (y + n), 2 * x : 2 * (x + n)]
                np.testing.assert_array_equal(cut.lr, whole.lr[:, y : y + n, x : x + n])
                np.testing.assert_array_equal(cut.hr, whole.hr[fine])
                np.testing.assert_array_equal(cut.valid, whole.valid[fine])
        for one, other in zip(quick[0], slow[0], strict=True):
            for name in ("lr", "hr", "valid"):
                np.testing.assert_array_equal(getattr(one, name), getattr(other, name))

    def test_windows_of_several_sizes_in_one_call(self, store: PairStore) -> None:
        ingest(store, range(2))
        small, large = store.reader().read([0, 1], [(1, 2, 3), (0, 0, 8)])
        assert (small.lr.shape, large.hr.shape) == ((2, 3, 3), (2, 16, 16))

    def test_parts_laid_out_in_another_way_are_read_all_the_same(
        self, store: PairStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """For example by a later version with another compression."""
        real: Callable[..., Any] = shards._layout
        ingest(store, range(2))
        shards.open_shard.cache_clear()
        monkeypatch.setattr(shards, "_layout", lambda _: None)
        assert check_whole(store) == 2
        monkeypatch.setattr(shards, "_layout", real)
        shards.open_shard.cache_clear()


def test_the_guide_tells_the_truth(tmp_path: Path) -> None:
    """Its programs run as they stand there, one after the other."""
    guide = Path(__file__).parents[2] / "docs/guides/pair-store.md"
    programs = re.findall(r"```python\n(.*?)```", guide.read_text(), re.DOTALL)
    store = PairStore.create_or_open(tmp_path / "my-store", CONFIG)
    ingest(store, range(3))
    told = "print(int((hr == hr).sum()), lr.dims)"
    command = [sys.executable, "-c", "\n".join([*programs, told])]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
    assert "'bands': ['red', 'green']" in done.stdout
    assert f"{2 * 16 * 16} ('band', 'y_lr', 'x_lr')" in done.stdout
