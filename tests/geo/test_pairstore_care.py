"""Versions, tags, verify, compact and expire: on disk and on S3 alike."""

from __future__ import annotations

import io
import json
import tarfile
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from geo.errors import StoreError
from geo.pairstore.care import compact_store, expire_store, pairs_a_part
from geo.pairstore.exports import export_webdataset
from geo.pairstore.rows import Row, scenes_identity
from geo.pairstore.store import PairStore
from geo.pairstore.verify import repair_store, verify_store
from tests.geo.stores import check_whole, ingest, make_pair


class TestVersions:
    def test_a_tag_names_a_version_for_good(self, any_store: PairStore) -> None:
        first = ingest(any_store, range(3))
        tag = any_store.tags.add("v1")
        ingest(any_store, range(3, 5))
        assert (tag.version, tag.pairs, tag.digest) == (first, 3, any_store.digest(first))
        assert any_store.tags.resolve("v1") == first
        assert any_store.tags.resolve(None) == any_store.version
        assert any_store.summary(first)["tags"] == ["v1"]
        assert any_store.tags.add("v1", first) == tag  # said twice
        with pytest.raises(StoreError, match=r"tag v1 is version .*--untag"):
            any_store.tags.add("v1")
        any_store.tags.remove("v1")
        with pytest.raises(StoreError, match="no tag v1; tags are none"):
            any_store.tags.resolve("v1")

    @pytest.mark.parametrize("name", ["", "../evil", "a b", "12", "x" * 101, ".hidden"])
    def test_a_name_that_is_none_is_refused(self, store: PairStore, name: str) -> None:
        with pytest.raises(StoreError, match="a tag cannot be called"):
            store.tags.add(name)

    @pytest.mark.parametrize("version", ["99", "v9"])
    def test_a_version_that_is_not_there_is_named(self, store: PairStore, version: str) -> None:
        with pytest.raises(StoreError, match=f"no (version|tag) {version}"):
            store.tags.resolve(version)

    def test_two_versions_are_compared(self, any_store: PairStore) -> None:
        first = ingest(any_store, range(4))
        ingest(any_store, range(4, 6))
        changed = make_pair(0, digest="b")
        changed.row["similarity"] = 0.5
        refused: Row = {**make_pair(1, digest="b").row, "kind": "rejection", "reason": "cloud"}
        second = any_store.commit([*any_store.write_part([changed]), refused], "test")
        found = any_store.tags.compare(first, second)
        assert [set(found.added), found.removed, found.replaced] == [
            {make_pair(n).row["identity"] for n in (4, 5)},
            (make_pair(1).row["identity"],),
            (changed.row["identity"],),
        ]
        assert found.added_by_split == {"test": 1, "val": 1}

    def test_versions_say_who_made_them(self, store: PairStore) -> None:
        store.commit(store.write_part([make_pair(0)]), "nightly-7")
        assert [commit.message for commit in store.tags.versions()][-1] == "nightly-7"


class TestWithdrawal:
    def test_a_scene_that_is_not_there_is_named_with_its_likes(self, any_store: PairStore) -> None:
        ingest(any_store, range(2))
        with pytest.raises(StoreError, match=r"of a scene satt; near it are sat$"):
            any_store.withdraw("satt", "test")

    def test_a_scene_goes_in_one_transaction_and_stays_out(self, any_store: PairStore) -> None:
        ingest(any_store, range(3))
        other = make_pair(9)
        other.row["satellite_id"] = "other"
        before = any_store.commit(any_store.write_part([other]), "test")
        version, pairs = any_store.withdraw("sat", "test")
        assert (version, pairs) == (before + 1, 3)
        assert any_store.summary()["pairs"] == 1
        assert any_store.summary()["rejected"] == {"withdrawn": 1}
        assert set(any_store.withdrawn()) == {"sat"}
        assert any_store.reader(version=before).read([0])  # history keeps it
        any_store.readmit("sat", "test")
        assert any_store.withdrawn() == {}
        ingest(any_store, range(3))
        assert any_store.summary()["pairs"] == 4

    def test_an_unknown_scene_is_named(self, store: PairStore) -> None:
        with pytest.raises(StoreError, match="nothing is said here of a scene X'; DROP"):
            store.withdraw("X'; DROP", "test")


