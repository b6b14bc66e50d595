"""An output brought up to date equals one drawn from scratch, and only what changed is drawn."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geo import upscale as upscaling
from geo.catalog.scene import Scene
from geo.mosaic import MosaicSource
from geo.region_update import block_inputs, record_path
from geo.tiling import halo_window
from geo.upscale import (
    UpscaleConfig,
    UpscalePlan,
    begin,
    find_earlier,
    finish,
    kept_blocks,
    plan_upscale,
    run_block,
)
from tests.geo.cogs import assert_same_picture
from tests.geo.mosaics import CLEAR, CLOUD, GRID, classes, flat, plan, write_scene
from tests.geo.upsamplers import Crooked
from tests.geo.upscales import TILE

BLOCK = 20
ROWS, COLS = GRID.shape.yx
NETWORK = Crooked(scale=4)
EVERYWHERE = (slice(0, ROWS), slice(0, COLS))


@dataclass
class Updated:
    """What bringing an output up to date came to."""

    plan: UpscalePlan
    why: str
    untouched: set[int] = field(default_factory=set)
    drawn: set[int] = field(default_factory=set)


def plan_of(
    scenes: Sequence[Scene], output: Path, upsampler: Crooked = NETWORK, **config: Any
) -> UpscalePlan:
    source = plan(scenes, newest=True).source
    settings = {"block_lr_px": BLOCK, "tile_px": TILE} | config
    return plan_upscale(source, output, upsampler, UpscaleConfig(**settings))


def update(plan: UpscalePlan, upsampler: Crooked = NETWORK, *, any_blocks: bool = False) -> Updated:
    plan, earlier, why = find_earlier(plan, any_blocks=any_blocks)
    done = Updated(plan, why)
    if earlier is not None:
        done.untouched = set(earlier.untouched(plan))
    begin(plan)
    for block in plan.blocks:
        untouched = block.index in done.untouched
        if not run_block(plan, block, upsampler, earlier, untouched=untouched).kept:
            done.drawn.add(block.index)
    assert kept_blocks(plan) == len(plan.blocks) - len(done.drawn)
    finish(plan, record=True)
    return done


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 120, (2, ROWS, COLS)).astype(np.uint16)


def clouds(seed: int, share: float) -> np.ndarray:
    """Rectangles of cloud, together about a share of the ground."""
    rng, scl = np.random.default_rng(seed), np.full((ROWS, COLS), CLEAR)
    while (scl == CLOUD).mean() < share:
        top, left = rng.integers(0, ROWS - 5), rng.integers(0, COLS - 5)
        height, width = rng.integers(5, 30, 2)
        scl[top : top + height, left : left + width] = CLOUD
    return scl


def really_changed(before: UpscalePlan, after: UpscalePlan) -> set[int]:
    """Blocks that see other pixels or holes in all the ground that they may depend on."""
    changed = set()
    for block in after.blocks:
        window = halo_window(block, 2, ROWS, COLS, after.fill_margin_lr_px)
        old, new = (p.source.read(window.rows, window.cols) for p in (before, after))
        if not (np.array_equal(old.data, new.data) and np.array_equal(old.valid, new.valid)):
            changed.add(block.index)
    return changed


@given(
    seed=st.integers(0, 10_000),
    shares=st.lists(st.sampled_from([0.0, 0.2, 0.6, 0.95, 1.0]), min_size=2, max_size=4),
)
@settings(
    max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_it_is_what_is_drawn_from_scratch_and_nothing_is_drawn_in_vain(
    tmp_path: Path, seed: int, shares: list[float]
) -> None:
    scenes = [
        write_scene(
            tmp_path, f"s{n}", noise(seed + n), GRID, days=n, scl=clouds(seed + n, min(share, 0.99))
        )
        for n, share in enumerate(shares)
    ]
    kept_up, scratch = tmp_path / "kept.tif", tmp_path / "scratch.tif"
    update(plan_of(scenes[:-1], kept_up))
    before = plan_of(scenes[:-1], kept_up)
    done = update(plan_of(scenes, kept_up))
    record_path(scratch).unlink(missing_ok=True)
    everything = update(plan_of(scenes, scratch))
    assert len(everything.drawn) == len(everything.plan.blocks)
    assert_same_picture(kept_up, scratch)
    # A block at the edge of what changed may have its holes filled by the same pixels.
    assert done.drawn <= really_changed(before, done.plan)
    assert (
        json.loads(record_path(kept_up).read_text())["blocks"]
        == (json.loads(record_path(scratch).read_text())["blocks"])
    )


@pytest.mark.parametrize("name", ["sr.tif", "sr.zarr"])
def test_under_the_clouds_of_a_new_scene_nothing_is_drawn(tmp_path: Path, name: str) -> None:
    scl = classes(cloud=EVERYWHERE)
    scl[4:10, 5:12] = CLEAR  # in the first block; clouds have a rim of two pixels
    scenes = [
        write_scene(tmp_path, "old", noise(1), GRID),
        write_scene(tmp_path, "new", noise(2), GRID, days=1, scl=scl),
    ]
    update(plan_of(scenes[:1], tmp_path / name))
    done = update(plan_of(scenes, tmp_path / name))
    assert done.drawn == {0}
    assert done.untouched == set()
    assert update(plan_of(scenes, tmp_path / name)).untouched == set(range(12))


def test_blocks_that_no_new_scene_reaches_are_not_even_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new scene lies in the upper left corner; its halo reaches one block farther."""
    part = GRID[:19, :24]
    scenes = [
        write_scene(tmp_path, "old", noise(1), GRID),
        write_scene(tmp_path, "new", flat(part, 7), part, days=1),
    ]
    update(plan_of(scenes[:1], tmp_path / "sr.tif"))
    reads: list[tuple[slice, slice]] = []
    compose = MosaicSource.compose

    def counted(source: MosaicSource, rows: slice, cols: slice) -> Any:
        reads.append((rows, cols))
        return compose(source, rows, cols)

    monkeypatch.setattr(MosaicSource, "compose", counted)
    done = update(plan_of(scenes, tmp_path / "sr.tif"))
    assert done.drawn == {0, 1, 4, 5}
    assert done.untouched == set(range(12)) - done.drawn
    assert len(reads) == len(done.drawn)


