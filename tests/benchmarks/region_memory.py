"""Memory and disk of ``skyscale upscale`` at two sizes, and a whole Sentinel-2 tile.

Peak resident memory of all processes together, ten looks a second; scratch is what lies in the
working folder beside the output, at most. The default generator after a short training, three
bands, uint16; then 10,980 x 10,980 px of four bands with ``bicubic``. Targets: memory at 32,000 x
32,000 px out within 15 % of that at 8,000 x 8,000 and under 3 GB, scratch under 1.3 times the
output; the tile's COG valid and open at every zoom within a second.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import rasterio
from rasterio.windows import Window
from rio_cogeo import cog_validate

from tests.benchmarks.region_data import make_source, quick_generator, run_upscale

Write = Callable[[str], None]
SIZES, TILE = (2000, 8000), 10_980


def run(write: Write) -> None:
    """Print a row for each size, then the tile."""
    write("| source px | model | blocks | s | Mpx/s | memory MB | scratch MB | output MB |")
    write("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = quick_generator(folder / "run", 3)
        for size in SIZES:
            _row(write, folder, size, 3, str(model), "edsr")
        output = _row(write, folder, TILE, 4, "bicubic", "bicubic")
        valid, errors, warnings = cog_validate(output, strict=True)
        zooms = ", ".join(f"{seconds:.2f}" for seconds in _open_every_zoom(output))
        write(
            f"\nThe tile: valid {valid} {errors or ''} {warnings or ''}; seconds to open and read"
        )
        write(f"1024 x 1024 px at each zoom: {zooms}.")


def _row(write: Write, folder: Path, size: int, bands: int, model: str, label: str) -> Path:
    source, output = folder / f"{size}.tif", folder / f"{size}_sr.tif"
    make_source(source, size, bands)
    told = run_upscale(source, output, model)
    write(
        f"| {size} x {size} x {bands} | {label} | {told['blocks']} | {told['seconds']:.0f} "
        f"| {told['output_megapixels_per_second']:.1f} | {told['memory_mb']:.0f} "
        f"| {told['scratch_mb']:.0f} | {output.stat().st_size / 1e6:.0f} |"
    )
    source.unlink()
    return output


def _open_every_zoom(path: Path) -> list[float]:
    with rasterio.open(path) as dataset:
        levels = len(dataset.overviews(1))
    seconds = []
    for level in (None, *range(levels)):
        start = time.perf_counter()
        with rasterio.open(path, **({} if level is None else {"overview_level": level})) as dataset:
            edge = min(1024, dataset.width, dataset.height)
            dataset.read(window=Window(0, 0, edge, edge))
        seconds.append(time.perf_counter() - start)
    return seconds
