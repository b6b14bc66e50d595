"""Catalogues over real HTTP, from a server that misbehaves: the scenes are the same as without."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely

from geo import raster_door
from geo.catalog.http import HttpRules
from geo.catalog.query import SceneQuery
from geo.catalog.scene import Refusal, Scene
from geo.catalog.sources import read_scenes
from geo.errors import CatalogError, SourceError
from geo.raster_io import inspect_raster, read_window
from tests.servers.stac_server import KINDS, Faults, StacServer

# As patient as the defaults, but quick.
QUICK = HttpRules(first_wait_s=0.01, longest_wait_s=1.0, read_timeout_s=0.15, attempts=5)


def item(number: int, **changes: Any) -> dict[str, Any]:
    """One of a row of items that go east and forward in time."""
    box = shapely.box(number / 10, 47, number / 10 + 0.1, 47.1)
    day = datetime(2023, 8, 1, 10, tzinfo=UTC) + timedelta(days=number)
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": f"scene_{number:03d}",
        "collection": "made",
        "geometry": shapely.geometry.mapping(box),
        "bbox": list(box.bounds),
        "properties": {
            "datetime": day.isoformat(),
            "updated": (day + timedelta(days=1)).isoformat(),
            "eo:cloud_cover": number % 100,
        },
        "links": [],
        "assets": {
            "red": {"href": f"./{number:03d}_red.tif", "roles": ["data"]},
            "scl": {"href": f"./{number:03d}_scl.tif"},
        },
    } | changes


def catalogue(folder: Path, count: int) -> Path:
    """A catalogue of two collections of items, one of them broken, one link leading nowhere."""
    children = []
    for name, numbers in (("even", range(0, count, 2)), ("odd", range(1, count, 2))):
        links = []
        for number in numbers:
            path = folder / name / f"{number:03d}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(item(number)))
            links.append({"rel": "item", "href": f"./{path.name}"})
        (folder / name / "broken.json").write_text("{")
        links += [{"rel": "item", "href": f"./{n}.json"} for n in ("broken", "lost")]
        collection = {"type": "Collection", "stac_version": "1.0.0", "id": name, "links": links}
        (folder / name / "collection.json").write_text(json.dumps(collection))
        children.append({"rel": "child", "href": f"./{name}/collection.json"})
    # A link back to the root must not be followed for ever.
    children.append({"rel": "child", "href": "./catalog.json"})
    root = {"type": "Catalog", "stac_version": "1.0.0", "id": "all", "links": children}
    (folder / "catalog.json").write_text(json.dumps(root))
    return folder / "catalog.json"


def facts(found: tuple[list[Scene], list[Refusal]], place: str) -> Any:
    """All that is known of scenes and refusals, with `place` taken out of the hrefs."""
    scenes = [asdict(s) | {"footprint": s.footprint.wkt} for s in found[0]]
    refusals = [(r.id, r.reason, r.href) for r in found[1]]
    return json.loads(json.dumps([scenes, refusals], default=str).replace(place, "HERE"))


class TestStaticCatalogue:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        catalogue(tmp_path, 30)
        return tmp_path

    def test_the_web_and_the_disk_tell_the_same(self, folder: Path) -> None:
        local = facts(read_scenes(str(folder / "catalog.json"), http=QUICK), str(folder))
        assert len(local[0]) == 30
        assert [r[0] for r in local[1]] == ["broken", "lost"] * 2
        with StacServer(folder) as server:
            remote = read_scenes(f"{server.files}/catalog.json", http=QUICK)
            assert facts(remote, server.files) == local

    @pytest.mark.parametrize("seed", [0, 1])
    def test_a_bad_network_leaves_no_trace(self, folder: Path, seed: int) -> None:
        local = facts(read_scenes(str(folder / "catalog.json")), str(folder))
        faults = Faults(seed=seed, share=0.5, stall_s=0.25)
        with StacServer(folder, faults=faults) as server:
            remote = read_scenes(f"{server.files}/catalog.json", http=QUICK)
            assert facts(remote, server.files) == local
            assert set(server.met()) == {*KINDS, "answer"}

    def test_no_document_is_asked_for_twice(self, folder: Path) -> None:
        with StacServer(folder) as server:
            read_scenes(f"{server.files}/catalog.json", http=QUICK)
            paths = [path for _, path, _ in server.log]
        assert len(paths) == len(set(paths)) == 30 + 4 + 3

    def test_a_server_that_never_answers_is_an_error(self, folder: Path) -> None:
        down = Faults(share=1.0, most=1, kinds=("unavailable",))
        object.__setattr__(down, "of", lambda key, attempt: "unavailable")
        with StacServer(folder, faults=down) as server:
            with pytest.raises(CatalogError, match=r"answers 503.*asked 5 times"):
                read_scenes(f"{server.files}/catalog.json", http=QUICK)
            assert len(server.log) == QUICK.attempts

    def test_an_item_that_never_comes_is_listed_and_the_others_stay(self, folder: Path) -> None:
        faults = Faults()
        object.__setattr__(
            faults, "of", lambda key, attempt: "unavailable" if "004.json" in key else None
        )
        with StacServer(folder, faults=faults) as server:
            scenes, refusals = read_scenes(f"{server.files}/catalog.json", http=QUICK)
        assert len(scenes) == 29
        assert {r.id: r.reason for r in refusals}["004"] == "unreachable"

    def test_an_item_collection_and_a_single_item(self, folder: Path) -> None:
        items = [item(n) for n in range(3)]
        listed = {"type": "FeatureCollection", "features": items}
        (folder / "items.json").write_text(json.dumps(listed))
        with StacServer(folder) as server:
            scenes, _ = read_scenes(f"{server.files}/items.json", http=QUICK)
            assert [s.id for s in scenes] == [i["id"] for i in items]
            assert scenes[0].assets["red"].href == f"{server.files}/000_red.tif"
            (one,), _ = read_scenes(f"{server.files}/odd/001.json", http=QUICK)
            assert one.id == "scene_001"


class TestApi:
    items = tuple(item(n) for n in range(40))

    def read(self, server: StacServer, query: SceneQuery | None = None) -> Any:
        found = read_scenes(f"stac-api:{server.api}#made", query, http=QUICK)
        return facts(found, server.url)

    @pytest.mark.parametrize("paging", ["token", "body"])
    @pytest.mark.parametrize("methods", [("GET", "POST"), ("GET",)])
    def test_pages_are_turned_to_the_end(
        self, tmp_path: Path, paging: str, methods: tuple[str, ...]
    ) -> None:
        with StacServer(tmp_path, {"made": self.items}, paging=paging, methods=methods) as server:
            scenes, refusals = read_scenes(f"stac-api:{server.api}#made", http=QUICK)
            assert [s.id for s in scenes] == [i["id"] for i in self.items]
            assert refusals == []
            assert len(server.searches) == 6
            assert scenes[3].assets["red"].href == f"{server.url}/003_red.tif"

    @pytest.mark.parametrize("seed", [0, 2])
    def test_a_bad_network_leaves_no_trace(self, tmp_path: Path, seed: int) -> None:
        with StacServer(tmp_path, {"made": self.items}) as server:
            want = self.read(server)
        faults = Faults(seed=seed, share=0.9, most=3, stall_s=0.25)
        with StacServer(tmp_path, {"made": self.items}, faults=faults) as server:
            assert self.read(server) == want
            assert len(server.met()) > 2

    def test_the_server_is_asked_for_no_more_than_is_wanted(self, tmp_path: Path) -> None:
        query = SceneQuery(
            start=datetime(2023, 8, 5), end=datetime(2023, 8, 20), bbox=(1.05, 40.0, 9.0, 50.0)
        )
        with StacServer(tmp_path, {"made": self.items}) as server:
            scenes, _ = read_scenes(f"stac-api:{server.api}#made", query, http=QUICK)
            (asked, *_) = server.searches
        assert [s.id for s in scenes] == [f"scene_{n:03d}" for n in range(10, 19)]
        assert asked["datetime"] == "2023-08-05T00:00:00Z/2023-08-20T00:00:00Z"
        assert asked["bbox"] == [1.05, 40.0, 9.0, 50.0]

    def test_a_query_means_the_same_for_every_source(self, tmp_path: Path) -> None:
        query = SceneQuery(start=datetime(2023, 8, 8), bbox=(0.35, 40.0, 2.15, 50.0))
        path = tmp_path / "items.json"
        path.write_text(json.dumps({"type": "FeatureCollection", "features": self.items}))
        local, _ = read_scenes(str(path), query)
        with StacServer(tmp_path, {"made": self.items}) as server:
            remote, _ = read_scenes(f"stac-api:{server.api}#made", query, http=QUICK)
        assert [s.id for s in local] == [s.id for s in remote]
        assert len(local) == 15

    def test_a_box_across_the_antimeridian(self, tmp_path: Path) -> None:
        def at(name: str, west: float) -> dict[str, Any]:
            box = shapely.box(west, 0, west + 0.5, 1)
            return item(0) | {
                "id": name,
                "geometry": shapely.geometry.mapping(box),
                "bbox": list(box.bounds),
            }

        items = [at("west", 179.2), at("east", -179.8), at("far", 10.0)]
        query = SceneQuery(bbox=(179.0, -1.0, -179.0, 2.0))
        with StacServer(tmp_path, {"made": items}) as server:
            scenes, _ = read_scenes(f"stac-api:{server.api}#made", query, http=QUICK)
        assert {s.id for s in scenes} == {"west", "east"}

    @pytest.mark.parametrize(
        "source", ["stac-api:", "stac-api:http://a.b/c", "stac-api:ftp://a#b", "stac-api:/tmp#b"]
    )
    def test_an_incomplete_source_is_an_error(self, source: str) -> None:
        with pytest.raises(CatalogError, match="wanted stac-api:URL#COLLECTION"):
            read_scenes(source)

    def test_a_collection_that_is_not_there_is_an_error(self, tmp_path: Path) -> None:
        """The server answers the search, with nothing."""
        with StacServer(tmp_path, {"made": self.items, "bare": []}) as server:
            told = f"the API has no collection mode; wanted one of {server.api}/collections"
            with pytest.raises(CatalogError, match=re.escape(told)):
                read_scenes(f"stac-api:{server.api}#mode", http=QUICK)
            assert read_scenes(f"stac-api:{server.api}#bare", http=QUICK) == ([], [])

    def test_what_is_no_api_is_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "page.json").write_text("<html>")
        with StacServer(tmp_path) as server:
            for url in (f"{server.files}/page.json", f"{server.url}/nothing"):
                with pytest.raises(CatalogError):
                    read_scenes(f"stac-api:{url}#made", http=QUICK)


class TestPixels:
    """GDAL's range reads of a COG through the same server."""

    @pytest.fixture(autouse=True)
    def quick(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(raster_door, "_WAITS_S", (0.01, 0.02, 0.05, 0.1))
        options = {
            "GDAL_HTTP_LOW_SPEED_TIME": 1,
            "GDAL_HTTP_RETRY_DELAY": 0.05,
            "GDAL_HTTP_TIMEOUT": 3,
        }
        monkeypatch.setattr(raster_door, "_REMOTE_OPTIONS", raster_door._REMOTE_OPTIONS | options)

    @pytest.fixture
    def image(self) -> Any:
        return np.random.default_rng(0).integers(1, 255, (2, 512, 512)).astype("uint8")

    @pytest.fixture
    def folder(self, rasters: ModuleType, tmp_path: Path, image: Any) -> Path:
        tiles = {"tiled": True, "blockxsize": 128, "blockysize": 128}
        rasters.write(
            tmp_path / "a.tif", image, rasters.grid((512, 512)), bands=("red", "nir"), **tiles
        )
        return tmp_path

    @pytest.mark.parametrize("kinds", [("busy", "unavailable"), ("refuse", "cut"), ("cut",)])
    def test_pixels_come_whole(self, folder: Path, image: Any, kinds: tuple[str, ...]) -> None:
        met = set()
        for seed in range(3):
            faults = Faults(seed=seed, share=0.8, kinds=kinds)
            with StacServer(folder, faults=faults) as server:
                href = f"{server.files}/a.tif"
                assert inspect_raster(href).bands == ("red", "nir")
                got = read_window(href, slice(100, 300), slice(50, 400), ("nir",))
                met |= set(server.met())
            np.testing.assert_array_equal(got.data, image[1:, 100:300, 50:400])
            assert got.valid.all()
        assert met & set(kinds)

    def test_no_half_of_a_description_is_taken_for_the_whole(
        self, rasters: ModuleType, tmp_path: Path
    ) -> None:
        """GDAL opens a file whose header came by half, without its CRS or nodata, and warns."""
        path = tmp_path / "small.tif"
        image = np.random.default_rng(0).integers(0, 99, (1, 60, 60)).astype("uint8")
        rasters.write(path, image, rasters.grid((60, 60)), nodata=7, compress="deflate")
        with rasterio.open(path, "r+") as file:
            file.update_tags(note="x" * 500)  # the directory is written anew, at the end
        want = inspect_raster(str(path))
        for seed in range(12):
            faults = Faults(seed=seed, share=1.0, most=2, kinds=("cut",))
            with StacServer(tmp_path, faults=faults) as server:
                got = inspect_raster(f"{server.files}/small.tif")
            assert (got.geobox, got.nodata, got.bands) == (want.geobox, want.nodata, want.bands)

    @pytest.mark.slow
    def test_a_stalled_answer_is_given_up_and_asked_again(self, folder: Path, image: Any) -> None:
        faults = Faults(seed=1, share=1.0, most=1, kinds=("stall",), stall_s=2.0)
        with StacServer(folder, faults=faults) as server:
            got = read_window(f"{server.files}/a.tif", slice(0, 64), slice(0, 64))
        np.testing.assert_array_equal(got.data, image[:, :64, :64])

    def test_a_part_is_read_not_the_whole(self, folder: Path) -> None:
        with StacServer(folder) as server:
            read_window(f"{server.files}/a.tif", slice(0, 10), slice(0, 10))
            assert all(p.endswith("/a.tif") for _, p, _ in server.log), "files guessed beside it"

    def test_a_raster_by_its_url_is_a_scene_as_a_file_is(
        self, rasters: ModuleType, tmp_path: Path, image: Any
    ) -> None:
        path = tmp_path / "2024" / "S 20240105T101500.tif"
        rasters.write(path, image, rasters.grid((512, 512)), bands=("red", "nir"))
        (local,), _ = read_scenes(str(path))
        with StacServer(tmp_path) as server:
            url = f"{server.files}/2024/S%2020240105T101500.tif?signature=a.b"
            (remote,), refusals = read_scenes(url)
        assert refusals == []
        assert (remote.id, remote.time) == (local.id, local.time)
        assert remote.footprint.equals_exact(local.footprint, 1e-9)
        assert remote.assets["data"].href == url
        assert remote.assets["data"].bands == local.assets["data"].bands

    def test_a_raster_by_its_url_without_a_date_is_refused(self, folder: Path) -> None:
        with StacServer(folder) as server:
            scenes, (refusal,) = read_scenes(f"{server.files}/a.tif")
        assert scenes == []
        assert (refusal.id, refusal.reason) == ("a", "no_time")

    @pytest.mark.parametrize(("name", "cause"), [("lost", "missing"), ("page", "unreadable")])
    def test_what_is_no_raster_is_said(self, folder: Path, name: str, cause: str) -> None:
        (folder / "page.tif").write_text("<html><body>Not found, but with status 200</body></html>")
        with StacServer(folder) as server:
            with pytest.raises(SourceError, match="not a raster") as caught:
                inspect_raster(f"{server.files}/{name}.tif")
            assert caught.value.facts["cause"] == cause
            assert len(server.log) <= 15
