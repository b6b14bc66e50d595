"""From an archive, an area and dates to the source of a region; also over a network that fails."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

from geo import raster_door
from geo.catalog.geoparquet import write_table
from geo.catalog.http import HttpRules
from geo.errors import BandError, CatalogError, SourceError
from geo.mosaic import MosaicSource
from geo.mosaic_plan import MosaicRules
from geo.region_query import RegionQuery, find_scenes, is_raster, open_region
from geo.region_source import RasterSource, source_from_dict
from tests.geo import rasters
from tests.geo.mosaics import CLEAR, CLOUD, lonlat
from tests.servers.stac_server import Faults, StacServer

GRID = rasters.grid((96, 112))
QUICK = HttpRules(first_wait_s=0.01, longest_wait_s=1.0, read_timeout_s=0.3, attempts=5)


def day(number: int) -> datetime:
    return datetime(2024, 6, number, tzinfo=UTC)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A static collection: two dates of one tile, the first under a cloud, and a tile beside."""
    folder = tmp_path_factory.mktemp("archive")
    rng = np.random.default_rng(5)
    links = []
    for name, grid, date in [
        ("one", GRID, "2024-06-02"),
        ("two", GRID, "2024-06-09"),
        ("beside", GRID.translate_pix(90, 10), "2024-06-09"),
    ]:
        data = rng.integers(1, 9999, (3, *grid.shape.yx), dtype=np.uint16)
        scl = np.full((1, 48, 56), CLEAR, np.uint8)
        if name == "one":
            scl[:, 10:30, 10:30] = CLOUD
        tiles = {"tiled": True, "blockxsize": 64, "blockysize": 64}
        rasters.write(folder / name / "data.tif", data, grid, nodata=0, **tiles)
        rasters.write(folder / name / "SCL.tif", scl, grid.zoom_out(2), nodata=0)
        outline = lonlat(grid, slice(0, 96), slice(0, 112))
        item = {
            "type": "Feature",
            "stac_version": "1.0.0",
            "id": name,
            "geometry": shapely.geometry.mapping(outline),
            "bbox": list(outline.bounds),
            "properties": {"datetime": f"{date}T10:00:00Z", "eo:cloud_cover": 5},
            "links": [],
            "collection": "made",
            "assets": {
                "data": {
                    "href": "./data.tif",
                    "roles": ["data"],
                    "bands": [{"name": n} for n in ("red", "green", "blue")],
                },
                "scl": {"href": "./SCL.tif"},
            },
        }
        (folder / name / f"{name}.json").write_text(json.dumps(item))
        links.append({"rel": "item", "href": f"./{name}/{name}.json"})
    collection = {"type": "Collection", "stac_version": "1.0.0", "id": "made", "links": links}
    (folder / "collection.json").write_text(json.dumps(collection))
    return folder


def everything(source: Any) -> Any:
    height, width = source.geobox.shape.yx
    return source.read(slice(0, height), slice(0, width))


class TestWhatItIsMadeOf:
    def test_a_raster_is_read_as_it_is(self, folder: Path) -> None:
        region = open_region(str(folder / "one" / "data.tif"), ("band2",))
        assert isinstance(region.source, RasterSource)
        assert region.source.masks == ()
        assert region.scenes == region.refusals == ()

    def test_one_item_is_read_on_its_own_pixels_without_its_clouds(self, folder: Path) -> None:
        region = open_region(str(folder / "one" / "one.json"), ("blue", "red"))
        assert isinstance(region.source, RasterSource)
        assert region.source.geobox == GRID
        assert region.source.bands == ("blue", "red")
        assert [scene.id for scene in region.scenes] == ["one"]
        valid = everything(region.source).valid
        assert not valid[20:60, 20:60].any()
        assert valid.mean() > 0.8

    def test_so_is_the_one_scene_that_dates_leave(self, folder: Path) -> None:
        query = RegionQuery(end=day(3))
        region = open_region(str(folder), query=query)
        assert isinstance(region.source, RasterSource)
        assert [scene.id for scene in region.scenes] == ["one"]
        assert {r.id: r.reason for r in region.refusals} == {
            "two": "outside_time_window",
            "beside": "outside_time_window",
        }

    def test_one_scene_over_an_area_is_a_window_of_it(self, folder: Path) -> None:
        query = RegionQuery(end=day(3), aoi=lonlat(GRID, slice(10, 50), slice(20, 60)))
        source = open_region(str(folder), query=query).source
        assert isinstance(source, RasterSource)
        assert 40 <= source.geobox.shape[0] <= 42
        height, width = source.geobox.shape.yx
        top, left = source.corner_yx
        own = open_region(str(folder / "one" / "one.json")).source
        want = own.read(slice(top, top + height), slice(left, left + width))
        np.testing.assert_array_equal(everything(source).data, want.data)

    def test_several_scenes_are_composed(self, folder: Path) -> None:
        region = open_region(str(folder / "collection.json"), rules=MosaicRules(near=day(9)))
        assert isinstance(region.source, MosaicSource)
        assert [scene.id for scene in region.scenes] == ["beside", "two", "one"]
        assert region.source.bands == ("red", "green", "blue")
        assert region.source.geobox == rasters.grid((106, 202))
        pixels = everything(region.source)
        assert pixels.valid.sum() == 96 * 112 * 2 - 22 * 86

    def test_a_first_scene_that_cannot_be_read_takes_no_bands_from_the_others(
        self, folder: Path, tmp_path: Path
    ) -> None:
        items = [json.loads((folder / n / f"{n}.json").read_text()) for n in ("one", "two")]
        for item in items:
            item["assets"] = {"data": {"href": str(folder / item["id"] / "data.tif")}}
        items[0]["assets"]["data"]["href"] = "lost.tif"
        place = tmp_path / "items.json"
        place.write_text(json.dumps({"type": "FeatureCollection", "features": items}))
        region = open_region(str(place))
        assert [scene.id for scene in region.scenes] == ["two"]
        assert region.source.bands == ("band1", "band2", "band3")
        assert [refusal.id for refusal in region.refusals] == ["one"]

    def test_another_grid_is_a_mosaic_of_one(self, folder: Path) -> None:
        rules = MosaicRules(gsd_m=20)
        source = open_region(str(folder / "two" / "two.json"), rules=rules).source
        assert isinstance(source, MosaicSource)
        assert source.geobox.affine.a == 20

    @pytest.mark.parametrize(
        ("name", "raster"),
        [
            ("a.TIF", True),
            ("s3://b/a.tiff", True),
            ("https://h/a.jp2?sig=x.json", True),
            ("folder", False),
            ("https://h/item.json", False),
            ("stac-api:https://h/#c", False),
        ],
    )
    def test_a_raster_is_known_by_its_name(self, name: str, raster: bool) -> None:
        assert is_raster(name) == raster


