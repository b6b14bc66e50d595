"""Odd CRS, odd orientations and the far ends of the world, with PROJ alone as the oracle."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from geo.raster_io import Pixels
from geo.warp import warp_to

# Of an LR pixel, were the target HR at scale 4: a quarter of what is asked for.
NEAR_LR_PX = 0.025
SCALE = 4
TARGET_M = 2.5

Place = tuple[float, float]  # longitude, latitude
ALPS, NORTH, FIJI, CHUKOTKA = (8.2, 46.8), (21.0, 69.0), (180.0, -17.0), (180.0, 68.5)
UPRIGHT = Affine.identity()
TURNED = Affine.rotation(33)
SHEARED = Affine.shear(14, -5)
SOUTH_UP = Affine.scale(1, -1)
WEST_UP = Affine(0, 1, 0, 1, 0, 0)

SOURCES: dict[str, tuple[str, Place, Affine]] = {
    "own zone": ("EPSG:32632", ALPS, UPRIGHT),
    "neighbouring zone": ("EPSG:32633", ALPS, UPRIGHT),
    "neighbouring zone, south-up": ("EPSG:32631", ALPS, SOUTH_UP),
    "turned": ("EPSG:32632", ALPS, TURNED),
    "sheared": ("EPSG:32632", ALPS, SHEARED),
    "rows run east": ("EPSG:32632", ALPS, WEST_UP),
    "lon/lat": ("EPSG:4326", ALPS, UPRIGHT),
    "lon/lat, south-up, turned": ("EPSG:4326", ALPS, TURNED @ SOUTH_UP),
    "web mercator far north": ("EPSG:3857", NORTH, UPRIGHT),
    "world mercator far north": ("EPSG:3395", NORTH, UPRIGHT),
    "lon/lat far north": ("EPSG:4326", NORTH, UPRIGHT),
    "polar stereographic": ("EPSG:3413", NORTH, UPRIGHT),
    "swiss": ("EPSG:2056", ALPS, UPRIGHT),
    "swiss, turned": ("EPSG:2056", ALPS, TURNED),
    "equal area": ("EPSG:3035", ALPS, UPRIGHT),
    "lon/lat beyond 180": ("EPSG:4326", FIJI, UPRIGHT),
    "lon/lat beyond -180": ("EPSG:4326", (-180.0, -17.0), UPRIGHT),
    "zone 60 over 180": ("EPSG:32760", FIJI, UPRIGHT),
    "zone 1 over 180": ("EPSG:32701", FIJI, UPRIGHT),
    "web mercator beyond 180": ("EPSG:3857", FIJI, UPRIGHT),
    "web mercator beyond -180": ("EPSG:3857", (-180.0, 68.5), UPRIGHT),
    "polar stereographic at 180": ("EPSG:3413", CHUKOTKA, UPRIGHT),
}
TARGETS = {
    ALPS: ("EPSG:32632", "EPSG:32633", "EPSG:3857"),
    NORTH: ("EPSG:32634", "EPSG:32633", "EPSG:4326"),
    FIJI: ("EPSG:32760", "EPSG:32701", "EPSG:4326"),
    CHUKOTKA: ("EPSG:32660", "EPSG:32601", "EPSG:3857"),
}


def grid_at(place: Place, crs: str, metres: float, pixels: int, turn: Affine = UPRIGHT) -> GeoBox:
    """Square grid about a place with pixels of so many metres on the ground; x is not wrapped."""
    lon, lat = place
    project = Transformer.from_crs("EPSG:4326", crs, always_xy=True)
    # Measured a little inside the hemisphere, so that nothing wraps between the points.
    inner = lon - np.sign(lon) * 0.01 if abs(lon) == 180 else lon
    x, y = project.transform(
        [inner, inner + metres / 111_320 / np.cos(np.radians(lat)), inner],
        [lat, lat, lat + metres / 111_320],
    )
    per_metre = np.hypot(x[1] - x[0], y[1] - y[0]), np.hypot(x[2] - x[0], y[2] - y[0])
    if crs == "EPSG:4326":
        middle = (lon, lat)
    elif crs in ("EPSG:3857", "EPSG:3395"):
        middle = (np.radians(lon) * 6378137.0, y[0])
    else:
        middle = project.transform(lon, lat)
    affine = Affine.translation(*middle) @ turn @ Affine.scale(per_metre[0], -per_metre[1])
    return GeoBox((pixels, pixels), affine @ Affine.translation(-pixels / 2, -pixels / 2), crs)


def true_positions(
    source: GeoBox, target: GeoBox, displacement_yx: npt.NDArray[np.floating] | None = None
) -> npt.NDArray[np.float64]:
    """Where PROJ says that target pixels lie in the source: column, row, [2, H, W]."""
    rows, cols = np.indices(target.shape.yx) + 0.5
    if displacement_yx is not None:
        rows, cols = rows + displacement_yx[0], cols + displacement_yx[1]
    x, y = target.affine @ (cols, rows)
    x, y = Transformer.from_crs(str(target.crs), str(source.crs), always_xy=True).transform(x, y)
    turn = {"EPSG:4326": 360.0, "EPSG:3857": 2 * np.pi * 6378137.0}.get(str(source.crs))
    if turn:
        middle = (source.affine @ (source.shape.x / 2, source.shape.y / 2))[0]
        x = x - turn * np.round((x - middle) / turn)
    return np.stack(~source.affine @ (x, y))


def smooth_displacement(shape: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Up to six HR pixels either way, over about a hundred."""
    rows, cols = np.indices(shape)
    down = 3 + 3 * np.sin(2 * np.pi * cols / 100) * np.cos(2 * np.pi * rows / 130)
    right = -2 + 3 * np.cos(2 * np.pi * rows / 90)
    return np.stack([down, right]).astype(np.float32)


