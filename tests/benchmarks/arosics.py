"""AROSICS and this project on the same windows: error, false acceptances, windows per second.

AROSICS (COREG_LOCAL, its defaults: reliability of 60 or more, SSIM improved, no RANSAC outlier)
runs in an environment of its own on one band; so do we, on the same band and windows, each in one
process with one thread, by CPU time. Wrong by more than half a pixel is wrong; errors are root
mean squares along an axis, in LR pixels.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine

from geo.coregister import RegistrationRules, WindowShift, believe, measure_window
from tests.benchmarks.shifted import DATA, SOURCES, Shifted, read_sentinel_pair, shift_scenes

HOW_TO = """AROSICS is not here. In an environment of its own (Debian 12):

    apt-get install python3-gdal python3-venv
    /usr/bin/python3 -m venv --system-site-packages arosics-env
    arosics-env/bin/pip install 'numpy<2' 'rasterio<1.4' scipy scikit-image pandas geopandas \\
        shapely pyproj matplotlib opencv-python-headless dill plotly pykrige pyfftw joblib tqdm \\
        cmocean numexpr folium geojson click
    arosics-env/bin/pip install --no-deps arosics==1.13.2 geoarray==0.16.1 py_tools_ds==0.20.2

then again with AROSICS_PYTHON=arosics-env/bin/python."""

RULES = RegistrationRules()
WORKER = Path(__file__).with_name("arosics_worker.py")
_STEP_PX = 32
Write = Callable[[str], None]


@dataclass(frozen=True)
class Point:
    """One window as both see it; an error is infinite where two images show different ground."""

    cover: str
    window: int
    ours: float  # px
    theirs: float
    our_error: tuple[float, float]
    their_error: tuple[float, float]
    reliability: float
    believed: bool
    accepted: bool

    @property
    def our_right(self) -> bool:
        """Within half a pixel."""
        return self.ours < 0.5

    @property
    def their_right(self) -> bool:
        """Within half a pixel."""
        return self.theirs < 0.5


def run(write: Write) -> None:
    """Print the tables, or how to make AROSICS' environment."""
    python = os.environ.get("AROSICS_PYTHON", "")
    if not Path(python).is_file():
        write(HOW_TO)
        return
    if not DATA.is_dir():
        write("Real imagery is not here.")
        return
    with tempfile.TemporaryDirectory() as folder:
        _shifted(write, python, Path(folder))
        _own_pair(write, python, Path(folder))


# --- images shifted by known amounts ------------------------------------------------------------


def _shifted(write: Write, python: str, folder: Path) -> None:
    scenes = list(_scenes())
    jobs, places = [], []
    for number, scene in enumerate(scenes):
        for window in (64, 128):
            jobs.append(_job(folder, number, scene, window))
            places.append((scene, window))
    answers = _ask(python, folder, jobs)
    points: list[Point] = []
    spent = {64: np.zeros(2), 128: np.zeros(2)}  # seconds, ours and theirs
    for (scene, window), answer in zip(places, answers, strict=True):
        started = time.process_time()
        found = list(_measure(scene, window, answer))
        spent[window] += time.process_time() - started, sum(p["seconds"] for _, p in found)
        points += [_compare(scene, window, shift, point) for shift, point in found]
    _errors(write, points)
    write("\n| window | windows | ours, per second | AROSICS, per second | ratio |")
    write("|---|---|---|---|---|")
    for window, (ours, theirs) in spent.items():
        count = sum(p.window == window for p in points)
        row = f"{count} | {count / ours:.0f} | {count / theirs:.0f} | {theirs / ours:.1f}"
        write(f"| {window} px | {row} |")


def _scenes() -> Iterator[Shifted]:
    """Scenes with clouds and without, and wrong pairs: the reference of the scene before."""
    before = None
    for source in (s for s in SOURCES if s.exact):
        for scene in shift_scenes(source, covers=("clear", "masked", "unmasked"), count=1):
            yield scene
            if (
                before is not None
                and before.source != source
                and scene.cover == "clear"
                and before.reference.shape[1:] == scene.reference.shape[1:]
            ):
                yield replace(scene, reference=before.reference, cover="wrong pair")
        before = scene


