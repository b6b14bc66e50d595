"""Blocks as tasks of a Dask cluster."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from flows.errors import UsageError
from flows.registry import ModelSource
from flows.upscale_work import UpsamplerRequest, _run_task, _Task, load_upsampler
from geo.upscale import UpscaleConfig, begin, finished_blocks, plan_upscale
from tests.geo import rasters


def test_a_task_that_is_handed_out_again_computes_only_what_is_not_finished(tmp_path: Path) -> None:
    """As Dask does with the task of a worker that died."""
    lr = np.arange(1, 2 * 48 * 64 + 1, dtype=np.uint16).reshape(2, 48, 64)
    source = rasters.write(tmp_path / "lr.tif", lr, rasters.grid((48, 64)))
    request = UpsamplerRequest(model=ModelSource(uri="bicubic", folder=None))
    config = UpscaleConfig(block_lr_px=16, tile_px=64)
    plan = plan_upscale(source, tmp_path / "sr.tif", load_upsampler(request), config)
    begin(plan)

    def files() -> dict[str, tuple[int, int]]:
        stats = {p.name: p.stat() for p in (plan.folder / "blocks").iterdir()}
        return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in stats.items()}

    _run_task(_Task(plan=plan, blocks=(0, 1, 2), request=request))
    before = files()
    outcomes = _run_task(_Task(plan=plan, blocks=(0, 1, 2, 3), request=request))
    assert [(o.index, o.error) for o in outcomes] == [(n, None) for n in range(4)]
    assert finished_blocks(plan) == {0, 1, 2, 3}
    after = files()
    assert {name: after[name] for name in before} == before


def test_draws_are_of_networks() -> None:
    request = UpsamplerRequest(model=ModelSource(uri="bicubic", folder=None), draws=8)
    with pytest.raises(UsageError, match="draws is 8, but bicubic has no dropout: leave draws out"):
        load_upsampler(request)
