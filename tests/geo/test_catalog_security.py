"""An href cannot make GDAL read what it should not; an id cannot escape a folder.

A canary lies on the disk, a raster of one value. No source, however it is written by a stranger,
may lead to a pixel of it.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rasterio
import shapely
from hypothesis import given
from hypothesis import strategies as st

from geo import raster_door
from geo.catalog.http import HttpRules
from geo.catalog.sources import read_scenes
from geo.errors import CatalogError, GeoError, SourceError
from geo.hrefs import check_href, is_remote, resolve_href, safe_name
from geo.raster_door import BLOCK_LIMIT_BYTES
from geo.raster_io import inspect_raster, read_file, read_window
from tests.servers.stac_server import StacServer

QUICK = HttpRules(first_wait_s=0.01, read_timeout_s=1.0, attempts=2)
CANARY = 77


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raster_door, "_WAITS_S", (0.01,))


@pytest.fixture
def canary(rasters: ModuleType, tmp_path: Path) -> Path:
    """A raster that nobody may read."""
    path = tmp_path / "secret" / "canary.tif"
    rasters.write(path, np.full((1, 64, 64), CANARY, "uint8"), rasters.grid((64, 64)))
    return path


@pytest.fixture
def served(tmp_path: Path) -> Path:
    folder = tmp_path / "served"
    folder.mkdir()
    return folder


def item(href: str, **asset: Any) -> dict[str, Any]:
    box = shapely.box(15, 47, 15.1, 47.1)
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": "stranger",
        "geometry": shapely.geometry.mapping(box),
        "bbox": list(box.bounds),
        "properties": {"datetime": "2023-08-15T10:00:00Z"},
        "links": [],
        "assets": {"data": {"href": href, "roles": ["data"]} | asset},
    }


def tricks(canary: Path) -> list[str]:
    """Ways to name the canary, or a file of GDAL's own."""
    vrt = (
        '<VRTDataset rasterXSize="64" rasterYSize="64"><VRTRasterBand dataType="Byte" band="1">'
        f"<SimpleSource><SourceFilename>{canary}</SourceFilename><SourceBand>1</SourceBand>"
        "</SimpleSource></VRTRasterBand></VRTDataset>"
    )
    return [
        f"/vsisubfile/0_99999,{canary}",
        f"/vsisparse/{canary}",
        f"/vsizip/{canary}.zip",
        f"/vsicurl/file://{canary}",
        "/vsistdin/",
        f"/vsimem/../{canary}",
        f"//vsisubfile/0_99999,{canary}",
        f"/./vsisubfile/0_99999,{canary}",
        f"/%76sisubfile/0_99999,{canary}",
        f"/VSISUBFILE/0_99999,{canary}",
        vrt,
        f"  {vrt}",
        f"GTIFF_DIR:1:{canary}",
        f"GTIFF_RAW:{canary}",
        f"JPEG_SUBFILE:0,9999,{canary}",
        f"NETCDF:{canary}:Band1",
        f"vrt://{canary}",
        f"zip://{canary}",
        f"zip+file://{canary}",
        f"gzip://{canary}",
        f"tar://{canary}",
        "WMS:http://127.0.0.1:9/?SERVICE=WMS",
        "WCS:http://127.0.0.1:9/",
        "MVT:http://127.0.0.1:9/",
        "PG:host=127.0.0.1",
        f"DERIVED_SUBDATASET:AMPLITUDE:{canary}",
        '{"type": "gdal_streamed_alg"}',
        f"\\\\host\\{canary}",
        f"{canary}\x00.tif",
        f"file://elsewhere{canary}",
        "",
        " ",
    ]


