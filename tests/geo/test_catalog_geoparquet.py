"""The table of scenes: GeoParquet that others read, and what others wrote; damage is told."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import geopandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geo.catalog.geoparquet import read_table, write_table
from geo.catalog.query import SceneQuery
from geo.catalog.refresh import refresh_scenes
from geo.catalog.sources import read_scenes
from geo.errors import CatalogError
from tests.geo.catalogs import entry, facts, item


def test_others_read_it_as_geoparquet(tmp_path: Path) -> None:
    records = [item(f"s{n}", n, **{"eo:cloud_cover": n / 2, "platform": "x"}) for n in range(5)]
    path = tmp_path / "scenes.parquet"
    write_table(path, [entry(r) for r in records], {})
    frame = geopandas.read_parquet(path)
    assert list(frame["id"]) == [r["id"] for r in records]
    assert list(frame["eo:cloud_cover"]) == [0, 0.5, 1, 1.5, 2]
    assert str(frame["datetime"].dt.tz) == "UTC"
    assert frame.crs.to_epsg() == 4326 or frame.crs.to_string() == "OGC:CRS84"
    for shape, record in zip(frame.geometry, records, strict=True):
        assert shape.equals(shapely.geometry.shape(record["geometry"]))
    near = geopandas.read_parquet(path, bbox=(0.35, 47, 0.38, 47.1))
    assert list(near["id"]) == ["s3"], "rows are found by the covering box"
    meta = json.loads(pq.read_schema(path).metadata[b"geo"])
    assert meta["columns"]["geometry"]["encoding"] == "WKB"
    assert meta["columns"]["geometry"]["geometry_types"] == ["Polygon"]


def test_real_items_come_back_exactly(shared_data: Path, tmp_path: Path) -> None:
    for name in ("s2_l2a_items.json", "s2_c1_l2a_items.json", "naip_vermont_items.json"):
        source = str(shared_data / "stac" / name)
        table = tmp_path / f"{name}.parquet"
        first = refresh_scenes(source, table)
        assert facts(read_scenes(source)) == facts(first) == facts(refresh_scenes(source, table))
        assert facts(read_scenes(str(table))) == facts(first)


def test_what_others_wrote_is_read(shared_data: Path, tmp_path: Path) -> None:
    """The same items as plain stac-geoparquet, without our columns."""
    source = str(shared_data / "stac" / "naip_vermont_items.json")
    refresh_scenes(source, tmp_path / "ours.parquet")
    table = pq.read_table(tmp_path / "ours.parquet")
    features = {f["id"]: f for f in json.loads(Path(source).read_text())["features"]}
    assets = pa.array([features[i]["assets"] for i in table["id"].to_pylist()])
    plain = table.select([c for c in table.column_names if not c.startswith("skyscale:")])
    plain = plain.set_column(plain.column_names.index("assets"), "assets", assets)
    plain = plain.replace_schema_metadata(
        {b"geo": table.schema.metadata[b"geo"], b"stac-geoparquet": b'{"version": "1.0.0"}'}
    )
    pq.write_table(plain, tmp_path / "theirs.parquet")
    theirs, refusals = read_scenes(str(tmp_path / "theirs.parquet"))
    ours, _ = read_scenes(source)
    assert refusals == []
    assert [s.id for s in theirs] == [s.id for s in ours]
    for a, b in zip(theirs, ours, strict=True):
        assert (a.time, a.footprint.wkt, a.assets) == (b.time, b.footprint.wkt, b.assets)
        assert a.properties["gsd"] == b.properties["gsd"]


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=st.lists(
        st.recursive(
            st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=3),
            lambda v: st.lists(v, max_size=2) | st.dictionaries(st.text(max_size=2), v, max_size=2),
            max_leaves=4,
        ),
        min_size=1,
        max_size=3,
    )
)
def test_properties_of_any_kind_come_back(tmp_path: Path, values: list[Any]) -> None:
    records = [item(f"s{n}", n, odd=value) for n, value in enumerate(values)]
    path = tmp_path / "odd.parquet"
    write_table(path, [entry(r) for r in records], {"a": 1})
    assert [e.item for e in read_table(str(path))] == records


def test_half_characters_of_a_stranger_break_nothing(tmp_path: Path) -> None:
    half = "\ud800"
    odd = item("odd", platform=half, **{half: 1, "": 2, "id": "x", "skyscale:key": "x"})
    odd |= {"collection": half, "stac_version": half, "stac_extensions": [half]}
    odd["assets"]["red"] |= {"title": half, "roles": ["data", half]}
    odd["assets"][half] = {"href": "./b.tif"}
    listed = {"type": "FeatureCollection", "features": [odd, item("good"), item(f"id{half}")]}
    (tmp_path / "items.json").write_text(json.dumps(listed))
    found = refresh_scenes(str(tmp_path / "items.json"), tmp_path / "t.parquet")
    assert [s.id for s in found[0]] == ["good", "odd"]
    assert [r.reason for r in found[1]] == ["bad_item"]
    assert facts(read_scenes(str(tmp_path / "t.parquet")))[0] == facts(found)[0]


def test_a_query_is_answered_by_the_columns(tmp_path: Path) -> None:
    path = tmp_path / "scenes.parquet"
    write_table(path, [entry(item(f"s{n}", n)) for n in range(10)], {})
    query = SceneQuery(start=datetime(2023, 8, 4), end=datetime(2023, 8, 6, 12))
    assert [s.id for s in read_scenes(str(path), query)[0]] == ["s3", "s4", "s5"]
    assert read_scenes(str(path), SceneQuery(bbox=(0, 10, 1, 20)))[0] == []
    assert [e.key for e in read_table(str(path), query)] == ["s3", "s4", "s5"]


def test_nothing_is_a_table_as_well(tmp_path: Path) -> None:
    write_table(tmp_path / "none.parquet", [], {})
    assert read_scenes(str(tmp_path / "none.parquet")) == ([], [])


def test_what_is_no_table_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "text.parquet").write_text("no")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    with pytest.raises(CatalogError, match="not a Parquet file"):
        read_scenes(str(tmp_path / "text.parquet"))
    told = "no GeoParquet of items; it has the columns a; wanted id and geometry"
    with pytest.raises(CatalogError, match=told):
        read_scenes(str(tmp_path / "other.parquet"))


def test_a_damaged_table_is_an_error(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole.parquet", tmp_path / "broken.parquet"
    write_table(whole, [entry(item(f"s{n}", n)) for n in range(50)], {})
    content = bytearray(whole.read_bytes())
    content[100:2000] = bytes(1900)  # of its first columns; the footer stays
    broken.write_bytes(content)
    with pytest.raises(CatalogError, match=r"broken\.parquet: its rows cannot be read \("):
        read_scenes(str(broken))


@pytest.mark.parametrize("refusals", ["{", "[1]", '[{"key": "a"}]'])
def test_a_damaged_list_of_refusals_is_an_error(tmp_path: Path, refusals: str) -> None:
    write_table(tmp_path / "a.parquet", [entry(item("a"))], {})
    table = pq.read_table(tmp_path / "a.parquet")
    facts = table.schema.metadata | {b"skyscale:refusals": refusals.encode(), b"other": b"\xff"}
    pq.write_table(table.replace_schema_metadata(facts), tmp_path / "a.parquet")
    with pytest.raises(CatalogError, match=r"list of refusals is damaged .*; write it anew"):
        read_scenes(str(tmp_path / "a.parquet"))


def test_one_bad_row_of_others_never_stops_the_others(tmp_path: Path) -> None:
    place = shapely.to_wkb(shapely.box(15, 47, 15.1, 47.1))
    asset = pa.struct([("href", pa.string()), ("title", pa.string())])
    columns = {
        "id": pa.array(["good", "no place", "no file"]),
        "geometry": pa.array([place, b"none", place], pa.binary()),
        "datetime": pa.array(["2023-08-15T10:00:00Z"] * 3),
        "assets": pa.array(
            [[("data", {"href": "a.tif"})], [("data", {"href": "b.tif"})], [("data", {})]],
            pa.map_(pa.string(), asset),
        ),
    }
    pq.write_table(pa.table(columns), tmp_path / "theirs.parquet")
    (scene,), refusals = read_scenes(str(tmp_path / "theirs.parquet"))
    assert (scene.id, scene.assets["data"].href) == ("good", str(tmp_path / "a.tif"))
    assert {r.id: r.reason for r in refusals} == {"no place": "bad_item", "no file": "bad_item"}
    assert "asset data has the href None; wanted text" in [r.detail for r in refusals]


def test_a_failed_write_leaves_the_table_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "scenes.parquet"
    write_table(path, [entry(item("a"))], {})
    before = path.read_bytes()
    with pytest.raises(TypeError):
        write_table(path, [entry(item("b"))], {"not": object()})
    with pytest.raises(Exception, match="geometry"):
        write_table(path, [entry({**item("b"), "geometry": {"type": "Blob"}})], {})
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["scenes.parquet"]
