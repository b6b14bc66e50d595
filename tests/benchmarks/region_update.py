"""A region brought up to date: what nights cost on which a part of it was seen anew.

``skyscale upscale --newest --update`` with a generator of the default size over a folder of scenes,
uint16 of real statistics, as whole processes. Scenes come one after the other: one that reaches a
quarter of the region, one that reaches all of it and shows a tenth clear, one that shows nothing.
Last a run from scratch over the same scenes, whose pixels have to be the same.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import rasterio
from rasterio.windows import Window

from tests.benchmarks.region_data import make_source, quick_generator, run_upscale
from tests.geo.cogs import assert_same_picture

_SIZE, _BANDS = 4096, 3
_OPTIONS = ("--newest", "--update")


def run(write: Callable[[str], None]) -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (archive := folder / "archive").mkdir()
        model = quick_generator(folder / "runs", _BANDS, steps=100)
        first = make_source(archive / "scene_20240601.tif", _SIZE, _BANDS)
        output = folder / "region.tif"

        def night(what: str, output: Path = output) -> float:
            told = run_upscale(archive, output, model, *_OPTIONS, watched=False)
            kept = told.get("blocks_kept", told["blocks"])
            seconds = float(told["seconds"])
            write(f"| {what} | {told['blocks'] - kept} | {kept} | {seconds:.1f} |")
            return seconds

        write("| run | blocks drawn | blocks kept | s |\n|---|---|---|---|")
        night("the first scene")
        night("nothing new")
        quarter = Window(0, 0, _SIZE, _SIZE // 4)
        _part(first, archive / "scene_20240602.tif", quarter, crop=True)
        night("a scene of the upper quarter")
        _part(first, archive / "scene_20240603.tif", Window(0, 0, _SIZE, _SIZE // 10))
        night("one of all ground, a tenth of it clear")
        _part(first, archive / "scene_20240604.tif", Window(0, 0, 8, 8))
        night("one under clouds")
        night("from scratch", folder / "scratch.tif")
        assert_same_picture(output, folder / "scratch.tif")


def _part(source: Path, path: Path, window: Window, *, crop: bool = False) -> None:
    """A scene, brighter than any before, that ends with a window, or is empty beyond it."""
    brighter = 7 * int(path.stem[-2:])
    with rasterio.open(source) as dataset:
        profile = dataset.profile
        pixels = dataset.read(window=window) + brighter
        names = dataset.descriptions
    if crop:
        profile |= {"height": window.height, "width": window.width}
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.descriptions = names
        dataset.write(pixels, window=window)