def assert_in_place(
    got: Pixels, want: npt.NDArray[np.float64], source: GeoBox, ratio: float, reach: float
) -> None:
    """Valid pixels hold their true position; pixels well inside are valid, those outside never."""
    error_lr_px = np.abs(got.data - want).max(axis=0)[got.valid] / ratio / SCALE
    assert error_lr_px.size
    assert error_lr_px.max() < NEAR_LR_PX
    beyond = max(reach * max(1.0, ratio), 2)
    inside = ((want > beyond) & (want < source.shape.x - beyond)).all(axis=0)
    outside = ((want < 0) | (want > source.shape.x)).any(axis=0)
    assert got.valid[inside].all()
    assert not got.valid[outside].any()
    assert not got.data[:, ~got.valid].any()


@pytest.mark.parametrize("ratio", [1, 3, 8])
@pytest.mark.parametrize("kind", SOURCES)
def test_pixels_land_where_proj_says(
    rasters: ModuleType, tmp_path: Path, kind: str, ratio: int
) -> None:
    crs, place, turn = SOURCES[kind]
    pixels = 48 if ratio > 1 else 120
    source = grid_at(place, crs, TARGET_M / ratio, pixels * ratio, turn)
    href = rasters.write(tmp_path / "a.tif", rasters.positions(source), source)
    home = TARGETS.get(place) or TARGETS[FIJI if place[1] < 0 else CHUKOTKA]
    for target_crs in home:
        target = grid_at(place, target_crs, TARGET_M, pixels + 16)
        for displacement in (None, smooth_displacement(target.shape.yx)):
            got = warp_to(href, target, displacement_yx=displacement)
            want = true_positions(source, target, displacement)
            assert_in_place(got, want, source, ratio, reach=4)


@pytest.mark.parametrize("left", [0.0, -180.0])
@pytest.mark.parametrize("target_crs", TARGETS[FIJI])
def test_whole_world_rasters_at_their_seam(
    rasters: ModuleType, tmp_path: Path, left: float, target_crs: str
) -> None:
    """Longitudes from 0 to 360 have no seam at 180; from -180 to 180 only its rim is lost."""
    source = GeoBox((80, 18000), Affine(0.02, 0, left, 0, -0.02, -16.2), "EPSG:4326")
    href = rasters.write(tmp_path / "a.tif", rasters.positions(source), source)
    target = grid_at(FIJI, target_crs, 2200.0, 40)
    got = warp_to(href, target)
    want = true_positions(source, target)
    error = np.abs(got.data - want).max(axis=0)
    assert error[got.valid].max() < 0.1
    seam = 10 if left else 0  # meridians lean in the outer parts of a zone
    assert got.valid.all(axis=0).sum() >= target.shape.x - seam


def test_a_constant_displacement_is_a_moved_grid(rasters: ModuleType, tmp_path: Path) -> None:
    source = rasters.grid((300, 310), size=1.25)
    pixels = 1000 + 200 * rasters.ground((300, 310), seed=3, finest_px=6.0)
    href = rasters.write(tmp_path / "a.tif", pixels, source)
    for target in (source.zoom_out(2)[20:110, 25:115], source.zoom_out(1.0)[40:240, 50:250]):
        for dy, dx in ((0.4, -0.7), (3.25, 2.0)):
            shift = np.empty((2, *target.shape.yx), np.float32)
            shift[0], shift[1] = dy, dx
            displaced = warp_to(href, target, displacement_yx=shift)
            moved = warp_to(href, target.translate_pix(dx, dy))
            both = displaced.valid & moved.valid
            assert both.mean() > 0.95
            error: Any = (displaced.data - moved.data)[:, both]
            assert np.sqrt(np.mean(error**2)) < 0.01 * 200