class TestHrefs:
    def test_no_trick_passes_the_door(self, canary: Path) -> None:
        for href in tricks(canary):
            with pytest.raises(SourceError) as caught:
                inspect_raster(href)
            assert caught.value.facts["cause"] == "forbidden_href", href
            with pytest.raises(SourceError):
                read_window(href, slice(0, 4), slice(0, 4))

    def test_no_trick_passes_a_catalogue(self, canary: Path, served: Path) -> None:
        """Neither from the network nor from a local catalogue."""
        with StacServer(served) as server:
            for href in tricks(canary):
                (served / "item.json").write_text(json.dumps(item(href)))
                for source in (str(served / "item.json"), f"{server.files}/item.json"):
                    scenes, refusals = read_scenes(source, http=QUICK)
                    if scenes:  # a URL of a scheme that is not read: the door refuses it
                        with pytest.raises(SourceError) as caught:
                            scenes[0].band_refs()
                        assert caught.value.facts["cause"] == "forbidden_href", href
                    else:
                        assert refusals[0].reason in ("forbidden_href", "bad_item"), href

    @pytest.mark.parametrize("form", ["file://{}", "file:{}", "FILE://{}", "file://localhost{}"])
    def test_a_catalogue_of_the_network_names_no_local_file(
        self, canary: Path, served: Path, form: str
    ) -> None:
        (served / "item.json").write_text(json.dumps(item(form.format(canary))))
        with StacServer(served) as server:
            scenes, (refusal,) = read_scenes(f"{server.files}/item.json", http=QUICK)
        assert scenes == []
        assert refusal.reason == "forbidden_href"
        assert "names a local file" in refusal.detail

    def test_paths_of_a_catalogue_of_the_network_stay_on_its_server(
        self, canary: Path, served: Path
    ) -> None:
        for href in (str(canary), f"../../../../../..{canary}", f"..{canary}"):
            (served / "item.json").write_text(json.dumps(item(href)))
            with StacServer(served) as server:
                (scene,), _ = read_scenes(f"{server.files}/item.json", http=QUICK)
                assert scene.assets["data"].href.startswith(server.url)
                with pytest.raises(SourceError):
                    scene.band_refs()

    def test_links_of_a_catalogue_of_the_network_lead_to_no_local_document(
        self, tmp_path: Path, served: Path, canary: Path
    ) -> None:
        secret = tmp_path / "secret" / "item.json"
        secret.write_text(json.dumps(item(str(canary))))
        for rel in ("item", "child"):
            root = {
                "type": "Catalog",
                "stac_version": "1.1.0",
                "id": "c",
                "links": [
                    {"rel": rel, "href": f"file://{secret}"},
                    {"rel": rel, "href": str(secret)},
                ],
            }
            (served / "catalog.json").write_text(json.dumps(root))
            with StacServer(served) as server:
                scenes, refusals = read_scenes(f"{server.files}/catalog.json", http=QUICK)
            assert scenes == []
            assert {r.reason for r in refusals} == {"forbidden_href", "bad_item"}

    def test_an_api_leads_to_no_local_document(
        self, tmp_path: Path, served: Path, canary: Path
    ) -> None:
        hit = item(f"file://{canary}") | {"collection": "c"}
        with StacServer(served, {"c": [hit]}) as server:
            scenes, (refusal,) = read_scenes(f"stac-api:{server.api}#c", http=QUICK)
        assert (scenes, refusal.reason) == ([], "forbidden_href")

    def test_redirections_lead_to_no_local_file(self, canary: Path, served: Path) -> None:
        target = f"file://{canary}"
        redirects = {"/files/a.tif": target, "/files/catalog.json": target, "/api": target}
        with StacServer(served, redirects=redirects) as server:
            with pytest.raises(SourceError):
                read_window(f"{server.files}/a.tif", slice(0, 4), slice(0, 4))
            with pytest.raises(CatalogError):
                read_scenes(f"{server.files}/catalog.json", http=QUICK)
            with pytest.raises(CatalogError):
                read_scenes(f"stac-api:{server.api}#c", http=QUICK)

    def test_a_local_catalogue_may_name_any_local_file(self, canary: Path, served: Path) -> None:
        for href in (str(canary), f"file://{canary}", "../secret/canary.tif"):
            (served / "item.json").write_text(json.dumps(item(href)))
            (scene,), _ = read_scenes(str(served / "item.json"))
            assert scene.assets["data"].href == str(canary)
            assert len(scene.band_refs()) == 1

    def test_a_table_of_the_network_is_a_stranger_even_in_our_own_layout(
        self, canary: Path, served: Path
    ) -> None:
        record = item(str(canary))
        columns = {
            "id": ["stranger"],
            "geometry": [shapely.to_wkb(shapely.box(15, 47, 15.1, 47.1))],
            "datetime": ["2023-08-15T10:00:00Z"],
            "assets": [{"data": {"href": f"file://{canary}"}}],
            "skyscale:key": ["x"],
            "skyscale:stamp": ["x"],
            "skyscale:item": [json.dumps(record)],
        }
        pq.write_table(pa.table(columns), served / "scenes.parquet")
        with StacServer(served) as server:
            scenes, (refusal,) = read_scenes(f"{server.files}/scenes.parquet", http=QUICK)
        assert (scenes, refusal.reason) == ([], "forbidden_href")

    def test_what_is_only_to_look_at_does_not_matter(self, served: Path) -> None:
        record = item("data.tif")
        record["assets"]["thumbnail"] = {"href": "data:image/png;base64,AA", "type": "text/html"}
        (served / "item.json").write_text(json.dumps(record))
        (scene,), _ = read_scenes(str(served / "item.json"))
        assert list(scene.assets) == ["data"]

    @pytest.mark.parametrize(
        ("href", "base", "want"),
        [
            ("a.tif", "http://h/c/item.json", "http://h/c/a.tif"),
            ("../a.tif", "s3://bucket/c/d/item.json", "s3://bucket/c/a.tif"),
            ("s3://b/a.tif", "http://h/item.json", "s3://b/a.tif"),
            ("gs://b/a.tif", "http://h/item.json", "gs://b/a.tif"),
            ("./a.tif", "/data/c/item.json", "/data/c/a.tif"),
            ("../a.tif", "/data/c/item.json", "/data/a.tif"),
            ("http://h/a.tif?sig=a%2Fb", "/data/item.json", "http://h/a.tif?sig=a%2Fb"),
            ("file:///data/a%20b.tif", "/x/item.json", "/data/a b.tif"),
        ],
    )
    def test_hrefs_are_resolved_against_their_document(
        self, href: str, base: str, want: str
    ) -> None:
        assert resolve_href(href, base) == want

    @given(st.text(max_size=40), st.sampled_from(["http://h/c/item.json", "s3://b/c/item.json"]))
    def test_whatever_the_network_says_is_a_url_or_refused(self, href: str, base: str) -> None:
        try:
            found = resolve_href(href, base)
        except (SourceError, ValueError):
            return
        assert "://" in found
        assert not found.lower().startswith("file")
        with contextlib.suppress(SourceError):
            assert is_remote(check_href(found))


