"""The grid of a mosaic: that of its scenes, or one that all are brought to; and its area."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox

from geo.catalog.aoi import read_aoi
from geo.catalog.scene import Scene
from geo.mosaic_plan import plan_mosaic
from tests.geo import rasters
from tests.geo.mosaics import (
    ALL,
    DAY_0,
    GRID,
    compose,
    flat,
    lonlat,
    order,
    plan,
    write_scene,
)


class TestOneLattice:
    def test_pixels_are_taken_as_they_are(self, tmp_path: Path) -> None:
        """Two tiles that overlap, the second off by whole pixels."""
        rng = np.random.default_rng(1)
        ground = rng.integers(1, 9999, (2, 90, 100), dtype=np.uint16)
        west, east = (slice(0, 60), slice(0, 70)), (slice(20, 90), slice(50, 100))
        grid = rasters.grid((90, 100))
        scenes = [
            write_scene(tmp_path, name, ground[:, *part], grid[part])
            for name, part in (("west", west), ("east", east))
        ]
        source = plan(scenes).source
        assert source.geobox == grid
        assert source.dtype == "uint16"
        got = compose(source)
        seen = np.zeros((90, 100), bool)
        seen[west], seen[east] = True, True
        np.testing.assert_array_equal(got.pixels.valid, seen)
        np.testing.assert_array_equal(got.pixels.data, np.where(seen, ground, 0))
        assert all(scene.corner_yx is not None for scene in source.scenes)

    def test_bands_come_in_the_order_asked_for(self, tmp_path: Path) -> None:
        scenes = [write_scene(tmp_path, n, flat(GRID, 7), GRID, days=d) for d, n in enumerate("ab")]
        source = plan_mosaic(scenes, ("nir", "red")).source
        assert source.bands == ("nir", "red")
        assert compose(source).pixels.data[:, 0, 0].tolist() == [70, 7]


class TestZones:
    """Images whose pixels are their places, so that every pixel tells whether it lies right."""

    def test_another_zone_is_resampled_onto_the_first(self, tmp_path: Path) -> None:
        truth = rasters.grid((200, 260), left=700_000.0)  # at the edge of zone 33
        own = truth[:, :170]
        other = _other_zone(truth[:, 140:], "EPSG:32634")
        scenes = [
            _place_scene(tmp_path, "own", own, truth),
            _place_scene(tmp_path, "other", other, truth),
        ]
        source = plan(scenes, lonlat(truth, slice(5, 195), slice(5, 250)), near=DAY_0).source
        assert str(source.geobox.crs) == "EPSG:32633"
        got = compose(source)
        assert _corner(source.geobox, truth) == pytest.approx(
            [round(v) for v in _corner(source.geobox, truth)], abs=1e-9
        )
        want = _places(source.geobox, truth)
        error = np.abs(got.pixels.data - want).max(axis=0)
        own_pixels = got.scene == 1 + order(source).index("own")
        other_pixels = got.scene == 1 + order(source).index("other")
        assert error[own_pixels].max() == 0
        assert error[other_pixels].max() < 0.1
        assert own_pixels.sum() > 24_000
        assert other_pixels.sum() > 10_000
        assert got.pixels.valid[2:-2, 2:-2].all()

    @pytest.mark.parametrize("crs", ["EPSG:32634", "EPSG:3035", "EPSG:4326"])
    def test_the_crs_can_be_chosen(self, tmp_path: Path, crs: str) -> None:
        truth = rasters.grid((90, 120), left=700_000.0)
        scenes = [_place_scene(tmp_path, "a", truth, truth)]
        source = plan(scenes, lonlat(truth, slice(20, 60), slice(20, 90)), crs=crs).source
        assert str(source.geobox.crs) == crs
        got = compose(source)
        want = rasters.positions_in(truth, source.geobox)
        assert got.pixels.valid.mean() > 0.7
        assert np.abs(got.pixels.data - want).max(axis=0)[got.pixels.valid].max() < 0.1

    def test_the_pixel_size_can_be_chosen(self, tmp_path: Path) -> None:
        truth = rasters.grid((90, 120))
        scenes = [_place_scene(tmp_path, "a", truth, truth)]
        source = plan(scenes, gsd_m=20).source
        assert (source.geobox.affine.a, source.geobox.affine.e) == (20, -20)
        got = compose(source)
        want = rasters.positions_in(truth, source.geobox)
        assert np.abs(got.pixels.data - want).max(axis=0)[got.pixels.valid].max() < 0.1
        assert got.pixels.valid.mean() > 0.8  # a warp has no edge

    def test_the_lattice_that_shows_most_is_the_mosaics(self, tmp_path: Path) -> None:
        truth = rasters.grid((100, 100))
        part, most = truth[:, :30].translate_pix(0.5, 0.5), truth[:, 20:]
        scenes = [
            write_scene(tmp_path, "part", flat(part, 3), part),
            write_scene(tmp_path, "most", flat(most, 4), most, days=99, cloud=0.3),
        ]
        source = plan(scenes).source
        assert source.geobox.affine.c % 10 == source.geobox.affine.f % 10 == 0
        assert {s.id: s.corner_yx is None for s in source.scenes} == {"part": True, "most": False}

    @pytest.mark.parametrize("crs", ["EPSG:32760", "EPSG:32701", "EPSG:4326"])
    def test_across_the_antimeridian(self, tmp_path: Path, crs: str) -> None:
        """Tiles of both zones, and of both ends of the longitudes, at one place in Fiji."""
        west = GeoBox((150, 150), Affine(10, 0, 818_100, 0, -10, 8_119_100), "EPSG:32760")
        east = _other_zone(west.translate_pix(90, 0), "EPSG:32701")
        if crs == "EPSG:4326":
            west = GeoBox((150, 150), Affine(1e-4, 0, 179.988, 0, -1e-4, -16.99), crs)
            east = GeoBox((150, 150), Affine(1e-4, 0, -180 + 0.0022, 0, -1e-4, -16.99), crs)
        scenes = [
            write_scene(tmp_path, "west", flat(west, 3, "float32"), west, nodata=None),
            write_scene(tmp_path, "east", flat(east, 4, "float32"), east, nodata=None, days=1),
        ]
        area = read_aoi("179.993,-17.003,-179.991,-16.992")
        source = plan(scenes, area, crs=crs, near=DAY_0).source
        assert max(source.geobox.shape) < 400
        got = compose(source)
        assert got.pixels.valid.mean() > 0.9
        shares = source.count_scenes(got.scene)[1:] / got.scene.size
        assert shares.min() > 0.1
        value = np.where(got.scene == 1 + order(source).index("west"), 3, 4)
        near = np.abs(got.pixels.data[0] - value)[got.pixels.valid]
        assert near.max() < 0.01


def _other_zone(grid: GeoBox, crs: str) -> GeoBox:
    """A north-up grid of 10 m in another zone around a grid."""
    there = grid.to_crs(crs)
    left, top = np.floor(there.boundingbox.left / 10) * 10, np.ceil(there.boundingbox.top / 10) * 10
    size = max(grid.shape) + 20
    return GeoBox((size, size), Affine(10, 0, left, 0, -10, top), crs)


def _places(grid: GeoBox, truth: GeoBox) -> Any:
    return rasters.positions_in(truth, grid)


def _corner(grid: GeoBox, truth: GeoBox) -> Any:
    return list(~truth.affine @ (grid.affine.c, grid.affine.f))


def _place_scene(folder: Path, name: str, grid: GeoBox, truth: GeoBox) -> Scene:
    data = _places(grid, truth).astype(np.float32)
    return write_scene(folder, name, data, grid, nodata=None)


class TestArea:
    def test_only_pixels_that_it_touches_are_valid(self, tmp_path: Path) -> None:
        scenes = [write_scene(tmp_path, n, flat(GRID, 7), GRID, days=d) for d, n in enumerate("ab")]
        corners = lonlat(GRID, slice(10, 50), slice(20, 60)).exterior.coords
        triangle = shapely.Polygon(list(corners)[:3])
        west, south, east, north = lonlat(GRID, slice(10, 50), slice(20, 60)).bounds
        triangle = shapely.Polygon([(west, south), (east, south), (west, north)])
        got = compose(plan(scenes, triangle).source)
        share = got.pixels.valid.mean()
        assert 0.5 < share < 0.55
        assert got.pixels.valid[-2, 2]
        assert not got.pixels.valid[2, -2]

    def test_outlines_with_spikes_do_no_harm(self, tmp_path: Path) -> None:
        """Mending a ring that goes out and back on one line leaves the line beside the polygon."""
        west, south, east, north = lonlat(GRID, *ALL).bounds
        spiked = shapely.make_valid(
            shapely.Polygon(
                [(west, south), (east, south), (east + 1, south), (east, south), (east, north),
                 (west, north)]
            )
        )  # fmt: skip
        assert spiked.geom_type == "GeometryCollection"
        scenes = [
            write_scene(tmp_path, n, flat(GRID, 7), GRID, footprint=spiked, days=d)
            for d, n in enumerate("ab")
        ]
        source = plan(scenes, spiked).source
        assert max(source.geobox.shape) < 100
        assert compose(source).pixels.valid.sum() == 60 * 80
        assert compose(plan(scenes).source).pixels.valid.sum() == 60 * 80

    def test_the_grid_reaches_over_its_bounds_whatever_scenes_show(self, tmp_path: Path) -> None:
        scenes = [write_scene(tmp_path, n, flat(GRID, 7), GRID, days=d) for d, n in enumerate("ab")]
        wide = rasters.grid((100, 120), left=500_000 - 200, top=5_300_000 + 200)
        source = plan(scenes, lonlat(wide, slice(0, 100), slice(0, 120))).source
        assert source.geobox.shape[0] >= 100
        assert source.geobox.shape[1] >= 120
        assert compose(source).pixels.valid.sum() == 60 * 80