class TestVerify:
    def test_a_store_that_is_well_is_well(self, any_store: PairStore) -> None:
        ingest(any_store, range(5))
        any_store.write_part([make_pair(7)])
        verdict = verify_store(any_store)
        assert (verdict.is_well, verdict.pairs, verdict.rows, verdict.strays) == (True, 5, 5, 1)

    @pytest.mark.parametrize("key", ["lr", "hr", "valid"])
    @pytest.mark.parametrize("loss", ["shard gone", "cut short", "a bit turned", "table turned"])
    def test_damaged_pixels_are_found_and_made_anew(
        self, store: PairStore, key: str, loss: str
    ) -> None:
        ingest(store, range(3))
        ingest(store, range(3, 5))
        done: Row = {
            "identity": scenes_identity("sat", "air"),
            "kind": "scenes",
            "settings_digest": "a",
            "satellite_id": "sat",
            "aerial_id": "air",
        }
        store.commit([done], "test")
        part = store.rows(kind="pair", columns=["part", "col"]).to_pylist()
        first = next(row["part"] for row in part if row["col"] == 0)
        [shard] = (Path(store.url) / "parts" / first / key).glob("c*")
        content = bytearray(shard.read_bytes())
        if loss == "shard gone":
            shard.unlink()
        elif loss == "cut short":
            shard.write_bytes(content[: len(content) // 2])
        else:
            content[40 if loss == "a bit turned" else -10] ^= 4
            shard.write_bytes(content)
        store = fresh(store)
        verdict = verify_store(store)
        damaged = {damage.identity for damage in verdict.damages}
        assert damaged
        assert damaged <= {make_pair(n).row["identity"] for n in range(3)}
        repair_store(store, verdict, "test")
        assert not store.rows(kind="scenes").num_rows  # so the next ingest looks again
        ingest(store, range(3))
        assert verify_store(store).is_well
        assert check_whole(store) == 5

    def test_a_row_that_was_changed_by_others_is_found(self, store: PairStore) -> None:
        ingest(store, range(3))
        store.index.table().update(updates={"similarity": "0.99"}, predicate='"col" = 1')
        store.index.table().update(updates={"part_index": "0"}, predicate='"col" = 2')
        told = [damage.what for damage in verify_store(store).damages]
        assert any("its row was changed" in what for what in told)
        assert any("its pixels are those of" in what for what in told)
        assert any("not those that were written" in what for what in told)


def fresh(store: PairStore) -> PairStore:
    """As another process would open it."""
    from geo.pairstore import parts, shards

    shards.open_shard.cache_clear()
    parts._open.cache_clear()
    return PairStore.open(store.url)


class TestCompact:
    def test_small_parts_become_one_and_nothing_else_changes(self, any_store: PairStore) -> None:
        for n in range(0, 12, 2):
            ingest(any_store, range(n, n + 2))
        before = any_store.version
        digest = any_store.digest()
        done = compact_store(any_store, "test")
        assert (done.parts_before, done.parts_after, done.pairs_moved) == (6, 1, 12)
        assert done.index_files_after == 1
        assert any_store.digest() == digest
        assert check_whole(any_store) == 12
        assert check_whole(any_store, before) == 12
        assert compact_store(any_store, "test").pairs_moved == 0  # nothing left to do

    def test_a_pair_replaced_meanwhile_keeps_its_new_pixels(
        self, store: PairStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from geo.pairstore import care

        ingest(store, range(2))
        ingest(store, range(2, 4))
        real = care.write_part

        def while_others_write(*arguments: object, **named: object) -> str:
            name = real(*arguments, **named)  # type: ignore[arg-type]  # passed on
            newer = replace(make_pair(1, digest="b"), hr=make_pair(50).hr)
            store.commit(store.write_part([newer]), "another")
            return name

        monkeypatch.setattr(care, "write_part", while_others_write)
        compact_store(store, "test")
        assert verify_store(store).is_well
        reader = store.reader()
        [index] = [i for i in range(4) if reader.row(i)["col"] == 1]
        np.testing.assert_array_equal(reader.read([index])[0].hr, make_pair(50).hr)

    def test_large_parts_are_left_alone(
        self, store: PairStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from geo.pairstore import care

        monkeypatch.setattr(care, "_MOST_A_PART", 4)
        ingest(store, range(4))
        ingest(store, range(4, 5))
        ingest(store, range(5, 6))
        [(big, _)] = Counter(store.rows(columns=["part"])["part"].to_pylist()).most_common(1)
        assert compact_store(store, "test").parts_after == 2
        assert big in store.rows(columns=["part"])["part"].to_pylist()

    def test_a_part_fits_into_memory(self, store: PairStore) -> None:
        assert 1 <= pairs_a_part(store) <= 2048

    def test_damage_stops_it_before_it_spreads(self, store: PairStore) -> None:
        ingest(store, range(2))
        ingest(store, range(2, 4))
        part = store.rows(columns=["part"])["part"][0].as_py()
        shard = next((Path(store.url) / "parts" / part / "hr").glob("c*"))
        content = bytearray(shard.read_bytes())
        content[30] ^= 1
        shard.write_bytes(content)
        version = store.version
        with pytest.raises(StoreError, match="damaged"):
            compact_store(fresh(store), "test")
        assert store.version == version


class TestExpire:
    def test_old_versions_go_and_tagged_ones_stay(self, any_store: PairStore) -> None:
        first = ingest(any_store, range(2))
        second = ingest(any_store, range(2), digest="b")
        any_store.tags.add("keep", second)
        third = ingest(any_store, range(3), digest="c")
        would = expire_store(any_store, keep_days=0, grace_s=-1, dry_run=True)
        assert len(any_store.parts()) == 3
        gone = expire_store(any_store, keep_days=0, grace_s=-1)
        assert (gone.parts, gone.horizon, gone.versions_kept) == (1, third, 2)
        assert (would.parts, would.bytes) == (gone.parts, gone.bytes)
        assert len(any_store.parts()) == 2
        assert check_whole(any_store, second) == 2
        assert check_whole(any_store) == 3
        with pytest.raises(StoreError, match=f"version {first} is expired; kept are tags"):
            any_store.tags.resolve(first)
        assert [c.version for c in any_store.tags.versions()] == [second, third]
        any_store.tags.remove("keep")
        assert expire_store(any_store, keep_days=0, grace_s=-1).parts == 1
        assert verify_store(any_store).is_well

    def test_young_parts_may_be_on_their_way(self, store: PairStore) -> None:
        ingest(store, range(2))
        rows = store.write_part([make_pair(7)])
        assert expire_store(store, keep_days=0).parts == 0
        store.commit(rows, "test")
        assert check_whole(store) == 3

    def test_nothing_recent_goes_by_default(self, any_store: PairStore) -> None:
        first = ingest(any_store, range(2))
        ingest(any_store, range(2), digest="b")
        gone = expire_store(any_store, grace_s=-1)
        assert (gone.parts, gone.index_files, gone.horizon) == (0, 0, 0)
        assert check_whole(any_store, first) == 2

    @pytest.mark.slow
    def test_readers_and_writers_notice_nothing(self, store: PairStore) -> None:
        """Compacting and expiring again and again beside them."""
        ingest(store, range(4))
        stop = threading.Event()
        failures: list[BaseException] = []

        def keep_small() -> None:
            while not stop.is_set():
                try:
                    compact_store(store, "care")
                    expire_store(store, keep_days=0, grace_s=3)
                except BaseException as error:
                    failures.append(error)
                    return

        carer = threading.Thread(target=keep_small)
        carer.start()
        for n in range(4, 40, 2):
            ingest(PairStore.open(store.url), range(n, n + 2))
            assert check_whole(PairStore.open(store.url)) == n + 2
        stop.set()
        carer.join()
        assert failures == []
        assert verify_store(store).is_well


class TestWebDataset:
    def test_shards_hold_all_there_is(self, any_store: PairStore, tmp_path: Path) -> None:
        ingest(any_store, range(7))
        assert export_webdataset(any_store, tmp_path / "out") == 7
        head = json.loads((tmp_path / "out/store.json").read_text())
        assert head["digest"] == any_store.digest()
        seen = {}
        for shard in (tmp_path / "out").glob("*.tar"):
            with tarfile.open(shard) as tar:
                files = {m.name: tar.extractfile(m).read() for m in tar.getmembers()}  # type: ignore[union-attr]  # all are files
            for row in [json.loads(c) for name, c in files.items() if name.endswith(".json")]:
                assert shard.name.startswith(row["split"])
                seen[row["col"]] = {
                    key: np.load(io.BytesIO(files[f"{row['identity']}.{key}.npy"]))
                    for key in ("lr", "hr", "valid")
                }
        assert sorted(seen) == list(range(7))
        for number, arrays in seen.items():
            wanted = make_pair(number)
            np.testing.assert_array_equal(arrays["lr"], wanted.lr)
            np.testing.assert_array_equal(arrays["hr"], wanted.hr)
            np.testing.assert_array_equal(arrays["valid"], wanted.valid)

    def test_a_folder_in_use_is_left_alone(self, store: PairStore, tmp_path: Path) -> None:
        (tmp_path / "mine.txt").write_text("mine")
        with pytest.raises(StoreError, match="not empty"):
            export_webdataset(store, tmp_path)
