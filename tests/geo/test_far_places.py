"""Pairs from places where longitudes jump and grids are turned: found, aligned, cut in place."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import CRS, Transformer

from geo.align import align_source
from geo.alignment import read_aligned
from geo.catalog.folder import lonlat_footprint
from geo.catalog.scene import Asset, Scene
from geo.decisions import PairingRules
from geo.match import MatchRules, match_scenes
from geo.pairing import align_pair, cells_of, inspect_pair
from geo.sensor import degrade

SCALE = 4
DAY = datetime(2023, 8, 15, 10, tzinfo=UTC)
DY, DX = 0.4, -0.7
RULES = PairingRules(bands=("band1", "band2", "band3"), lr_size=16)


def grid_about(
    lon: float, lat: float, crs: str, shape: tuple[int, int], metres: float, turned: float = 0.0
) -> GeoBox:
    """Grid with its middle at a place; pixels of about so many metres on the ground."""
    x, y = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(lon, lat)
    geographic = CRS(crs).is_geographic
    if geographic:
        x = lon  # as asked for: it may lie beyond 180
    size = metres / 111_320 if geographic else metres
    if crs == "EPSG:3857":
        size = metres / np.cos(np.radians(lat))
    centre = Affine.translation(x, y) @ Affine.rotation(turned) @ Affine.scale(size, -size)
    return GeoBox(shape, centre @ Affine.translation(-shape[1] / 2, -shape[0] / 2), crs)


# Place, CRS and turn of the aerial image, CRS of the satellite's.
PLACES = {
    "antimeridian, zone 1 on zone 60": (180.0, 2.0, "EPSG:32601", 0.0, "EPSG:32660"),
    "antimeridian, lon/lat on zone 60": (180.0, 1.0, "EPSG:4326", 0.0, "EPSG:32660"),
    "antimeridian, zone 1 on lon/lat": (-180.0, 1.0, "EPSG:32601", 0.0, "EPSG:4326"),
    "lon/lat satellite, south-up aerial": (15.2, 3.0, "EPSG:32633", 180.0, "EPSG:4326"),
    "web mercator satellite, turned aerial": (14.6, 47.9, "EPSG:32633", 14.0, "EPSG:3857"),
    "neighbouring zones, far north": (18.0, 66.0, "EPSG:32634", 0.0, "EPSG:32633"),
}


def scene(name: str, href: str, grid: GeoBox) -> Scene:
    assets = {"d": Asset(href=href, roles=("data",))}
    return Scene(id=name, time=DAY, footprint=lonlat_footprint(grid, href), assets=assets)


@pytest.mark.parametrize("place", PLACES)
def test_pairs_are_found_and_lie_where_they_should(
    rasters: ModuleType, tmp_path: Path, place: str
) -> None:
    lon, lat, aerial_crs, turned, satellite_crs = PLACES[place]
    aerial_grid = grid_about(lon, lat, aerial_crs, (960, 960), 2.5, turned)
    satellite_grid = grid_about(lon, lat, satellite_crs, (168, 168), 10.0)
    # The truth is drawn on the refined satellite grid; the aerial image is that, looked up by PROJ.
    fine = satellite_grid.pad(24).zoom_out(1 / SCALE)
    truth = 120 + 20 * rasters.ground(fine.shape.yx, seed=3, finest_px=5.0)
    aerial = rasters.resampled(truth, fine, aerial_grid)
    seen = degrade(rasters.moved(truth, DY * SCALE, DX * SCALE), SCALE)[:, 24:-24, 24:-24]
    lr = np.rint(10 * seen + 200).astype("uint16")
    satellite = scene(
        "sat", rasters.write(tmp_path / "lr.tif", lr, satellite_grid, nodata=0), satellite_grid
    )
    photo = scene("air", rasters.write(tmp_path / "hr.tif", aerial, aerial_grid), aerial_grid)
    [candidate], refused = match_scenes([satellite], [photo], MatchRules())
    assert refused == []
    pair = inspect_pair(candidate, RULES)
    found = align_pair(pair, RULES)
    assert found.accepted
    assert np.hypot(found.dy_px - DY, found.dx_px - DX) < 0.05
    assert len(cells_of(pair, RULES)) > 12
    inner = satellite_grid[70:94, 70:94]
    got = read_aligned(pair.aerial, inner.zoom_out(1 / SCALE), found, scale=SCALE)
    offset = (24 + 70) * SCALE
    window = slice(offset, offset + 24 * SCALE)
    wanted = (10 * rasters.moved(truth, DY * SCALE, DX * SCALE) + 200)[:, window, window]
    assert got.valid.all()
    error: Any = np.abs(got.data - wanted).mean() / wanted.std()
    assert error < 0.1
    # Half an LR pixel aside it would be several times that.
    aside = read_aligned(
        pair.aerial, inner.zoom_out(1 / SCALE).translate_pix(2, 0), found, scale=SCALE
    )
    assert np.abs(aside.data - wanted).mean() / wanted.std() > 2 * error


def test_registration_of_a_source_by_its_own_pixels(rasters: ModuleType, tmp_path: Path) -> None:
    """One raster against itself has no shift, wherever it lies."""
    grid = rasters.grid((96, 96), crs="EPSG:3413", size=10.0, left=-2e5, top=-9e5)
    image = 100 + 20 * rasters.ground((96, 96), seed=1)
    href = rasters.write(tmp_path / "polar.tif", image, grid)
    found = align_source(href, grid, href, area=(slice(0, 96), slice(0, 96)))
    assert found.reason in (None, "poor_colour_fit")
    assert np.hypot(found.dy_px, found.dx_px) < 0.02
