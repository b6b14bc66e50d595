"""Shift error against the known truth, on made scenes and, where at hand, trial scenes."""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from geo.alignment import AlignRules
from geo.catalog.sources import read_scenes
from geo.decisions import PairingRules
from geo.match import MatchRules, match_scenes
from geo.pairing import align_pair, common_bands, inspect_pair
from geo.scenes.make import ScenesConfig, make_scenes

TRIAL = Path(__file__).resolve().parents[3] / "shared/data/trial"


def run(write: Callable[[str], None]) -> None:
    """Print a row for each scene pair."""
    write("| region | scene | error, LR px | reliability | verdict | s |")
    write("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "scenes"
        make_scenes(made, ScenesConfig(width_px=1536, height_px=1536))
        for region, truth in [("made", made / "truth.json"), *_trials()]:
            _region(write, region, made if region == "made" else TRIAL / region, truth)


def _trials() -> Iterator[tuple[str, Path]]:
    for region in ("prairie", "village", "lakeshore"):
        if (TRIAL / region).is_dir():
            yield region, TRIAL / "truth.json"


def _region(write: Callable[[str], None], region: str, folder: Path, file: Path) -> None:
    truth = {(t["region"], t["scene"]): t["shift_lr_px"] for t in json.loads(file.read_text())}
    satellites, _ = read_scenes(str(folder / "satellite"))
    aerials, _ = read_scenes(str(folder / "aerial"))
    candidates, rejections = match_scenes(satellites, aerials, MatchRules(max_cloud=1.0))
    for rejection in rejections:
        if rejection.reason != "time_gap" or (rejection.value and rejection.value < 800):
            write(f"| {region} | {rejection.satellite_id} | | | refused: {rejection.reason} | |")
    rules = PairingRules(bands=common_bands(candidates), align=AlignRules(max_cloud=0.6))
    for candidate in candidates:
        started = time.perf_counter()
        found = align_pair(inspect_pair(candidate, rules), rules)
        seconds = time.perf_counter() - started
        wanted = truth[region, candidate.satellite.id]
        error = math.hypot(found.dy_px - wanted["dy"], found.dx_px - wanted["dx"])
        shown = f"{error:.3f}" if found.accepted else ""
        verdict = "accepted" if found.accepted else f"refused: {found.reason}"
        write(
            f"| {region} | {candidate.satellite.id} | {shown} | {found.reliability:.2f} | "
            f"{verdict} | {seconds:.1f} |"
        )
