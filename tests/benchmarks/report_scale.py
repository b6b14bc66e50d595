"""Reports: how fast tiles are scored, and a report of 50,000 tiles written and clicked.

A region of real aerial statistics, four bands, with what the satellite would see of it (scale 4)
and an image half way between bicubic and the truth. Scoring: all 3,100 tiles of 128 px, from the
files with warp, bicubic, residuals, seams and provenance on two threads of Dask, against
``score_pair`` alone on the same arrays in memory on two threads, by turns. Size: tiles of 32 px;
those of a strip are scored, the others are given their rows, so that writing is what is timed.
Clicks in Chromium.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.transform import from_origin

from flows.report_work import score_tiles
from geo.catalog.footprint import lonlat_footprint
from geo.interpolate import upsample
from geo.raster_io import inspect_raster
from geo.region_source import raster_source
from geo.reporting.plan import Drawn, ReportPlan, plan_report
from geo.reporting.references import AerialScene
from geo.reporting.rows import _residual_px, score_batch, with_outlines
from geo.reporting.satellite import SatelliteView
from geo.reporting.table import write_report
from geo.reporting.tiles import TilePixels, read_tiles
from geo.scores.pair import score_pair
from geo.sensor import degrade
from tests.benchmarks.pixels import source_image

SCALE, BANDS = 4, ("red", "green", "blue", "nir")
HEIGHT, WIDTH = 6400, 8000
TILES = 50_000
TURNS, THREADS = 2, 2
Write = Callable[[str], None]


def run(write: Write) -> None:
    """Print both tables."""
    with tempfile.TemporaryDirectory() as name:
        files = _make_region(Path(name))
        _throughput(write, files, Path(name))
        _size(write, files, Path(name))


def _make_region(folder: Path) -> dict[str, str]:
    image, _ = source_image(len(BANDS))
    rows, cols = (np.arange(n) for n in (HEIGHT, WIDTH))
    mirrored = [
        np.abs((i + n) % (2 * n) - n).clip(0, n - 1)
        for i, n in zip((rows, cols), image.shape[1:], strict=True)
    ]
    hr = image[:, mirrored[0]][:, :, mirrored[1]] * 12 + 300
    lr = degrade(hr, SCALE).round()
    sr = (upsample(lr, SCALE, "bicubic") + hr) / 2
    left, top = 499_840.0, 5_299_840.0
    return {
        "aerial": _write(folder / "aerial.tif", hr, 2.5, left, top),
        "lr": _write(folder / "lr.tif", lr, 10.0, left, top),
        "sr": _write(folder / "sr.tif", sr, 2.5, left, top),
    }


def _write(path: Path, data: np.ndarray, pixel: float, left: float, top: float) -> str:
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=len(data),
        height=data.shape[1],
        width=data.shape[2],
        dtype="uint16",
        nodata=0,
        crs="EPSG:32633",
        transform=from_origin(left, top, pixel, pixel),
        tiled=True,
        blockxsize=512,
        blockysize=512,
        compress="DEFLATE",
        zlevel=1,
        interleave="pixel",
    ) as dataset:
        dataset.write(data.round().clip(1, 65535).astype(np.uint16))
        dataset.descriptions = BANDS
        dataset.update_tags(SKYSCALE_SCALE=str(SCALE), SKYSCALE_BLOCK_LR_PX="512")
    return str(path)


def _plan(files: dict[str, str], tile_lr: int) -> ReportPlan:
    info = inspect_raster(files["sr"])
    aerial = inspect_raster(files["aerial"])
    truth = AerialScene(
        source=aerial.refs(),
        id="aerial",
        footprint=lonlat_footprint(aerial.geobox, aerial.href),
        gap_days=2.0,
    )
    lr = SatelliteView(source=raster_source(files["lr"]), id="satellite")
    return plan_report(Drawn.of(info), [truth], lr=lr, tile_lr=tile_lr)


def _throughput(write: Write, files: dict[str, str], folder: Path) -> None:
    plan = _plan(files, 32)
    batches = plan.batches()
    pixels = [tile for batch in batches for tile in read_tiles(plan, batch)]
    bare, path = [], []
    for turn in range(TURNS):
        bare.append(len(pixels) / _timed(lambda: _score_bare(plan, pixels)))
        out = folder / f"scored{turn}"
        path.append(plan.tiles / _timed(lambda out=out: score_tiles(plan, out, workers=THREADS)))
    reading = len(pixels) / _timed(lambda: [read_tiles(plan, batch) for batch in batches])
    write("| tiles of 128 px, 4 bands | tiles a second |")
    write("|---|---|")
    write(f"| `score_pair` on arrays in memory, {THREADS} threads | {_spread(bare)} |")
    write(f"| `skyscale report`'s scoring, from files, {THREADS} threads | {_spread(path)} |")
    write(f"| reading them alone, one thread | {reading:.0f} |")
    rest = len(pixels) / _timed(lambda: [_residual_px(tile, SCALE) for tile in pixels])
    write(f"| their registration residuals alone, one thread | {rest:.0f} |")
    ratios = [b / a for a, b in zip(bare, path, strict=True)]
    write(f"\nRatio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}).\n")


def _score_bare(plan: ReportPlan, pixels: list[TilePixels]) -> None:
    def score(tile: TilePixels) -> Any:
        return score_pair(
            tile.sr,
            tile.hr,
            tile.lr,
            tile.valid if tile.valid is not None else tile.seen,
            scale=plan.scale,
            data_range=plan.data_range,
            bicubic=tile.bicubic,
            crop_px=0,
            seen=tile.seen,
        )

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(score, pixels))


def _size(write: Write, files: dict[str, str], folder: Path) -> None:
    plan = _plan(files, 8)
    assert plan.tiles == TILES
    first = [row for batch in plan.batches()[:40] for row in score_batch(plan, batch)]
    random = np.random.default_rng(0)
    rows = []
    for number, cell in enumerate(plan.cells):
        known = first[number % len(first)]
        noise = {
            name: value * float(random.uniform(0.9, 1.1))
            for name, value in known.items()
            if isinstance(value, float) and name not in ("values", "gap_days")
        }
        rows.append(
            {**known, **noise, "tile": f"r{cell.row}_c{cell.col}", "row": cell.row, "col": cell.col}
        )
    out = folder / "report"
    started = time.monotonic()
    _, paths = write_report(plan, with_outlines(plan, rows), out)
    seconds = time.monotonic() - started
    write("| 50,000 tiles | |")
    write("|---|---|")
    write(f"| report written | {seconds:.0f} s |")
    for path in paths.values():
        write(f"| {path.name} | {path.stat().st_size / 1e6:.1f} MB |")
    _clicks(write, paths["page"])


def _clicks(write: Write, page_file: Path) -> None:
    """Times until the frame after a click, sort or choice is drawn."""
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        write("| (no Chromium here: clicks not timed) | |")
        return
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1300, "height": 900})
        started = time.monotonic()
        page.goto(page_file.as_uri())
        page.evaluate(_DRAWN)
        write(f"| page open and drawn | {time.monotonic() - started:.1f} s |")
        for title, act in _ACTS.items():
            spent = [float(page.evaluate(act)) for _ in range(10)]
            write(f"| {title} | {statistics.median(spent):.0f} ms, at most {max(spent):.0f} ms |")
        browser.close()


_DRAWN = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
_AFTER = f"const t = performance.now(); ACT; await {_DRAWN}; return performance.now() - t;"


def _act(script: str) -> str:
    return "(async () => { " + _AFTER.replace("ACT", script) + " })()"


_ACTS = {
    "click on the map": _act(
        "const m = document.getElementById('map'), r = m.getBoundingClientRect();"
        "const at = {clientX: r.x + r.width * (0.3 + 0.4 * Math.random()),"
        " clientY: r.y + r.height * (0.3 + 0.4 * Math.random()), bubbles: true, pointerId: 1};"
        "for (const kind of ['pointerdown', 'pointerup'])"
        " m.dispatchEvent(new PointerEvent(kind, at));"
        "m.dispatchEvent(new MouseEvent('click', at))"
    ),
    "another score on the map": _act(
        "const s = document.getElementById('score');"
        "s.selectedIndex = Math.floor(Math.random() * s.options.length);"
        "s.dispatchEvent(new Event('change', {bubbles: true}))"
    ),
    "table sorted by a column": _act(
        "const b = document.querySelectorAll('#table thead button');"
        "b[Math.floor(Math.random() * b.length)].click()"
    ),
}


def _timed(work: Callable[[], Any]) -> float:
    started = time.monotonic()
    work()
    return time.monotonic() - started


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"
