"""``skyscale upscale`` as users type it, and rasters and generators whose faults are known."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from typer.testing import CliRunner

from flows.cli import app
from models.config_networks import GeneratorConfig
from models.export import GeneratorCard, save_generator
from models.generators.base import Generator
from models.generators.registry import build_generator
from tests.geo import rasters

BANDS = ("red", "nir")
SCALE, BLOCK, SIDE = 8, 64, 4  # a block is one tile of the output, and of the source
BLOCKS = SIDE * SIDE


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a run of the command told."""

    status: int
    said: str
    result: dict[str, Any] | None

    @property
    def failed(self) -> set[int]:
        """Blocks that it listed as failed."""
        return {int(n) for n in re.findall(r"block (\d+) failed:", self.said)}

    @property
    def complaint(self) -> str:
        """The one line in which it says why it ends."""
        assert self.status == 1, self.said
        assert "Traceback" not in self.said
        (line,) = [line for line in self.said.splitlines() if line.startswith("skyscale:")]
        return line

    @property
    def done_before(self) -> int:
        """Blocks that a run which succeeded found done."""
        assert self.status == 0, self.said
        assert self.result is not None
        assert self.result["blocks"] == BLOCKS
        return int(self.result["blocks_done_before"])


def upscale(source: object, output: Path, model: object, *options: object) -> Told:
    """Run the command in this process, in blocks of `BLOCK`."""
    words = ("upscale", source, output, "--model", model, "--block", BLOCK, *options, "--json")
    done = CliRunner().invoke(app, [str(word) for word in words])
    result = json.loads(done.stdout) if done.exit_code == 0 else None
    return Told(status=done.exit_code, said=done.stderr, result=result)


def folder_of(output: Path) -> Path:
    """The working folder of an output."""
    return output.with_name(output.name + ".skyscale")


def marked(output: Path) -> set[int]:
    """Blocks that are marked as finished."""
    return {int(mark.name) for mark in (folder_of(output) / "done").glob("*[0-9]")}


def write_source(path: Path, data: np.ndarray | None = None, tile: int = BLOCK) -> Path:
    """A tiled, compressed raster [C, h, w], so that a damaged tile cannot be read."""
    if data is None:
        shape = (len(BANDS), SIDE * BLOCK, SIDE * BLOCK)
        data = np.random.default_rng(0).integers(1, 3000, shape).astype(np.uint16)
    layout = {"tiled": True, "blockxsize": tile, "blockysize": tile, "interleave": "pixel"}
    grid = rasters.grid(data.shape[1:])
    bands = BANDS if len(data) == len(BANDS) else ()
    return Path(rasters.write(path, data, grid, bands=bands, compress="deflate", **layout))


def place_of_tile(path: Path, row: int, col: int) -> slice:
    """Bytes of a tile of a GeoTIFF."""
    with rasterio.open(path) as dataset:
        start, size = (
            int(dataset.get_tag_item(f"BLOCK_{what}_{col}_{row}", "TIFF", bidx=1))
            for what in ("OFFSET", "SIZE")
        )
    return slice(start, start + size)


def overwrite_tiles(path: Path, tiles: list[tuple[int, int]]) -> None:
    """Damage tiles as a bad disk does: sizes and names stay."""
    content = bytearray(path.read_bytes())
    for place in [place_of_tile(path, *tile) for tile in tiles]:
        content[place] = b"\xff" * (place.stop - place.start)
    path.write_bytes(content)


def make_generator(
    folder: Path,
    change: Callable[[Generator], None] | None = None,
    *,
    mean: float = 0.12,
    spread: float = 0.05,
    data_range: float = 10_000.0,
) -> Path:
    """Write a small generator that adds random detail, changed in any way before it is written."""
    torch.manual_seed(0)
    config = GeneratorConfig(channels=8, blocks=1)
    generator = build_generator(config, bands=len(BANDS), scale=SCALE)
    for parameter in generator.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.05)
    generator.standardise.set(torch.full((len(BANDS),), mean), spread)
    if change is not None:
        change(generator)
    card = GeneratorCard(
        architecture=config,
        scale=SCALE,
        bands=BANDS,
        data_range=data_range,
        halo=generator.halo,
    )
    save_generator(folder, generator, card)
    return folder


def edit_card(folder: Path, **facts: object) -> None:
    """Have a generator's card tell something else."""
    path = folder / "generator.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | facts))
