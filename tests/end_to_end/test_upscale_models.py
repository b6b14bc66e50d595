"""``skyscale upscale`` with models that do not fit the imagery, or are broken."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch

from models.generators.base import Generator
from tests.end_to_end.upscaling import (
    BLOCK,
    BLOCKS,
    SIDE,
    edit_card,
    folder_of,
    make_generator,
    marked,
    upscale,
    write_source,
)
from tests.geo.cogs import assert_same_picture

pytestmark = pytest.mark.slow


SHAPE = (2, SIDE * BLOCK, SIDE * BLOCK)


@pytest.mark.parametrize(
    ("dtype", "value", "data_range", "trained"),
    [
        # A picture of 0 to 255 for a network of reflectances, and the other way round.
        ("uint8", 128, 10_000.0, "around 1200 (spread 500, reflectance 1 at 10000)"),
        ("uint16", 3000, 255.0, "around 30.6 (spread 12.8, reflectance 1 at 255)"),
    ],
)
def test_imagery_of_another_radiometry_is_refused_before_anything_is_written(
    services: Path, tmp_path: Path, dtype: str, value: int, data_range: float, trained: str
) -> None:
    source = write_source(tmp_path / "lr_20240105.tif", np.full(SHAPE, value, dtype))
    model = make_generator(tmp_path / "model", data_range=data_range)
    there = sorted(tmp_path.iterdir())
    complaint = upscale(source, tmp_path / "sr.tif", model).complaint
    assert f"{source} has values around {value} ({dtype})" in complaint
    assert f"{model} was trained on values {trained}" in complaint
    assert "bring the source to that range first, or take a model that was" in complaint
    assert sorted(tmp_path.iterdir()) == there


def hold_nan(generator: Generator) -> None:
    next(generator.detail.parameters()).data.view(-1)[0] = torch.nan


def test_weights_that_hold_nan_are_refused_before_anything_is_written(
    services: Path, tmp_path: Path
) -> None:
    source = write_source(tmp_path / "lr_20240105.tif")
    model = make_generator(tmp_path / "model", hold_nan)
    there = sorted(tmp_path.iterdir())
    complaint = upscale(source, tmp_path / "sr.tif", model).complaint
    assert f"{model}/generator.safetensors: detail.0.weight holds values that are not" in complaint
    assert "take another version or train it again" in complaint
    assert sorted(tmp_path.iterdir()) == there


def test_a_card_that_lies_about_the_scale_is_refused_before_anything_is_written(
    services: Path, tmp_path: Path
) -> None:
    source = write_source(tmp_path / "lr_20240105.tif")
    model = make_generator(tmp_path / "model")
    edit_card(model, scale=4)
    there = sorted(tmp_path.iterdir())
    complaint = upscale(source, tmp_path / "sr.tif", model).complaint
    assert "has shape (128, 8, 3, 3), the architecture and scale in generator.json" in complaint
    assert "want (32, 8, 3, 3); take both files as they were written together" in complaint
    assert sorted(tmp_path.iterdir()) == there


def overflow(generator: Generator) -> None:
    """Nothing of nothing, and infinity of anything else."""
    for parameter in generator.detail.parameters():
        parameter.data.fill_(1e30 if parameter.ndim > 1 else 0)


def test_blocks_in_which_a_network_overflows_are_listed_and_a_mended_one_begins_anew(
    services: Path, tmp_path: Path
) -> None:
    image = np.zeros(SHAPE, np.uint16)
    image[:, BLOCK + 30 : BLOCK + 40, 2 * BLOCK + 30 : 2 * BLOCK + 40] = 500
    source, output = write_source(tmp_path / "lr_20240105.tif", image), tmp_path / "sr.tif"
    model = make_generator(tmp_path / "model", overflow, mean=0.0, spread=1.0)
    broken = upscale(source, output, model)
    assert broken.failed == {SIDE + 2}
    complaint = broken.complaint
    assert f"1 of {BLOCKS} blocks failed" in complaint
    assert "made NaN or infinite values at block 6 (rows 64-127, cols 128-191)" in complaint
    assert f"{BLOCKS - 1} are finished and kept" in complaint
    assert marked(output) == set(range(BLOCKS)) - broken.failed
    assert not output.exists()
    # In the same folder, seen by a process that has the broken one in memory.
    make_generator(model, mean=0.0, spread=1.0)
    mended = upscale(source, output, model)
    assert mended.done_before == 0
    assert "model or settings are not those of the work found here; anew" in mended.said
    assert not folder_of(output).exists()
    alone = tmp_path / "alone.tif"
    assert upscale(source, alone, model).done_before == 0
    assert_same_picture(output, alone)
    with rasterio.open(output) as dataset:
        assert dataset.read(1, window=((600, 900), (1100, 1500))).any()
