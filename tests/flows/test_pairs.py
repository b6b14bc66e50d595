"""Looking into a store whose scenes have hostile names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from flows.pairs import PairsRequest, describe_store
from geo.pairstore.config import StoreConfig
from geo.pairstore.rows import PairData, Row
from geo.pairstore.store import PairStore

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
