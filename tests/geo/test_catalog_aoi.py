"""An area of interest: four numbers or GeoJSON; what is neither is told what it lacks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import shapely

from geo.catalog.aoi import read_aoi


def test_four_numbers() -> None:
    assert read_aoi("1,2,3.5,4").equals(shapely.box(1, 2, 3.5, 4))


@pytest.mark.parametrize("kind", ["geometry", "feature", "collection"])
def test_geojson(tmp_path: Path, kind: str) -> None:
    shape = json.loads(shapely.to_geojson(shapely.box(1, 2, 3, 4)))
    feature = {"type": "Feature", "geometry": shape, "properties": {}}
    content = {
        "geometry": shape,
        "feature": feature,
        "collection": {"type": "FeatureCollection", "features": [feature, feature]},
    }[kind]
    path = tmp_path / "area.geojson"
    path.write_text(json.dumps(content))
    assert read_aoi(str(path)).equals(shapely.box(1, 2, 3, 4))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("1,2,3", "GeoJSON file or west,south,east,north"),
        ("a,b,c,d", "GeoJSON file or west,south,east,north"),
        ("3,2,1,4", "west < east"),
        ("1,4,3,2", "south < north"),
        ("500000,5200000,510000,5210000", "in degrees"),
        ("0,0,inf,1", "west < east"),
        ("nan,0,1,1", "west < east"),
        ("not-there.geojson", "not a readable GeoJSON file .*No such file"),
    ],
)
def test_anything_else_is_refused(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        read_aoi(text)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "not a readable GeoJSON file"),
        ("[]", r"\[\] is no geometry or feature"),
        ('{"name": 1}', r"\{'name': 1\} is no geometry or feature"),
        ('{"type": "FeatureCollection", "features": "all"}', "'a' is no geometry or feature"),
        ('{"type": "Polygon"}', "'coordinates' is missing"),
        ('{"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]}', "no GeoJSON .*linearring"),
        ('{"type": "Point", "coordinates": [1, 2]}', "holds no area"),
        ('{"type": "FeatureCollection", "features": []}', "holds no area"),
        ('{"type": "Feature", "geometry": null}', "holds no area"),
    ],
)
def test_what_a_file_lacks_is_said(tmp_path: Path, content: str, told: str) -> None:
    path = tmp_path / "area.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=rf"aoi .*area\.json: .*{told}"):
        read_aoi(str(path))


def test_a_feature_without_a_place_is_passed_over(tmp_path: Path) -> None:
    shape = json.loads(shapely.to_geojson(shapely.box(1, 2, 3, 4)))
    features = [{"type": "Feature", "geometry": place} for place in (None, shape)]
    path = tmp_path / "area.json"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    assert read_aoi(str(path)).equals(shapely.box(1, 2, 3, 4))
