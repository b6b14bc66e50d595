"""One window's shift: its error, whether its reliability is a probability, and what it costs.

Errors are root mean squares along an axis, in LR pixels, over believed windows; a window is wrong
when it is off by more than half a pixel.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, permutations
from typing import Any

import numpy as np
import rasterio
from scipy import ndimage

from geo.coregister import RegistrationRules, WindowShift, believe, measure_window
from geo.raster_io import inspect_raster
from geo.sensor import degrade
from geo.warp import warp_to
from tests.benchmarks.shifted import DATA, SOURCES, Shifted, shift_scenes

RULES = RegistrationRules()
Write = Callable[[str], None]


@dataclass(frozen=True)
class Judged:
    """A window, how far off it was (infinite for wrong pairs), and whether it was believed."""

    shift: WindowShift
    error: tuple[float, float]
    believed: bool
    group: str

    @property
    def right(self) -> bool:
        """Within half a pixel."""
        return bool(np.hypot(*self.error) < 0.5)


def run(write: Write) -> None:
    """Print the tables."""
    _nothing_to_see(write)
    if DATA.is_dir():
        _trial(write)
        _held_out(write)
    else:
        write("\nReal imagery is not here: its tables are left out.")
    _cost(write)


def judge(
    shift: WindowShift, truth: tuple[float, float] | None, rules: RegistrationRules, group: str
) -> Judged:
    """Compare a window with the truth; None for images that show different ground."""
    error = (np.inf, np.inf)
    if truth is not None:
        error = (shift.dy_px - truth[0], shift.dx_px - truth[1])
    return Judged(shift, error, bool(believe([shift], rules)[0]), group)


def rms(judged: Sequence[Judged]) -> float:
    """Root mean square error along an axis."""
    return float(np.sqrt(np.mean([np.square(j.error) for j in judged]))) if judged else np.nan


# --- trial scenes -------------------------------------------------------------------------------


def _trial(write: Write) -> None:
    write("\nWindows of 64 px of the trial scenes, before any correction:\n")
    write("| scene | windows | believed | RMSE | worst |")
    write("|---|---|---|---|---|")
    every = []
    for truth in json.loads((DATA / "trial/truth.json").read_text()):
        judged = list(_trial_windows(truth))
        believed = [j for j in judged if j.believed]
        every += believed
        worst = max((np.hypot(*j.error) for j in believed), default=np.nan)
        name = f"{truth['region']} {truth['scene']} ({truth['cloud_fraction']:.0%} cloud)"
        write(f"| {name} | {len(judged)} | {len(believed)} | {rms(believed):.3f} | {worst:.2f} |")
    worst = max(np.hypot(*j.error) for j in every)
    write(f"| all | | {len(every)} | {rms(every):.3f} | {worst:.2f} |")


def _trial_windows(truth: dict[str, Any]) -> Iterator[Judged]:
    region = DATA / "trial" / truth["region"]
    folder = region / "satellite" / truth["scene"]
    here = inspect_raster(str(folder / "B04B03B02.tif"))
    with rasterio.open(folder / "B04B03B02.tif") as file, rasterio.open(folder / "SCL.tif") as scl:
        target = file.read().astype(np.float32)
        classes = scl.read(1, out_shape=target.shape[1:])
    aerial = inspect_raster(str(region / "aerial" / truth["of"] / "visual.tif"))
    reference = warp_to(aerial.refs()[:3], here.geobox, resampling="bilinear")
    valid = reference.valid & (target > 0).all(axis=0) & ~np.isin(classes, (0, 8, 9))
    shift = truth["shift_lr_px"]
    for rows, cols in _lattice(valid, 64, 32):
        found = measure_window(
            reference.data[:, rows, cols], target[:, rows, cols], valid[rows, cols]
        )
        yield judge(found, (shift["dy"], shift["dx"]), RULES, truth["region"])


def _lattice(valid: Any, size: int, step: int) -> Iterator[tuple[slice, slice]]:
    """Windows with enough to see, side by side."""
    height, width = valid.shape
    for y in range(0, height - size + 1, step):
        for x in range(0, width - size + 1, step):
            window = (slice(y, y + size), slice(x, x + size))
            if valid[window].mean() >= RULES.min_valid:
                yield window


# --- images that the model has not seen ---------------------------------------------------------


def _held_out(write: Write) -> None:
    judged = {size: list(_judge_sources(size)) for size in (64, 128)}
    write("\nKnown shifts up to 4 px, clear and with 30 % cloud that a mask tells, half tells or")
    write("does not; a quarter of the windows shows other ground (wrong pairs):\n")
    write(
        "| ground | px | windows | right | believed, of those right | RMSE | believed and wrong |"
    )
    write("|---|---|---|---|---|---|---|")
    for source in SOURCES:
        for size, windows in judged.items():
            group = [j for j in windows if j.group == source.name]
            if group:
                _row(write, f"{source.name}{' (fitted)' if source.fitted else ''}", size, group)
    fitted = {s.name for s in SOURCES if s.fitted}
    vague = {s.name for s in SOURCES if not s.exact}
    for size, windows in judged.items():
        unseen = [j for j in windows if j.group not in fitted | {""}]
        _row(write, "all not fitted", size, unseen)
        _row(write, "the same, truth exact", size, [j for j in unseen if j.group not in vague])
        _row(write, "wrong pairs", size, [j for j in windows if j.group == ""])
    write("\nReliability against what came out, not fitted ground and wrong pairs:\n")
    write("| predicted | windows | mean predicted | observed |")
    write("|---|---|---|---|")
    every = [j for windows in judged.values() for j in windows if j.group not in fitted]
    for low, high in ((0, 0.05), (0.05, 0.2), (0.2, 0.5), (0.5, 0.8), (0.8, 0.95), (0.95, 1.01)):
        part = [j for j in every if low <= j.shift.reliability < high]
        mean = np.mean([j.shift.reliability for j in part])
        observed = np.mean([j.right for j in part])
        write(f"| {low:.2f} to {min(high, 1):.2f} | {len(part)} | {mean:.2f} | {observed:.2f} |")
    sure = [j for j in every if j.believed and j.right]
    ratio = np.concatenate([np.divide(j.error, j.shift.sigma_px) for j in sure])
    write(
        f"\nErrors over their predicted standard error: root mean square "
        f"{np.sqrt(np.mean(ratio**2)):.2f}, within 2 {np.mean(np.abs(ratio) < 2):.0%}."
    )


def _row(write: Write, name: str, size: int, group: Sequence[Judged]) -> None:
    right = [j for j in group if j.right]
    believed = [j for j in group if j.believed]
    share = f"{np.mean([j.believed for j in right]):.0%}" if right else ""
    error = f"{rms([j for j in believed if j.right]):.3f}" if believed else ""
    wrong = sum(not j.right for j in believed)
    write(
        f"| {name} | {size} | {len(group)} | {len(right)} | {share} | "
        f"{error} | {wrong} of {len(believed)} |"
    )


def _judge_sources(size: int) -> Iterator[Judged]:
    strangers: Shifted | None = None
    for source in SOURCES:
        for scene in shift_scenes(source):
            windows = list(_lattice(scene.valid, size, size // 2))
            for number, (rows, cols) in enumerate(windows):
                target, valid = scene.target[:, rows, cols], scene.valid[rows, cols]
                found = measure_window(scene.reference[:, rows, cols], target, valid)
                yield judge(found, (scene.dy, scene.dx), RULES, source.name)
                other = _other_ground(scene, windows, number, strangers)
                if other is not None and other.shape == target.shape:
                    yield judge(measure_window(other, target, valid), None, RULES, "")
            strangers = scene


def _other_ground(
    scene: Shifted, windows: list[tuple[slice, slice]], number: int, before: Shifted | None
) -> Any:
    """The reference of a window beside this one, or of the scene before; None where there is none.

    One window in three is paired wrongly too.
    """
    if number % 3:
        return None
    rows, cols = windows[number]
    size = rows.stop - rows.start
    beside = [
        (y, x)
        for y, x in windows
        if max(abs(y.start - rows.start), abs(x.start - cols.start)) >= size
    ]
    if number % 2 and beside:
        return scene.reference[:, *beside[number % len(beside)]]
    if before is None or before.source == scene.source:
        return None
    return before.reference[:, rows, cols]


# --- nothing to register on, and cost -----------------------------------------------------------


def _nothing_to_see(write: Write) -> None:
    write("Where there is nothing to register on:\n")
    write("| ground | windows | believed | highest reliability |")
    write("|---|---|---|---|")
    for name, pairs in _empty_ground():
        shifts = [measure_window(a, b, np.ones(a.shape[1:], bool)) for a, b in pairs]
        most = max(s.reliability for s in shifts)
        write(f"| {name} | {len(shifts)} | {int(believe(shifts, RULES).sum())} | {most:.2f} |")


def _empty_ground() -> Iterator[tuple[str, list[tuple[Any, Any]]]]:
    rng = np.random.default_rng(0)

    def noise(smooth_px: float, size: int) -> Any:
        field = rng.normal(size=(3, size, size))
        return ndimage.gaussian_filter(field, (0, smooth_px, smooth_px)).astype(np.float32)

    widths = np.linspace(0, 6, 20)
    for size in (64, 128):
        yield f"noise, {size} px", [(noise(w, size), noise(w, size)) for w in widths for _ in "ab"]
    level = np.full((3, 64, 64), 1000, np.float32)
    yield "one value", [(level, level), (level, level + noise(0, 64)), (noise(2, 64), level)]
    if not DATA.is_dir():
        return
    ports = sorted((DATA / "satellite/s2_ports_ocean").glob("*.tif"))
    water = [_calmest(port) for port in ports]
    yield "calmest 64 px of five harbours, against each other", list(permutations(water, 2))
    with rasterio.open(DATA / "pairs/satellogic_s2_uae/hr_satellogic_1m.tif") as file:
        sand = degrade(file.read([1, 2, 3]).astype(np.float32), 4)
    noise_dn = 2 * sand.std(axis=(1, 2), keepdims=True)
    looks = [(sand + noise_dn * rng.normal(size=sand.shape)).astype(np.float32) for _ in range(12)]
    yield "desert under noise of twice its contrast", list(pairwise(looks))


def _calmest(port: Any) -> Any:
    """The 64 px of an image of a harbour that vary least."""
    with rasterio.open(port) as file:
        image = file.read([4, 3, 2]).astype(np.float32)
    places = [(y, x) for y in range(0, 65, 16) for x in range(0, 65, 16)]
    cuts = [image[:, y : y + 64, x : x + 64] for y, x in places]
    return min(cuts, key=lambda cut: float(cut.std(axis=(1, 2)).mean()))


def _cost(write: Write) -> None:
    write(
        "\nMilliseconds for a window (best of five runs): shifted by two pixels, so that tapers are"
    )
    write("moved once, and in place, as on the second look:\n")
    write("| px | bands | shifted | in place | in place, with a mask |")
    write("|---|---|---|---|---|")
    rng = np.random.default_rng(0)
    for size in (64, 128, 256):
        for bands in (1, 3):
            field = rng.normal(size=(bands, size + 8, size + 8))
            ground = ndimage.gaussian_filter(field, (0, 1, 1)).astype(np.float32)
            first, moved = ground[:, 4:-4, 4:-4], ground[:, 2:-6, 3:-5]
            again = first + 0.1 * rng.normal(size=first.shape).astype(np.float32)
            every = np.ones((size, size), bool)
            some = every.copy()
            some[: size // 3, : size // 2] = False
            cases = ((moved, every), (again, every), (again, some))
            costs = [_milliseconds(first, target, valid) for target, valid in cases]
            write(f"| {size} | {bands} | " + " | ".join(f"{c:.2f}" for c in costs) + " |")


def _milliseconds(reference: Any, target: Any, valid: Any, repeat: int = 20) -> float:
    best = np.inf
    for _ in range(5):
        started = time.perf_counter()
        for _ in range(repeat):
            measure_window(reference, target, valid)
        best = min(best, (time.perf_counter() - started) / repeat)
    return 1e3 * best
