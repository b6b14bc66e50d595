"""Bands, masks and the offset of baseline 04.00, from the metadata that publishers really write."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from geo.catalog.asset import Asset
from geo.catalog.scene import Scene
from geo.catalog.sentinel2 import OffsetEvidence, check_offset
from geo.catalog.sources import read_scenes
from geo.catalog.stac import scene_of_item
from geo.raster_io import BandRef, read_window

TEN_METRES = ("blue", "green", "red", "nir")


def sentinel(properties: dict[str, Any] | None = None, **asset: Any) -> tuple[float, str]:
    """Offset of a red asset of a Sentinel-2 item."""
    item = {"id": "x", "properties": {"constellation": "sentinel-2"} | (properties or {})}
    return OffsetEvidence.of(item).offset(asset)


SCALED = {"raster:bands": [{"scale": 0.0001, "offset": -0.1}]}
UNSCALED = {"raster:bands": [{"scale": 0.0001, "offset": 0}]}
FLAG_TRUE = {"earthsearch:boa_offset_applied": True}
FLAG_FALSE = {"earthsearch:boa_offset_applied": False}


class TestOffset:
    @pytest.mark.parametrize(
        ("properties", "asset", "want"),
        [
            # Earth Search v1: the offset is taken out, and yet the asset states it.
            (FLAG_TRUE | {"s2:processing_baseline": "05.09"}, SCALED, 0),
            ({"sentinel:boa_offset_applied": True}, SCALED, 0),
            (FLAG_FALSE | {"s2:processing_baseline": "04.00"}, SCALED, -1000),
            (FLAG_FALSE | {"s2:processing_baseline": "04.00"}, {}, -1000),
            # A flag on an old scene, with a template's offset: there was none to apply.
            (FLAG_FALSE | {"s2:processing_baseline": "02.12"}, SCALED, 0),
            # Earth Search c1, Sinergise: scale and offset of the asset.
            ({"s2:processing_baseline": "05.11"}, SCALED, -1000),
            ({"s2:processing_baseline": "05.11"}, UNSCALED, 0),
            ({}, SCALED, -1000),
            # STAC 1.1: on the band or on the asset.
            ({}, {"bands": [{"raster:scale": 0.0001, "raster:offset": -0.1}]}, -1000),
            ({}, {"raster:scale": 0.0001, "raster:offset": -0.1}, -1000),
            # Planetary Computer, Copernicus: the baseline alone.
            ({"s2:processing_baseline": "04.00"}, {}, -1000),
            ({"s2:processing_baseline": "05.09"}, {}, -1000),
            ({"s2:processing_baseline": "03.01"}, {}, 0),
            ({"sentinel2:processing_baseline": "05.09"}, {}, -1000),
            ({"processing:version": "05.11"}, {}, -1000),
            ({"s2:product_uri": "S2A_MSIL2A_20230815T095031_N0509_R079_T33TWM_x.SAFE"}, {}, -1000),
            ({"s2:product_uri": "S2A_MSIL2A_20190212T192651_N0212_R013_T07HFE_x.SAFE"}, {}, 0),
            # Nothing is said: nothing is guessed, whatever the date.
            ({"datetime": "2024-01-01T00:00:00Z"}, {}, 0),
            ({"s2:processing_baseline": "unknown"}, {"raster:bands": [{"scale": 0.0001}]}, 0),
        ],
    )  # fmt: skip
    def test_what_is_said_decides(
        self, properties: dict[str, Any], asset: dict[str, Any], want: float
    ) -> None:
        offset, evidence = sentinel(properties, **asset)
        assert offset == want
        assert evidence or not want

    def test_evidence_can_be_recorded(self) -> None:
        assert sentinel({"earthsearch:boa_offset_applied": True})[1] == (
            "earthsearch:boa_offset_applied is true"
        )
        assert sentinel({"s2:processing_baseline": "05.09"})[1] == (
            "baseline 05.09 by s2:processing_baseline"
        )
        assert sentinel({}, **SCALED)[1] == "scale and offset of the asset"
        assert sentinel()[1] == ""

    def test_other_satellites_have_none(self) -> None:
        item = {
            "id": "LC08",
            "geometry": {"type": "Point", "coordinates": [0, 0]},
            "properties": {"datetime": "2023-08-15T10:00:00Z", "platform": "landsat-8"},
            "assets": {
                "red": {"href": "/r.tif", "raster:bands": [{"scale": 2.75e-05, "offset": -0.2}]}
            },
        }
        assert scene_of_item(item).band_refs(("red",))[0].offset_dn == 0

    def test_masks_and_renderings_have_none(self) -> None:
        item = {
            "id": "S2A_x",
            "geometry": {"type": "Point", "coordinates": [0, 0]},
            "properties": {"datetime": "2023-08-15T10:00:00Z", "s2:processing_baseline": "05.09"},
            "assets": {
                "B04": {"href": "/B04.tif"},
                "SCL": {"href": "/SCL.tif"},
                "visual": {"href": "/TCI.tif", "eo:bands": [{"name": "B04"}]},
            },
        }
        assets = scene_of_item(item).assets
        assert {key: asset.offset_dn for key, asset in assets.items()} == {"B04": -1000, "SCL": 0}
        del item["assets"]["B04"]
        assert scene_of_item(item).assets["visual"].offset_dn == 0


class TestPixels:
    def place(self, rasters: ModuleType, path: Path, reflectance: Any, offset: int) -> BandRef:
        """A band as ESA ships it: DN = 10000 reflectance + offset, 0 is nodata."""
        dn = np.clip(10_000 * reflectance + offset, 1, 65_535).astype("uint16")
        dn[:, :4] = 0
        href = rasters.write(path, dn[None], rasters.grid(dn.shape), nodata=0)
        return BandRef(href=href, index=1, offset_dn=-1000.0)

    def test_the_offset_is_taken_out_of_valid_pixels_only(
        self, rasters: ModuleType, tmp_path: Path
    ) -> None:
        reflectance = np.linspace(-0.02, 0.5, 20 * 30).reshape(20, 30)
        ref = self.place(rasters, tmp_path / "b.tif", reflectance, 1000)
        plain = read_window([BandRef(href=ref.href, index=1)], slice(0, 20), slice(0, 30))
        got = read_window([ref], slice(0, 20), slice(0, 30))
        np.testing.assert_array_equal(got.valid, plain.valid)
        np.testing.assert_array_equal(got.data[:, ~got.valid], 0)
        want = np.maximum(plain.data.astype(int) - 1000, 0)
        np.testing.assert_array_equal(got.data[:, got.valid], want[:, got.valid])
        assert got.data.dtype == np.uint16

    def test_bands_of_one_file_may_have_offsets_of_their_own(
        self, rasters: ModuleType, tmp_path: Path
    ) -> None:
        image = np.full((2, 8, 8), 1500, "uint16")
        href = rasters.write(tmp_path / "a.tif", image, rasters.grid((8, 8)))
        refs = [
            BandRef(href=href, index=2, offset_dn=-1000.0),
            BandRef(href=href, index=1),
            BandRef(href=href, index=2),
        ]
        got = read_window(refs, slice(0, 8), slice(0, 8))
        assert [plane[0, 0] for plane in got.data] == [500, 1500, 1500]

    def test_pixels_tell_an_offset_that_was_taken_out_already(
        self, rasters: ModuleType, tmp_path: Path
    ) -> None:
        """Ground with 10 % of dark water, shipped with and without the offset."""
        rng = np.random.default_rng(0)
        ground = rng.uniform(0.02, 0.3, (100, 100))
        ground[:10] = rng.normal(0.003, 0.004, (10, 100))
        shipped = check_offset([self.place(rasters, tmp_path / "a.tif", ground, 1000)])
        assert not shipped.contradicts
        assert shipped.darkest_dn > 900
        taken_out = check_offset([self.place(rasters, tmp_path / "b.tif", ground, 0)])
        assert taken_out.contradicts
        assert taken_out.below_zero > 0.3

    def test_real_pixels_contradict_a_wrong_flag(self, shared_data: Path) -> None:
        """Earth Search says of this scene that the offset is applied, and it is."""
        path = next((shared_data / "satellite/s2_tiles_with_stac").glob("S2A*/*.json"))
        (scene,), _ = read_scenes(str(path))
        refs = scene.band_refs(("red", "green", "blue"))
        assert [r.offset_dn for r in refs] == [0, 0, 0]
        files = [r for r in refs if Path(r.href).exists()]
        wrong = [BandRef(href=r.href, index=r.index, offset_dn=-1000.0) for r in files]
        assert check_offset(wrong, side_px=300).below_zero > 0.5
        assert check_offset(wrong, side_px=300).contradicts


class TestRealRecords:
    """Every record of several publishers: the 10 m bands, each once, and the right mask."""

    def scenes(self, shared_data: Path, name: str) -> list[Scene]:
        scenes, _ = read_scenes(str(shared_data / "stac" / name))
        assert scenes
        return scenes

    @pytest.mark.parametrize(
        ("name", "offset"),
        [
            ("S2A_28QCH_20200714_0_L2A.json", 0),
            ("S2A_MSIL2A_20190212T192651_N0212_R013_T07HFE_20201007T160857.json", 0),
            ("S2A_OPER_MSI_L2A_TL_2APS_20230730T020155_A042312_T01VCC.json", -1000),
            ("S2B_MSIL2A_20190629T212529_R043_T06VVN_20201006T080531.json", 0),
            ("raster-sentinel2-example.json", 0),
            ("s2_l2a_items.json", 0),
            ("s2_c1_l2a_items.json", -1000),
        ],
    )
    def test_sentinel2(self, shared_data: Path, name: str, offset: float) -> None:
        for scene in self.scenes(shared_data, name):
            refs = scene.band_refs(TEN_METRES)
            for ref, number in zip(refs, ("B02", "B03", "B04", "B08"), strict=True):
                assert number in ref.href
                assert "20m" not in ref.href
                assert "60m" not in ref.href
                assert (ref.index, ref.offset_dn) == (1, offset)
            assert len(scene.band_names()) == 12
            assert not {"visual", "aot", "wvp", "scl"} & set(scene.band_names())
            (mask,) = scene.masks
            assert mask.kind == "scl"
            assert "SCL" in mask.href
            assert "60m" not in mask.href

    def test_a_scene_keeps_the_assets_that_it_uses(self, shared_data: Path) -> None:
        for scene in self.scenes(shared_data, "s2_l2a_items.json"):
            used = {ref.href for ref in scene.band_refs()} | {m.href for m in scene.masks}
            assert {asset.href for asset in scene.assets.values()} == used

    def test_cogs_come_before_jpeg2000(self, shared_data: Path) -> None:
        for scene in self.scenes(shared_data, "s2_l2a_items.json"):
            assert all(ref.href.endswith(".tif") for ref in scene.band_refs())
            assert all(mask.href.endswith(".tif") for mask in scene.masks)

    def test_the_order_of_assets_decides_nothing(self, shared_data: Path) -> None:
        """Which file a band comes from is a property of the item, not of its writing."""
        features = json.loads((shared_data / "stac/s2_l2a_items.json").read_text())["features"]
        for item in features[:4]:
            turned = item | {"assets": dict(reversed(item["assets"].items()))}
            one, other = scene_of_item(item), scene_of_item(turned)
            assert one.band_refs(TEN_METRES) == other.band_refs(TEN_METRES)
            assert one.masks == other.masks

    def test_naip(self, shared_data: Path) -> None:
        scenes = self.scenes(shared_data, "naip_vermont_items.json")
        assert len(scenes) == len({s.id for s in scenes}) == 186
        quads: dict[str, set[int]] = {}
        for scene in scenes:
            assert scene.band_names() == ("red", "green", "blue", "nir")
            refs = scene.band_refs(("nir", "red"))
            assert [r.index for r in refs] == [4, 1]
            assert len({r.href for r in refs}) == 1
            assert (scene.masks, scene.offset_evidence) == ((), "")
            quads.setdefault("_".join(scene.id.split("_")[2:4]), set()).add(scene.time.year)
        assert max(len(years) for years in quads.values()) >= 3, "years of one quad stay apart"
        near = [s for s in scenes if s.id.split("_")[2] == scenes[0].id.split("_")[2]]
        touching = sum(
            a.footprint.intersects(b.footprint) for a in near for b in near if a is not b
        )
        assert touching, "quarter quads overlap and are all there"

    @pytest.mark.parametrize("name", ["item-naip.json", "collection-naip.json"])
    def test_naip_without_a_word_on_bands(self, shared_data: Path, name: str) -> None:
        (scene,) = self.scenes(shared_data, name)
        assert scene.band_names() == ("red", "green", "blue", "nir")
        assert {ref.href.partition(":")[0] for ref in scene.band_refs()} == {"https"}


class TestAssets:
    def scene(self, **assets: Asset) -> Scene:
        item = {
            "id": "a",
            "geometry": {"type": "Point", "coordinates": [0, 0]},
            "properties": {"datetime": "2023-08-15T10:00:00Z"},
            "assets": {"x": {"href": "/x.tif"}},
        }
        return Scene(**{**scene_of_item(item).__dict__, "assets": assets})

    @pytest.mark.parametrize(
        ("key", "asset", "kind"),
        [
            ("SCL", {}, "scl"),
            ("scl_20m", {}, "scl"),
            ("scl-jp2", {}, "scl"),
            ("classes", {"bands": ("scl",)}, "scl"),
            ("L2A_SCL", {"href": "/T33_SCL_20m.tif", "title": "Scene classification map"}, "scl"),
            ("cloud_mask", {}, "cloud"),
            ("clouds", {}, "cloud"),
            ("m1", {"roles": ("cloud",)}, "cloud"),
            ("m2", {"roles": ("data", "cloud-shadow")}, "cloud"),
            ("data_mask", {}, "data"),
            ("m3", {"roles": ("data-mask",)}, "data"),
            ("cloud", {"roles": ("data", "cloud"), "title": "Cloud Probabilities"}, None),
            ("cloud", {"roles": ("data", "cloud"), "href": "/CLD_20m.jp2"}, None),
        ],
    )
    def test_masks_by_key_role_and_title(
        self, key: str, asset: dict[str, Any], kind: str | None
    ) -> None:
        scene = self.scene(
            red=Asset(href="/red.tif", bands=("red",)), **{key: Asset(**{"href": "/m.tif"} | asset)}
        )
        assert [m.kind for m in scene.masks] == ([kind] if kind else [])
        assert scene.band_names() == ("red",)

    def test_of_one_mask_in_several_files_the_finest(self) -> None:
        scene = self.scene(
            scl_60m=Asset(href="/60.tif", gsd_m=60),
            scl=Asset(href="/20.tif", gsd_m=20),
            cloud=Asset(href="/c.tif", roles=("cloud",)),
            shadow=Asset(href="/s.tif", roles=("cloud-shadow",)),
        )
        assert [m.href for m in scene.masks] == ["/20.tif", "/c.tif", "/s.tif"]

    def test_a_rendering_is_data_only_where_there_is_nothing_else(self) -> None:
        visual = Asset(href="/tci.tif", bands=("red", "green", "blue"), roles=("visual",))
        assert self.scene(visual=visual).band_names() == ("red", "green", "blue")
        both = self.scene(visual=visual, B04=Asset(href="/B04.tif", bands=("red",)))
        assert both.band_names() == ("red",)
        assert both.band_refs()[0].href == "/B04.tif"

    def test_pictures_are_never_data(self) -> None:
        names = ("thumbnail", "overview", "preview", "rendered_preview")
        pictures = {n: Asset(href=f"/{n}.tif", bands=("red",)) for n in names}
        scene = self.scene(**pictures, data=Asset(href="/d.tif", bands=("nir",)))
        assert scene.band_names() == ("nir",)
