from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pystac
import pytest
import rasterio
import shapely
import shapely.geometry
from affine import Affine
from rasterio.crs import CRS

from geo.catalog.sources import read_scenes
from geo.cog import CogSink
from geo.errors import UpscaleError
from geo.raster_io import inspect_raster, read_window
from geo.raster_profile import RasterProfile
from geo.region_item import (
    ItemSource,
    RegionModel,
    describe_region,
    lonlat_bbox,
    region_item_path,
    write_region_item,
)
from geo.tiling import Tiling

PROFILE = RasterProfile(
    height=60,
    width=80,
    dtype="uint16",
    crs=CRS.from_epsg(32633).to_wkt(),
    transform=(2.5, 0, 500000, 0, -2.5, 5000000),
    nodata=0.0,
    masked=False,
    descriptions=("red", "green", "rededge1"),
    colours=("red", "green", "undefined"),
    scales=(1.0, 1.0, 1.0),
    offsets=(0.0, 0.0, 0.0),
)
BANDS = ("red", "green", "rededge1")
TIME = datetime(2023, 8, 15, 9, 50, 31, tzinfo=UTC)
CREATED = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
SOURCE = ItemSource(
    href="https://example.org/items/S2A_33TUM.json",
    time=TIME,
    title="S2A_33TUM",
    is_item=True,
    properties={"constellation": "sentinel-2", "eo:cloud_cover": 12.5, "other": 1},
)
MODEL = RegionModel(name="generator-3f2a", uri="models:/g@champion", version="7", run_id="abc")


def describe(output: Path, profile: RasterProfile = PROFILE, **changes: object) -> pystac.Item:
    wanted = {"scale": 4, "sources": [SOURCE], "model": MODEL, "created": CREATED} | changes
    return describe_region(output, profile, BANDS, **wanted)


def write_output(output: Path, profile: RasterProfile = PROFILE) -> np.ndarray:
    pixels = np.arange(3 * 60 * 80, dtype=np.uint16).reshape(3, 60, 80) + 1
    sink, folder = CogSink(profile=profile, scale=1, block_lr_px=512), output.with_name("run")
    sink.create(folder)
    sink.write(folder, Tiling(60, 80, 512)[0], [pixels], np.ones((60, 80), bool))
    sink.finish(folder, output, {})
    shutil.rmtree(folder)
    return pixels


def test_an_output_can_be_catalogued_and_used_again(tmp_path: Path) -> None:
    output = tmp_path / "out.tif"
    pixels = write_output(output)
    path = write_region_item(describe(output), output)
    assert path == region_item_path(output) == tmp_path / "out.tif.json"

    for source in (str(path), str(tmp_path)):  # the item, and the folder that it lies in
        scenes, refusals = read_scenes(source)
        assert not refusals
        (scene,) = scenes
        assert (scene.id, scene.time, scene.cloud_fraction) == ("out", TIME, 0.125)
        assert scene.band_names() == BANDS
        # What was upscaled is not taken for what ESA delivers: no offset is added once more.
        assert scene.offset_evidence == "scale and offset of the asset"
        refs = scene.band_refs(("green", "red"))
        info = inspect_raster(refs[0].href)
        assert info.geobox.affine == Affine(*PROFILE.transform)
        assert info.geobox.shape == (60, 80)
        read = read_window(refs, slice(0, 60), slice(0, 80))
        np.testing.assert_array_equal(read.data, pixels[[1, 0]])
        (asset,) = scene.assets.values()
        assert asset.gsd_m == 2.5
    (scene,), _ = read_scenes(str(output))  # the raster alone: its item lies beside it
    assert (scene.id, scene.time, scene.band_names()) == ("out", TIME, BANDS)


def test_provenance_is_told(tmp_path: Path) -> None:
    item = describe(tmp_path / "out.tif")
    assert item.properties["constellation"] == "sentinel-2"
    assert "other" not in item.properties
    assert item.properties["skyscale:model"] == "generator-3f2a"
    assert item.properties["skyscale:model_uri"] == "models:/g@champion"
    assert item.properties["skyscale:model_version"] == "7"
    assert item.properties["skyscale:run_id"] == "abc"
    assert item.properties["skyscale:scale"] == 4
    assert set(item.properties["processing:software"]) == {"skyscale"}
    assert item.properties["processing:datetime"] == "2026-11-28T12:00:00Z"
    assert "S2A_33TUM upscaled 4 times" in item.properties["processing:lineage"]
    (link,) = item.get_links("derived_from")
    assert (link.href, link.media_type) == (SOURCE.href, "application/geo+json")
    assert item.assets["data"].media_type == str(pystac.MediaType.COG)
    assert [e.split("/")[3] for e in item.stac_extensions] == [
        "projection",
        "raster",
        "eo",
        "processing",
    ]


def test_what_is_not_known_is_left_out(tmp_path: Path) -> None:
    source = ItemSource(href="/data/scene.tif", time=TIME)
    item = describe(tmp_path / "out.tif", sources=[source], model=RegionModel(name="bicubic"))
    told = {key for key in item.properties if key.startswith("skyscale:")}
    assert told == {"skyscale:scale", "skyscale:model"}
    assert "eo:cloud_cover" not in item.properties
    (link,) = item.get_links("derived_from")
    assert link.media_type == "image/tiff; application=geotiff"


