"""Several scenes as one region: which pixel comes from which scene, and why."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from geo.catalog.aoi import read_aoi
from geo.catalog.scene import Scene
from geo.errors import CatalogError, SourceError
from geo.mosaic import MosaicSource
from geo.mosaic_plan import MosaicPlan, MosaicRules, plan_mosaic
from geo.region_source import source_from_dict
from tests.geo import rasters
from tests.geo.mosaics import (
    BANDS,
    CLEAR,
    CLOUD,
    DAY_0,
    SHADOW,
    flat,
    lonlat,
    lonlat_of,
    write_scene,
)

GRID = rasters.grid((60, 80))


def plan(scenes: Sequence[Scene], aoi: Any = None, **rules: Any) -> MosaicPlan:
    return plan_mosaic(scenes, BANDS, aoi=aoi, rules=MosaicRules(**rules))


def compose(source: MosaicSource) -> Any:
    height, width = source.geobox.shape.yx
    return source.compose(slice(0, height), slice(0, width))


def order(source: MosaicSource) -> list[str]:
    return [scene.id for scene in source.scenes]


def reasons(refused: MosaicPlan) -> dict[str, str]:
    return {refusal.id: refusal.reason for refusal in refused.refusals}


def classes(grid: GeoBox = GRID, **blocks: tuple[slice, slice]) -> Any:
    """Clear ground with blocks of other classes: ``cloud=(rows, cols)``."""
    scl = np.full(grid.shape.yx, CLEAR)
    for name, block in blocks.items():
        scl[block] = {"cloud": CLOUD, "shadow": SHADOW, "nothing": 0}[name]
    return scl


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


class TestClouds:
    @pytest.fixture
    def scenes(self, tmp_path: Path) -> list[Scene]:
        left = (slice(10, 30), slice(5, 25))
        return [
            write_scene(tmp_path, "a", flat(GRID, 1), GRID, scl=classes(cloud=left)),
            write_scene(
                tmp_path, "b", flat(GRID, 2), GRID, days=30,
                scl=classes(cloud=(slice(20, 60), slice(0, 80))),
            ),
        ]  # fmt: skip

    def test_become_holes_that_the_next_scene_fills(self, scenes: list[Scene]) -> None:
        source = plan(scenes).source
        assert order(source) == ["a", "b"]
        got = compose(source)
        cloud = np.zeros(GRID.shape.yx, bool)
        cloud[10:30, 5:25] = True
        core = np.zeros_like(cloud)
        core[10:18, 5:25] = True  # clear in the other scene
        assert (got.scene[cloud & core] == 2).all()
        assert (got.scene[22:28, 7:23] == 0).all()  # clouds in both
        assert not got.pixels.valid[22:28, 7:23].any()
        assert (got.scene[~_grown(cloud, 2)] == 1).all()
        np.testing.assert_array_equal(got.pixels.data[0], got.scene)
        np.testing.assert_array_equal(got.pixels.data[1], 10 * got.scene)
        np.testing.assert_array_equal(got.pixels.valid, got.scene > 0)

    def test_the_rim_belongs_to_the_cloud(self, scenes: list[Scene]) -> None:
        got = compose(plan(scenes).source)
        assert got.scene[8, 10] == got.scene[9, 10] == 2
        assert got.scene[7, 10] == 1

    def test_shadows_too(self, tmp_path: Path) -> None:
        shadow = (slice(40, 50), slice(40, 50))
        scenes = [
            write_scene(tmp_path, "a", flat(GRID, 1), GRID, scl=classes(shadow=shadow)),
            write_scene(
                tmp_path, "b", flat(GRID, 2), GRID, scl=classes(cloud=(slice(0, 30), slice(0, 80)))
            ),
        ]
        got = compose(plan(scenes).source)
        assert (got.scene[shadow] == 2).all()
        assert got.pixels.valid.all()

    def test_ground_that_nobody_saw_stays_a_hole(self, tmp_path: Path) -> None:
        data = flat(GRID, 5)
        data[:, 20:30, 20:40] = 0
        scenes = [write_scene(tmp_path, n, data, GRID, days=d) for d, n in enumerate("ab")]
        got = compose(plan(scenes).source)
        hole = np.zeros(GRID.shape.yx, bool)
        hole[20:30, 20:40] = True
        np.testing.assert_array_equal(got.pixels.valid, ~hole)
        assert (got.pixels.data[:, hole] == 0).all()


def _grown(mask: Any, by: int) -> Any:
    from scipy import ndimage

    return ndimage.binary_dilation(mask, iterations=by)


class TestOrder:
    def test_least_cloud_then_nearest_date(self, tmp_path: Path) -> None:
        def scene(name: str, share: float, days: float) -> Scene:
            rows = round(share * GRID.shape.y)
            scl = classes(cloud=(slice(0, rows), slice(0, 80)))
            return write_scene(tmp_path, name, flat(GRID, 1), GRID, scl=scl, days=days)

        scenes = [
            scene("clear, far", 0, 40),
            scene("nearly clear, near", 0.03, 1),
            scene("some cloud, near", 0.2, 0),
            scene("overcast", 0.9, 0),
            scene("clear, farther", 0, -60),
        ]
        wanted = [
            "nearly clear, near",
            "clear, far",
            "clear, farther",
            "some cloud, near",
            "overcast",
        ]
        assert order(plan(scenes, near=DAY_0).source) == wanted
        assert order(plan(scenes[::-1], near=DAY_0).source) == wanted

    def test_without_a_date_the_clearest_scene_sets_it(self, tmp_path: Path) -> None:
        scenes = [
            write_scene(tmp_path, name, flat(GRID, 1), GRID, days=days, cloud=cloud)
            for name, days, cloud in [("a", 0, 0.3), ("b", 50, 0.0), ("c", 90, 0.3), ("d", 55, 0.3)]
        ]
        assert order(plan(scenes).source) == ["b", "d", "c", "a"]

    def test_masks_over_the_area_beat_the_catalogue(self, tmp_path: Path) -> None:
        """A scene that is overcast elsewhere is clear here, and the other way round."""
        here = (slice(0, 60), slice(0, 40))
        there = (slice(0, 60), slice(42, 80))
        scenes = [
            write_scene(
                tmp_path, "overcast elsewhere", flat(GRID, 1), GRID, cloud=0.9,
                scl=classes(cloud=there),
            ),
            write_scene(
                tmp_path, "overcast here", flat(GRID, 2), GRID, cloud=0.0, scl=classes(cloud=here)
            ),
        ]  # fmt: skip
        area = lonlat(GRID, slice(5, 55), slice(2, 38))
        found = plan(scenes, area, max_cloud=0.5)
        assert order(found.source) == ["overcast elsewhere"]
        assert reasons(found) == {"overcast here": "cloud"}
        assert found.source.scenes[0].cloud_fraction == 0
        assert found.source.scenes[0].cloud_measured
        assert "100% cloud over the area by its masks" in found.refusals[0].detail

    def test_unknown_cloud_counts_as_middling(self, tmp_path: Path) -> None:
        scenes = [
            write_scene(tmp_path, name, flat(GRID, 1), GRID, cloud=cloud)
            for name, cloud in [("cloudy", 0.6), ("unknown", None), ("fair", 0.2)]
        ]
        assert order(plan(scenes).source) == ["fair", "unknown", "cloudy"]

    def test_scenes_that_can_fill_next_to_nothing_are_left_out(self, tmp_path: Path) -> None:
        scenes = [
            write_scene(tmp_path, f"s{i:02}", flat(GRID, i + 1), GRID, days=i) for i in range(10)
        ]
        found = plan(scenes, near=DAY_0, looks=3)
        assert order(found.source) == [f"s{i:02}" for i in range(8)]  # looked at side by side
        assert reasons(found) == {"s08": "not_needed", "s09": "not_needed"}


@pytest.fixture(scope="module")
def hard(tmp_path_factory: pytest.TempPathFactory) -> MosaicSource:
    """Two zones, three lattices, coarse masks, offsets, untold nodata, a tilted area."""
    folder = tmp_path_factory.mktemp("hard")
    rng = np.random.default_rng(7)
    own = rasters.grid((300, 330), left=700_000.0)
    other = GeoBox((330, 350), own.to_crs("EPSG:32634", resolution="same").affine, "EPSG:32634")
    half = own.translate_pix(3.5, -4.25)
    scenes = []
    for number, grid in enumerate([own, own, other, half]):
        coarse = (grid.shape.y // 2, grid.shape.x // 2)
        data = rng.integers(1200, 5000, (2, *grid.shape.yx), dtype=np.uint16)
        data[:, :40, :50] = 0
        scl = rng.choice([CLEAR] * 12 + [CLOUD, SHADOW, 0], coarse)
        scenes.append(
            write_scene(
                folder, f"s{number}", data, grid, days=number,
                nodata=None if number in (1, 2) else 0,
                offset_dn=-1000 if number in (1, 2) else 0,
                scl=scl, scl_geobox=grid.zoom_out(2),
            )
        )  # fmt: skip
    tilted = shapely.Polygon([(10, 40), (250, 5), (325, 200), (200, 295), (30, 250)])
    return plan(scenes, lonlat_of(own, tilted), near=DAY_0).source


@pytest.fixture(scope="module")
def whole(hard: MosaicSource) -> Any:
    """All of it in one piece."""
    return compose(hard)


class TestWindows:
    @settings(max_examples=10, deadline=None)
    @given(data=st.data())
    def test_any_window_gives_the_same_pixels(
        self, hard: MosaicSource, whole: Any, data: Any
    ) -> None:
        spans = []
        for length in hard.geobox.shape.yx:
            ends = st.lists(st.integers(0, length), min_size=2, max_size=2, unique=True)
            spans.append(slice(*sorted(data.draw(ends))))
        rows, cols = spans
        got = hard.compose(rows, cols)
        np.testing.assert_array_equal(got.pixels.data, whole.pixels.data[:, rows, cols])
        np.testing.assert_array_equal(got.pixels.valid, whole.pixels.valid[rows, cols])
        np.testing.assert_array_equal(got.scene, whole.scene[rows, cols])
        np.testing.assert_array_equal(hard.read_provenance(rows, cols), got.scene)

    def test_many_threads_read_what_one_reads(self, hard: MosaicSource, whole: Any) -> None:
        fresh = pickle.loads(pickle.dumps(hard))
        height, width = hard.geobox.shape.yx
        bands = [slice(top, min(top + 40, height)) for top in range(0, height, 40)]
        with ThreadPoolExecutor(8) as pool:
            parts = list(pool.map(lambda rows: fresh.compose(rows, slice(0, width)), bands))
        for rows, part in zip(bands, parts, strict=True):
            np.testing.assert_array_equal(part.pixels.data, whole.pixels.data[:, rows])
            np.testing.assert_array_equal(part.scene, whole.scene[rows])

    def test_it_is_a_hard_one(self, hard: MosaicSource, whole: Any) -> None:
        assert set(np.unique(whole.scene)) == {0, 1, 2, 3, 4}
        assert [scene.corner_yx is None for scene in hard.scenes] == [False, False, True, True]

    def test_provenance_adds_up(self, hard: MosaicSource, whole: Any) -> None:
        height, width = hard.geobox.shape.yx
        parts = [
            hard.count_scenes(hard.read_provenance(rows, slice(0, width)))
            for rows in (slice(0, 100), slice(100, height))
        ]
        counts = parts[0] + parts[1]
        assert counts.sum() == height * width
        assert counts[1:].sum() == np.count_nonzero(whole.pixels.valid)
        told = hard.provenance(counts)
        assert [row["id"] for row in told] == ["s0", "s1", "s2", "s3"]
        assert [row["resampled"] for row in told] == [False, False, True, True]
        assert sum(row["share"] for row in told) == pytest.approx(1)
        assert sum(row["pixels"] for row in told) == counts[1:].sum()
        json.dumps(told)

    def test_it_survives_json_and_pickle(self, hard: MosaicSource) -> None:
        assert source_from_dict(json.loads(json.dumps(hard.to_dict()))) == hard
        assert pickle.loads(pickle.dumps(hard)) == hard


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


class TestRefusals:
    def test_each_scene_says_why(self, tmp_path: Path) -> None:
        far = rasters.grid((60, 80), left=600_000.0)
        empty = flat(GRID, 0)
        broken = tmp_path / "broken.tif"
        scenes = [
            write_scene(tmp_path, "good", flat(GRID, 7), GRID, cloud=0.1),
            write_scene(tmp_path, "good too", flat(GRID, 8), GRID, cloud=0.1, scl=classes()),
            write_scene(tmp_path, "far", flat(far, 7), far),
            write_scene(tmp_path, "overcast", flat(GRID, 7), GRID, cloud=0.95),
            write_scene(tmp_path, "no nir", flat(GRID, 7), GRID, bands=("red", "green")),
            write_scene(tmp_path, "broken", flat(GRID, 7), GRID),
            write_scene(tmp_path, "floats", flat(GRID, 7, "float32"), GRID),
            write_scene(tmp_path, "misplaced", flat(far, 7), far, footprint=lonlat(GRID, *ALL)),
            write_scene(tmp_path, "bright", flat(GRID, 40), GRID, offset_dn=-1000),
            write_scene(
                tmp_path, "nothing", empty, GRID, scl=classes(nothing=(slice(0, 60), slice(0, 80)))
            ),
        ]
        broken.write_bytes(b"no raster")
        found = plan(scenes, lonlat(GRID, *ALL), max_cloud=0.8)
        assert sorted(order(found.source)) == ["good", "good too"]
        assert reasons(found) == {
            "far": "no_overlap",
            "overcast": "cloud",
            "no nir": "missing_band",
            "broken": "unreadable",
            "floats": "other_dtype",
            "misplaced": "footprint_mismatch",
            "bright": "doubtful_offset",
            "nothing": "nodata",
        }
        assert all(refusal.detail and refusal.href for refusal in found.refusals)

    def test_other_units_are_not_mixed(self, tmp_path: Path) -> None:
        import rasterio

        scenes = [
            write_scene(tmp_path, n, flat(GRID, 7), GRID, days=d) for d, n in enumerate("abc")
        ]
        with rasterio.open(scenes[2].assets["data"].href, "r+") as file:
            file.scales = (0.0001, 0.0001)
        found = plan(scenes)
        assert order(found.source) == ["b", "a"]
        assert reasons(found) == {"c": "other_scale"}

    def test_with_none_left_the_reasons_are_told(self, tmp_path: Path) -> None:
        scenes = [
            write_scene(tmp_path, n, flat(GRID, 7), GRID, cloud=0.9, days=d)
            for d, n in enumerate("ab")
        ]
        with pytest.raises(CatalogError, match="none of 2 scenes can be used \\(2 cloud") as caught:
            plan(scenes, max_cloud=0.5)
        assert [refusal.id for refusal in caught.value.facts["refusals"]] == ["b", "a"]
        pickle.loads(pickle.dumps(caught.value))

    @pytest.mark.parametrize(
        ("rules", "told"),
        [
            ({"crs": "EPSG:nonsense"}, "crs"),
            ({"gsd_m": 0}, "gsd_m"),
            ({"max_cloud": 30}, "share from 0 to 1"),
            ({"near": DAY_0.replace(tzinfo=None)}, "zone"),
            ({"looks": 0}, "looks"),
        ],
    )
    def test_rules_check_themselves(self, rules: dict[str, Any], told: str) -> None:
        with pytest.raises(ValueError, match=told):
            MosaicRules(**rules)


ALL = (slice(0, 60), slice(0, 80))


class TestReading:
    def test_a_scene_that_cannot_be_read_stops_the_window_and_is_named(
        self, tmp_path: Path
    ) -> None:
        left, right = GRID[:, :50], GRID[:, 40:]
        scenes = [
            write_scene(tmp_path, "left", flat(left, 1), left),
            write_scene(tmp_path, "right", flat(right, 2), right, days=1),
        ]
        source = plan(scenes, near=DAY_0).source
        path = Path(scenes[0].assets["data"].href)
        path.write_bytes(path.read_bytes()[:600])
        with pytest.raises(SourceError, match=r"scene left, rows 10 to 20 and columns 5 to 15"):
            source.read(slice(10, 20), slice(5, 15))
        with pytest.raises(SourceError) as caught:
            source.read(slice(10, 20), slice(45, 55))
        assert caught.value.facts["scene"] == "left"
        assert caught.value.facts["window"] == (10, 20, 45, 50)
        # Beside it, all is well.
        assert source.read(slice(10, 20), slice(50, 60)).valid.all()

    def test_a_scene_is_opened_only_where_it_is_needed(self, tmp_path: Path) -> None:
        left, right = GRID[:, :50], GRID[:, 40:]
        scenes = [
            write_scene(tmp_path, "left", flat(left, 1), left),
            write_scene(tmp_path, "right", flat(right, 2), right, days=1),
            write_scene(tmp_path, "later", flat(GRID, 3), GRID, days=2),
        ]
        source = plan(scenes, near=DAY_0).source
        gone = [Path(scenes[i].assets["data"].href) for i in (1, 2)]
        for path in gone:
            path.unlink()
        assert (source.read(slice(0, 60), slice(0, 50)).data[0] == 1).all()

    def test_a_wrong_outline_costs_no_pixel_near_it(self, tmp_path: Path) -> None:
        """Catalogues draw outlines with few points, somewhat beside the truth."""
        small = lonlat(GRID, slice(1, 59), slice(1, 79))
        scenes = [
            write_scene(tmp_path, n, flat(GRID, 7), GRID, footprint=small, days=d)
            for d, n in enumerate("ab")
        ]
        assert compose(plan(scenes, lonlat(GRID, *ALL)).source).pixels.valid.sum() == 60 * 80

    def test_black_beyond_an_image_is_no_ground(self, tmp_path: Path) -> None:
        """Sentinel-2's JPEG 2000 files tell no nodata."""
        black = flat(GRID, 2000)
        black[:, :, :30] = 0
        other = GRID.translate_pix(0.5, 0.5)
        slanted = flat(other, 3000)
        slanted[:, 30:, :] = 0
        scenes = [
            write_scene(tmp_path, "a", black, GRID, nodata=None),
            write_scene(tmp_path, "b", slanted, other, nodata=None, days=1),
        ]
        area = lonlat(GRID, slice(0, 60), slice(0, 80)).buffer(-1e-6)
        got = compose(plan(scenes, area, near=DAY_0).source)
        assert (got.scene[:, 34:] == 1).all()
        assert (got.scene[2:25, 2:34] == 2).all()
        assert (got.scene[32:, :34] == 0).all()
        assert set(np.unique(got.pixels.data[0][got.pixels.valid])) == {2000, 3000}

    def test_old_and_new_offsets_meet(self, tmp_path: Path) -> None:
        left, right = GRID[:, :40], GRID[:, 40:]
        scenes = [
            write_scene(tmp_path, "new", flat(left, 3000), left, offset_dn=-1000),
            write_scene(tmp_path, "old", flat(right, 2000), right, days=1),
        ]
        assert (compose(plan(scenes, near=DAY_0).source).pixels.data[0] == 2000).all()


