"""The shift between any two rasters: what a user of a GIS asks for."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from geo.alignment import Alignment
from geo.errors import GridError
from geo.raster_shift import align_rasters, pixel_metres


def write_satellite(rasters: ModuleType, folder: Path, world: Any) -> str:
    lr = np.rint(world.lr).astype("uint16")
    return str(rasters.write(folder / "lr.tif", lr, world.lr_grid, nodata=0))


def assert_shift(found: Alignment, dy: float, dx: float) -> None:
    assert found.accepted, found
    assert np.hypot(found.dy_px - dy, found.dx_px - dx) < 0.05, found


def test_any_two_rasters(rasters: ModuleType, tmp_path: Path, world: Any, aerial: str) -> None:
    href = write_satellite(rasters, tmp_path, world)
    found, metres_yx = align_rasters(aerial, href)
    assert_shift(found, world.dy, world.dx)
    assert metres_yx == pytest.approx((10, 10), rel=2e-3)


def test_common_names_choose_the_bands(rasters: ModuleType, tmp_path: Path, world: Any) -> None:
    """Bands are compared by name: in another order, beside bands of something else."""
    other = np.random.default_rng(0).normal(size=(1, *world.hr.shape[1:])).astype(np.float32)
    there = rasters.write(
        tmp_path / "hr.tif",
        np.concatenate([other, world.hr[[2, 0]]]),
        world.hr_grid,
        bands=("height", "blue", "red"),
    )
    here = rasters.write(
        tmp_path / "lr.tif", world.lr, world.lr_grid, bands=("red", "green", "blue")
    )
    found, _ = align_rasters(there, here)
    assert_shift(found, world.dy, world.dx)
    np.testing.assert_allclose(found.gains, (world.gains[0], world.gains[2]), rtol=0.05)


def test_no_common_ground(rasters: ModuleType, tmp_path: Path, world: Any, aerial: str) -> None:
    away = rasters.write(tmp_path / "a.tif", world.lr, world.lr_grid.translate_pix(900, 0))
    with pytest.raises(GridError, match="share no ground"):
        align_rasters(aerial, away)


def test_a_turned_target(rasters: ModuleType, tmp_path: Path, world: Any, aerial: str) -> None:
    turned = rasters.write(tmp_path / "a.tif", world.lr, rasters.upside_down(world.lr_grid))
    with pytest.raises(GridError, match="wanted north up"):
        align_rasters(aerial, turned)


@pytest.mark.parametrize(
    ("crs", "left", "top", "size", "metres_yx"),
    [
        ("EPSG:32633", 500_000, 5_300_000, 10.0, (10.0, 10.0)),
        ("EPSG:3857", 0, 0, 10.0, (9.933, 10.0)),
        ("EPSG:3857", 0, 8_399_738, 10.0, (5.004, 5.009)),  # 60 N: half as large
        ("EPSG:4326", 0, 0, 1e-3, (110.574, 111.320)),  # a degree of latitude, of longitude
        ("EPSG:4326", 0, 60, 1e-3, (111.412, 55.800)),
    ],
)
def test_pixels_in_metres_on_the_ground(
    rasters: ModuleType,
    crs: str,
    left: float,
    top: float,
    size: float,
    metres_yx: tuple[float, float],
) -> None:
    grid = rasters.grid((2, 2), crs=crs, left=left, top=top, size=size)
    assert pixel_metres(grid) == pytest.approx(metres_yx, rel=1e-3)


@pytest.mark.slow
def test_a_stated_shift_between_two_real_scenes(shared_data: Path) -> None:
    """AROSICS corrects its own pair of Sentinel-2 scenes by x -0.64 and y 1.77 px (sd 0.1)."""
    folder = shared_data / "pairs" / "arosics_s2_s2"
    found, _ = align_rasters(*(str(next(folder.glob(f"{name}_*.jp2"))) for name in ("ref", "tgt")))
    assert found.accepted
    # A correction is the content's displacement turned round.
    assert (found.dy_px, found.dx_px) == pytest.approx((-1.77, 0.64), abs=0.15)