def _job(folder: Path, number: int, scene: Shifted, window: int) -> dict[str, Any]:
    mask = None
    if not scene.valid.all():
        mask = _write(folder / f"mask{number}.tif", (~scene.valid).astype(np.uint8))
    return {
        "reference": _write(folder / f"reference{number}.tif", _as_dn(scene.reference[0])),
        "target": _write(folder / f"target{number}.tif", _as_dn(scene.target[0])),
        "mask": mask,
        "window": window,
        "step": _STEP_PX,
        "calc_corners": False,
    }


def _as_dn(plane: Any) -> Any:
    """16 bit without 0, which is nodata, and without losing what 8-bit averages resolve."""
    return np.clip(plane * (50 if plane.max() < 1000 else 4), 1, 65535).round().astype(np.uint16)


def _write(path: Path, plane: Any, left: float = 500_000, top: float = 5_300_000) -> str:
    height, width = plane.shape
    profile = {"driver": "GTiff", "dtype": plane.dtype, "count": 1, "crs": "EPSG:32633"}
    grid = Affine(10, 0, left, 0, -10, top)
    with rasterio.open(path, "w", height=height, width=width, transform=grid, **profile) as file:
        file.write(plane, 1)
    return str(path)


def _ask(python: str, folder: Path, jobs: list[dict[str, Any]]) -> list[list[dict[str, float]]]:
    """Run AROSICS on all jobs, in one process with one thread."""
    asked, answered = folder / "jobs.json", folder / "answers.json"
    asked.write_text(json.dumps(jobs))
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "GDAL"))}
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    done = subprocess.run(
        # Without -P this very file would be imported as `arosics`.
        [python, "-P", str(WORKER), str(asked), str(answered)],
        env=environment | threads,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"AROSICS failed:\n{done.stderr[-2000:]}")
    return list(json.loads(answered.read_text()))


def _measure(
    scene: Shifted, window: int, points: list[dict[str, float]]
) -> Iterator[tuple[WindowShift, dict[str, float]]]:
    """Our answer for each of their points whose window lies inside the image."""
    half = window // 2
    height, width = scene.valid.shape
    for point in points:
        row, col = round(point["Y_IM"]), round(point["X_IM"])
        if half <= row <= height - half and half <= col <= width - half:
            part = (slice(row - half, row + half), slice(col - half, col + half))
            if scene.valid[part].mean() >= RULES.min_valid:
                images = (plane[:1, *part] for plane in (scene.reference, scene.target))
                yield measure_window(*images, scene.valid[part]), point


def _compare(scene: Shifted, window: int, shift: WindowShift, point: dict[str, float]) -> Point:
    truth = (scene.dy, scene.dx) if scene.cover != "wrong pair" else (np.inf, np.inf)
    ours = (shift.dy_px - truth[0], shift.dx_px - truth[1])
    # They report the correction, we where the content lies.
    theirs = (-point["Y_SHIFT_PX"] - truth[0], -point["X_SHIFT_PX"] - truth[1])
    return Point(
        cover=scene.cover,
        window=window,
        ours=float(np.hypot(*ours)),
        theirs=float(np.hypot(*theirs)),
        our_error=ours,
        their_error=theirs,
        reliability=shift.reliability,
        believed=bool(believe([shift], RULES)[0]),
        accepted=_accepts(point),
    )


def _accepts(point: dict[str, float]) -> bool:
    return point.get("OUTLIER", 1.0) == 0