def test_bands_are_described(tmp_path: Path) -> None:
    profile = replace(
        PROFILE, dtype="float32", nodata=float("nan"), scales=(0.5, 1, 1), offsets=(-3.0, 0, 0)
    )
    item = describe(tmp_path / "out.tif", profile)
    red, _, edge = item.assets["data"].to_dict()["bands"]
    assert red == {
        "name": "red",
        "eo:common_name": "red",
        "data_type": "float32",
        "nodata": "nan",
        "raster:scale": 0.5,
        "raster:offset": -3.0,
    }
    assert "eo:common_name" not in edge


def test_several_sources_span_a_time(tmp_path: Path) -> None:
    later = replace(SOURCE, time=datetime(2023, 8, 17, tzinfo=UTC), properties={})
    output = tmp_path / "out.tif"
    write_output(output)
    item = describe(output, sources=[later, SOURCE])
    assert item.datetime is None
    assert item.properties["start_datetime"] == "2023-08-15T09:50:31Z"
    assert item.properties["end_datetime"] == "2023-08-17T00:00:00Z"
    assert "constellation" not in item.properties
    assert len(item.get_links("derived_from")) == 2
    (scene,), _ = read_scenes(str(write_region_item(item, output)))
    assert scene.time == datetime(2023, 8, 16, 4, 55, 15, 500000, tzinfo=UTC)


def test_without_any_time_there_is_no_item(tmp_path: Path) -> None:
    with pytest.raises(UpscaleError, match="no time is known"):
        describe(tmp_path / "out.tif", sources=[replace(SOURCE, time=None)])


def test_a_zarr_is_told_as_the_community_tells_it(tmp_path: Path) -> None:
    item = describe(tmp_path / "out.zarr")
    asset = item.assets["data"].to_dict()
    assert asset["href"] == "./out.zarr"
    assert asset["type"] == "application/vnd.zarr; version=3; profile=multiscales"
    assert asset["zarr:node_type"] == "group"
    assert [link.media_type for link in item.get_links("store")] == [
        "application/vnd.zarr; version=3"
    ]
    assert any("/zarr/" in extension for extension in item.stac_extensions)
    scenes, refusals = read_scenes(str(write_region_item(item, tmp_path / "out.zarr")))
    assert [scene.id for scene in scenes] == ["out"]
    assert not refusals


def test_the_footprint_follows_the_grid(tmp_path: Path) -> None:
    """The far corner of a wide grid in a transverse Mercator is no corner of a lon/lat box."""
    profile = replace(PROFILE, transform=(2000, 0, 300000, 0, -2000, 7000000))
    outline = shapely.geometry.shape(describe(tmp_path / "out.tif", profile).geometry)
    inverse = rasterio.warp.transform(
        CRS.from_epsg(32633), CRS.from_epsg(4326), [300000 + 160000], [7000000 - 120000]
    )
    corner = shapely.Point(inverse[0][0], inverse[1][0])
    assert outline.boundary.distance(corner) < 1e-3
    assert outline.exterior.is_ccw  # RFC 7946, 3.1.6
    assert len(outline.exterior.coords) > 5


def test_a_region_across_the_antimeridian_is_cut_there(tmp_path: Path) -> None:
    profile = replace(
        PROFILE,
        crs=CRS.from_epsg(4326).to_wkt(),
        transform=(0.1, 0, 176, 0, -0.1, -10),
    )
    item = describe(tmp_path / "out.tif", profile)
    outline = shapely.geometry.shape(item.geometry)
    assert outline.geom_type == "MultiPolygon"
    assert outline.area == pytest.approx(48)
    assert item.bbox == pytest.approx([176, -16, -176, -10])
    assert lonlat_bbox(shapely.box(-180, -90, 180, 90)) == [-180, -90, 180, 90]


def test_a_crs_without_a_code_is_written_out(tmp_path: Path) -> None:
    crs = CRS.from_proj4("+proj=laea +lat_0=47 +lon_0=13 +datum=WGS84 +units=m").to_wkt()
    profile = replace(PROFILE, crs=crs, transform=(2.5, 0, 1000, 0, -2.5, 1000))
    properties = describe(tmp_path / "out.tif", profile).properties
    assert "proj:code" not in properties
    assert "Lambert Azimuthal" in properties["proj:wkt2"]


@pytest.mark.parametrize("name", ["out.tif", "out.zarr"])
def test_the_item_is_valid_stac(tmp_path: Path, name: str) -> None:
    """By the core schemas, which pystac ships; those of the extensions lie on the network."""
    pytest.importorskip("jsonschema")
    written = write_region_item(describe(tmp_path / name), tmp_path / name)
    content = json.loads(written.read_text())
    assert content["stac_version"] == "1.1.0"
    content["stac_extensions"] = []
    pystac.Item.from_dict(content).validate()
