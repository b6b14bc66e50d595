"""Several scenes as one region: which pixel comes from which scene, in any window."""

from __future__ import annotations

import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from geo.catalog.scene import Scene
from geo.errors import SourceError
from geo.mosaic import MosaicSource
from geo.region_source import source_from_dict
from tests.geo import rasters
from tests.geo.mosaics import (
    ALL,
    CLEAR,
    CLOUD,
    DAY_0,
    GRID,
    SHADOW,
    classes,
    compose,
    flat,
    lonlat,
    lonlat_of,
    order,
    plan,
    write_scene,
)


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
