"""The store: what is committed is there, whole, once, and stays."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geo.errors import StoreError
from geo.pairstore import parts
from geo.pairstore.config import StoreConfig, default_data_range
from geo.pairstore.reader import Pair
from geo.pairstore.rows import PairData, Row
from geo.pairstore.store import PairStore
from geo.splits import SplitRule
from tests.geo.stores import CONFIG, check_whole, ingest, make_pair


@settings(max_examples=8, deadline=None)
@given(
    dtype=st.sampled_from(["uint8", "uint16", "float32"]),
    scale=st.sampled_from([2, 4]),
    lr_size=st.integers(8, 12),
    count=st.integers(1, 5),
)
def test_what_is_read_is_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, dtype: str, scale: int, lr_size: int, count: int
) -> None:
    config = StoreConfig(bands=("red",), scale=scale, lr_size=lr_size, dtype=dtype)
    store = PairStore.create_or_open(tmp_path_factory.mktemp("s") / "store", config)
    ingest(store, range(count))
    reader = store.reader()
    assert len(reader) == count
    for index, pair in enumerate(reader.read(range(count))):
        wanted = make_pair(reader.row(index)["col"], config)
        np.testing.assert_array_equal(pair.lr, wanted.lr)
        np.testing.assert_array_equal(pair.hr, wanted.hr)
        np.testing.assert_array_equal(pair.valid, wanted.valid)
        assert (pair.lr.dtype, pair.valid.dtype) == (wanted.lr.dtype, np.dtype(bool))


@settings(max_examples=12, deadline=None)
@given(data=st.data(), chunk=st.sampled_from([None, 2, 4, 8]), remote_way=st.booleans())
def test_a_window_is_that_part_of_its_pair(
    tmp_path_factory: pytest.TempPathFactory,
    data: st.DataObject,
    chunk: int | None,
    remote_way: bool,
) -> None:
    """Whatever the chunks, one by one or as a batch, by either of the two ways to read."""
    config = StoreConfig(bands=("red", "green"), scale=2, lr_size=8, chunk_lr=chunk)
    store = PairStore.create_or_open(tmp_path_factory.mktemp("s") / "store", config)
    ingest(store, range(4))
    reader = store.reader()
    whole = reader.read(range(4))
    size = data.draw(st.integers(1, 8))
    places = data.draw(
        st.lists(
            st.tuples(st.integers(0, 3), *[st.integers(0, 8 - size)] * 2), min_size=1, max_size=6
        )
    )
    indices = [index for index, _, _ in places]
    windows = [(row, col, size) for _, row, col in places]
    with pytest.MonkeyPatch.context() as patch:
        if remote_way:
            patch.setattr(parts, "_read_local", lambda *_: None)
        singles = reader.read(indices, windows)
        batch = reader.read_batch(indices, windows)
        again = reader.read_batch(indices, windows, out=batch)
    assert again is batch
    for n, (index, (row, col, _)) in enumerate(zip(indices, windows, strict=True)):
        lr = np.s_[..., row : row + size, col : col + size]
        hr = np.s_[..., 2 * row : 2 * (row + size), 2 * col : 2 * (col + size)]
        for got in (singles[n], Pair(batch.lr[n], batch.hr[n], batch.valid[n])):
            np.testing.assert_array_equal(got.lr, whole[index].lr[lr])
            np.testing.assert_array_equal(got.hr, whole[index].hr[hr])
            np.testing.assert_array_equal(got.valid, whole[index].valid[hr])


def test_a_batch_has_one_size(store: PairStore) -> None:
    ingest(store, range(2))
    reader = store.reader()
    with pytest.raises(ValueError, match=r"one size, but these are \[3, 4\]"):
        reader.read_batch([0, 1], [(0, 0, 3), (0, 0, 4)])
    with pytest.raises(ValueError, match="but the batch is"):
        reader.read_batch([0, 1], out=reader.read_batch([0]))


def test_ingesting_twice_changes_nothing(store: PairStore) -> None:
    version = ingest(store, range(6))
    digest = store.digest()
    assert ingest(store, range(6)) == version
    assert store.digest() == digest
    assert store.summary()["pairs"] == 6


def test_other_settings_replace_a_pair_and_keep_history(store: PairStore) -> None:
    first = ingest(store, range(4))
    second = ingest(store, range(2, 6), digest="b")
    assert second > first
    digests = [r["settings_digest"] for r in store.rows(kind="pair").to_pylist()]
    assert sorted(digests) == ["a", "a", "b", "b", "b", "b"]
    assert store.rows(kind="pair", version=first).num_rows == 4


def test_a_refusal_gives_way_to_a_pair_and_back(store: PairStore) -> None:
    refused: Row = {**make_pair(0).row, "kind": "rejection", "reason": "cloud", "value": 0.2}
    store.commit([refused], "test")
    assert store.summary()["rejected"] == {"cloud": 1}
    ingest(store, range(1))
    summary = store.summary()
    assert (summary["pairs"], summary["rejected"]) == (1, {})


def test_pairs_and_refusals_appear_together(store: PairStore) -> None:
    rows = store.write_part([make_pair(0)])
    assert store.summary()["pairs"] == 0  # a part without rows is nothing yet
    refused: Row = {**make_pair(1).row, "kind": "rejection", "reason": "nodata"}
    store.commit([*rows, refused], "test")
    summary = store.summary()
    assert (summary["pairs"], summary["rejected"]) == (1, {"nodata": 1})


def test_the_digest_knows_pixels_and_not_the_order(tmp_path: Path) -> None:
    one = PairStore.create_or_open(tmp_path / "one", CONFIG)
    two = PairStore.create_or_open(tmp_path / "two", CONFIG)
    ingest(one, range(6))
    ingest(two, range(3, 6))
    ingest(two, range(3))
    assert one.digest() == two.digest()
    other = PairStore.create_or_open(tmp_path / "other", CONFIG)
    pairs = [make_pair(n) for n in range(6)]
    pairs[2].hr[0, 0, 0] += 1
    other.commit(other.write_part(pairs), "test")
    assert other.digest() != one.digest()


def test_the_digest_knows_metadata_and_not_who_ingested(tmp_path: Path) -> None:
    told: list[Row] = [{"ingested_by": "brave-otter"}, {"ingested_by": "calm-hare"}, {"dy_px": 0.5}]
    digests = []
    for number, more in enumerate(told):
        store = PairStore.create_or_open(tmp_path / str(number), CONFIG)
        pair = make_pair(0)
        more = {**pair.row, **more}
        store.commit(
            store.write_part([PairData(row=more, lr=pair.lr, hr=pair.hr, valid=pair.valid)]), "test"
        )
        digests.append(store.digest())
        assert store.reader().digest == store.summary()["digest"] == digests[-1]
    assert digests[0] == digests[1] != digests[2]


def test_a_reader_sees_one_version_and_travels(store: PairStore) -> None:
    ingest(store, range(3))
    reader = store.reader("train")
    ingest(store, range(3, 9))
    travelling = pickle.dumps(reader)
    assert len(travelling) < 2000  # no rows, no pixels
    copy = pickle.loads(travelling)
    assert (copy.bands, copy.scale, copy.data_range) == (CONFIG.bands, 2, 10000)
    assert copy.digest == reader.digest
    assert len(copy) == len(reader) == 1
    np.testing.assert_array_equal(copy.read([0])[0].hr, make_pair(0).hr)
    assert len(store.reader("train")) == 3
    assert len(store.reader(categories=["port"])) == 5


@pytest.mark.parametrize("change", [{"scale": 4}, {"bands": ("red", "nir")}, {"lr_size": 16}])
def test_another_configuration_is_refused_by_name(store: PairStore, change: dict) -> None:
    other = StoreConfig(**{**CONFIG.__dict__, **change})
    with pytest.raises(StoreError, match=next(iter(change))):
        PairStore.create_or_open(Path(store.url), other)


def test_damage_is_named(store: PairStore, tmp_path: Path) -> None:
    ingest(store, range(2))
    with pytest.raises(StoreError, match="no pair store here"):
        PairStore.open(tmp_path / "elsewhere")
    reader = store.reader()
    part = (Path(store.url) / "parts") / reader.row(0)["part"]
    part.rename(tmp_path / "gone")
    with pytest.raises(StoreError, match="missing or damaged"):
        reader.read([0])
    with pytest.raises(StoreError, match="version 99"):
        store.rows(version=99)


HEADS = {
    "{": "damaged",
    "[]": "damaged",
    '{"format_version": 3, "config": {"bands": []}}': "damaged",
    '{"format_version": 1, "config": {"colour": 3}}': "format version 1",
}


@pytest.mark.parametrize(("text", "told"), HEADS.items(), ids=range(len(HEADS)))
def test_a_head_that_cannot_be_read_is_named(store: PairStore, text: str, told: str) -> None:
    (Path(store.url) / "store.json").write_text(text)
    with pytest.raises(StoreError, match=told):
        PairStore.open(Path(store.url))


@pytest.mark.parametrize("loss", ["gone", "cut short"])
@pytest.mark.parametrize("key", ["lr", "hr", "valid"])
def test_lost_pixels_are_an_error_and_never_black(store: PairStore, key: str, loss: str) -> None:
    ingest(store, range(2))
    reader = store.reader()
    [shard] = ((Path(store.url) / "parts") / reader.row(0)["part"] / key).glob("c.*")
    if loss == "gone":
        shard.unlink()
    else:
        shard.write_bytes(shard.read_bytes()[:-50])
    with pytest.raises(StoreError, match="missing or damaged"):
        reader.read([0])


def test_pairs_of_zeros_are_kept(store: PairStore) -> None:
    pair = make_pair(0)
    dark = PairData(row=pair.row, lr=pair.lr * 0, hr=pair.hr * 0, valid=pair.valid & False)
    store.commit(store.write_part([dark]), "test")
    [read] = store.reader().read([0])
    assert not read.lr.any()
    assert not read.hr.any()
    assert not read.valid.any()


@pytest.mark.parametrize("loss", ["gone", "cut short"])
def test_a_damaged_index_is_named(store: PairStore, loss: str) -> None:
    ingest(store, range(2))
    for file in (Path(store.url) / "index").rglob("*.parquet"):
        file.unlink() if loss == "gone" else file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(StoreError, match="of version 1 is missing or damaged"):
        store.summary()


HALVES: dict[str, Row] = {
    "lacks part": make_pair(0).row,
    "lacks settings_digest": {"identity": "x", "kind": "rejection", "reason": "cloud"},
    "unknown fields: colour": {**make_pair(0).row, "colour": 3},  # type: ignore[typeddict-unknown-key]
    "of kind 'chip'": {**make_pair(0).row, "kind": "chip"},
}


@pytest.mark.parametrize(("told", "row"), HALVES.items(), ids=HALVES)
def test_half_a_row_never_enters(store: PairStore, told: str, row: Row) -> None:
    version = store.version
    with pytest.raises(StoreError, match=told):
        store.commit([{**make_pair(1).row, "kind": "rejection", "reason": "cloud"}, row], "test")
    assert store.version == version
    assert store.rows().num_rows == 0


def test_a_store_whose_making_was_killed_is_made_whole(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "index" / "_delta_log").mkdir(parents=True)
    (tmp_path / ".store.json.123").write_text("{")
    store = PairStore.create_or_open(tmp_path, CONFIG)
    ingest(store, range(2))
    (tmp_path / "store.json").unlink()  # this is no half-made store: it holds pairs
    with pytest.raises(StoreError, match="not empty"):
        PairStore.create_or_open(tmp_path, CONFIG)


def test_a_file_is_no_place_for_a_store(tmp_path: Path) -> None:
    (tmp_path / "scene.tif").write_text("pixels")
    with pytest.raises(StoreError, match="index cannot be made"):
        PairStore.create_or_open(tmp_path / "scene.tif", CONFIG)


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match="not empty"):
        PairStore.create_or_open(tmp_path, CONFIG)


def test_wrong_shapes_never_enter(store: PairStore) -> None:
    pair = make_pair(0)
    cropped = PairData(row=pair.row, lr=pair.lr[:, 1:], hr=pair.hr, valid=pair.valid)
    with pytest.raises(StoreError, match="shapes"):
        store.write_part([cropped])


def test_configuration_survives_a_round_trip() -> None:
    config = StoreConfig(bands=("red",), scale=8, dtype="uint8", split=SplitRule(block_m=640))
    assert StoreConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert StoreConfig(bands=("red",), dtype="u2").dtype == "uint16"
    for dtype in ("colour", "complex64"):
        with pytest.raises(ValueError, match="dtype is"):
            StoreConfig(bands=("red",), dtype=dtype)
    assert [default_data_range(d) for d in ("uint8", "uint16", "float32")] == [255, 10000, 1]


_COMMIT_MANY = """
import sys
sys.path.insert(0, sys.argv[2])
from tests.geo.stores import PairStore, ingest
store = PairStore.open(sys.argv[1])
start = int(sys.argv[3])
for n in range(start, start + 8):
    ingest(store, range(n, n + 2))
