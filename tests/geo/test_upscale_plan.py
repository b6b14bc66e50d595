"""What is planned before a pixel is drawn: bands, what cannot be, how a plan travels."""

from __future__ import annotations

import json
import math
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from geo.errors import BandError, SourceError, UpscaleError
from geo.raster_io import BandRef
from geo.region_source import raster_source
from geo.upscale import (
    BuiltinUpsampler,
    UpsamplerFacts,
    UpscaleConfig,
    UpscalePlan,
    plan_upscale,
)
from geo.upscale_plan import OUTPUT_DTYPES
from tests.geo.upscales import TILE, random_raster, read_all, run, write_lr


def facts_of(*bands: str) -> UpsamplerFacts:
    return UpsamplerFacts(name="net", scale=4, halo=9, bands=bands or None)


@pytest.fixture
def named(tmp_path: Path) -> str:
    data = random_raster(6, "uint16", (4, 6, 7), 0.0)
    return write_lr(tmp_path / "lr.tif", data, bands=("blue", "green", "red", "nir"))


@pytest.fixture
def nameless(tmp_path: Path) -> str:
    return write_lr(tmp_path / "lr.tif", random_raster(6, "uint16", (2, 6, 7), 0.0))


def test_bands_are_taken_by_name_in_the_models_order(named: str, tmp_path: Path) -> None:
    plan = plan_upscale(named, tmp_path / "o.tif", facts_of("red", "green"))
    assert plan.source.bands == ("red", "green")
    assert [ref.index for ref in plan.source.reference] == [3, 2]
    plan = plan_upscale(named, tmp_path / "o.tif", facts_of("B08", "B02"), bands=("nir", "blue"))
    assert [ref.index for ref in plan.source.reference] == [4, 1]
    plan = plan_upscale(named, tmp_path / "o.tif", facts_of())
    assert [ref.index for ref in plan.source.reference] == [1, 2, 3, 4]


def test_bands_without_names_are_taken_by_count(nameless: str, tmp_path: Path) -> None:
    plan = plan_upscale(nameless, tmp_path / "o.tif", facts_of("red", "green"))
    assert [ref.index for ref in plan.source.reference] == [1, 2]
    with pytest.raises(BandError, match=r"band1, band2; net wants red, green, blue"):
        plan_upscale(nameless, tmp_path / "o.tif", facts_of("red", "green", "blue"))


def test_wrong_bands_are_refused(named: str, tmp_path: Path) -> None:
    output = tmp_path / "o.tif"
    with pytest.raises(BandError, match="has bands blue, green, red, nir; net wants B04, B03"):
        plan_upscale(named, output, facts_of("B04", "B03"))
    with pytest.raises(BandError, match="no band swir; it has blue, green, red, nir"):
        plan_upscale(named, output, facts_of(), bands=("red", "swir"))
    with pytest.raises(BandError, match=r"got 1 bands \(red\); net wants 2"):
        plan_upscale(named, output, facts_of("red", "green"), bands=("red",))
    with pytest.raises(BandError, match="wants them in the order red, green"):
        plan_upscale(named, output, facts_of("red", "green"), bands=("green", "red"))


def test_bands_of_several_files(tmp_path: Path) -> None:
    data = random_raster(7, "uint16", (2, 9, 8), 0.1)
    refs = [
        BandRef(href=write_lr(tmp_path / f"{i}.tif", data[i : i + 1], nodata=0), index=1)
        for i in range(2)
    ]
    upsampler = BuiltinUpsampler("nearest", 2)
    region = raster_source(refs, ("red", "nir"))
    plan = plan_upscale(region, tmp_path / "sr.tif", upsampler)
    got, _ = read_all(run(plan, upsampler))
    np.testing.assert_array_equal(got, data.repeat(2, 1).repeat(2, 2))
    assert plan.source.bands == ("red", "nir")
    by_name = replace(UpsamplerFacts.of(upsampler), bands=("nir",))
    plan = plan_upscale(region, tmp_path / "sr.tif", by_name)
    assert plan.source.reference == (refs[1],)


def test_a_plan_travels(named: str, tmp_path: Path) -> None:
    plan = plan_upscale(named, tmp_path / "o.tif", facts_of("red", "green"))
    assert pickle.loads(pickle.dumps(plan)) == plan
    assert UpscalePlan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan
    floats = write_lr(tmp_path / "f.tif", np.ones((1, 3, 3), np.float32), nodata=math.nan)
    plan = plan_upscale(floats, tmp_path / "o.tif", facts_of())
    again = UpscalePlan.from_dict(json.loads(json.dumps(plan.to_dict(), allow_nan=False)))
    assert again.fingerprint == plan.fingerprint
    assert math.isnan(again.profile.fill)


def test_a_dry_run_tells_the_facts_and_writes_nothing(named: str, tmp_path: Path) -> None:
    plan = plan_upscale(
        named, tmp_path / "o.tif", facts_of(), UpscaleConfig(block_lr_px=4, tile_px=TILE)
    )
    summary = plan.summary()
    assert summary["blocks"] == 4
    assert summary["output_shape"] == [4, 24, 28]
    assert summary["estimated_bytes"] == 4 * 24 * 28 * 2
    assert [p.name for p in tmp_path.iterdir()] == ["lr.tif"]


def test_what_cannot_be_planned(named: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such file"):
        plan_upscale(str(tmp_path / "none.tif"), tmp_path / "o.tif", facts_of())
    with pytest.raises(UpscaleError, match="is the source itself"):
        plan_upscale(named, Path(named), facts_of())
    wide = write_lr(tmp_path / "wide.tif", np.ones((1, 3, 3), np.int32))
    with pytest.raises(UpscaleError, match="holds int32"):
        plan_upscale(wide, tmp_path / "o.tif", facts_of())
    with pytest.raises(ValueError, match="block_lr_px is 0"):
        UpscaleConfig(block_lr_px=0)
    with pytest.raises(ValueError, match=", ".join(OUTPUT_DTYPES)):
        UpscaleConfig(dtype="int64")
    with pytest.raises(ValueError, match="scale is 0"):
        BuiltinUpsampler("nearest", 0)
