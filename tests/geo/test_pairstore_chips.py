"""Chips without partners and derived pairs in a store: beside pairs, never among them."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from geo.errors import StoreError
from geo.pairstore import index as index_module
from geo.pairstore import rows as rows_module
from geo.pairstore.care import compact_store
from geo.pairstore.rows import (
    SCHEMA,
    PairData,
    Row,
    bucket_of,
    check_row,
    chip_identity,
    derived_identity,
    lone_identity,
    scene_ids,
)
from geo.pairstore.verify import repair_store, verify_store
from tests.geo.stores import CONFIG, PairStore, check_whole, ingest, make_pair


def make_chip(number: int, side: str) -> PairData:
    """A chip whose pixels are those of the pair of its number, without the other side."""
    pair = make_pair(number)
    satellite, aerial = scene_ids(side, f"{side}-scene")
    row: Row = {
        **pair.row,
        "identity": chip_identity(side, f"{side}-scene", "EPSG:32633", 0, number, CONFIG.scale),
        "kind": "chip",
        "side": side,
        "satellite_id": satellite,
        "aerial_id": aerial,
    }
    absent = {"hr" if side == "lr" else "lr": np.zeros_like(pair.hr if side == "lr" else pair.lr)}
    return replace(pair, row=row, **absent)


def add_chips(store: PairStore, numbers: range, side: str) -> None:
    done: Row = {
        "identity": lone_identity(side, f"{side}-scene"),
        "kind": "scenes",
        "settings_digest": "a",
        "satellite_id": scene_ids(side, f"{side}-scene")[0],
        "aerial_id": scene_ids(side, f"{side}-scene")[1],
        "side": side,
    }
    rows = store.write_part([make_chip(number, side) for number in numbers])
    store.commit([*rows, done], "test")


@pytest.fixture
def mixed(store: Any) -> PairStore:
    """Six pairs, and six chips of either side."""
    ingest(store, range(6))
    add_chips(store, range(10, 16), "lr")
    add_chips(store, range(20, 26), "hr")
    return store  # type: ignore[no-any-return]


def test_chips_are_never_read_as_pairs(mixed: PairStore, tmp_path: Path) -> None:
    alone = PairStore.create_or_open(tmp_path / "pairs", CONFIG)
    ingest(alone, range(6))
    assert mixed.digest() == alone.digest()
    assert mixed.count_pairs() == check_whole(mixed) == 6
    summary = mixed.summary()
    assert summary["splits"] == alone.summary()["splits"]
    assert summary["chips"] == {side: {"test": 2, "train": 2, "val": 2} for side in ("lr", "hr")}
    for split in ("train", "val", "test"):
        assert len(mixed.reader(split)) == 2
        assert set(mixed.reader(split).sides) == {None}


def test_who_asks_for_chips_gets_the_image_that_each_has(mixed: PairStore) -> None:
    reader = pickle.loads(pickle.dumps(mixed.reader("train", chips=True)))
    assert sorted(reader.sides, key=str) == [None, None, "hr", "hr", "lr", "lr"]
    columns = mixed.rows(split="train", columns=["col", "kind"]).to_pylist()
    cols = [row["col"] for row in columns if row["kind"] in ("pair", "chip")]
    for col, side, pair in zip(cols, reader.sides, reader.read(range(len(reader))), strict=True):
        whole = make_pair(col)
        for name, other in (("lr", "hr"), ("hr", "lr")):
            image = getattr(pair, name)
            if side == other:
                assert not image.any()
            else:
                np.testing.assert_array_equal(image, getattr(whole, name))
        np.testing.assert_array_equal(pair.valid, whole.valid)


def test_the_same_chips_again_change_nothing(mixed: PairStore) -> None:
    version, digest = mixed.version, mixed.chips_digest()
    add_chips(mixed, range(10, 16), "lr")
    assert (mixed.version, mixed.chips_digest()) == (version, digest)
    known = mixed.known_alone("a", "lr", "lr-scene")
    assert known == {make_chip(number, "lr").row["identity"] for number in range(10, 16)}
    assert mixed.known_alone("b", "lr", "lr-scene") == set()


def test_a_commit_of_chips_looks_at_those_of_its_scene_alone() -> None:
    assert bucket_of("one", "") == "single"
    assert bucket_of("one", "", "lr") == bucket_of("one", None, "lr") != "single"
    buckets = {bucket_of("", f"scene{n}", "hr") for n in range(200)}
    assert len(buckets) > 32
    assert bucket_of("", "scene1", None, "sensor") == bucket_of("", "scene1", "hr")


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"side": None}, "lacks side"),
        ({"side": "red"}, "side 'red'"),
        ({"kind": "pair"}, "none of a pair"),
        ({"split": None}, "lacks split"),
        ({"derived": "sensor"}, "wanted a pair to train on"),
        ({"kind": "pair", "side": None, "derived": "sensor", "split": "val"}, "split 'val'"),
        ({"kind": "pair", "side": None, "derived": "sensor", "split": "test"}, "split 'test'"),
        ({"kind": "pair", "side": None, "derived": "sensor", "split": "buffer"}, "'buffer'"),
    ],
)
def test_rows_that_would_mix_what_must_not_mix_are_refused(
    facts: dict[str, Any], words: str
) -> None:
    place = {"part": "p", "part_index": 0, "pixels_sha256": "s"}
    row = {**make_chip(3, "lr").row, **place, "split": "train"}
    check_row(row)  # type: ignore[arg-type]  # a row with its place
    with pytest.raises(StoreError, match=words):
        check_row({**row, **facts})  # type: ignore[typeddict-item]  # that is the question


def test_a_derived_pair_is_a_pair_to_train_on(store: Any) -> None:
    pair = make_pair(3)
    row: Row = {
        **pair.row,
        "identity": derived_identity("air", "EPSG:32633", 0, 3, CONFIG.scale),
        "satellite_id": "",
        "split": "train",
        "derived": "sensor",
    }
    store.commit(store.write_part([replace(pair, row=row)]), "test")
    summary = store.summary()
    assert (summary["pairs"], summary["derived"]) == (1, {"sensor": 1})
    assert len(store.reader("train")) == 1
    true = pickle.loads(pickle.dumps(store.reader("train", derived=False)))
    assert len(true) == 0, "who learns to degrade must not learn from what was degraded"
    assert store.reader("train", chips=True).sides == ["hr"], "its LR image is no satellite's"
    assert verify_store(store).is_well


def test_a_row_that_holds_a_derived_pair_out_is_damaged(
    store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However it came into the index, verify finds it."""
    pair = make_pair(1)  # of validation ground
    monkeypatch.setattr("geo.pairstore.store.check_row", lambda row: None)
    row: Row = {**pair.row, "derived": "sensor"}
    store.commit(store.write_part([replace(pair, row=row)]), "test")
    (damage,) = verify_store(store).damages
    assert "split 'val' is derived by sensor" in damage.what


