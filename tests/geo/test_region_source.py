"""A raster as the source of a region: its own pixels, the same in any window; holes where told."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from scipy import ndimage

from geo.area import area_mask, lonlat_to_xy, project_area, window_of
from geo.catalog.aoi import read_aoi
from geo.catalog.scene import Mask
from geo.errors import BandError, GridError, SourceError
from geo.fixed_cells import cells_over
from geo.quality import screen_masks
from geo.raster_io import BandRef, read_window
from geo.region_source import RasterSource, raster_source, source_from_dict
from tests.geo import rasters
from tests.geo.mosaics import lonlat_of

SHAPE = (300, 330)  # more than one cell


def windows(shape: tuple[int, int] = SHAPE) -> st.SearchStrategy[tuple[slice, slice]]:
    def span(length: int) -> st.SearchStrategy[slice]:
        ends = st.lists(st.integers(0, length), min_size=2, max_size=2, unique=True).map(sorted)
        return ends.map(lambda pair: slice(*pair))

    return st.tuples(span(shape[0]), span(shape[1]))


def whole(source: Any) -> Any:
    height, width = source.geobox.shape.yx
    return source.read(slice(0, height), slice(0, width))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A raster with nodata; classes on a grid whose edges run through the raster's pixels."""
    folder = tmp_path_factory.mktemp("raster")
    rng = np.random.default_rng(3)
    data = rng.integers(1, 4000, (3, *SHAPE), dtype=np.uint16)
    data[:, 40:60, 200:280] = 0
    rasters.write(folder / "a.tif", data, rasters.grid(SHAPE), nodata=0, bands=("r", "g", "b"))
    rasters.write(folder / "untold.tif", data, rasters.grid(SHAPE), bands=("r", "g", "b"))
    classes = rng.choice([4, 4, 4, 4, 4, 4, 9, 3, 0], (1, 160, 180)).astype(np.uint8)
    # Centres of the raster's pixels lie on the edges of these.
    scl_grid = rasters.grid((160, 180), size=20.0, left=500_005.0 - 20, top=5_299_995.0 + 20)
    rasters.write(folder / "scl.tif", classes, scl_grid, nodata=0)
    return folder


@pytest.fixture(scope="module")
def hard(folder: Path) -> RasterSource:
    """Everything that a source may do at once."""
    tilted = shapely.Polygon([(-20, 30), (200, -15), (320, 130), (290, 310), (100, 250)])
    source = raster_source(
        [BandRef(href=str(folder / "untold.tif"), index=i, offset_dn=-100) for i in (3, 1)],
        ("b", "r"),
        masks=[Mask(href=str(folder / "scl.tif"), kind="scl")],
        aoi=lonlat_of(rasters.grid(SHAPE), tilted),
    )
    return replace(source, zeros_are_holes=True)