"""


def run_python(code: str, store: PairStore, *arguments: str) -> subprocess.Popen[bytes]:
    here = str(Path(__file__).parents[2])
    command = [sys.executable, "-c", code, store.url, here, *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


@pytest.mark.slow
def test_two_writers_at_once_lose_and_double_nothing(store: PairStore) -> None:
    writers = [run_python(_COMMIT_MANY, store, start) for start in ("0", "5")]
    for writer in writers:
        writer.communicate()
    assert [w.returncode for w in writers] == [0, 0]
    assert check_whole(store) == 14


_CREATE = """
import sys, time
sys.path.insert(0, sys.argv[2])
from tests.geo.stores import CONFIG, PairStore, ingest
print("ready", flush=True)
sys.stdin.readline()
ingest(PairStore.create_or_open(sys.argv[1] + "/new", CONFIG), range(3))
"""


@pytest.mark.slow
def test_two_may_make_the_same_store_at_once(store: PairStore) -> None:
    makers = [run_python(_CREATE, store) for _ in range(2)]
    (Path(store.url) / "new").mkdir()
    for maker in makers:
        assert maker.stdout is not None
        maker.stdout.readline()
    for maker in makers:
        maker.communicate(b"go\n")
    assert [m.returncode for m in makers] == [0, 0]
    assert check_whole(PairStore.open(Path(store.url) / "new")) == 3


_INGEST_FOREVER = """
import sys
sys.path.insert(0, sys.argv[2])
from tests.geo.stores import PairStore, ingest
store = PairStore.open(sys.argv[1])
print("ready", flush=True)
for n in range(1000):
    ingest(store, range(n, n + 3))
"""


@pytest.mark.slow
def test_a_killed_ingest_leaves_whole_commits_and_goes_on(store: PairStore) -> None:
    rng = np.random.default_rng(1)
    seen = 0
    for _ in range(4):
        process = run_python(_INGEST_FOREVER, store)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(rng.uniform(0.3, 1.2))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.communicate()
        numbers = sorted(store.rows(kind="pair")["col"].to_pylist())
        assert numbers == list(range(len(numbers)))  # commits in order, none lost, none doubled
        assert len(numbers) >= seen
        seen = len(numbers)
        assert check_whole(store) == seen
    assert seen > 0


def test_errors_name_a_full_disk(
    store: PairStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def no_room(*_: object) -> None:
        raise OSError(28, "No space left on device")

    real: Callable[..., None] = os.fsync
    monkeypatch.setattr(os, "fsync", no_room)
    with pytest.raises(StoreError, match="No space left"):
        store.write_part([make_pair(0)])
    monkeypatch.setattr(os, "fsync", real)
    assert list((Path(store.url) / "parts").iterdir()) == []
    ingest(store, range(1))