class TestCare:
    def test_a_chip_with_pixels_of_the_other_side_is_damaged_and_made_anew(
        self, mixed: PairStore
    ) -> None:
        assert verify_store(mixed).is_well
        wrong = make_chip(30, "lr")
        wrong = replace(wrong, hr=make_pair(30).hr)
        mixed.commit(mixed.write_part([wrong]), "test")
        verdict = verify_store(mixed)
        assert [d.what for d in verdict.damages] == [
            "it is a chip of side lr alone, but has pixels of the other one"
        ]
        _, forgotten = repair_store(mixed, verdict, "test")
        assert forgotten == 2, "the chip, and the word that its scene is complete"
        assert verify_store(mixed).is_well
        assert mixed.summary()["chips"]["lr"] == {"test": 2, "train": 2, "val": 2}

    def test_small_parts_of_chips_are_joined_with_those_of_pairs(self, mixed: PairStore) -> None:
        before = mixed.digest(), mixed.chips_digest()
        done = compact_store(mixed, "test")
        assert (done.parts_before, done.parts_after, done.pairs_moved) == (3, 1, 18)
        assert (mixed.digest(), mixed.chips_digest()) == before
        assert verify_store(mixed).is_well

    def test_a_withdrawn_scene_takes_its_chips_along(self, mixed: PairStore) -> None:
        _, gone = mixed.withdraw("hr-scene", "test")
        assert gone == 6
        assert mixed.summary()["chips"] == {"lr": {"test": 2, "train": 2, "val": 2}, "hr": {}}
        assert not mixed.rows(where="side = 'hr'").num_rows
        assert set(mixed.withdrawn()) == {"hr-scene"}


@pytest.fixture
def old_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PairStore:
    """A store that was made before there were chips."""
    names = [name for name in SCHEMA.names if name not in ("side", "derived")]
    with monkeypatch.context() as before:
        old = pa.schema([SCHEMA.field(name) for name in names])
        before.setattr(index_module, "SCHEMA", old)
        before.setattr(rows_module, "SCHEMA", old)
        store = PairStore.create_or_open(tmp_path / "old", CONFIG)
        ingest(store, range(6))
    there = {field.name for field in DeltaTable(store.index.url).schema().fields}
    assert there == set(names)
    return store


class TestStoresOfBeforeChips:
    def test_they_are_read_as_they_are(self, old_store: PairStore) -> None:
        version = old_store.version
        assert check_whole(old_store) == 6
        assert old_store.summary()["chips"] == {"lr": {}, "hr": {}}
        assert len(old_store.reader("train", chips=True)) == 2
        assert verify_store(old_store).is_well
        assert old_store.version == version

    def test_the_first_commit_gives_them_the_columns_and_changes_no_row(
        self, old_store: PairStore
    ) -> None:
        version, digest = old_store.version, old_store.digest()
        ingest(old_store, range(6))
        assert old_store.version == version, "nothing new, nothing written"
        add_chips(old_store, range(10, 13), "lr")
        assert old_store.digest() == digest == old_store.digest(version)
        assert old_store.summary()["chips"]["lr"] == {"test": 1, "train": 1, "val": 1}
        assert verify_store(old_store).is_well
        assert old_store.summary(version)["chips"] == {"lr": {}, "hr": {}}
        _, gone = old_store.withdraw("sat", "test")
        assert gone == 6