class TestAnyWindow:
    @settings(
        max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(data=st.data())
    def test_gives_the_same_pixels(self, hard: RasterSource, data: st.DataObject) -> None:
        rows, cols = data.draw(windows(hard.geobox.shape.yx))
        all_of_it = whole(hard)
        assert 0.1 < all_of_it.valid.mean() < 0.9
        got = hard.read(rows, cols)
        np.testing.assert_array_equal(got.data, all_of_it.data[:, rows, cols])
        np.testing.assert_array_equal(got.valid, all_of_it.valid[rows, cols])

    @given(window=windows(), corner=st.tuples(st.integers(-600, 600), st.integers(-600, 600)))
    def test_is_covered_by_cells_exactly_once(
        self, window: tuple[slice, slice], corner: tuple[int, int]
    ) -> None:
        grid = rasters.grid(SHAPE, left=10.0 * corner[0], top=10.0 * corner[1])
        rows, cols = window
        count = np.zeros((rows.stop - rows.start, cols.stop - cols.start), int)
        for cell in cells_over(grid, rows, cols, 64):
            count[cell.place] += 1
            here = grid[rows, cols][cell.place]
            assert cell.geobox[cell.inside] == here
            assert cell.geobox.affine.c % 640 == cell.geobox.affine.f % 640 == 0
        assert (count == 1).all()


class TestPixels:
    def test_are_the_files_own(self, folder: Path) -> None:
        source = raster_source(str(folder / "a.tif"), ("b", "r"))
        assert source.bands == ("b", "r")
        assert source.dtype == "uint16"
        assert not source.adds_holes
        got, want = whole(source), read_window(str(folder / "a.tif"), slice(0, 300), slice(0, 330))
        np.testing.assert_array_equal(got.data, want.data[[2, 0]])
        np.testing.assert_array_equal(got.valid, want.valid)
        assert source.take([1]).bands == ("r",)

    def test_masks_make_holes_with_their_rim(self, folder: Path) -> None:
        mask = Mask(href=str(folder / "scl.tif"), kind="scl")
        plain = raster_source(str(folder / "a.tif"))
        source = raster_source(str(folder / "a.tif"), masks=[mask])
        assert source.adds_holes
        assert source.hrefs == (str(folder / "a.tif"), str(folder / "scl.tif"))
        # A hair's breadth beside the edges of the mask's pixels, no centre lies on one.
        beside = source.geobox.translate_pix(1e-7, 1e-7)
        screen = screen_masks([mask], beside)
        want = whole(plain).valid & screen.clear & screen.known
        got = whole(replace(source, geobox=beside)).valid
        np.testing.assert_array_equal(got, want)
        assert 0.05 < want.mean() < 0.95

    def test_an_offset_is_added_where_there_is_ground(self, folder: Path) -> None:
        href = str(folder / "untold.tif")
        source = raster_source([BandRef(href=href, index=1, offset_dn=-1000)], ("r",))
        stored = read_window(href, slice(0, 300), slice(0, 330)).data[:1]
        got = whole(replace(source, zeros_are_holes=True))
        hole = np.zeros(SHAPE, bool)
        hole[40:60, 200:280] = True
        hole = ndimage.binary_dilation(hole, iterations=4)  # its edge may be frayed
        np.testing.assert_array_equal(got.valid, ~hole)
        want = np.maximum(stored.astype(int) - 1000, 0)
        np.testing.assert_array_equal(got.data[:, ~hole], want[:, ~hole])


class TestArea:
    @pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:3857", "EPSG:4326", "EPSG:3035"])
    def test_the_region_is_the_rasters_own_pixels_within_its_bounds(
        self, tmp_path: Path, crs: str
    ) -> None:
        small = rasters.grid((60, 70)).to_crs(crs)
        grid = GeoBox((60, 70), small.affine, crs)
        data = np.arange(1, 60 * 70 + 1, dtype=np.uint16).reshape(1, 60, 70)
        href = rasters.write(tmp_path / "a.tif", data, grid)
        polygon = shapely.Polygon([(10.4, 20.5), (50.5, 12.6), (33.3, 47.2)])
        source = raster_source(href, aoi=lonlat_of(grid, polygon))
        rows, cols = slice(12, 48), slice(10, 51)
        assert source.geobox.shape == (36, 41)
        assert source.corner_yx == (12, 10)
        got = whole(source)
        np.testing.assert_array_equal(got.data, data[:, rows, cols])
        boxes = shapely.box(*np.meshgrid(np.arange(10, 51), np.arange(12, 48)), *np.meshgrid(
            np.arange(11, 52), np.arange(13, 49)
        ))  # fmt: skip
        inner = shapely.intersects(polygon.buffer(-0.02), boxes)
        outer = shapely.intersects(polygon.buffer(0.02), boxes)
        assert (got.valid >= inner).all()
        assert (got.valid <= outer).all()

    def test_a_turned_raster_keeps_its_pixels(self, tmp_path: Path) -> None:
        grid = rasters.grid((60, 70), rotation=25)
        data = np.arange(60 * 70, dtype=np.uint16).reshape(1, 60, 70)
        href = rasters.write(tmp_path / "a.tif", data, grid)
        source = raster_source(href, aoi=lonlat_of(grid, shapely.box(20.5, 10.5, 39.5, 29.5)))
        assert source.geobox == grid[10:30, 20:40]
        got = whole(source)
        assert got.valid.all()
        np.testing.assert_array_equal(got.data, data[:, 10:30, 20:40])

    def test_it_may_reach_beyond_the_raster(self, folder: Path) -> None:
        source = raster_source(str(folder / "a.tif"), aoi=read_aoi("10,40,20,60"))
        assert source.geobox == rasters.grid(SHAPE)
        assert (whole(source).valid == whole(raster_source(str(folder / "a.tif"))).valid).all()

    def test_beside_the_raster_it_is_refused(self, folder: Path) -> None:
        with pytest.raises(SourceError, match="does not reach the area") as caught:
            raster_source(str(folder / "a.tif"), aoi=read_aoi("10,40,11,41"))
        assert caught.value.facts["cause"] == "no_overlap"

    @pytest.mark.parametrize("crs", ["EPSG:32660", "EPSG:4326", "EPSG:3857"])
    def test_across_the_antimeridian_it_is_one_piece(self, crs: str) -> None:
        area = read_aoi("179.9,-17,-179.9,-16.9")
        assert area.bounds == (-180, -17, 180, -16.9)
        middle = lonlat_to_xy(
            np.array([179.99]), np.array([-16.95]), GeoBox((1, 1), Affine.identity(), crs)
        )
        size = 1e-4 if crs == "EPSG:4326" else 10.0
        affine = Affine(size, 0, middle[0][0], 0, -size, middle[1][0])
        grid = GeoBox((40, 50), affine, crs)
        there = project_area(area, grid)
        assert there.bounds[2] - there.bounds[0] < 5000 * size
        rows, cols = window_of(there, grid)
        assert area_mask(there, grid, slice(0, 40), slice(0, 50)).all()
        assert rows.start < 0 < 40 < rows.stop
        assert cols.start < 0 < 50 < cols.stop

    def test_out_of_reach_of_the_crs_it_is_refused(self) -> None:
        grid = GeoBox((9, 9), Affine(10, 0, 5e5, 0, -10, 0), "EPSG:32633")
        with pytest.raises(GridError, match="beyond what EPSG:32633 can show"):
            project_area(shapely.box(100, -1, 110, 1), grid)


class TestAsData:
    def test_it_survives_json_and_pickle(self, hard: RasterSource) -> None:
        assert source_from_dict(json.loads(json.dumps(hard.to_dict()))) == hard
        assert pickle.loads(pickle.dumps(hard)) == hard

    def test_an_unknown_kind_is_refused(self) -> None:
        with pytest.raises(ValueError, match="wanted raster or mosaic"):
            source_from_dict({"kind": "video"})


class TestWhatIsWrong:
    def test_bands_of_two_grids(self, folder: Path) -> None:
        refs = [BandRef(href=str(folder / name), index=1) for name in ("a.tif", "scl.tif")]
        with pytest.raises(GridError, match="wanted bands of one grid"):
            raster_source(refs)

    def test_a_band_that_is_not_there(self, folder: Path) -> None:
        with pytest.raises(BandError, match="no band nir"):
            raster_source(str(folder / "a.tif"), ("nir",))

    def test_names_that_do_not_fit(self, folder: Path) -> None:
        with pytest.raises(BandError, match="2 names"):
            raster_source([BandRef(href=str(folder / "a.tif"), index=1)], ("a", "b"))

    def test_a_window_beyond_the_region(self, hard: RasterSource) -> None:
        height, width = hard.geobox.shape.yx
        with pytest.raises(SourceError, match="the region has"):
            hard.read(slice(0, height + 1), slice(0, width))

    def test_a_file_that_has_gone(self, folder: Path, tmp_path: Path) -> None:
        path = tmp_path / "gone.tif"
        path.write_bytes((folder / "a.tif").read_bytes())
        source = raster_source(str(path))
        path.unlink()
        with pytest.raises(SourceError, match="no such file"):
            source.read(slice(0, 9), slice(0, 9))