class TestContent:
    """Files that are not what their name says, and files that lead to others."""

    def vrt(self, canary: Path) -> str:
        return (
            '<VRTDataset rasterXSize="64" rasterYSize="64"><SRS>EPSG:32633</SRS>'
            "<GeoTransform>500000,10,0,5300000,0,-10</GeoTransform>"
            '<VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
            f'<SourceFilename relativeToVRT="0">{canary}</SourceFilename>'
            "<SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"
        )

    @pytest.mark.parametrize("name", ["a.vrt", "a.VRT", "a.tif", "a"])
    def test_a_vrt_under_any_name(self, canary: Path, served: Path, name: str) -> None:
        path = served / name
        path.write_text(self.vrt(canary))
        with rasterio.open(path) as file:
            assert (file.read() == CANARY).all(), "GDAL itself would read it"
        with pytest.raises(SourceError, match="GeoTIFF") as caught:
            inspect_raster(str(path))
        assert caught.value.facts["cause"] == "forbidden_href"
        with StacServer(served) as server, pytest.raises(SourceError):
            inspect_raster(f"{server.files}/{name}")

    def test_a_folder_lists_its_vrt_as_forbidden(self, canary: Path, served: Path) -> None:
        (served / "a_20230815.vrt").write_text(self.vrt(canary))
        (served / "b_20230815.tif").write_text(self.vrt(canary))
        scenes, refusals = read_scenes(str(served))
        assert scenes == []
        assert [r.reason for r in refusals] == ["forbidden_href"] * 2

    def test_overviews_from_another_file(
        self, canary: Path, served: Path, rasters: ModuleType
    ) -> None:
        """GDAL follows this tag of a plain GeoTIFF on a reduced read."""
        path = served / "a.tif"
        rasters.write(path, np.ones((1, 64, 64), "uint8"), rasters.grid((64, 64)))
        with rasterio.open(path, "r+") as file:
            file.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=str(canary))
        with rasterio.open(path) as file:
            assert (file.read(out_shape=(1, 32, 32)) == CANARY).all(), "GDAL itself would read it"
        with StacServer(served) as server:
            for href in (str(path), f"{server.files}/a.tif"):
                with pytest.raises(SourceError, match="overviews from another file") as caught:
                    read_file(href, [1], slice(0, 64), slice(0, 64), out_shape=(32, 32))
                assert caught.value.facts["cause"] == "forbidden_href"

    def test_metadata_whose_entities_explode_or_name_files_is_not_believed(
        self, served: Path, rasters: ModuleType
    ) -> None:
        laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))
        for entities, value in ((f'<!ENTITY l0 "20230815">{laughs}', "&l11;"),
                                ('<!ENTITY f SYSTEM "file:///etc/hostname">', "&f;")):  # fmt: skip
            path = served / "undated.tif"
            rasters.write(path, np.ones((1, 64, 64), "uint8"), rasters.grid((64, 64)))
            path.with_suffix(".xml").write_text(
                f"<!DOCTYPE m [{entities}]><metadata><idinfo><timeperd><timeinfo><sngdate>"
                f"<caldate>{value}</caldate></sngdate></timeinfo></timeperd></idinfo></metadata>"
            )
            scenes, (refusal,) = read_scenes(str(served))
            assert (scenes, refusal.reason) == ([], "no_time")

    @pytest.mark.parametrize("suffix", [".nc", ".hdf", ".png", ".tif"])
    def test_other_formats_are_not_tried(self, served: Path, suffix: str) -> None:
        path = served / f"a{suffix}"
        path.write_text("<GDAL_WMS><Service name='TMS'></Service></GDAL_WMS>")
        with pytest.raises(SourceError):
            inspect_raster(str(path))

    def test_a_block_that_fills_memory_is_refused_by_its_size(
        self, served: Path, rasters: ModuleType
    ) -> None:
        """Sparse: a few bytes on disk, and gigabytes as soon as one pixel is read."""
        path = served / "bomb_20230815.tif"
        side = 30_000
        grid = rasters.grid((side, side))
        with rasterio.open(
            path, "w", driver="GTiff", width=side, height=side, count=1, dtype="uint16",
            crs=str(grid.crs), transform=grid.affine, blockysize=side, compress="deflate",
            SPARSE_OK=True,
        ):  # fmt: skip
            pass
        assert path.stat().st_size < 10_000
        with pytest.raises(SourceError) as caught:
            inspect_raster(str(path))
        facts = caught.value.facts
        assert facts["cause"] == "block_too_large"
        assert facts["value"] == side * side * 2 > facts["limit"] == BLOCK_LIMIT_BYTES
        _, (refusal,) = read_scenes(str(served))
        assert refusal.reason == "block_too_large"


