"""A glance at the values of a region, also of one that cannot be read everywhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from geo.errors import SourceError
from geo.region_source import raster_source
from geo.value_range import ValueSample, sample_values
from tests.geo import rasters

EDGE = 512


def write(path: Path, value: int = 700, **profile: object) -> str:
    image = np.full((2, EDGE, EDGE), value, np.uint16)
    return rasters.write(path, image, rasters.grid((EDGE, EDGE)), nodata=0, **profile)


def keep_rows(path: Path, share: float) -> None:
    """Cut a raster of uncompressed strips off behind a share of its rows."""
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])


def test_the_median_and_the_largest_number_are_told(tmp_path: Path) -> None:
    seen = sample_values(raster_source(write(tmp_path / "a.tif")))
    assert seen == ValueSample(median=700, largest_possible=65535)


def test_holes_tell_nothing(tmp_path: Path) -> None:
    assert sample_values(raster_source(write(tmp_path / "a.tif", value=0))) is None


def test_windows_that_cannot_be_read_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    source = raster_source(write(path, interleave="pixel"))
    keep_rows(path, 0.5)
    seen = sample_values(source)
    assert seen is not None
    assert seen.median == 700


def test_a_region_that_cannot_be_read_at_all_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    source = raster_source(write(path, interleave="pixel"))
    keep_rows(path, 0.01)
    with pytest.raises(SourceError, match="reading failed"):
        sample_values(source)
