"""Matching a million satellite footprints against a million aerial ones, made: seconds and memory.

Satellite scenes as Sentinel-2's: tiles of 110 km on a grid of 100 km, so that they overlap, every
5 days over five years, a third of them clipped by the edge of the swath, clouds as they come.
Aerial scenes as NAIP's: quarter quads of 7 km, each turned a little and overlapping the next, flown
in campaigns of some weeks, the same ground again every two years. Each size runs in a process of
its own. "Explained" are the scenes without a partner, for each of which the nearest miss is found
and named. Memory is that of the whole process, the made footprints with it.
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
from geo.match_footprints import match_footprints, refuse_alone
from geo.match_rules import DAY_S, MatchRules
from geo.misses import explain_aerials, explain_satellites

SIZES = (100_000, 300_000, 1_000_000)
_GRID_DEG, _TILE_DEG, _QUAD_DEG = 1.0, 1.1, 0.0625
_START = 1_546_300_800.0  # 2019-01-01


def run(write: Callable[[str], None]) -> None:
    """Print a row for each size, and how the time grows."""
    write(
        "| footprints on each side | pairs | s | peak GB | explained | s to explain "
        "| peak GB at the end |"
    )
    write("|---|---|---|---|---|---|---|")
    rows = []
    for size in SIZES:
        command = [sys.executable, "-m", "tests.benchmarks.matching", str(size)]
        rows.append(json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout))
        row = rows[-1]
        write(
            f"| {size:,} | {row['pairs']:,} | {row['seconds']:.1f} | {row['gigabytes']:.2f} | "
            f"{row['explained']:,} | {row['explain_seconds']:.1f} | {row['final_gigabytes']:.2f} |"
        )
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
    quads = int(_GRID_DEG / _QUAD_DEG)
    campaigns = 2
    place = np.arange(size) // campaigns
    home = place // quads**2 % tiles
    spot = place % quads**2
    aerials = Footprints(
        shapes=_turned_boxes(
            lon[home] + spot % quads * _QUAD_DEG,
            lat[home] + spot // quads * _QUAD_DEG,
            _QUAD_DEG * 1.06,
            rng.uniform(-0.03, 0.03, size),
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


def _turned_boxes(lon: np.ndarray, lat: np.ndarray, size: float, angle: np.ndarray) -> np.ndarray:
    """Boxes on a projected grid lie askew in lon/lat."""
    x, y = size * np.cos(angle), size * np.sin(angle)
    corners = [(lon, lat), (lon + x, lat + y), (lon + x - y, lat + y + x), (lon - y, lat + x)]
    return np.asarray(shapely.polygons(np.stack([np.stack(c, -1) for c in corners], axis=1)))


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
    rules = MatchRules(max_gap_days=30, max_cloud=0.6)
    started = time.perf_counter()
    found = match_footprints(satellites, aerials, rules)
    matched = time.perf_counter()
    gigabytes = _peak_gigabytes()
    alone = refuse_alone(satellites, rules) != ""
    alone[found.satellite] = True
    unused = np.ones(len(aerials), bool)
    unused[found.aerial] = False
    lonely = satellites.take(np.flatnonzero(~alone)), aerials.take(np.flatnonzero(unused))
    misses = (
        explain_satellites(lonely[0], aerials, rules),
        explain_aerials(lonely[1], satellites, rules),
    )
    result = {
        "seconds": matched - started,
        "pairs": len(found),
        "gigabytes": gigabytes,
        "explained": sum(len(m.other) for m in misses),
        "explain_seconds": time.perf_counter() - matched,
        "final_gigabytes": _peak_gigabytes(),
    }
    sys.stdout.write(json.dumps(result))


def _peak_gigabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


if __name__ == "__main__":
    main()