class TestWhatIsNotFound:
    def test_scenes_beside_the_area_are_listed(self, folder: Path) -> None:
        query = RegionQuery(aoi=lonlat(GRID, slice(0, 90), slice(0, 80)))
        scenes, refusals = find_scenes(str(folder), query)
        assert [scene.id for scene in scenes] == ["one", "two"]
        assert [(r.id, r.reason) for r in refusals] == [("beside", "no_overlap")]

    def test_scenes_beside_the_dates_are_told_both_dates(self, folder: Path) -> None:
        query = RegionQuery(start=day(3), end=datetime(2024, 6, 9, 9, 30, tzinfo=UTC))
        details = {r.id: r.detail for r in find_scenes(str(folder), query)[1]}
        wanted = "wanted from 2024-06-03 and before 2024-06-09T09:30:00Z"
        assert details["one"] == f"taken 2024-06-02T10:00:00Z; {wanted}"
        assert details["two"] == f"taken 2024-06-09T10:00:00Z; {wanted}"

    def test_nothing_is_an_error_that_says_why(self, folder: Path) -> None:
        query = RegionQuery(aoi=shapely.box(0, 0, 1, 1))
        told = r"no scene of 3 can be used: 3 no_overlap \(one: .*\); .* another area$"
        with pytest.raises(CatalogError, match=told):
            open_region(str(folder), query=query)

    def test_what_fell_to_dates_and_what_to_clouds_is_counted(self, folder: Path) -> None:
        query = RegionQuery(aoi=lonlat(GRID, slice(20, 60), slice(20, 60)), end=day(3))
        rules = MosaicRules(max_cloud=0.5, gsd_m=20)  # another grid: composed even of one
        with pytest.raises(CatalogError) as caught:
            open_region(str(folder), query=query, rules=rules)
        assert [(r.id, r.reason) for r in caught.value.facts["refusals"]] == [
            ("beside", "outside_time_window"),
            ("two", "outside_time_window"),
            ("one", "cloud"),
        ]
        told = caught.value.message
        assert told.startswith("no scene of 3 can be used: 2 outside_time_window (beside: taken")
        assert "1 cloud (one: 100% cloud" in told
        assert told.endswith("wanted one at least: try other dates or a higher cloud limit")

    def test_an_archive_with_nothing_of_the_kind_says_what_was_asked(self, tmp_path: Path) -> None:
        table = tmp_path / "empty.parquet"
        write_table(table, [], {})
        query = RegionQuery(start=day(3), end=day(5), aoi=shapely.box(0, 0, 1, 1))
        told = "no scene found from 2024-06-03 and before 2024-06-05 over the area; wanted one"
        with pytest.raises(CatalogError, match=told):
            open_region(str(table), query=query)

    def test_one_scene_under_clouds(self, folder: Path) -> None:
        with pytest.raises(CatalogError, match=r"of 1 can be used: 1 cloud \(one: \d+% cloud over"):
            open_region(str(folder / "one" / "one.json"), rules=MosaicRules(max_cloud=0.05))

    def test_a_band_that_no_scene_has(self, folder: Path) -> None:
        with pytest.raises(CatalogError, match="3 missing_band"):
            open_region(str(folder), ("swir22",))
        with pytest.raises(BandError, match="swir22"):
            open_region(str(folder / "one" / "one.json"), ("swir22",))

    def test_a_raster_that_is_not_there(self) -> None:
        with pytest.raises(SourceError, match="no such file"):
            open_region("nowhere.tif")

    def test_dates_the_wrong_way_round(self) -> None:
        with pytest.raises(ValueError, match="is not before"):
            RegionQuery(start=day(3), end=day(2))
        with pytest.raises(ValueError, match="zone"):
            RegionQuery(start=datetime(2024, 6, 1))


