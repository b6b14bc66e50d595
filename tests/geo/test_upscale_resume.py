"""What is left when an upsampler, a source or a process fails, and who takes it up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from geo.errors import UpscaleError
from geo.upscale import (
    BuiltinUpsampler,
    UpscaleConfig,
    begin,
    finish,
    finished_blocks,
    plan_upscale,
    run_block,
)
from tests.geo.cogs import assert_same_picture
from tests.geo.upsamplers import Crooked
from tests.geo.upscales import NETWORK, SCALE, TILE, random_raster, read_all, run, upscale, write_lr


@dataclass(frozen=True)
class Broken(Crooked):
    """Gives nonsense where a pixel is 9000."""

    scale: int = SCALE
    kind: str = "nan"

    def __call__(self, lr: np.ndarray, /) -> np.ndarray:
        sr = super().__call__(lr)
        if lr.max() >= 9000:
            return sr[:, 1:] if self.kind == "shape" else np.where(sr > 0, np.nan, sr)
        return sr


@pytest.mark.parametrize(("kind", "message"), [("nan", "NaN or infinite"), ("shape", "wanted")])
def test_a_model_that_gives_nonsense(tmp_path: Path, kind: str, message: str) -> None:
    data = np.full((1, 8, 12), 100, np.uint16)
    data[0, 2, 10] = 9000
    source = write_lr(tmp_path / "lr.tif", data)
    broken = Broken(kind=kind)
    plan = plan_upscale(
        source, tmp_path / "sr.tif", broken, UpscaleConfig(block_lr_px=4, tile_px=TILE)
    )
    begin(plan)
    run_block(plan, plan.blocks[0], broken)
    with pytest.raises(UpscaleError, match=message) as caught:
        run_block(plan, plan.blocks[2], broken)
    assert "block 2 (rows 0-3, cols 8-11)" in str(caught.value)
    assert caught.value.facts["block"] == 2
    assert finished_blocks(plan) == {0}
    with pytest.raises(UpscaleError, match="5 of 6 blocks"):
        finish(plan)
    assert not (tmp_path / "sr.tif").exists()
    # A model of the same name that is sound takes up the work.
    assert begin(plan).finished == {0}
    for block in plan.blocks[1:]:
        run_block(plan, block, NETWORK)
    finish(plan)


def test_blocks_without_data_are_not_computed(tmp_path: Path) -> None:
    data = np.zeros((1, 8, 8), np.uint16)
    data[0, 0, 0] = 5
    source = write_lr(tmp_path / "lr.tif", data, nodata=0)
    calls = []

    class Counting(Crooked):
        def __call__(self, lr: np.ndarray, /) -> np.ndarray:
            calls.append(lr.shape)
            return super().__call__(lr)

    counting, config = Counting(scale=SCALE), UpscaleConfig(block_lr_px=4, tile_px=TILE)
    plan = plan_upscale(source, tmp_path / "sr.tif", counting, config)
    begin(plan)
    results = [run_block(plan, block, counting) for block in plan.blocks]
    assert calls == [(1, 8, 8)]
    assert [r.valid_fraction for r in results] == [1 / 16, 0, 0, 0]


def test_a_changed_source_or_upsampler_is_never_mixed_in(tmp_path: Path) -> None:
    data = random_raster(8, "uint16", (1, 16, 16), 0.0)
    source = write_lr(tmp_path / "lr.tif", data)
    nearest = BuiltinUpsampler("nearest", 2)
    config = UpscaleConfig(block_lr_px=4, tile_px=TILE)
    plan = plan_upscale(source, tmp_path / "sr.tif", nearest, config)
    assert begin(plan).state == "new"
    run_block(plan, plan.blocks[0], nearest)
    with pytest.raises(UpscaleError, match="the plan is for"):
        run_block(plan, plan.blocks[1], BuiltinUpsampler("bicubic", 2))

    write_lr(tmp_path / "lr.tif", data + 1)
    for block in plan.blocks[1:]:
        run_block(plan, block, nearest)
    with pytest.raises(UpscaleError, match="has changed while it was upscaled"):
        finish(plan)
    plan = plan_upscale(source, tmp_path / "sr.tif", nearest, config)
    assert begin(plan).state == "discarded"
    got, _ = read_all(run(plan, nearest))
    np.testing.assert_array_equal(got, (data + 1).repeat(2, 1).repeat(2, 2))


_SLOW_RUN = """
import sys, time
from dataclasses import dataclass
from pathlib import Path
from geo.upscale import *

@dataclass(frozen=True)
class Slow(BuiltinUpsampler):
    def __call__(self, lr):
        with open({log!r}, "a") as log:
            log.write(".")
        time.sleep({delay})
        return super().__call__(lr)

upsampler = Slow("bicubic", 4)
config = UpscaleConfig(block_lr_px=12, tile_px=16)
plan = plan_upscale({source!r}, Path({output!r}), upsampler, config)
finished = begin(plan).finished
print(len(finished), flush=True)
for block in plan.blocks:
    if block.index not in finished:
        run_block(plan, block, upsampler)
finish(plan)
"""


def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    data = random_raster(9, "uint16", (3, 60, 47), 0.2)
    source = write_lr(tmp_path / "lr.tif", data, nodata=0)
    undisturbed = upscale(source, tmp_path / "a.tif", BuiltinUpsampler("bicubic", 4), 12)
    output, log = tmp_path / "b.tif", tmp_path / "calls"
    blocks = 5 * 4

    def start(delay: float) -> subprocess.Popen[str]:
        script = _SLOW_RUN.format(source=source, output=str(output), log=str(log), delay=delay)
        root = Path(__file__).resolve().parents[2]
        return subprocess.Popen(
            [sys.executable, "-c", script], cwd=root, stdout=subprocess.PIPE, text=True
        )

    process = start(delay=0.1)
    done = tmp_path / "b.tif.skyscale" / "done"
    deadline = time.monotonic() + 60
    while not (done.is_dir() and len(list(done.glob("*[0-9]"))) >= 7):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not output.exists()
    done_before = sum(name.isdigit() for name in os.listdir(done))
    calls_before = len(log.read_text())
    assert 7 <= done_before <= calls_before < blocks

    process = start(delay=0.0)
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert int(printed) == done_before
    assert len(log.read_text()) - calls_before == blocks - done_before
    assert_same_picture(output, undisturbed)
    assert not done.parent.exists()
