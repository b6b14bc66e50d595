"""STAC items and static catalogues as scenes; one bad item never stops the others."""

from __future__ import annotations

import json
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
from geo.errors import BandError, SourceError

TIME = "2023-08-15T10:00:00Z"
NAN = float("nan")


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
            ({"geometry": None, "bbox": None}, "item bad has no geometry"),
            ({"geometry": {"type": "Polygon", "coordinates": []}}, "an empty geometry"),
            ({"geometry": {"type": "Polygon"}}, "no GeoJSON ('coordinates' is missing)"),
            ({"geometry": {"type": "Blob"}}, "Unknown geometry type: 'blob'"),
            ({"assets": {}}, "item bad has no assets"),
            ({"assets": None}, "item bad has no assets"),
            ({"assets": ["a.tif"]}, "assets: got ['a.tif']; wanted a JSON object"),
            ({"assets": {"red": "a.tif"}}, "asset red: got 'a.tif'; wanted a JSON object"),
            ({"assets": {"red": {}}}, "asset red has the href None; wanted text"),
            ({"properties": {"datetime": None}}, "wanted a datetime, or start_datetime"),
            ({"properties": {"datetime": "last summer"}}, "'last summer'; wanted one like 2023"),
            ({"properties": {"eo:cloud_cover": "some"}}, "cloud cover 'some'; wanted a percentage"),
            ({"type": "Thing"}, "its type is 'Thing'; wanted a STAC item"),
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

    @pytest.mark.parametrize("properties", [None, "none", [1]])
    def test_properties_that_are_none_are_said(self, tmp_path: Path, properties: Any) -> None:
        path = write_collection(tmp_path, [item("bad")])
        record = item("bad") | {"properties": properties}
        (tmp_path / "bad" / "bad.json").write_text(json.dumps(record))
        _, (refusal,) = read_scenes(str(path))
        assert refusal.detail == f"properties of item bad: got {properties!r}; wanted a JSON object"

    @pytest.mark.parametrize(
        ("told", "want"),
        [(None, None), (0, 0.0), (25, 0.25), ("25", 0.25), (100.5, 1.0), (-1, None), (NAN, None)],
    )
    def test_a_cloud_cover_that_is_none_is_unknown(
        self, tmp_path: Path, told: Any, want: float | None
    ) -> None:
        """Some publishers write -1 for what they do not know."""
        path = write_collection(tmp_path, [item("a", properties={"eo:cloud_cover": told})])
        (scene,), _ = read_scenes(str(path))
        assert scene.cloud_fraction == want

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