class TestBalance:
    """Scenes whose numbers differ by a line, in a row, each beside the next."""

    @pytest.fixture
    def scenes(self, tmp_path: Path) -> tuple[Any, list[Scene]]:
        grid = rasters.grid((200, 400))
        truth = (2000 + 300 * rasters.ground((200, 400), seed=2, bands=2)).astype(np.float32)
        scenes = []
        lines = [(0, 1, 0), (100, 0.8, 200), (200, 1.3, -90)]
        for number, (first, gain, offset) in enumerate(lines):
            part = (slice(0, 200), slice(first, first + 200))
            data = np.rint(gain * truth[:, *part] + offset).astype(np.uint16)
            scenes.append(write_scene(tmp_path, f"s{number}", data, grid[part], days=number))
        return truth, scenes

    def test_is_not_done_unasked(self, scenes: tuple[Any, list[Scene]]) -> None:
        truth, given = scenes
        got = compose(plan(given, near=DAY_0).source)
        np.testing.assert_array_equal(got.pixels.data[:, :, :200], np.rint(truth[:, :, :200]))
        assert np.abs(got.pixels.data - truth)[:, :, 200:].mean() > 100

    def test_brings_all_to_the_best_one(self, scenes: tuple[Any, list[Scene]]) -> None:
        truth, given = scenes
        source = plan(given, near=DAY_0, balance=True).source
        got = compose(source)
        np.testing.assert_array_equal(got.pixels.data[:, :, :200], np.rint(truth[:, :, :200]))
        assert np.abs(got.pixels.data - truth).max() < 6
        assert set(np.unique(got.scene)) == {1, 2, 3}
        assert source_from_dict(json.loads(json.dumps(source.to_dict()))) == source
        rows = source.provenance(source.count_scenes(got.scene))
        assert [row["balanced"] for row in rows] == [False, True, True]

    def test_leaves_alone_what_is_too_unlike(self, tmp_path: Path) -> None:
        grounds = [rasters.ground((200, 200), seed=seed, bands=2) for seed in (1, 9)]
        grid = rasters.grid((200, 200))
        scenes = [
            write_scene(tmp_path, n, (2000 + 300 * g).astype(np.uint16), grid, days=d)
            for d, (n, g) in enumerate(zip("ab", grounds, strict=True))
        ]
        source = plan(scenes, near=DAY_0, balance=True).source
        assert [scene.tone for scene in source.scenes] == [None, None]


def test_two_dates_of_a_real_place(shared_data: Path) -> None:
    from geo.region_query import RegionQuery, open_region

    folder = shared_data / "trial" / "prairie" / "satellite"
    query = RegionQuery(end=DAY_0 - timedelta(days=365 * 11))
    region = open_region(str(folder / "collection.json"), query=query)
    source = region.source
    assert isinstance(source, MosaicSource)
    assert order(source) == ["sat_20120726", "sat_20120805"]
    assert {r.id: r.reason for r in region.refusals} == {
        "sat_20140730": "outside_time_window",
        "sat_20200906": "outside_time_window",
    }
    assert source.scenes[1].cloud_fraction == pytest.approx(0.35, abs=0.05)
    assert compose(source).pixels.valid.mean() > 0.99