def test_a_scene_that_only_fills_a_hole_of_the_halo_reaches_the_block(tmp_path: Path) -> None:
    """It ends a row before the halo, whose first row is a hole: the nearest pixel is its own."""
    pixels = noise(1)
    pixels[:, 18:20] = 0
    part = GRID[:18, :COLS]
    scenes = [
        write_scene(tmp_path, "old", pixels, GRID),
        write_scene(tmp_path, "new", flat(part, 7), part, days=1),
    ]
    output, scratch = tmp_path / "sr.tif", tmp_path / "scratch.tif"
    update(plan_of(scenes[:1], output))
    done = update(plan_of(scenes, output))
    assert done.drawn == set(range(8))
    assert done.untouched == set(range(8, 12))
    update(plan_of(scenes, scratch))
    assert_same_picture(output, scratch)


def test_provenance_counts_kept_pixels_too(tmp_path: Path) -> None:
    part = GRID[:20, :20]
    scenes = [
        write_scene(tmp_path, "old", noise(1), GRID),
        write_scene(tmp_path, "new", flat(part, 7), part, days=1),
    ]
    output = tmp_path / "sr.tif"
    update(plan_of(scenes[:1], output))
    update(plan_of(scenes, output))
    with rasterio.open(output) as dataset:
        shares = json.loads(dataset.tags()["SKYSCALE_PROVENANCE"])
    assert [(s["id"], s["share"]) for s in shares] == [
        ("new", round(400 / (ROWS * COLS), 6)),
        ("old", round(1 - 400 / (ROWS * COLS), 6)),
    ]


def test_a_scene_that_was_written_again_is_another_scene(tmp_path: Path) -> None:
    scenes = [
        write_scene(tmp_path, "a", noise(1), GRID),
        write_scene(tmp_path, "b", noise(2), GRID, days=1, scl=clouds(3, 0.5)),
    ]
    update(plan_of(scenes, tmp_path / "sr.tif"))
    again = noise(2)
    again[:, 45, 70] += 1
    write_scene(tmp_path, "b", again, GRID, days=1, scl=np.full((ROWS, COLS), CLEAR))
    done = update(plan_of(scenes, tmp_path / "sr.tif"))
    assert 11 in done.drawn
    scratch = tmp_path / "scratch.tif"
    update(plan_of(scenes, scratch))
    assert_same_picture(tmp_path / "sr.tif", scratch)