def _errors(write: Write, points: Sequence[Point]) -> None:
    write("RMSE of the windows that both accept and have right; then each alone: right windows")
    write("accepted, of all that can be right (recall), and wrong ones accepted:\n")
    write(
        "| window | images | windows | RMSE ours | RMSE AROSICS | recall ours | recall AROSICS | "
        "wrong ours | wrong AROSICS | wrong ours at AROSICS' recall |"
    )
    write("|---|---|---|---|---|---|---|---|---|---|")
    covers = ("clear", "masked", "unmasked", "wrong pair", "all")
    for window in (64, 128):
        for cover in covers:
            part = [p for p in points if p.window == window and cover in (p.cover, "all")]
            if part:
                write(f"| {window} px | {cover} | " + " | ".join(_scores(part)) + " |")


def _scores(points: Sequence[Point]) -> list[str]:
    both = [p for p in points if p.believed and p.accepted and p.our_right and p.their_right]
    possible = sum(p.cover != "wrong pair" for p in points)
    ours = sum(p.believed and p.our_right for p in points)
    theirs = sum(p.accepted and p.their_right for p in points)
    share = [f"{n / possible:.0%}" if possible else "" for n in (ours, theirs)]
    rms = ["", ""]
    if both:
        pairs = ([p.our_error for p in both], [p.their_error for p in both])
        rms = [f"{np.sqrt(np.mean(np.square(errors))):.3f}" for errors in pairs]
    wrong = [
        sum(p.believed and not p.our_right for p in points),
        sum(p.accepted and not p.their_right for p in points),
        _wrong_at_recall(points, theirs),
    ]
    return [str(len(points)), *rms, *share, *map(str, wrong)]


def _wrong_at_recall(points: Sequence[Point], right: int) -> int:
    """Wrong windows that we accept by the time we have accepted so many right ones."""
    wrong = 0
    for point in sorted(points, key=lambda p: -p.reliability):
        if right <= 0:
            break
        right -= point.our_right
        wrong += not point.our_right
    return wrong


# --- AROSICS' own two dates ---------------------------------------------------------------------


def _own_pair(write: Write, python: str, folder: Path) -> None:
    """Two dates of Sentinel-2: how far apart the two are, window by window."""
    reference, target, valid = read_sentinel_pair()
    job = {
        "reference": _write(folder / "june.tif", reference[0].astype(np.uint16)),
        "target": _write(folder / "may.tif", target[0].astype(np.uint16)),
        "mask": None,
        "window": 256,
        "step": 100,
        "calc_corners": True,
    }
    answer = _ask(python, folder, [job])[0]
    scene = Shifted(SOURCES[0], "two dates", reference, target, valid, dy=0.0, dx=0.0)
    started = time.process_time()
    found = list(_measure(scene, 256, answer))
    seconds = time.process_time() - started
    believed = believe([shift for shift, _ in found], RULES)
    ours = np.array([(s.dy_px, s.dx_px) for s, _ in found])
    theirs = np.array([(-p["Y_SHIFT_PX"], -p["X_SHIFT_PX"]) for _, p in found])
    accepted = np.array([_accepts(p) for _, p in found])
    both = believed & accepted
    apart = np.hypot(*(ours[both] - theirs[both]).T)
    rates = (len(found) / seconds, len(found) / sum(p["seconds"] for _, p in found))
    write("\nTheir own two dates of Sentinel-2 (window 256, step 100):\n")
    write("| | dy | dx | accepted | windows per second |")
    write("|---|---|---|---|---|")
    for name, shifts, ok, rate in (
        ("ours", ours, believed, rates[0]),
        ("AROSICS", theirs, accepted, rates[1]),
    ):
        middle, spread = np.median(shifts[ok], axis=0), shifts[ok].std(axis=0)
        row = [f"{m:.3f} ± {s:.3f}" for m, s in zip(middle, spread, strict=True)]
        write(f"| {name} | {' | '.join(row)} | {ok.sum()} of {len(found)} | {rate:.0f} |")
    between = np.median(ours[both] - theirs[both], axis=0)
    write(
        f"\nMedian difference {between[0]:+.3f}, {between[1]:+.3f} px (down, right); window by "
        f"window {np.median(apart):.3f} px in the median, over {both.sum()} windows."
    )
