"""Tiles moved to a COG's own file while other blocks are still to come."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rio_cogeo import cog_validate

import geo.cog
import geo.cog_mover
from geo.block_file import read_index
from geo.cog import CogSink
from geo.cog_mover import CogMover
from geo.errors import UpscaleError
from geo.raster_profile import RasterProfile
from tests.geo.cogs import assert_same_picture, begin, picture, profile_of, write, write_blocks


def holed(seed: int, height: int, width: int, holes: float) -> tuple[np.ndarray, np.ndarray]:
    """Pixels and validity, with holes of whole tiles."""
    random = np.random.default_rng(seed)
    pixels = random.integers(1, 250, (2, height, width)).astype(np.uint8)
    valid = random.random((-(-height // 16), -(-width // 16))) >= holes
    valid = valid.repeat(16, 0).repeat(16, 1)[:height, :width]
    pixels[:, ~valid] = 0
    return pixels, valid


@given(
    height=st.integers(1, 150),
    width=st.integers(1, 150),
    tiles=st.integers(1, 5),
    holes=st.sampled_from([0.0, 0.5, 0.9]),
    masked=st.booleans(),
    seed=st.integers(0, 1000),
    share=st.sampled_from([0.0, 0.3, 1.0]),
    settled=st.booleans(),
)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_the_picture_is_the_same_whatever_was_moved_when(
    tmp_path: Path,
    height: int,
    width: int,
    tiles: int,
    holes: float,
    masked: bool,
    seed: int,
    share: float,
    settled: bool,
) -> None:
    pixels, valid = holed(seed, height, width, holes)
    profile = profile_of(pixels, nodata=None if masked else 0.0, masked=masked)
    options: dict[str, Any] = {"tile_px": 16, "block_px": 16 * tiles}
    unmoved = write(tmp_path / "a.tif", pixels, profile, valid, **options)

    path = tmp_path / "b.tif"
    sink, folder = begin(path, profile, **options)
    write_blocks(sink, folder, pixels, valid)
    blocks = sorted((folder / "blocks").iterdir(), key=lambda block: int(block.name))
    later = blocks[round(share * len(blocks)) :]
    for block in later:  # those that are not done yet
        block.rename(folder / block.name)
    mover = CogMover(sink, folder)
    mover.move()
    if settled:
        mover.settle()
    for block in later:
        (folder / block.name).rename(block)
    if not settled:
        mover = CogMover(sink, folder)  # the first one was killed with its process
        mover.move()
        mover.settle()
    sink.finish(folder, path, {"SKYSCALE_MODEL": "test"})
    assert_same_picture(path, unmoved)
    assert cog_validate(path, strict=True) == cog_validate(unmoved, strict=True)
    shutil.rmtree(tmp_path / "a.run")
    shutil.rmtree(folder)


@pytest.fixture
def begun(tmp_path: Path) -> tuple[CogSink, Path, np.ndarray]:
    """All blocks of a picture written, none moved."""
    pixels = picture("uint16", height=1300)
    sink, folder = begin(tmp_path / "a.tif", profile_of(pixels, nodata=0.0), block_px=1024)
    write_blocks(sink, folder, pixels, None)
    return sink, folder, pixels


def move_all(sink: CogSink, folder: Path) -> None:
    mover = CogMover(sink, folder)
    mover.move()
    mover.settle()


def test_what_was_moved_does_not_lie_on_the_disk_twice(
    begun: tuple[CogSink, Path, np.ndarray],
) -> None:
    sink, folder, _ = begun
    before = sum(block.stat().st_size for block in (folder / "blocks").iterdir())
    move_all(sink, folder)
    left = list((folder / "blocks").iterdir())
    assert all(read_index(block).moved for block in left)
    assert sum(block.stat().st_size for block in left) < 0.3 * before


def test_it_is_the_larger_files_that_are_worth_it(
    begun: tuple[CogSink, Path, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    sink, folder, pixels = begun
    assert sink.mover(folder) is None
    monkeypatch.setattr(geo.cog, "_WORTH_MOVING", pixels.nbytes)
    assert isinstance(sink.mover(folder), CogMover)


def test_more_tags_than_there_was_room_for(
    begun: tuple[CogSink, Path, np.ndarray], tmp_path: Path
) -> None:
    sink, folder, pixels = begun
    move_all(sink, folder)
    tags = {"SKYSCALE_PROVENANCE": "scene " * 100_000}
    path = sink.finish(folder, tmp_path / "a.tif", tags)
    assert cog_validate(path, strict=True)[0]
    with rasterio.open(path) as dataset:
        assert dataset.tags()["SKYSCALE_PROVENANCE"] == tags["SKYSCALE_PROVENANCE"]
        np.testing.assert_array_equal(dataset.read(), pixels)


def test_cut_off_after_the_file_got_its_name(
    begun: tuple[CogSink, Path, np.ndarray], tmp_path: Path
) -> None:
    sink, folder, pixels = begun
    move_all(sink, folder)
    sink.finish(folder, tmp_path / "a.tif", {})
    path = sink.finish(folder, tmp_path / "a.tif", {})
    with rasterio.open(path) as dataset:
        np.testing.assert_array_equal(dataset.read(), pixels)

    path.unlink()
    path.write_text("something else")
    with pytest.raises(UpscaleError, match=r"gone or cut off; run again .*--restart"):
        sink.finish(folder, path, {})
    assert path.read_text() == "something else"


def test_a_full_disk_loses_nothing(begun: tuple[CogSink, Path, np.ndarray], tmp_path: Path) -> None:
    sink, folder, pixels = begun
    move_all(sink, folder)
    with pytest.raises(UpscaleError, match="cannot be written"):
        sink.finish(folder, tmp_path / "nowhere" / "a.tif", {})
    with rasterio.open(sink.finish(folder, tmp_path / "a.tif", {})) as dataset:
        np.testing.assert_array_equal(dataset.read(), pixels)


def test_a_block_whose_place_was_lost_is_done_again(
    begun: tuple[CogSink, Path, np.ndarray], tmp_path: Path
) -> None:
    sink, folder, pixels = begun
    move_all(sink, folder)
    (folder / "blocks" / "0").write_bytes(b"")
    with pytest.raises(UpscaleError, match="damaged on the disk") as caught:
        sink.finish(folder, tmp_path / "a.tif", {})
    assert caught.value.facts["damaged"] == 0
    profile: RasterProfile = sink.profile
    other, elsewhere = begin(tmp_path / "b.tif", profile, block_px=1024)
    write_blocks(other, elsewhere, pixels, None)
    shutil.copy(elsewhere / "blocks" / "0", folder / "blocks" / "0")
    move_all(sink, folder)
    path = sink.finish(folder, tmp_path / "a.tif", {})
    assert cog_validate(path, strict=True)[0]
    assert_same_picture(path, other.finish(elsewhere, tmp_path / "b.tif", {}))
