"""Made tiles whose difference is known, as reports have them."""

from __future__ import annotations

from typing import Any

import numpy as np
from shapely.geometry import box

from geo.reporting.scored import ScoredTiles

FACTS: dict[str, Any] = {
    "data_range": 10_000.0,
    "scale": 4,
    "bands": ["red", "green"],
    "crop_px": 0,
    "mask": "all valid",
    "reference": "aerial_1",
}
SIDE = 24  # tiles


def ground(seed: int = 0) -> dict[str, np.ndarray]:
    """What no model has a part in: tiles on a map, alike within places of 8 x 8 tiles."""
    rng = np.random.default_rng(seed)
    row, col = (axis.ravel() for axis in np.mgrid[:SIDE, :SIDE])
    hard = rng.lognormal(0, 0.8, (3, 3)).repeat(8, 0).repeat(8, 1).ravel()
    return {
        "tile": np.array([f"r{r}_c{c}" for r, c in zip(row, col, strict=True)], object),
        "row": row.astype(float),
        "col": col.astype(float),
        "geometry": np.array(
            [
                box(c / 100, r / 100, (c + 1) / 100, (r + 1) / 100).wkb
                for r, c in zip(row, col, strict=True)
            ],
            object,
        ),
        "values": np.full(row.size, 1000.0),
        "bicubic_squared_error": 1e7 * hard,
        "real_hf_power": 50.0 * hard,
        "category": np.where(col < 8, "farm", "port").astype(object),
    }


def model(seed: int, gain_db: float = 0.0, **facts: Any) -> ScoredTiles:
    """A model whose error is `gain_db` below bicubic's, but for luck by place and by tile."""
    rng = np.random.default_rng(seed)
    columns = ground()
    place = rng.normal(0, 0.1, (3, 3)).repeat(8, 0).repeat(8, 1).ravel()
    luck = place + rng.normal(0, 0.3, SIDE * SIDE)
    error = columns["bicubic_squared_error"] * 10 ** (-(gain_db + luck) / 10)
    return ScoredTiles(
        name=f"model {seed}",
        columns={
            **columns,
            "squared_error": error,
            "hf_power": 0.4 * columns["real_hf_power"] * 10 ** (luck / 20),
            "ssim": 0.8 + 0.01 * (gain_db + luck),
            "bicubic_ssim": np.full(len(error), 0.7),
        },
        facts={**FACTS, **facts},
    )


def changed(scored: ScoredTiles, **columns: np.ndarray) -> ScoredTiles:
    return ScoredTiles(name=scored.name, columns={**scored.columns, **columns}, facts=scored.facts)


def of_tiles(scored: ScoredTiles, chosen: np.ndarray) -> ScoredTiles:
    return ScoredTiles(name=scored.name, columns=scored.picked(chosen), facts=scored.facts)
