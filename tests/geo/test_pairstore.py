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
from geo.pairconfig import StoreConfig, default_data_range
from geo.pairrow import PairData, Row, pair_identity
from geo.pairstore import PairStore
from geo.splits import SplitRule

CONFIG = StoreConfig(bands=("red", "green"), scale=2, lr_size=8)


def make_pair(number: int, config: StoreConfig = CONFIG, digest: str = "a") -> PairData:
    """A pair whose pixels follow from its number."""
    rng = np.random.default_rng(number)
    size, fine = config.lr_size, config.lr_size * config.scale
    bands = len(config.bands)
    row: Row = {
        "identity": pair_identity("sat", "air", "EPSG:32633", 0, number, config.scale),
        "kind": "pair",
        "settings_digest": digest,
        "satellite_id": "sat",
        "aerial_id": "air",
        "row": 0,
        "col": number,
        "split": ("train", "val", "test")[number % 3],
        "category": "farm" if number % 2 else "port",
        "gains": [1.0, 2.0],
    }
    high = 200 if config.dtype == "uint8" else 4000
    return PairData(
        row=row,
        lr=rng.integers(0, high, (bands, size, size)).astype(config.dtype),
        hr=rng.integers(0, high, (bands, fine, fine)).astype(config.dtype),
        valid=rng.random((fine, fine)) > 0.1,
    )


def ingest(store: PairStore, numbers: range, digest: str = "a") -> int:
    rows = store.write_part([make_pair(n, store.config, digest) for n in numbers])
    return store.commit(rows, "test")


@pytest.fixture
def store(tmp_path: Path) -> PairStore:
    return PairStore.create_or_open(tmp_path / "store", CONFIG)


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


def test_a_reader_sees_one_version_and_travels(store: PairStore) -> None:
    ingest(store, range(3))
    reader = store.reader("train")
    ingest(store, range(3, 9))
    copy = pickle.loads(pickle.dumps(reader))
    assert len(copy) == len(reader) == 1
    np.testing.assert_array_equal(copy.read([0])[0].hr, make_pair(0).hr)
    assert len(store.reader("train")) == 3
    assert len(store.reader(categories=["port"])) == 5


@pytest.mark.parametrize("change", [{"scale": 4}, {"bands": ("red", "nir")}, {"lr_size": 16}])
def test_another_configuration_is_refused_by_name(store: PairStore, change: dict) -> None:
    other = StoreConfig(**{**CONFIG.__dict__, **change})
    with pytest.raises(StoreError, match=next(iter(change))):
        PairStore.create_or_open(store.path, other)


def test_damage_is_named(store: PairStore, tmp_path: Path) -> None:
    ingest(store, range(2))
    with pytest.raises(StoreError, match="no pair store here"):
        PairStore.open(tmp_path / "elsewhere")
    reader = store.reader()
    part = store.parts / reader.row(0)["part"]
    part.rename(tmp_path / "gone")
    with pytest.raises(StoreError, match="missing or damaged"):
        reader.read([0])
    (store.path / "store.json").write_text("{")
    with pytest.raises(StoreError, match="damaged"):
        PairStore.open(store.path)


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match="not empty"):
        PairStore.create_or_open(tmp_path, CONFIG)


def test_wrong_shapes_never_enter(store: PairStore) -> None:
    pair = make_pair(0)
    cropped = PairData(row=pair.row, lr=pair.lr[:, 1:], hr=pair.hr, valid=pair.valid)
    with pytest.raises(StoreError, match="shapes"):
        store.write_part([cropped])


def test_vacuum_takes_old_parts_that_nothing_refers_to(store: PairStore) -> None:
    ingest(store, range(2))
    store.write_part([make_pair(7)])
    assert store.vacuum_parts() == []
    assert len(store.vacuum_parts(older_than_s=-1)) == 1
    assert len(store.reader().read(range(2))) == 2


def test_configuration_survives_a_round_trip() -> None:
    config = StoreConfig(bands=("red",), scale=8, dtype="uint8", split=SplitRule(block_chips=2))
    assert StoreConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert [default_data_range(d) for d in ("uint8", "uint16", "float32")] == [255, 10000, 1]


_COMMIT_MANY = """
import sys
sys.path.insert(0, sys.argv[2])
from test_pairstore import PairStore, ingest
store = PairStore.open(sys.argv[1])
start = int(sys.argv[3])
for n in range(start, start + 8):
    ingest(store, range(n, n + 2))
"""


def run_python(code: str, store: PairStore, *arguments: str) -> subprocess.Popen[bytes]:
    here = str(Path(__file__).parent)
    command = [sys.executable, "-c", code, str(store.path), here, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


@pytest.mark.slow
def test_two_writers_at_once_lose_and_double_nothing(store: PairStore) -> None:
    writers = [run_python(_COMMIT_MANY, store, start) for start in ("0", "5")]
    for writer in writers:
        writer.communicate()
    assert [w.returncode for w in writers] == [0, 0]
    identities = store.rows(kind="pair")["identity"].to_pylist()
    assert len(identities) == len(set(identities)) == 14
    assert len(store.reader().read(range(14))) == 14


_INGEST_FOREVER = """
import sys
sys.path.insert(0, sys.argv[2])
from test_pairstore import PairStore, ingest
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
        process.stdout.close()
        numbers = sorted(store.rows(kind="pair")["col"].to_pylist())
        assert numbers == list(range(len(numbers)))  # commits in order, none lost, none doubled
        assert len(numbers) >= seen
        seen = len(numbers)
        assert len(store.reader().read(range(seen))) == seen
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
    assert list(store.parts.iterdir()) == []
    ingest(store, range(1))
