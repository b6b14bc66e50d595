"""Looking into a store, hostile names and all, and caring for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from flows.cli import app
from flows.errors import FlowError, UsageError
from flows.pairs import PairsRequest, describe_store
from geo.pairstore.config import StoreConfig
from geo.pairstore.rows import PairData, Row
from geo.pairstore.store import PairStore
from tests.geo.stores import CONFIG, ingest

NAMES = ["../../evil", "/etc/evil", "a/b", "..", "x" * 300, "new\nline", "con:aux"]


@pytest.mark.parametrize("name", NAMES)
def test_pictures_stay_in_their_folder(tmp_path: Path, name: str) -> None:
    config = StoreConfig(bands=("red", "green", "blue"), lr_size=8)
    store = PairStore.create_or_open(tmp_path / "store", config)
    row: Row = {
        "identity": "one",
        "kind": "pair",
        "settings_digest": "s",
        "satellite_id": name,
        "aerial_id": name,
        "split": "train",
        "row": 1,
        "col": 2,
    }
    lr, hr = np.full((3, 8, 8), 500, "uint16"), np.full((3, 32, 32), 500, "uint16")
    pair = PairData(row=row, lr=lr, hr=hr, valid=np.ones((32, 32), bool))
    store.commit(store.write_part([pair]), "run")
    before = {p for p in tmp_path.rglob("*") if "store" not in p.parts}
    describe_store(PairsRequest(store=store.url, export_png=tmp_path / "out"))
    made = {p for p in tmp_path.rglob("*") if tmp_path / "store" not in p.parents} - before
    assert [p.parent for p in made if p.is_file()] == [tmp_path / "out"]


@pytest.fixture
def small(tmp_path: Path) -> PairStore:
    store = PairStore.create_or_open(tmp_path / "store", CONFIG)
    for numbers in (range(3), range(3, 5)):
        ingest(store, numbers)
    return store


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"repair": True}, "--verify"),
        ({"verify": True, "repair": True, "version": "1"}, "newest"),
        ({"dry_run": True}, "--expire"),
        ({"expire": True, "keep_days": 0.5}, "--keep-days is 0.5"),
    ],
)
def test_requests_that_make_no_sense_are_refused(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        PairsRequest(store="s", **wrong)


def test_a_store_is_described_as_of_a_tag(small: PairStore) -> None:
    describe_store(PairsRequest(store=small.url, version="1", tag="v1"))
    result = describe_store(PairsRequest(store=small.url, version="v1"))
    assert (result["pairs"], result["version"], result["tags"]) == (3, 1, ["v1"])
    assert result["balance"] == {"farm": {"val": 1}, "port": {"test": 1, "train": 1}}
    since = describe_store(PairsRequest(store=small.url, since="v1"))["since"]
    assert (since["added"], since["removed"], since["replaced"]) == (2, 0, 0)
    assert describe_store(PairsRequest(store=small.url, untag="v1", version="1"))["tags"] == []


@pytest.mark.slow
def test_the_flow_cares_and_fails_where_something_is_damaged(
    small: PairStore, services: Path
) -> None:
    from flows.care import CareConfig, care

    result = care(CareConfig(store=small.url))
    assert (result["compact"]["parts_after"], result["verify"]["well"]) == (1, True)
    part = small.rows(kind="pair", columns=["part"])["part"][0].as_py()
    shard = next((Path(small.url) / "parts" / part / "lr").glob("c*"))
    content = bytearray(shard.read_bytes())
    content[40] ^= 1
    shard.write_bytes(content)
    with pytest.raises(FlowError, match=r"damages.*--repair"):
        care(CareConfig(store=small.url))


def test_the_command_exits_with_1_where_something_is_damaged(small: PairStore) -> None:
    for shard in (Path(small.url) / "parts").glob("*/hr/c*"):
        shard.unlink()
    done = CliRunner().invoke(app, ["pairs", small.url, "--verify", "--json"])
    assert done.exit_code == 1
    assert len(json.loads(done.stdout)["verify"]["damages"]) == 5
