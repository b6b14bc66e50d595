"""How a region is cut into blocks, and blocks into strips."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.transform import from_origin

from geo.errors import UpscaleError
from geo.interpolate import METHODS, Method
from geo.upsampler import BuiltinUpsampler
from geo.upscale import UpscaleConfig, begin, plan_upscale, run_block

BICUBIC = BuiltinUpsampler("bicubic", 4)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """4,000 x 4,000 pixels of three bands, none of them written."""
    path = tmp_path / "lr.tif"
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=4000,
        width=4000,
        count=3,
        dtype="uint16",
        crs="EPSG:32633",
        transform=from_origin(500_000, 5_000_000, 10, 10),
        tiled=True,
        sparse_ok=True,
        nodata=0,
    ):
        return path


@dataclass(frozen=True)
class Whole(BuiltinUpsampler):
    """An upsampler that gives a block only as a whole."""

    strips = None  # type: ignore[assignment]


def edge(source: Path, output: str, upsampler: BuiltinUpsampler = BICUBIC, **options: int) -> int:
    config = UpscaleConfig(**options)
    return plan_upscale(str(source), source.parent / output, upsampler, config).block_lr_px


def test_blocks_are_as_large_as_memory_allows(source: Path) -> None:
    assert edge(source, "a.tif", workers=1, memory_mb=2000) == 1024
    assert edge(source, "a.tif", workers=1, memory_mb=100) == 512
    assert edge(source, "a.tif", workers=8, memory_mb=100) == 256
    assert edge(source, "a.zarr", workers=1, memory_mb=1000) == 512  # held as a whole
    assert edge(source, "a.tif", Whole("bicubic", 4), workers=1, memory_mb=1000) == 512


def test_each_worker_gets_several_blocks(source: Path) -> None:
    for workers in (1, 2, 3, 8, 16):
        blocks = (-(-4000 // edge(source, "a.tif", workers=workers))) ** 2
        assert blocks >= 6 * workers or edge(source, "a.tif", workers=workers) == 256


def test_other_workers_take_up_the_same_work(source: Path) -> None:
    output = source.parent / "sr.tif"
    plan = plan_upscale(str(source), output, BICUBIC, UpscaleConfig(workers=1))
    begin(plan)
    run_block(plan, plan.blocks[3], BICUBIC)

    again = plan_upscale(str(source), output, BICUBIC, UpscaleConfig(workers=16))
    assert edge(source, "elsewhere.tif", workers=16) != plan.block_lr_px
    assert begin(again).state == "continued"
    assert begin(again).finished == {3}

    asked = plan_upscale(str(source), output, BICUBIC, UpscaleConfig(workers=16, block_lr_px=128))
    assert asked.block_lr_px == 128
    other = plan_upscale(str(source), output, BuiltinUpsampler("lanczos", 4), UpscaleConfig())
    assert begin(other).state == "discarded"


@settings(max_examples=40, deadline=None)
@given(
    method=st.sampled_from(METHODS),
    scale=st.integers(1, 4),
    height=st.integers(1, 90),
    width=st.integers(1, 20),
    margin=st.integers(0, 9),
)
def test_strips_of_a_formula_are_the_whole(
    method: Method, scale: int, height: int, width: int, margin: int
) -> None:
    lr = np.random.default_rng(height).normal(0, 1000, (2, height + 2 * margin, width + 2 * margin))
    lr = lr.astype(np.float32)
    upsampler = BuiltinUpsampler(method, scale)
    cut = slice(margin * scale, -margin * scale or None)
    wanted = upsampler(lr)[:, cut, cut]
    done = 0
    for rows, strip in upsampler.strips(lr, margin):
        assert rows.start == done
        np.testing.assert_array_equal(strip, wanted[:, rows])
        done = rows.stop
    assert done == height * scale


@dataclass(frozen=True)
class Failing(BuiltinUpsampler):
    """An upsampler that fails after its first strip."""

    def strips(self, lr, margin=0):  # type: ignore[no-untyped-def]
        yield next(super().strips(lr, margin))
        raise ValueError("sizes do not match")


def test_a_failing_upsampler_is_not_taken_for_a_full_disk(source: Path) -> None:
    with rasterio.open(source, "r+") as dataset:
        dataset.write(np.ones((3, 4000, 4000), np.uint16))
    failing = Failing("bicubic", 4)
    plan = plan_upscale(str(source), source.parent / "sr.tif", failing, UpscaleConfig())
    begin(plan)
    with pytest.raises(UpscaleError, match=r"failed at block 0 .*sizes do not match") as caught:
        run_block(plan, plan.blocks[0], failing)
    assert caught.value.facts.get("cause") != "disk"
    assert not any((plan.folder / "blocks").iterdir())
