"""Pairs whose pixels follow from their number, put into stores and looked for again."""

from __future__ import annotations

import numpy as np

from geo.pairstore.config import StoreConfig
from geo.pairstore.rows import PairData, Row, hash_pixels, pair_identity
from geo.pairstore.store import PairStore

__all__ = ["CONFIG", "PairStore", "check_whole", "ingest", "make_pair"]

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


def check_whole(store: PairStore, version: int | None = None) -> int:
    """Every pair is there once, and its pixels are those that its row vouches for."""
    reader = store.reader(version=version)
    identities = reader.rows["identity"].to_pylist()
    assert len(identities) == len(set(identities))
    rows = store.rows(kind="pair", version=version, columns=["pixels_sha256", "col"]).to_pylist()
    for index, pair in enumerate(reader.read(range(len(reader)))):
        row = rows[index]
        assert hash_pixels(pair.lr, pair.hr, pair.valid) == row["pixels_sha256"]
        np.testing.assert_array_equal(pair.hr, make_pair(row["col"], store.config).hr)
    return len(reader)