class TestAllIsDrawnAnew:
    @pytest.fixture
    def scenes(self, tmp_path: Path) -> list[Scene]:
        return [write_scene(tmp_path, "a", noise(1), GRID)]

    @pytest.fixture
    def output(self, tmp_path: Path, scenes: list[Scene]) -> Path:
        path = tmp_path / "sr.tif"
        assert update(plan_of(scenes, path)).why == ""  # there was none yet
        return path

    def test_by_another_model(self, scenes: list[Scene], output: Path) -> None:
        other = Crooked(scale=4, name="better")
        done = update(plan_of(scenes, output, other), other)
        assert done.why == "it was made with another model"
        assert len(done.drawn) == 12

    def test_of_another_type(self, scenes: list[Scene], output: Path) -> None:
        done = update(plan_of(scenes, output, dtype="float32"))
        assert done.why == "it was made with another kind of pixels"

    def test_where_somebody_has_changed_the_output(self, scenes: list[Scene], output: Path) -> None:
        os.utime(output, ns=(1, 1))
        done = update(plan_of(scenes, output))
        assert done.why == "it was changed or copied since it was written"
        assert len(done.drawn) == 12

    @pytest.mark.parametrize("record", [None, "", "{}", '{"format": 1}x', "[]"])
    def test_where_the_record_is_gone_or_damaged(
        self, scenes: list[Scene], output: Path, record: str | None
    ) -> None:
        path = record_path(output)
        path.unlink() if record is None else path.write_text(record)
        done = update(plan_of(scenes, output))
        assert done.why == "sr.tif.blocks.json, which tells its blocks, is not beside it"
        assert len(done.drawn) == 12

    def test_a_run_that_is_no_update_takes_the_record_away(
        self, scenes: list[Scene], output: Path
    ) -> None:
        plan = plan_of(scenes, output)
        begin(plan)
        for block in plan.blocks:
            run_block(plan, block, NETWORK)
        finish(plan)
        assert not record_path(output).exists()


def test_an_earlier_tile_that_cannot_be_read_is_drawn(tmp_path: Path) -> None:
    scenes = [write_scene(tmp_path, "a", noise(1), GRID)]
    output = tmp_path / "sr.tif"
    update(plan_of(scenes, output))
    content = bytearray(output.read_bytes())
    with rasterio.open(output) as dataset:
        start, size = (
            int(dataset.get_tag_item(f"BLOCK_{what}_0_0", "TIFF", bidx=1))
            for what in ("OFFSET", "SIZE")
        )
    times = output.stat()
    content[start : start + size] = b"\xff" * size
    output.write_bytes(content)
    os.utime(output, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert update(plan_of(scenes, output)).drawn == {0}
    scratch = tmp_path / "scratch.tif"
    update(plan_of(scenes, scratch))
    assert_same_picture(output, scratch)


def test_the_earlier_blocks_are_taken_where_nobody_asks_for_others(tmp_path: Path) -> None:
    scenes = [write_scene(tmp_path, "a", noise(1), GRID)]
    output = tmp_path / "sr.tif"
    update(plan_of(scenes, output))
    done = update(plan_of(scenes, output, block_lr_px=28), any_blocks=True)
    assert done.plan.block_lr_px == BLOCK
    assert done.drawn == set()
    assert update(plan_of(scenes, output, block_lr_px=28)).why == (
        "it was made with another size of blocks"
    )


@pytest.mark.parametrize(("dtype", "nodata"), [("float32", math.nan), ("uint8", None)])
def test_holes_of_every_kind_are_kept(tmp_path: Path, dtype: str, nodata: float | None) -> None:
    """Told by NaN, and by a mask where there is no nodata value."""
    pixels = noise(1).astype(dtype)
    scl = clouds(4, 0.4)
    scl[:25, :30] = CLOUD  # a whole block, too
    scenes = [
        write_scene(tmp_path, "a", pixels, GRID, scl=scl, nodata=nodata),
        write_scene(tmp_path, "b", pixels[:, :1, :1], GRID[:1, :1], days=1, nodata=nodata),
    ]
    output, scratch = tmp_path / "sr.tif", tmp_path / "scratch.tif"
    update(plan_of(scenes[:1], output))
    done = update(plan_of(scenes, output))
    assert len(done.untouched) > 8
    update(plan_of(scenes, scratch))
    assert_same_picture(output, scratch)


def test_cut_off_before_the_record_is_written_it_is_written_by_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenes = [write_scene(tmp_path, "a", noise(1), GRID)]
    output = tmp_path / "sr.tif"

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(upscaling, "write_record", killed)
        with pytest.raises(KeyboardInterrupt):
            update(plan_of(scenes, output))
    assert output.exists()
    plan, earlier, _ = find_earlier(plan_of(scenes, output))
    assert earlier is None
    assert len(begin(plan).finished) == 12
    finish(plan, record=True)
    assert find_earlier(plan)[1] is not None


def test_what_a_scene_is_called_is_no_part_of_a_block(tmp_path: Path) -> None:
    """Nor how cloudy it is elsewhere; which files it has and their order is."""
    scenes = [
        write_scene(tmp_path, "a", noise(1), GRID),
        write_scene(tmp_path, "b", noise(2), GRID, days=1),
    ]
    there = plan_of(scenes, tmp_path / "sr.tif")
    assert isinstance(there.source, MosaicSource)
    first, second = there.source.scenes
    renamed = replace(there.source, scenes=(replace(first, id="c", cloud_fraction=0.5), second))
    swapped = replace(there.source, scenes=(second, first))
    inputs = block_inputs(there)
    assert block_inputs(replace(there, source=renamed)) == inputs
    assert all(
        a != b for a, b in zip(block_inputs(replace(there, source=swapped)), inputs, strict=True)
    )