class TestNetwork:
    @pytest.fixture(autouse=True)
    def quick(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(raster_door, "_WAITS_S", (0.01, 0.02, 0.05, 0.1))
        options = {"GDAL_HTTP_RETRY_DELAY": 0.05, "GDAL_HTTP_TIMEOUT": 3}
        monkeypatch.setattr(raster_door, "_REMOTE_OPTIONS", raster_door._REMOTE_OPTIONS | options)

    def items(self, folder: Path, url: str) -> list[dict[str, Any]]:
        items = []
        for path in sorted(folder.glob("*/*.json")):
            item = json.loads(path.read_text())
            for asset in item["assets"].values():
                asset["href"] = f"{url}/{path.parent.name}/{asset['href'].removeprefix('./')}"
            items.append(item)
        return items

    @pytest.mark.parametrize("seed", [0, 1])
    @pytest.mark.parametrize("kind", ["api", "static"])
    def test_one_that_fails_changes_no_pixel(self, folder: Path, kind: str, seed: int) -> None:
        query = RegionQuery(start=day(1), end=day(20))
        rules = MosaicRules(near=day(1))
        want = open_region(str(folder), query=query, rules=rules).source
        assert isinstance(want, MosaicSource)
        kinds = ("busy", "unavailable", "refuse", "cut")
        collections: dict[str, list[dict[str, Any]]] = {}
        faults = Faults(seed=seed, share=0.5, kinds=kinds)
        with StacServer(folder, collections, faults=faults) as server:
            collections["made"] = self.items(folder, server.files)
            source = f"stac-api:{server.api}#made"
            if kind == "static":
                source = f"{server.files}/collection.json"
            region = open_region(source, query=query, rules=rules, http=QUICK)
            got = source_from_dict(json.loads(json.dumps(region.source.to_dict())))
            assert isinstance(got, MosaicSource)
            assert all(href.startswith(server.files) for href in got.hrefs)
            assert got.geobox == want.geobox
            for rows in (slice(0, 50), slice(50, 106)):
                a, b = (s.compose(rows, slice(0, 202)) for s in (got, want))
                np.testing.assert_array_equal(a.pixels.data, b.pixels.data)
                np.testing.assert_array_equal(a.scene, b.scene)
            met = server.met()
        assert region.refusals == ()
        assert set(met) & set(kinds)

    def test_an_archive_is_asked_for_what_is_wanted(self, folder: Path) -> None:
        collections: dict[str, list[dict[str, Any]]] = {}
        area = lonlat(GRID, slice(10, 50), slice(20, 60))
        with StacServer(folder, collections) as server:
            collections["made"] = self.items(folder, server.files)
            query = RegionQuery(start=day(5), end=day(9), aoi=area)
            scenes, refusals = find_scenes(f"stac-api:{server.api}#made", query, http=QUICK)
            assert scenes == refusals == []
            assert server.searches[0]["datetime"] == "2024-06-05T00:00:00Z/2024-06-09T00:00:00Z"

    def test_a_file_lost_after_planning_is_named(self, folder: Path) -> None:
        collections: dict[str, list[dict[str, Any]]] = {}
        faults = Faults()
        lost: list[str] = []
        object.__setattr__(
            faults, "of", lambda key, n: "unavailable" if any(x in key for x in lost) else None
        )
        with StacServer(folder, collections, faults=faults) as server:
            collections["made"] = self.items(folder, server.files)
            source = open_region(f"stac-api:{server.api}#made", http=QUICK).source
            lost.append("two/data.tif")
            with pytest.raises(SourceError, match=r"scene two, rows .* of the mosaic") as caught:
                everything(source)
            assert caught.value.facts["href"].endswith("two/data.tif")
            lost.clear()
            assert everything(source).valid.any()


@pytest.mark.slow
def test_scenes_on_s3(s3: Any, folder: Path) -> None:
    import obstore
    from obstore.store import S3Store

    store = S3Store(s3.bucket, prefix="scenes", client_options={"allow_http": True})
    for path in folder.glob("*/*.tif"):
        obstore.put(store, path.relative_to(folder).as_posix(), path)
    place = folder / "s3.json"
    items = TestNetwork().items(folder, f"s3://{s3.bucket}/scenes")
    place.write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    want = everything(open_region(str(folder / "collection.json")).source)
    got = everything(open_region(str(place)).source)
    np.testing.assert_array_equal(got.data, want.data)
    np.testing.assert_array_equal(got.valid, want.valid)
