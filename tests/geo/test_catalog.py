"""The catalogue: STAC, folders and single rasters in one form; what is broken is listed."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geo.catalog.sources import read_scenes
from geo.errors import BandError, CatalogError, SourceError

TIME = "2023-08-15T10:00:00Z"


def image(bands: int = 3, dtype: str = "uint16") -> Any:
    return np.random.default_rng(0).integers(1, 200, (bands, 12, 15)).astype(dtype)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-200, 200) | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "href", "datetime", "eo:cloud_cover", "bands", "roles", "rel"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)
geometries = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["Polygon", "MultiPolygon", "Point", "LineString", "Blob"]),
        "coordinates": st.recursive(
            st.lists(st.floats(-180, 180) | st.none(), max_size=3),
            lambda inner: st.lists(inner, max_size=4),
        ),
    }
)


# --- STAC ---------------------------------------------------------------------------------------


def item(name: str, **changes: Any) -> dict[str, Any]:
    """A plain STAC item; `changes` replace what it says."""
    box = shapely.box(15.0, 47.0, 15.1, 47.1)
    properties = {"datetime": TIME, "eo:cloud_cover": 25.0} | changes.pop("properties", {})
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": name,
        "geometry": shapely.geometry.mapping(box),
        "bbox": list(box.bounds),
        "properties": properties,
        "links": [],
        "assets": {"visual": {"href": "visual.tif", "roles": ["data"]}},
    } | changes


def write_collection(folder: Path, items: list[dict[str, Any]], *, extra: str = "") -> Path:
    """A static collection with its items in folders beside it; `extra` is one more link."""
    links = []
    for record in items:
        path = folder / record["id"] / f"{record['id']}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record))
        links.append({"rel": "item", "href": f"./{record['id']}/{path.name}"})
    if extra:
        links.append({"rel": "item", "href": extra})
    collection = {
        "type": "Collection",
        "stac_version": "1.1.0",
        "id": "scenes",
        "description": "Scenes",
        "license": "other",
        "extent": {
            "spatial": {"bbox": [[14, 46, 16, 48]]},
            "temporal": {"interval": [[TIME, None]]},
        },
        "links": links,
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "collection.json"
    path.write_text(json.dumps(collection))
    return path


class TestStac:
    def test_an_item_becomes_a_scene(self, tmp_path: Path) -> None:
        path = write_collection(tmp_path, [item("one")])
        (scene,), refusals = read_scenes(str(path))
        assert refusals == []
        assert scene.id == "one"
        assert scene.time == datetime(2023, 8, 15, 10, tzinfo=UTC)
        assert scene.footprint.equals(shapely.box(15.0, 47.0, 15.1, 47.1))
        assert scene.cloud_fraction == 0.25
        assert scene.properties["eo:cloud_cover"] == 25.0
        assert Path(scene.assets["visual"].href) == tmp_path / "one" / "visual.tif"

    def test_the_ways_to_name_it_lead_to_the_same_scenes(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = write_collection(tmp_path / "c", [item("one"), item("two")])
        by_file = read_scenes(str(path))
        monkeypatch.chdir(tmp_path)
        assert read_scenes(str(path.parent)) == by_file
        assert read_scenes("c") == by_file
        assert read_scenes("c/collection.json") == by_file
        (single,), _ = read_scenes(str(path.parent / "two" / "two.json"))
        assert single == by_file[0][1]

    def test_scenes_come_by_time_then_name(self, tmp_path: Path) -> None:
        later = {"datetime": "2023-09-01T00:00:00Z"}
        items = [item("b"), item("z", properties=later), item("a")]
        scenes, _ = read_scenes(str(write_collection(tmp_path, items)))
        assert [s.id for s in scenes] == ["a", "b", "z"]

    def test_collections_in_a_catalogue_are_walked(self, tmp_path: Path) -> None:
        for name in ("north", "south"):
            write_collection(tmp_path / name, [item(f"in_{name}")])
        catalog = {
            "type": "Catalog",
            "stac_version": "1.1.0",
            "id": "all",
            "description": "All",
            "links": [
                {"rel": "child", "href": f"./{n}/collection.json"} for n in ("north", "south")
            ],
        }
        (tmp_path / "catalog.json").write_text(json.dumps(catalog))
        scenes, refusals = read_scenes(str(tmp_path))
        assert [s.id for s in scenes] == ["in_north", "in_south"]
        assert refusals == []

    @pytest.mark.parametrize(
        ("properties", "time"),
        [
            ({"datetime": "2023-08-15T12:00:00+02:00"}, datetime(2023, 8, 15, 10, tzinfo=UTC)),
            (
                {
                    "datetime": None,
                    "start_datetime": "2023-08-15T00:00:00Z",
                    "end_datetime": "2023-08-17T00:00:00Z",
                },
                datetime(2023, 8, 16, tzinfo=UTC),
            ),
        ],
    )
    def test_times_are_utc_and_a_span_counts_by_its_middle(
        self, tmp_path: Path, properties: dict[str, Any], time: datetime
    ) -> None:
        path = write_collection(tmp_path, [item("one", properties=properties)])
        (scene,), _ = read_scenes(str(path))
        assert scene.time == time
        assert scene.time.tzinfo is UTC

    @pytest.mark.parametrize(
        "bands",
        [
            {"bands": [{"name": "B04", "eo:common_name": "red"}, {"name": "B8A"}, {}]},
            {"eo:bands": [{"name": "B04", "common_name": "red"}, {"name": "B8A"}, {}]},
        ],
    )
    def test_bands_have_common_names_where_given(
        self, tmp_path: Path, bands: dict[str, Any]
    ) -> None:
        assets = {"visual": {"href": "visual.tif", "roles": ["data"]} | bands}
        (scene,), _ = read_scenes(str(write_collection(tmp_path, [item("one", assets=assets)])))
        assert scene.assets["visual"].bands == ("red", "B8A", "band3")
        assert scene.band_names() == ("red", "B8A", "band3")
        href = scene.assets["visual"].href
        assert [(r.href, r.index) for r in scene.band_refs(("B8A", "red"))] == [
            (href, 2),
            (href, 1),
        ]

    def test_one_file_for_each_band(self, tmp_path: Path) -> None:
        assets = {
            "red": {"href": "B04.tif", "roles": ["data"], "bands": [{"name": "red"}]},
            "nir": {"href": "B08.tif", "roles": ["data"], "bands": [{"name": "nir"}]},
            "scl": {"href": "SCL.tif", "roles": ["data"], "bands": [{"name": "scl"}]},
            "thumbnail": {"href": "t.png", "roles": ["thumbnail"]},
            "metadata": {"href": "m.xml", "roles": ["metadata"]},
        }
        (scene,), _ = read_scenes(str(write_collection(tmp_path, [item("one", assets=assets)])))
        assert scene.band_names() == ("red", "nir")
        assert [Path(r.href).name for r in scene.band_refs()] == ["B04.tif", "B08.tif"]
        assert [(m.href, m.kind) for m in scene.masks] == [(scene.assets["scl"].href, "scl")]

    def test_the_file_is_asked_where_the_catalogue_is_silent(
        self, rasters: ModuleType, tmp_path: Path
    ) -> None:
        path = write_collection(tmp_path, [item("one")])
        rasters.write(
            tmp_path / "one/visual.tif",
            image(4),
            rasters.grid((12, 15)),
            bands=("r", "g", "b", "n"),
        )
        (scene,), _ = read_scenes(str(path))
        assert scene.band_names() == ("r", "g", "b", "n")
        assert [r.index for r in scene.band_refs(("n", "r"))] == [4, 1]

    def test_missing_bands_and_files_are_said(self, tmp_path: Path) -> None:
        with_bands = {"visual": {"href": "v.tif", "roles": ["data"], "bands": [{"name": "red"}]}}
        path = write_collection(tmp_path, [item("a", assets=with_bands), item("b")])
        (named, silent), _ = read_scenes(str(path))
        with pytest.raises(BandError, match="scene a has no band nir; it has red"):
            named.band_refs(("red", "nir"))
        with pytest.raises(SourceError, match="no such file"):
            silent.band_refs()

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"geometry": None, "bbox": None}, "no geometry"),
            ({"geometry": {"type": "Polygon", "coordinates": []}}, "geometry"),
            ({"geometry": {"type": "Blob"}}, ""),
            ({"assets": {}}, "no assets"),
            ({"properties": {"datetime": None}}, ""),
            ({"properties": {"datetime": "last summer"}}, ""),
            ({"properties": {"eo:cloud_cover": "some"}}, ""),
            ({"type": "Feature", "stac_version": "1.1.0", "assets": None}, ""),
        ],
    )
    def test_one_bad_item_never_stops_the_others(
        self, tmp_path: Path, changes: dict[str, Any], words: str
    ) -> None:
        path = write_collection(tmp_path, [item("bad", **changes), item("good")])
        (scene,), (refusal,) = read_scenes(str(path))
        assert scene.id == "good"
        assert refusal.id == "bad"
        assert refusal.reason == "bad_item"
        assert refusal.href.endswith("bad.json")
        assert words in refusal.detail
        assert "\n" not in refusal.detail

    @settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        key=st.sampled_from(["geometry", "properties", "assets", "stac_extensions", "links", "id"]),
        value=json_values | geometries,
    )
    def test_whatever_an_item_says_it_is_a_scene_or_a_refusal(
        self, tmp_path: Path, key: str, value: Any
    ) -> None:
        path = write_collection(tmp_path, [item("odd"), item("good")])
        record = item("odd")
        record[key] = value
        (tmp_path / "odd" / "odd.json").write_text(json.dumps(record))
        scenes, refusals = read_scenes(str(path))
        assert len(scenes) + len(refusals) == 2
        assert "good" in [s.id for s in scenes]

    @pytest.mark.parametrize(
        "text", [None, "", "not json", "[1, 2]", "{}", '{"type": "Feature"}', '"text"']
    )
    def test_a_link_that_leads_nowhere_is_refused(self, tmp_path: Path, text: str | None) -> None:
        path = write_collection(tmp_path, [item("good")], extra="./lost.json")
        if text is not None:
            (tmp_path / "lost.json").write_text(text)
        (scene,), (refusal,) = read_scenes(str(path))
        assert scene.id == "good"
        assert (refusal.id, refusal.reason) == ("lost", "bad_item")
        assert refusal.detail
        assert "\n" not in refusal.detail

    @pytest.mark.parametrize("text", ["", "not json", "[1, 2]", "{}", '{"type": "Nothing"}'])
    def test_a_source_that_is_no_stac_is_an_error(self, tmp_path: Path, text: str) -> None:
        path = tmp_path / "collection.json"
        path.write_text(text)
        with pytest.raises(
            CatalogError, match="not a STAC catalogue, collection or item"
        ) as caught:
            read_scenes(str(path))
        assert "\n" not in caught.value.message

    @pytest.mark.parametrize(
        ("west", "east", "area"),
        [(179.0, -179.0, 2), (-180, 180, 360), (170, 180, 10), (-90, 80, 170)],
    )
    def test_footprints_at_the_antimeridian(
        self, tmp_path: Path, west: float, east: float, area: float
    ) -> None:
        ring = [(west, 0), (east, 0), (east, 1), (west, 1), (west, 0)]
        geometry = {"type": "Polygon", "coordinates": [ring]}
        (scene,), _ = read_scenes(str(write_collection(tmp_path, [item("a", geometry=geometry)])))
        assert scene.footprint.area == pytest.approx(area)
        assert scene.footprint.is_valid

    def test_an_empty_collection_has_no_scenes(self, tmp_path: Path) -> None:
        assert read_scenes(str(write_collection(tmp_path, []))) == ([], [])


# --- folders and rasters ------------------------------------------------------------------------


class TestFolder:
    def place(self, rasters: ModuleType, path: Path, **options: Any) -> None:
        rasters.write(path, image(), rasters.grid((12, 15)), **options)

    @pytest.mark.parametrize(
        ("name", "day"),
        [
            ("S2A_20230815_T33", (2023, 8, 15)),
            ("Boadella_2020-01-28", (2020, 1, 28)),
            ("a_2021_07_21_b", (2021, 7, 21)),
            ("m_4709963_se_14_1_20120731", (2012, 7, 31)),
            ("S2A_MSIL2A_20190212T192651_N0212", (2019, 2, 12)),
        ],
    )
    def test_a_date_in_the_name_is_the_time(
        self, rasters: ModuleType, tmp_path: Path, name: str, day: tuple[int, int, int]
    ) -> None:
        self.place(rasters, tmp_path / f"{name}.tif")
        (scene,), refusals = read_scenes(str(tmp_path))
        assert refusals == []
        assert scene.id == name
        assert (scene.time.year, scene.time.month, scene.time.day) == day
        assert scene.time.tzinfo is UTC

    def test_a_date_in_the_folder_will_do(self, rasters: ModuleType, tmp_path: Path) -> None:
        self.place(rasters, tmp_path / "2023-08-15" / "visual.tif")
        (scene,), _ = read_scenes(str(tmp_path))
        assert scene.time == datetime(2023, 8, 15, 12, tzinfo=UTC)

    def test_the_tag_in_the_file_knows_better(self, rasters: ModuleType, tmp_path: Path) -> None:
        tags = {"TIFFTAG_DATETIME": "2022:01:17 10:43:43"}
        self.place(rasters, tmp_path / "export_20230815.tif", tags=tags)
        (scene,), _ = read_scenes(str(tmp_path))
        assert scene.time == datetime(2022, 1, 17, 10, 43, 43, tzinfo=UTC)

    @pytest.mark.parametrize("name", ["visual", "id_20231345", "n_120230815", "a_20230230"])
    def test_without_a_date_it_is_refused(
        self, rasters: ModuleType, tmp_path: Path, name: str
    ) -> None:
        self.place(rasters, tmp_path / "in" / f"{name}.tif")
        scenes, (refusal,) = read_scenes(str(tmp_path))
        assert scenes == []
        assert (refusal.id, refusal.reason) == (f"in/{name}", "no_time")
        assert "wanted a date in its name" in refusal.detail

    def test_a_scene_knows_place_bands_and_pixel_size(
        self, rasters: ModuleType, tmp_path: Path
    ) -> None:
        self.place(rasters, tmp_path / "a_20230815.tif", bands=("red", "green", "blue"))
        (scene,), _ = read_scenes(str(tmp_path / "a_20230815.tif"))
        west, south, east, north = scene.footprint.bounds
        assert (west, north) == pytest.approx((15.0, 47.855), abs=0.003)
        assert (east - west, north - south) == pytest.approx((0.002, 0.00108), rel=0.02)
        assert scene.band_names() == ("red", "green", "blue")
        assert scene.properties["gsd"] == 10
        assert scene.cloud_fraction is None

    def test_a_classification_belongs_to_the_scene_of_its_day(
        self, rasters: ModuleType, tmp_path: Path
    ) -> None:
        for day in ("20170703", "20190723"):
            self.place(rasters, tmp_path / f"S2A_{day}_BOA.tif")
        rasters.write(tmp_path / "S2A_20170703_SCL.tif", image(1, "uint8"), rasters.grid((12, 15)))
        (first, second), refusals = read_scenes(str(tmp_path))
        assert refusals == []
        [mask] = first.masks
        assert Path(mask.href).name == "S2A_20170703_SCL.tif"
        assert second.masks == ()
        assert [Path(r.href).name for r in first.band_refs()] == ["S2A_20170703_BOA.tif"] * 3

    def test_files_of_one_name_keep_apart(self, rasters: ModuleType, tmp_path: Path) -> None:
        for folder in ("t33_20230815", "t34_20230815"):
            self.place(rasters, tmp_path / folder / "visual.tif")
        scenes, _ = read_scenes(str(tmp_path))
        assert {s.id for s in scenes} == {"t33_20230815/visual", "t34_20230815/visual"}

    def test_what_is_broken_is_listed_beside_what_is_good(
        self, rasters: ModuleType, tmp_path: Path
    ) -> None:
        self.place(rasters, tmp_path / "good_20230815.tif")
        (tmp_path / "text_20230815.tif").write_text("version https://git-lfs.github.com/spec/v1")
        rasters.write(tmp_path / "unplaced_20230815.tif", image(), None)
        rasters.write(
            tmp_path / "complex_20230815.tif", image().astype("complex64"), rasters.grid((12, 15))
        )
        rasters.write(
            tmp_path / "site_20230815.tif",
            image(),
            rasters.grid((12, 15), crs='LOCAL_CS["site",UNIT["metre",1]]'),
        )
        rasters.write(
            tmp_path / "beyond_20230815.tif",
            image(),
            rasters.grid((12, 15), crs="EPSG:4326", size=1.0, left=500.0, top=300.0),
        )
        (tmp_path / "notes_20230815.txt").write_text("no raster by its name")

        (scene,), refusals = read_scenes(str(tmp_path))

        assert scene.id == "good_20230815"
        assert {r.id.split("_")[0]: r.reason for r in refusals} == {
            "text": "unreadable",
            "unplaced": "no_georeference",
            "complex": "complex",
            "site": "unknown_crs",
            "beyond": "no_georeference",
        }
        for refusal in refusals:
            assert Path(refusal.href).name in refusal.detail
            assert "\n" not in refusal.detail

    def test_a_folder_without_rasters_is_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "readme.txt").write_text("nothing")
        with pytest.raises(CatalogError, match=r"neither a collection\.json nor a raster in it"):
            read_scenes(str(tmp_path))

    @pytest.mark.parametrize("name", ["nowhere", "nowhere.tif", "nowhere/collection.json"])
    def test_nothing_there_is_an_error(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(CatalogError, match="no such file or folder; wanted a STAC collection"):
            read_scenes(str(tmp_path / name))


# --- real catalogues ----------------------------------------------------------------------------


class TestReal:
    def test_trial_collections(self, shared_data: Path) -> None:
        trial = shared_data / "trial"
        for truth in json.loads((trial / "truth.json").read_text()):
            region = trial / truth["region"]
            satellites, refusals = read_scenes(str(region / "satellite"))
            assert refusals == []
            (scene,) = (s for s in satellites if s.id == truth["scene"])
            assert scene.band_names() == ("red", "green", "blue")
            assert scene.masks
            assert scene.cloud_fraction == pytest.approx(truth["cloud_fraction"], abs=0.06)
            aerials, _ = read_scenes(str(region / "aerial" / "collection.json"))
            (source,) = (a for a in aerials if a.id == truth["of"])
            assert source.footprint.intersects(scene.footprint)

    def test_a_trial_folder_read_without_its_collection(
        self, shared_data: Path, tmp_path: Path
    ) -> None:
        scene = tmp_path / "sat_20120726"
        shutil.copytree(shared_data / "trial/prairie/satellite/sat_20120726", scene)
        (found,), refusals = read_scenes(str(tmp_path))
        assert refusals == []
        assert found.time.date().isoformat() == "2012-07-26"
        [mask] = found.masks
        assert Path(mask.href).name == "SCL.tif"

    def test_items_of_several_publishers(self, shared_data: Path) -> None:
        for path in sorted((shared_data / "stac").glob("*.json")):
            if json.loads(path.read_text())["type"] != "Feature":
                continue
            scenes, refusals = read_scenes(str(path))
            assert len(scenes) + len(refusals) == 1, path
            for scene in scenes:
                assert scene.footprint.is_valid
                assert scene.assets

    def test_a_footprint_that_jumps_over_the_antimeridian_is_healed(
        self, shared_data: Path
    ) -> None:
        """A real tile of 110 km, published as a belt around the Earth."""
        (path,) = (shared_data / "stac").glob("S2A_OPER_*T01VCC.json")
        (scene,), _ = read_scenes(str(path))
        assert scene.footprint.area < 1.5
        for lon, lat, inside in ((179.95, 56.6, True), (-179.9, 56.6, True), (0, 56.6, False)):
            assert scene.footprint.buffer(0.3).contains(shapely.Point(lon, lat)) == inside

    def test_scenes_with_dates_in_their_names(self, shared_data: Path) -> None:
        scenes, refusals = read_scenes(str(shared_data / "satellite/boadella_series"))
        assert [s.time.date().isoformat() for s in scenes] == [
            "2020-01-13",
            "2020-01-28",
            "2020-06-21",
            "2021-07-21",
        ]
        assert refusals == []

    def test_classifications_beside_their_scenes(self, shared_data: Path) -> None:
        scenes, _ = read_scenes(str(shared_data / "satellite/barbellino"))
        found = {s.id: Path(s.masks[0].href).name for s in scenes if s.masks}
        assert found == {
            f"S2A{v}_{day}_022_Barbellino_{level}_10": f"S2A2A_{day}_022_Barbellino_SCL_10.tif"
            for v, level in (("1C", "TOA"), ("2A", "BOA"))
            for day in ("20170703", "20190723")
        }

    def test_a_folder_of_odd_rasters_lists_every_one(self, shared_data: Path) -> None:
        odd = shared_data / "odd"
        scenes, refusals = read_scenes(str(odd))
        listed = {s.id for s in scenes} | {r.id for r in refusals}
        assert listed == {p.stem for p in odd.iterdir()}
        assert {r.reason for r in refusals} == {
            "no_time",
            "no_georeference",
            "complex",
            "unreadable",
            "block_too_large",
            "forbidden_href",
            "nodata",
        }
        assert all("\n" not in r.detail for r in refusals)

    def test_dated_odd_rasters_have_a_footprint_on_earth_or_a_reason(
        self, shared_data: Path, tmp_path: Path
    ) -> None:
        for path in sorted((shared_data / "odd").iterdir()):
            if path.suffix.lower() in {".tif", ".tiff", ".jp2"}:
                (tmp_path / f"{path.stem}_20230815{path.suffix}").symlink_to(path)
        scenes, refusals = read_scenes(str(tmp_path))
        assert scenes
        for scene in scenes:
            west, south, east, north = scene.footprint.bounds
            assert -180 <= west < east <= 180
            assert -90 <= south < north <= 90
        reasons = {r.id.removesuffix("_20230815"): r.reason for r in refusals}
        assert "no_time" not in reasons.values()
        assert reasons["riotiler_cog_nonearth"] == "unknown_crs"
