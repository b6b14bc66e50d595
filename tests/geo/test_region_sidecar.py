"""What an output was made of, told beside it where its tags cannot."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import shapely

from geo.catalog.asset import Mask
from geo.region_sidecar import read_source, sidecar_path, write_source
from geo.region_source import RasterSource, raster_source
from tests.geo import mosaics, rasters


@pytest.fixture
def plain(tmp_path: Path) -> RasterSource:
    """One whole raster."""
    image = np.ones((2, 60, 80), np.uint16)
    return raster_source(rasters.write(tmp_path / "lr.tif", image, mosaics.GRID))


def test_a_whole_raster_is_told_by_the_tags_and_an_older_tale_goes(
    plain: RasterSource, tmp_path: Path
) -> None:
    output = tmp_path / "out.tif"
    assert write_source(replace(plain, zeros_are_holes=True), output) == sidecar_path(output)
    assert write_source(plain, output) is None
    assert read_source(str(output)) is None
    assert not sidecar_path(output).exists()


@pytest.mark.parametrize("what", ["mask", "area", "files"])
def test_what_tags_cannot_say_comes_back_as_it_was(
    plain: RasterSource, tmp_path: Path, what: str
) -> None:
    other = rasters.write(tmp_path / "b.tif", np.ones((1, 60, 80), np.uint16), mosaics.GRID)
    changes = {
        "mask": {"masks": (Mask(href=other, kind="scl"),)},
        "area": {"area": shapely.box(500_000, 5_299_500, 500_300, 5_300_000)},
        "files": {"refs": (plain.refs[0], replace(plain.refs[1], href=other, index=1))},
    }
    source = replace(plain, **changes[what])
    output = tmp_path / "out.tif"
    write_source(source, output)
    assert read_source(str(output)) == source


def test_a_damaged_tale_is_none(tmp_path: Path) -> None:
    output = tmp_path / "out.tif"
    sidecar_path(output).write_text('{"kind": "mosaic"')
    assert read_source(str(output)) is None
    sidecar_path(output).write_text('{"kind": "dream"}')
    assert read_source(str(output)) is None
