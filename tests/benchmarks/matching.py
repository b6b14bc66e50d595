"""Matching a million satellite footprints against a million aerial ones, made: seconds and memory.

Satellite scenes as Sentinel-2's: tiles of 110 km on a grid over land, every 5 days over five
years, a third of them clipped by the edge of the swath, clouds as they come. Aerial scenes as
NAIP's: quarter quads of 7 km that overlap a little, flown in campaigns of some weeks, the same
ground again every two years. Each size runs in a process of its own.
"""

from __future__ import annotations

import json
import math
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import shapely

from geo.footprints import Footprints
from geo.match_footprints import match_footprints
from geo.match_rules import DAY_S, MatchRules

SIZES = (100_000, 300_000, 1_000_000)
_TILE_DEG, _QUAD_DEG = 1.0, 0.0625
_START = 1_546_300_800.0  # 2019-01-01


def run(write: Callable[[str], None]) -> None:
    """Print a row for each size, and how the time grows."""
    write("| footprints on each side | pairs | s | peak memory GB |")
    write("|---|---|---|---|")
    rows = []
    for size in SIZES:
        command = [sys.executable, "-m", "tests.benchmarks.matching", str(size)]
        rows.append(json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout))
        row = rows[-1]
        write(f"| {size:,} | {row['pairs']:,} | {row['seconds']:.1f} | {row['gigabytes']:.2f} |")
    exponent = math.log(rows[-1]["seconds"] / rows[0]["seconds"]) / math.log(SIZES[-1] / SIZES[0])
    write(f"\nFrom the first to the last size, time grows with the power {exponent:.2f}.")


def make_sides(size: int, seed: int = 0) -> tuple[Footprints, Footprints]:
    """Satellite and aerial footprints over as many tiles as their number needs."""
    rng = np.random.default_rng(seed)
    visits = 5 * 365 // 5
    tiles = max(1, size // visits)
    lon, lat = _tile_corners(tiles, rng)
    tile = np.arange(size) % tiles
    shapes = _boxes(lon[tile], lat[tile], _TILE_DEG)
    clipped = np.flatnonzero(rng.random(size) < 1 / 3)
    shapes[clipped] = _clip(lon[tile[clipped]], lat[tile[clipped]], rng)
    satellites = Footprints(
        shapes=shapes,
        seconds=_START + (np.arange(size) // tiles * 5 + rng.random(size) * 0.1) * DAY_S,
        cloud=rng.beta(0.5, 0.6, size),
    )
    quads = int(_TILE_DEG / _QUAD_DEG)
    campaigns = 2
    place = np.arange(size) // campaigns
    home = place // quads**2 % tiles
    spot = place % quads**2
    aerials = Footprints(
        shapes=_boxes(
            lon[home] + spot % quads * _QUAD_DEG,
            lat[home] + spot // quads * _QUAD_DEG,
            _QUAD_DEG * 1.06,
        ),
        seconds=_START
        + (200 + np.arange(size) % campaigns * 730 + home % 300 + rng.random(size) * 20) * DAY_S,
        cloud=np.full(size, np.nan),
    )
    return satellites, aerials


def _tile_corners(tiles: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Tiles of a degree, spread over continents in patches."""
    chosen = rng.permutation(300 * 110)[:tiles]
    return -150.0 + chosen % 300, -50.0 + chosen // 300


def _boxes(lon: np.ndarray, lat: np.ndarray, size: float) -> np.ndarray:
    return np.asarray(shapely.box(lon, lat, lon + size, lat + size))


def _clip(lon: np.ndarray, lat: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Tiles cut by a slanting edge of the swath."""
    top, bottom = rng.uniform(0.2, 0.9, (2, len(lon))) * _TILE_DEG
    corners = [
        (lon, lat),
        (lon + bottom, lat),
        (lon + top, lat + _TILE_DEG),
        (lon, lat + _TILE_DEG),
    ]
    return np.asarray(shapely.polygons(np.stack([np.stack(c, -1) for c in corners], axis=1)))


def main() -> None:
    """Match one size; print seconds, pairs and peak memory as JSON."""
    satellites, aerials = make_sides(int(sys.argv[1]))
    started = time.perf_counter()
    found = match_footprints(satellites, aerials, MatchRules(max_gap_days=30, max_cloud=0.6))
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    result = {"seconds": seconds, "pairs": len(found), "gigabytes": peak}
    sys.stdout.write(json.dumps(result))


if __name__ == "__main__":
    main()
