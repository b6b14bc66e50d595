"""Land cover: the category with the largest share of a piece of ground."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest
import shapely
import shapely.geometry
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from geo.errors import CatalogError
from geo.landcover import LandCover

CELL = GeoBox.from_bbox((10.0, 50.0, 10.1, 50.1), "EPSG:4326", shape=(10, 10))


def collection(**polygons: shapely.Geometry) -> dict[str, object]:
    features = [
        {
            "type": "Feature",
            "properties": {"category": name.partition("_")[0]},
            "geometry": shapely.geometry.mapping(polygon),
        }
        for name, polygon in polygons.items()
    ]
    return {"type": "FeatureCollection", "features": features}


def read(folder: Path, **polygons: shapely.Geometry) -> LandCover:
    path = folder / "landcover.geojson"
    path.write_text(json.dumps(collection(**polygons)))
    return LandCover.read(path)


def test_the_largest_share_wins(tmp_path: Path) -> None:
    cover = read(
        tmp_path,
        forest=shapely.box(9.0, 50.0, 10.06, 50.1),
        water=shapely.box(10.06, 50.0, 11.0, 50.1),
    )
    assert cover.category_of(CELL) == "forest"


def test_many_small_fields_outweigh_one_lake(tmp_path: Path) -> None:
    cover = read(
        tmp_path,
        water=shapely.box(10.0, 50.0, 10.04, 50.1),
        fields_1=shapely.box(10.04, 50.0, 10.07, 50.1),
        fields_2=shapely.box(10.07, 50.0, 10.1, 50.1),
    )
    assert cover.category_of(CELL) == "fields"


def test_ground_without_a_label_has_no_category(tmp_path: Path) -> None:
    cover = read(tmp_path, forest=shapely.box(0, 0, 1, 1), water=shapely.box(10.1, 50, 10.2, 50.1))
    assert cover.category_of(CELL) is None
    assert LandCover((), ()).category_of(CELL) is None


@given(st.integers(1, 99))
def test_the_winner_is_who_has_more_than_half(percent: int) -> None:
    edge = 10.0 + percent / 1000
    cover = LandCover(
        ("west", "east"), (shapely.box(9, 49, edge, 51), shapely.box(edge, 49, 11, 51))
    )
    if percent != 50:
        assert cover.category_of(CELL) == ("west" if percent > 50 else "east")


def test_any_crs_of_the_grid_will_do(rasters: ModuleType) -> None:
    utm = rasters.grid((32, 32), left=500_000.0, top=5_300_000.0)  # 15 E, 47.85 N
    cover = LandCover(("here", "there"), (shapely.box(15, 47, 16, 48), shapely.box(13, 47, 15, 48)))
    assert cover.category_of(utm) == "here"
    assert cover.category_of(utm.translate_pix(-64, 0)) == "there"


def test_a_bow_tie_is_repaired(tmp_path: Path) -> None:
    tie = shapely.Polygon([(10, 50), (10.1, 50.1), (10.1, 50), (10, 50.1)])
    assert not tie.is_valid
    assert read(tmp_path, odd=tie).category_of(CELL) == "odd"


@pytest.mark.parametrize(
    "text",
    [
        "not json",
        "[]",
        "{}",
        '{"features": [{"properties": {}, "geometry": null}]}',
        '{"features": [{"properties": {"category": "a"}, "geometry": {"type": "Blob"}}]}',
        '{"features": [{"properties": null, "geometry": null}]}',
        '{"features": [{"properties": {"category": "a"}, "geometry": null}]}',
        '{"features": [{"properties": {"category": "a"}}]}',
        '{"features": 5}',
    ],
)
def test_what_is_no_land_cover_is_said_so(tmp_path: Path, text: str) -> None:
    path = tmp_path / "landcover.geojson"
    path.write_text(text)
    with pytest.raises(CatalogError, match="wanted a GeoJSON FeatureCollection"):
        LandCover.read(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"nowhere\.geojson: no such land cover file"):
        LandCover.read(tmp_path / "nowhere.geojson")