class TestNames:
    @given(st.text(), st.text())
    def test_any_id_is_one_file_of_its_folder(self, a: str, b: str) -> None:
        for text in (a, b):
            name = safe_name(text)
            assert 0 < len(name) <= 80
            assert Path("/folder", name).resolve().parent == Path("/folder")
            assert name not in (".", "..")
            assert name.isascii()
            assert not name.startswith(("-", "."))
        assert (safe_name(a) == safe_name(b)) == (a == b)

    @pytest.mark.parametrize(
        "text", ["S2A_33TWM_20230815_0_L2A", "m_4709963_se_14_1_20120731", "a.b"]
    )
    def test_plain_ids_stay(self, text: str) -> None:
        assert safe_name(text) == text

    @pytest.mark.parametrize(
        "text", ["../../etc/passwd", "/etc/passwd", "a/b", "..", ".", "", "x" * 300, "a\x00b", "~"]
    )
    def test_others_are_marked(self, text: str) -> None:
        assert "/" not in safe_name(text)
        assert safe_name(text) != text

    def test_ids_that_differ_only_in_what_is_left_out(self) -> None:
        assert len({safe_name(t) for t in ("a/b", "a\\b", "a b", "a_b", "a:b")}) == 5


def test_errors_of_hrefs_are_geo_errors() -> None:
    with pytest.raises(GeoError):
        check_href("WMS:x")
