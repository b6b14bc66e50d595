"""``skyscale upscale`` of a source that is damaged, and what is left when a run breaks off."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import rasterio

from tests.end_to_end.upscaling import (
    BLOCK,
    BLOCKS,
    SIDE,
    Told,
    folder_of,
    make_generator,
    marked,
    overwrite_tiles,
    upscale,
    write_source,
)
from tests.geo import rasters
from tests.geo.cogs import assert_same_picture

pytestmark = pytest.mark.slow

# Of the tile in row 0, column 3: those that it lies in the halo of.
LOOKING = {2, 3, 6, 7}


def restored(path: Path, content: bytes, time_ns: int) -> None:
    """A file from a backup, which keeps its time."""
    path.write_bytes(content)
    os.utime(path, ns=(time_ns, time_ns))


@dataclass(frozen=True, kw_only=True)
class Case:
    """A source that was damaged while it was upscaled and is whole again, and what was left."""

    source: Path
    model: Path
    broken_off: Told
    leftover: Path
    undisturbed: Path

    def take_up(self, output: Path) -> None:
        """Have the leftover be that of an output: work belongs to a source, not to a name."""
        shutil.copytree(folder_of(self.leftover), folder_of(output))


@pytest.fixture(scope="module")
def case(services: Path, tmp_path_factory: pytest.TempPathFactory) -> Case:
    folder = tmp_path_factory.mktemp("damaged")
    source, model = write_source(folder / "lr_20240105.tif"), make_generator(folder / "model")
    whole, time_ns = source.read_bytes(), source.stat().st_mtime_ns
    assert upscale(source, folder / "whole.tif", model).done_before == 0
    overwrite_tiles(source, [(0, 3)])
    os.utime(source, ns=(time_ns, time_ns))
    leftover = folder / "sr.tif"
    broken_off = upscale(source, leftover, model)
    restored(source, whole, time_ns)
    return Case(
        source=source,
        model=model,
        broken_off=broken_off,
        leftover=leftover,
        undisturbed=folder / "whole.tif",
    )


def test_only_blocks_that_look_at_a_damaged_tile_fail_and_all_others_are_kept(case: Case) -> None:
    assert case.broken_off.failed == LOOKING
    complaint = case.broken_off.complaint
    assert f"4 of {BLOCKS} blocks failed" in complaint
    assert f"block 2: {case.source}: reading failed" in complaint
    assert "the file may be damaged or incomplete" in complaint
    assert "12 are finished and kept; run again when the cause is gone" in complaint
    assert marked(case.leftover) == set(range(BLOCKS)) - LOOKING
    assert not case.leftover.exists()


def test_a_file_that_breaks_off_costs_its_last_blocks_alone(services: Path, tmp_path: Path) -> None:
    shape = (1, SIDE * BLOCK, SIDE * BLOCK)
    image = np.random.default_rng(1).integers(1, 255, shape).astype(np.uint8)
    # GDAL puts the directory of a plain TIFF before its strips.
    source, output = tmp_path / "lr_20240105.tif", tmp_path / "sr.tif"
    rasters.write(source, image, rasters.grid(shape[1:]))
    whole = source.read_bytes()
    source.write_bytes(whole[: int(0.8 * len(whole))])
    broken_off = upscale(source, output, "nearest", "--scale", 8)
    assert broken_off.failed
    assert broken_off.failed <= set(range(8, BLOCKS))
    assert "are finished and kept" in broken_off.complaint
    assert marked(output) == set(range(BLOCKS)) - broken_off.failed
    assert not output.exists()


def test_with_the_file_restored_the_same_command_does_the_missing_blocks_alone(
    case: Case, tmp_path: Path
) -> None:
    output = tmp_path / "sr.tif"
    case.take_up(output)
    assert upscale(case.source, output, case.model).done_before == BLOCKS - len(LOOKING)
    assert_same_picture(output, case.undisturbed)
    assert not folder_of(output).exists()


def test_with_the_file_delivered_anew_nothing_of_the_old_one_is_mixed_in(
    case: Case, tmp_path: Path
) -> None:
    output = tmp_path / "sr.tif"
    case.take_up(output)
    time_ns = case.source.stat().st_mtime_ns
    os.utime(case.source)
    anew = upscale(case.source, output, case.model)
    os.utime(case.source, ns=(time_ns, time_ns))
    assert anew.done_before == 0
    assert "source, model or settings are not those of the work found here; anew" in anew.said
    assert_same_picture(output, case.undisturbed)


def test_restart_computes_everything_anew_whatever_a_broken_off_run_has_left(
    case: Case, tmp_path: Path
) -> None:
    output = tmp_path / "sr.tif"
    case.take_up(output)
    # Whole and well-formed, but of another place: only who takes it up would be wrong.
    blocks = folder_of(output) / "blocks"
    shutil.copyfile(blocks / "8", blocks / "0")
    anew = upscale(case.source, output, case.model, "--restart")
    assert anew.done_before == 0
    assert "beginning anew, as told" in anew.said
    assert "are not those" not in anew.said
    assert_same_picture(output, case.undisturbed)
    assert not folder_of(output).exists()


def test_after_fifty_failures_the_rest_is_left_and_what_is_finished_is_not_lost(
    services: Path, tmp_path: Path
) -> None:
    side = 12
    image = np.random.default_rng(2).integers(1, 255, (1, side * 32, side * 32)).astype(np.uint8)
    source, output = write_source(tmp_path / "lr_20240105.tif", image, tile=32), tmp_path / "sr.tif"
    whole, time_ns = source.read_bytes(), source.stat().st_mtime_ns
    overwrite_tiles(source, [(row, col) for row in range(2, side) for col in range(side)])
    os.utime(source, ns=(time_ns, time_ns))
    options = ("nearest", "--scale", 16, "--block", 32)
    gave_up = upscale(source, output, *options)
    told = re.search(
        r"50 of 144 blocks failed .* and 45 more\); (\d+) are finished and kept, (\d+) were not "
        r"tried after so many failures; run again when the cause is gone",
        gave_up.complaint,
    )
    assert told is not None, gave_up.complaint
    kept, left = map(int, told.groups())
    assert kept > 0
    assert left > 20
    assert kept + left == 144 - 50
    finished = len(marked(output))
    assert finished >= kept
    restored(source, whole, time_ns)
    done = upscale(source, output, *options)
    assert done.result is not None, done.said
    assert done.result["blocks_done_before"] == finished
    with rasterio.open(output) as dataset:
        np.testing.assert_array_equal(dataset.read(), image.repeat(16, 1).repeat(16, 2))
