"""A small store that can be trained on: smooth random ground, seen by a made sensor."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy import ndimage

from geo.pairstore.config import StoreConfig
from geo.pairstore.rows import PairData, Row, chip_identity, pair_identity, scene_ids
from geo.pairstore.store import PairStore
from geo.sensor import degrade

PIXEL_M = 10.0
SPLITS = ("train", "train", "train", "train", "val", "test")


def make_store(
    folder: Path,
    pairs: int = 48,
    *,
    scale: int = 4,
    bands: tuple[str, ...] = ("red", "green"),
    splits: tuple[str, ...] = SPLITS,
    lr_size: int = 16,
    chips: int = 0,
    aerial: tuple[str, ...] = ("air",),
) -> Path:
    """Write a store whose pairs, and chips of either side, follow from their numbers.

    Splits take turns; chips are all of training ground.

    Parameters
    ----------
    aerial : tuple of str
        Aerial scenes, which take turns after all splits have; each has brighter ground and more
        contrast than the one before it.
    """
    config = StoreConfig(bands=bands, scale=scale, lr_size=lr_size)
    store = PairStore.create_or_open(folder, config)
    data = [_pair(number, config, splits[number % len(splits)], aerial) for number in range(pairs)]
    data += [_chip(1000 + number, config) for number in range(chips)]
    store.commit(store.write_part(data), "made")
    return folder


def _chip(number: int, config: StoreConfig) -> PairData:
    """One image, of the LR side where its number is even."""
    side = ("lr", "hr")[number % 2]
    pair = _pair(number, config, "train", ("air",))
    satellite, aerial = scene_ids(side, "alone")
    row: Row = {
        **pair.row,
        "identity": chip_identity(side, "alone", "EPSG:32633", 0, number, config.scale),
        "kind": "chip",
        "side": side,
        "satellite_id": satellite,
        "aerial_id": aerial,
    }
    if side == "lr":
        return replace(pair, row=row, hr=np.zeros_like(pair.hr))
    return replace(pair, row=row, lr=np.zeros_like(pair.lr))


def _pair(number: int, config: StoreConfig, split: str, aerial: tuple[str, ...]) -> PairData:
    side = config.lr_size * config.scale
    rng = np.random.default_rng(number)
    ground = ndimage.gaussian_filter(rng.normal(size=(len(config.bands), side, side)), (0, 1, 1))
    campaign = number // len(SPLITS) % len(aerial)
    hr = 2000 + 1200 * ground / ground.std()
    hr = (1 + 0.3 * campaign) * hr + 500 * campaign
    row: Row = {
        "identity": pair_identity("sat", aerial[campaign], "EPSG:32633", 0, number, config.scale),
        "kind": "pair",
        "settings_digest": "made",
        "satellite_id": "sat",
        "aerial_id": aerial[campaign],
        "crs": "EPSG:32633",
        "row": 0,
        "col": 10 * number,
        "resolution_x": PIXEL_M,
        "resolution_y": PIXEL_M,
        "left": 10 * number * config.lr_size * PIXEL_M,
        "top": 0.0,
        "split": split,
        "category": "farm" if number % 2 else "port|<b>",
        "valid_fraction": 1.0,
        "gains": [1.0] * len(config.bands),
    }
    lr = degrade(hr.astype(np.float32), config.scale)
    valid = np.ones((side, side), np.bool_)
    return PairData(
        row=row,
        lr=lr.clip(0, 65535).astype(np.uint16),
        hr=hr.clip(0, 65535).astype(np.uint16),
        valid=valid,
    )
