"""Labels of pixels: polygons and label rasters say the same on any grid."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import rasterio
import shapely
import shapely.geometry
from odc.geo.geobox import GeoBox

from geo.alignment import Alignment
from geo.errors import CatalogError
from geo.labels import check_classes, open_labels, read_labels

GRID = GeoBox.from_bbox((10.0, 50.0, 10.1, 50.1), "EPSG:4326", shape=(10, 20))
CLASSES = ("wood", "water")


def write_polygons(path: Path, *labelled: tuple[str, shapely.Geometry]) -> Path:
    features = [
        {
            "type": "Feature",
            "properties": {"category": name},
            "geometry": shapely.geometry.mapping(shape),
        }
        for name, shape in labelled
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def write_raster(
    path: Path, values: np.ndarray, geobox: GeoBox = GRID, nodata: float | None = None
) -> Path:
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=values.shape[0],
        width=values.shape[1],
        count=1,
        dtype=values.dtype,
        crs=str(geobox.crs),
        transform=geobox.affine,
        nodata=nodata,
    ) as file:
        file.write(values, 1)
    return path


def halves(left: int, right: int) -> np.ndarray:
    values = np.full((10, 20), left, np.uint8)
    values[:, 10:] = right
    return values


def test_a_pixel_has_the_class_that_its_middle_lies_in(tmp_path: Path) -> None:
    edge = 10.0 + 0.1 * 10.4 / 20  # within pixel 10, left of its middle
    path = write_polygons(
        tmp_path / "a.geojson",
        ("wood", shapely.box(9, 49, edge, 51)),
        ("water", shapely.box(edge, 49, 11, 51)),
    )
    assert (open_labels(path).read(GRID, CLASSES) == halves(1, 2)).all()


def test_the_last_polygon_counts_and_ground_without_any_has_no_label(tmp_path: Path) -> None:
    path = write_polygons(
        tmp_path / "a.geojson",
        ("wood", shapely.box(9, 49, 11, 51)),
        ("water", shapely.box(10.05, 49, 11, 51)),
    )
    labels = open_labels(path)
    assert (labels.read(GRID, CLASSES) == halves(1, 2)).all()
    assert (labels.read(GRID, ("water",)) == halves(0, 1)).all()
    assert not labels.read(GRID.translate_pix(1000, 0), CLASSES).any()


def test_polygons_say_in_utm_what_they_say_in_degrees(tmp_path: Path, rasters: ModuleType) -> None:
    utm = rasters.grid((40, 60), left=500_000.0, top=5_300_000.0)
    middle = utm.footprint("EPSG:4326").geom.centroid
    path = write_polygons(
        tmp_path / "a.geojson",
        ("wood", shapely.box(middle.x - 1, 47, middle.x, 49)),
        ("water", shapely.box(middle.x, 47, middle.x + 1, 49)),
    )
    found = open_labels(path).read(utm, CLASSES)
    assert (found[:, :29] == 1).all()
    assert (found[:, 31:] == 2).all()


def test_a_raster_says_what_polygons_say(tmp_path: Path) -> None:
    raster = write_raster(tmp_path / "a.tif", halves(7, 9))
    (tmp_path / "a.json").write_text('{"7": "wood", "9": "water"}')
    labels = open_labels(raster)
    assert labels.classes == CLASSES
    assert (labels.read(GRID, CLASSES) == halves(1, 2)).all()
    finer = GRID.zoom_out(0.25)
    assert (labels.read(finer, CLASSES) == halves(1, 2).repeat(4, 0).repeat(4, 1)).all()


def test_without_names_a_value_is_a_class_and_nodata_none(tmp_path: Path) -> None:
    labels = open_labels(write_raster(tmp_path / "a.tif", halves(7, 255), nodata=255))
    assert labels.classes == ("7",)
    assert (labels.read(GRID, ("7",)) == halves(1, 0)).all()


def test_values_without_a_name_are_no_labels_and_names_may_be_shared(tmp_path: Path) -> None:
    raster = write_raster(tmp_path / "a.tif", halves(7, 9))
    (tmp_path / "a.json").write_text('{"7": "wood", "8": "wood"}')
    labels = open_labels(raster)
    assert labels.classes == ("wood",)
    assert (labels.read(GRID, CLASSES) == halves(1, 0)).all()


def test_labels_move_with_the_aerial_image_that_they_fit(tmp_path: Path) -> None:
    labels = open_labels(write_raster(tmp_path / "a.tif", halves(1, 2)))
    still = Alignment(
        dy_px=0.0,
        dx_px=0.0,
        reliability=1.0,
        accepted=True,
        reason=None,
        value=None,
        limit=None,
        residual_px=0.0,
        colours=None,
        cloud_fraction=0.0,
    )
    plain = read_labels(labels, GRID, ("1", "2"), still, scale=2)
    assert (plain == read_labels(labels, GRID, ("1", "2"), None, scale=2)).all()
    # What the satellite shows lies one LR pixel, two HR pixels, to the right of its ground.
    moved = read_labels(labels, GRID, ("1", "2"), replace(still, dx_px=1.0), scale=2)
    assert (moved[:, 2:] == plain[:, :-2]).all()


def test_labels_travel_to_workers(tmp_path: Path) -> None:
    path = write_polygons(tmp_path / "a.geojson", ("wood", shapely.box(9, 49, 11, 51)))
    again = pickle.loads(pickle.dumps(open_labels(path)))
    assert (again.read(GRID, CLASSES) == 1).all()


def test_an_image_is_no_labels(tmp_path: Path) -> None:
    many = np.arange(300, dtype=np.uint16).reshape(15, 20)
    with pytest.raises(CatalogError, match=r"a\.tif has more than 254 classes.*is it an image"):
        open_labels(write_raster(tmp_path / "a.tif", many))
    with pytest.raises(CatalogError, match="1 bands of float32; labels are one band of whole"):
        open_labels(write_raster(tmp_path / "b.tif", many.astype(np.float32)))


def test_names_that_are_none_are_said_so(tmp_path: Path) -> None:
    raster = write_raster(tmp_path / "a.tif", halves(7, 9))
    for text in ("[]", "no json", '{"seven": "wood"}'):
        (tmp_path / "a.json").write_text(text)
        with pytest.raises(CatalogError, match=r"a\.json names no classes"):
            open_labels(raster)
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(CatalogError, match=r"a\.tif has no classes"):
        open_labels(raster)


def test_labels_of_other_classes_are_refused_and_unknown_ones_told(tmp_path: Path) -> None:
    labels = open_labels(write_raster(tmp_path / "a.tif", halves(7, 9)))
    assert check_classes(labels, ("9", "10")) == ("7",)
    with pytest.raises(CatalogError, match="labels 7, 9, none of which is among wood, water"):
        check_classes(labels, CLASSES)
