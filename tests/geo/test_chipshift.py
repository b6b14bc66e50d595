"""Chips that lie aside are seen one by one; those that show nothing are left alone."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geo.chipshift import measure_chips

SIZE = 32


def chips(rasters: ModuleType, shifts: list[tuple[float, float]], *, seed: int = 0) -> Any:
    """LR chips with other colours and noise, each moved; and what is seen of their HR chips."""
    rng = np.random.default_rng(seed)
    wide = rasters.ground((160, 160), seed=seed, finest_px=3.0)
    places = rng.integers(8, 120, (len(shifts), 2))
    lr, seen = [], []
    for (dy, dx), (y, x) in zip(shifts, places, strict=True):
        window = (slice(None), slice(y, y + SIZE), slice(x, x + SIZE))
        seen.append(50 + 10 * wide[window])
        moved = rasters.moved(wide, dy, dx)[window]
        lr.append(900 + 200 * moved + rng.normal(0, 5, moved.shape))
    good = np.ones((len(shifts), SIZE, SIZE), bool)
    return np.stack(lr).astype("uint16"), np.stack(seen).astype(np.float32), good


moves = st.tuples(st.floats(-2, 2), st.floats(-2, 2))


@settings(max_examples=15, deadline=None)
@given(st.lists(moves, min_size=1, max_size=6), st.integers(0, 50))
def test_each_chip_tells_how_far_it_is_off(
    rasters: ModuleType, shifts: list[tuple[float, float]], seed: int
) -> None:
    found = measure_chips(*chips(rasters, shifts, seed=seed))
    truth = np.hypot(*np.array(shifts).T)
    told = np.isfinite(found)
    assert np.abs(found - truth)[told].max(initial=0) < 0.15
    assert told.mean() >= 0.5


def test_a_chip_does_not_depend_on_its_company(rasters: ModuleType) -> None:
    lr, seen, good = chips(rasters, [(0, 0), (1, 0.5), (0.1, -0.2), (0, 1.8)])
    together = measure_chips(lr, seen, good)
    for i in range(len(lr)):
        alone = measure_chips(lr[i : i + 1], seen[i : i + 1], good[i : i + 1])
        assert alone[0] == pytest.approx(together[i], abs=1e-6, nan_ok=True)


def test_what_is_bad_is_not_looked_at(rasters: ModuleType) -> None:
    lr, seen, good = chips(rasters, [(0.0, 0.0)])
    good[:, 4:16, 6:20] = False
    lr[:, :, 4:16, 6:20] = 9000
    assert measure_chips(lr, seen, good)[0] < 0.15


@pytest.mark.parametrize("level", [0, 500])
def test_flat_ground_says_nothing(level: int) -> None:
    rng = np.random.default_rng(0)
    lr = (level + rng.normal(0, 3, (2, 3, SIZE, SIZE)) + 10).astype("uint16")
    seen = np.full((2, 3, SIZE, SIZE), level, np.float32)
    found = measure_chips(lr, seen, np.ones((2, SIZE, SIZE), bool))
    assert not (found > 0.5).any()
