"""Where a raster lies, where it has pixels, and how fine they are on the ground."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from geo.catalog.footprint import ground_gsd_m, lonlat_footprint, valid_footprint
from geo.catalog.sources import read_scenes
from geo.errors import SourceError
from geo.raster_io import inspect_raster


def placed(geobox: GeoBox, rows: Any, cols: Any) -> Any:
    """Positions in pixels as lon/lat points, by PROJ alone."""
    a = geobox.affine
    x, y = a.a * cols + a.b * rows + a.c, a.d * cols + a.e * rows + a.f
    project = Transformer.from_crs(str(geobox.crs), "EPSG:4326", always_xy=True)
    return shapely.points(*project.transform(x, y))


class TestFootprint:
    def footprint(self, rasters: ModuleType, path: Path, valid: Any, **options: Any) -> Any:
        """Footprint of a raster that is valid where told, and the same drawn pixel by pixel."""
        geobox = rasters.grid(valid.shape, size=10.0)
        image = np.where(valid, 100, 0).astype("uint16")[None]
        info = inspect_raster(rasters.write(path, image, geobox, nodata=0, **options))
        rows, cols = np.nonzero(valid)
        return valid_footprint(info), placed(geobox, rows + 0.5, cols + 0.5), geobox

    def swath(self, shape: tuple[int, int]) -> Any:
        """Valid to the left of an oblique edge, as Sentinel-2's tiles at the rim of an orbit."""
        rows, cols = np.indices(shape)
        return cols < shape[1] * 0.7 - rows * 0.4

    @pytest.mark.parametrize("shape", [(60, 80), (700, 900), (2048, 1024)])
    def test_an_oblique_swath_edge_is_followed(
        self, rasters: ModuleType, tmp_path: Path, shape: tuple[int, int]
    ) -> None:
        valid = self.swath(shape)
        found, points, geobox = self.footprint(rasters, tmp_path / "a.tif", valid, tiled=True)
        frame = lonlat_footprint(geobox, "")
        assert found.area / frame.area == pytest.approx(
            valid.mean(), abs=0.04 if min(shape) < 100 else 0.015
        )
        sample = np.random.default_rng(0).choice(len(points), 500)
        assert shapely.contains(found, points[sample]).mean() > 0.998
        assert shapely.get_num_coordinates(found) < 60
        assert found.within(frame.buffer(1e-4)), "no further than a pixel"

    @settings(
        max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(st.data())
    def test_any_valid_part_is_covered(
        self, rasters: ModuleType, tmp_path: Path, data: st.DataObject
    ) -> None:
        shape = (40, 50)
        valid = np.zeros(shape, bool)
        for _ in range(data.draw(st.integers(1, 3))):
            top, left = data.draw(st.integers(0, 36)), data.draw(st.integers(0, 46))
            valid[top : top + data.draw(st.integers(3, 30)), left : left + 8] = True
        found, points, _ = self.footprint(rasters, tmp_path / "any.tif", valid)
        assert found.is_valid
        assert shapely.covers(found.buffer(1e-7), points).all()

    def test_specks_are_no_part_and_no_hole(self, rasters: ModuleType, tmp_path: Path) -> None:
        valid = np.ones((200, 200), bool)
        valid[:, :60] = False
        valid[100, 150] = False
        valid[20, 10] = True
        found, _, _ = self.footprint(rasters, tmp_path / "a.tif", valid)
        assert found.geom_type == "Polygon"
        assert len(found.interiors) == 0

    def test_black_beyond_an_image_that_tells_no_nodata(
        self, rasters: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        image = np.full((3, 200, 200), 90, "uint8")
        image[:, :, :80] = 0
        image[0] = 0  # one dark band is no nodata
        geobox = rasters.grid((200, 200))
        info = inspect_raster(rasters.write(tmp_path / "a.tif", image, geobox))
        frame = lonlat_footprint(geobox, "")
        assert valid_footprint(info).area / frame.area == pytest.approx(0.6, abs=0.02)
        monkeypatch.setattr("geo.catalog.footprint._CHEAP_BYTES", 1000)
        assert valid_footprint(info).equals(frame), "not looked for where it is dear"

    @pytest.mark.parametrize("kind", ["nodata", "nan", "mask"])
    def test_a_raster_without_a_valid_pixel_is_refused(
        self, rasters: ModuleType, tmp_path: Path, kind: str
    ) -> None:
        image = np.full((1, 30, 30), np.nan if kind == "nan" else 0, "float32")
        options: dict[str, Any] = {
            "nodata": {"nodata": 0},
            "mask": {"mask": np.zeros((30, 30), bool)},
        }
        rasters.write(
            tmp_path / "a_20230815.tif", image, rasters.grid((30, 30)), **options.get(kind, {})
        )
        scenes, (refusal,) = read_scenes(str(tmp_path))
        assert (scenes, refusal.reason) == ([], "nodata")
        assert "no pixel of it is valid" in refusal.detail

    def test_a_large_raster_costs_a_bounded_time(self, rasters: ModuleType, tmp_path: Path) -> None:
        """Sparse, without overviews: 900 million pixels of which some rows are looked at."""
        side = 30_000
        grid = rasters.grid((side, side), size=1.0)
        path = tmp_path / "a_20230815.tif"
        with rasterio.open(
            path, "w", driver="GTiff", width=side, height=side, count=1, dtype="uint16", nodata=0,
            crs=str(grid.crs), transform=grid.affine, tiled=True, compress="deflate",
            SPARSE_OK=True,
        ) as file:  # fmt: skip
            window = rasterio.windows.Window(0, 0, 256, side)
            file.write(np.full((1, side, 256), 9, "uint16"), window=window)
        start = time.perf_counter()
        (scene,), _ = read_scenes(str(path))
        assert time.perf_counter() - start < 10
        share = scene.footprint.area / lonlat_footprint(grid, "").area
        assert share == pytest.approx(256 / side, abs=0.012)

    def test_real_swath_edges(self, shared_data: Path, tmp_path: Path) -> None:
        """A real Sentinel-2 tile at the rim of its orbit, against its publisher's outline."""
        source = next((shared_data / "satellite/s2_tiles_with_stac").glob("S2A*"))
        record = json.loads(next(source.glob("*.json")).read_text())
        with rasterio.open(source / "B04.tif") as file:
            image = file.read(1)
        properties = record["properties"]
        # The tile's own grid, thinned: the file has lost it.
        left, top = record["assets"]["red"]["proj:transform"][2::3][:2]
        step = 109_800 / image.shape[0]
        geobox = GeoBox(
            image.shape,
            rasterio.Affine(step, 0, left, 0, -step, top),
            f"EPSG:{properties['proj:epsg']}",
        )
        path = tmp_path / "tile_20230815.tif"
        with rasterio.open(
            path, "w", driver="GTiff", height=image.shape[0], width=image.shape[1], count=1,
            dtype="uint16", nodata=0, crs=str(geobox.crs), transform=geobox.affine,
        ) as file:  # fmt: skip
            file.write(image, 1)
        (scene,), _ = read_scenes(str(path))
        told = shapely.geometry.shape(record["geometry"])
        shared = scene.footprint.intersection(told).area / scene.footprint.union(told).area
        assert shared > 0.97


class TestPlace:
    @pytest.mark.parametrize(
        ("crs", "left", "top", "size", "gsd"),
        [
            ("EPSG:32633", 500_000, 5_300_000, 10, 10),
            ("EPSG:3857", 9_400_000, 3_200_000, 0.2986, 0.2986 * np.cos(np.radians(27.6))),
            ("EPSG:3395", 9_400_000, 3_200_000, 1.0, np.cos(np.radians(27.7))),
            ("EPSG:4326", 15.0, 60.0, 1e-4, 11.13 * np.sqrt(np.cos(np.radians(60)))),
            ("EPSG:2056", 2_683_000, 1_248_000, 0.5, 0.5),
            ("EPSG:2263", 980_000, 200_000, 1.0, 0.3048),  # feet
        ],
    )
    def test_pixel_size_is_on_the_ground_in_metres(
        self, rasters: ModuleType, crs: str, left: float, top: float, size: float, gsd: float
    ) -> None:
        geobox = rasters.grid((100, 100), crs=crs, left=left, top=top, size=size)
        assert ground_gsd_m(geobox) == pytest.approx(gsd, rel=0.005)
        turned = rasters.grid((100, 100), crs=crs, left=left, top=top, size=size, rotation=30)
        if crs != "EPSG:4326":
            assert ground_gsd_m(turned) == pytest.approx(gsd, rel=0.005)
        assert ground_gsd_m(rasters.upside_down(geobox)) == ground_gsd_m(geobox)

    def test_ground_across_the_antimeridian_is_in_two_parts(self, rasters: ModuleType) -> None:
        geobox = rasters.grid((100, 200), crs="EPSG:32660", left=700_000, top=5_500_000, size=1000)
        found = lonlat_footprint(geobox, "")
        assert len(found.geoms) == 2
        west, _, east, _ = found.bounds
        assert (west, east) == (-180, 180)
        rows, cols = np.mgrid[5:100:10, 5:200:10]
        points = placed(geobox, rows.ravel(), cols.ravel())
        assert shapely.covers(found, points).all()
        outside = placed(geobox, np.array([-20.0, 120.0]), np.array([100.0, 100.0]))
        assert not shapely.covers(found, outside).any()

    def test_real_rasters_on_the_antimeridian_and_of_the_whole_world(
        self, shared_data: Path
    ) -> None:
        odd = shared_data / "odd"
        across = inspect_raster(str(odd / "riotiler_cog_dateline.tif")).geobox
        found = lonlat_footprint(across, "")
        assert found.geom_type == "MultiPolygon"
        assert found.area < 20, "not a belt around the Earth"
        world = lonlat_footprint(inspect_raster(str(odd / "rasterio_world.byte.tif")).geobox, "")
        assert world.bounds == (-180, -75, 180, 75)

    def test_longitudes_from_0_to_360(self, rasters: ModuleType) -> None:
        geobox = rasters.grid((10, 40), crs="EPSG:4326", left=170.0, top=5.0, size=0.5)
        found = lonlat_footprint(geobox, "")
        assert found.bounds == (-180, 0, 180, 5)
        assert found.area == pytest.approx(100)

    def test_ground_around_a_pole(self, rasters: ModuleType) -> None:
        geobox = rasters.grid((100, 100), crs="EPSG:3413", left=-500_000, top=500_000, size=10_000)
        found = lonlat_footprint(geobox, "")
        rows, cols = np.mgrid[5:100:10, 5:100:10]
        assert shapely.covers(found, placed(geobox, rows.ravel(), cols.ravel())).all()
        assert found.bounds[1] > 80

    @pytest.mark.parametrize(("left", "top"), [(500.0, 30.0), (-700.0, 30.0), (10.0, 300.0)])
    def test_no_place_on_earth(self, rasters: ModuleType, left: float, top: float) -> None:
        geobox = rasters.grid((10, 10), crs="EPSG:4326", left=left, top=top, size=1.0)
        with pytest.raises(SourceError, match="no place in lon/lat") as caught:
            lonlat_footprint(geobox, "a.tif")
        assert caught.value.facts["cause"] == "no_georeference"
