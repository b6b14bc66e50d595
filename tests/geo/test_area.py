"""An area on a grid, as all threads that draw blocks of a region ask for it."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import shapely

from geo.area import area_mask
from tests.geo import rasters

SIDE, THREADS = 512, 8
GRID = rasters.grid((SIDE, SIDE))


def flower() -> shapely.Geometry:
    """As many corners as the border of a country has."""
    angle = np.linspace(0, 2 * np.pi, 5000, endpoint=False)
    reach = GRID.affine.a * SIDE * (0.4 + 0.06 * np.sin(40 * angle))
    middle = GRID.extent.geom.centroid
    around = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return shapely.Polygon(np.array([middle.x, middle.y]) + reach[:, None] * around)


def in_threads() -> None:
    """Several times, for what goes wrong between threads does not always."""
    whole = area_mask(flower(), GRID, slice(0, SIDE), slice(0, SIDE))
    spans = [slice(top, top + 16) for top in range(0, SIDE, 16)]
    for _ in range(6):
        ask = partial(area_mask, flower(), GRID, cols=slice(0, SIDE))
        with ThreadPoolExecutor(THREADS) as pool:
            parts = list(pool.map(lambda rows, ask=ask: ask(rows=rows), spans))
        np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_threads_share_an_area() -> None:
    """In a process of its own: what GEOS makes of it may be no exception but a crash."""
    call = "from tests.geo.test_area import in_threads; in_threads()"
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", call], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
