"""Rasters that nobody catalogued: when they were taken, and which belong together."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from geo.catalog.scene import Scene
from geo.catalog.sources import read_scenes
from geo.errors import CatalogError


def image(bands: int = 3, dtype: str = "uint16") -> Any:
    return np.random.default_rng(0).integers(1, 200, (bands, 12, 15)).astype(dtype)


def place(rasters: ModuleType, path: Path, **options: Any) -> None:
    rasters.write(path, image(), rasters.grid((12, 15)), **options)


class TestTime:
    def scene(self, rasters: ModuleType, path: Path, pattern: str | None = None) -> Scene:
        rasters.write(path, np.ones((1, 9, 9), "uint8"), rasters.grid((9, 9)))
        (scene,), refusals = read_scenes(str(path.parent), time_pattern=pattern)
        assert refusals == []
        return scene

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
        place(rasters, tmp_path / f"{name}.tif")
        (scene,), refusals = read_scenes(str(tmp_path))
        assert refusals == []
        assert scene.id == name
        assert (scene.time.year, scene.time.month, scene.time.day) == day
        assert scene.time.tzinfo is UTC

    def test_a_date_in_the_folder_will_do(self, rasters: ModuleType, tmp_path: Path) -> None:
        place(rasters, tmp_path / "2023-08-15" / "visual.tif")
        (scene,), _ = read_scenes(str(tmp_path))
        assert scene.time == datetime(2023, 8, 15, 12, tzinfo=UTC)

    def test_the_tag_in_the_file_knows_better(self, rasters: ModuleType, tmp_path: Path) -> None:
        tags = {"TIFFTAG_DATETIME": "2022:01:17 10:43:43"}
        place(rasters, tmp_path / "export_20230815.tif", tags=tags)
        (scene,), _ = read_scenes(str(tmp_path))
        assert scene.time == datetime(2022, 1, 17, 10, 43, 43, tzinfo=UTC)

    @pytest.mark.parametrize("name", ["visual", "id_20231345", "n_120230815", "a_20230230"])
    def test_without_a_date_it_is_refused(
        self, rasters: ModuleType, tmp_path: Path, name: str
    ) -> None:
        place(rasters, tmp_path / "in" / f"{name}.tif")
        scenes, (refusal,) = read_scenes(str(tmp_path))
        assert scenes == []
        assert (refusal.id, refusal.reason) == (f"in/{name}", "no_time")
        assert "wanted a date in its name" in refusal.detail

    @pytest.mark.parametrize(
        ("sidecar", "want"),
        [
            ({"datetime": "2022-11-09T06:57:01Z"}, datetime(2022, 11, 9, 6, 57, 1, tzinfo=UTC)),
            (
                {"datetime": "2022-11-09T08:57:01+02:00"},
                datetime(2022, 11, 9, 6, 57, 1, tzinfo=UTC),
            ),
            ({"acquisition-date": "2022-11-09"}, datetime(2022, 11, 9, 12, tzinfo=UTC)),
            (
                {"properties": {"datetime": "2022-11-09T06:57:01Z", "eo:cloud_cover": 12.0}},
                datetime(2022, 11, 9, 6, 57, 1, tzinfo=UTC),
            ),
            (
                {"start_datetime": "2022-11-09T00:00:00Z", "end_datetime": "2022-11-11T00:00:00Z"},
                datetime(2022, 11, 10, tzinfo=UTC),
            ),
        ],
    )
    def test_a_sidecar_knows_better_than_a_name(
        self, rasters: ModuleType, tmp_path: Path, sidecar: dict[str, Any], want: datetime
    ) -> None:
        (tmp_path / "a_20230815.json").write_text(json.dumps(sidecar))
        scene = self.scene(rasters, tmp_path / "a_20230815.tif")
        assert scene.time == want
        assert scene.cloud_fraction == (0.12 if "properties" in sidecar else None)

    @pytest.mark.parametrize("text", ["", "[]", "{", '{"datetime": 5}', '{"a": {}}'])
    def test_a_sidecar_that_says_nothing_is_passed_over(
        self, rasters: ModuleType, tmp_path: Path, text: str
    ) -> None:
        (tmp_path / "a_20230815.json").write_text(text)
        scene = self.scene(rasters, tmp_path / "a_20230815.tif")
        assert scene.time == datetime(2023, 8, 15, 12, tzinfo=UTC)

    def test_a_time_behind_the_day_counts(self, rasters: ModuleType, tmp_path: Path) -> None:
        scene = self.scene(rasters, tmp_path / "S2A_MSIL2A_20230815T095031_N0509.tif")
        assert scene.time == datetime(2023, 8, 15, 9, 50, 31, tzinfo=UTC)

    @pytest.mark.parametrize(
        ("name", "pattern", "want"),
        [
            ("15.08.2023/a.tif", r"(?P<day>\d\d)\.(?P<month>\d\d)\.(?P<year>\d{4})", (2023, 8, 15)),
            ("b/y23d227.tif", r"y(?P<year>\d\d)d(?P<doy>\d{3})", (2023, 8, 15)),
            ("c/2001_20230815.tif", r"_(?P<year>\d{4})(?P<month>\d\d)(?P<day>\d\d)", (2023, 8, 15)),
        ],
    )
    def test_a_pattern_of_ones_own(
        self,
        rasters: ModuleType,
        tmp_path: Path,
        name: str,
        pattern: str,
        want: tuple[int, int, int],
    ) -> None:
        path = tmp_path / name
        rasters.write(path, np.ones((1, 9, 9), "uint8"), rasters.grid((9, 9)))
        (scene,), _ = read_scenes(str(tmp_path), time_pattern=pattern)
        assert (scene.time.year, scene.time.month, scene.time.day) == want

    @pytest.mark.parametrize("pattern", [r"(", r"\d+", r"(?P<year>\d+)-(?P<month>\d+)"])
    def test_a_pattern_that_tells_no_day_is_an_error(self, tmp_path: Path, pattern: str) -> None:
        with pytest.raises(CatalogError, match=r"time pattern .*; wanted .*\(\?P<year>"):
            read_scenes(str(tmp_path), time_pattern=pattern)

    @pytest.mark.parametrize(
        ("name", "told"),
        [
            ("summer", "finds nothing, in 'in/summer'"),
            ("20231345", "finds '20231345', which is no day, in 'in/20231345'"),
        ],
    )
    def test_what_a_pattern_finds_is_told_where_it_is_no_time(
        self, rasters: ModuleType, tmp_path: Path, name: str, told: str
    ) -> None:
        place(rasters, tmp_path / "in" / f"{name}.tif")
        pattern = r"(?P<year>\d{4})(?P<month>\d\d)(?P<day>\d\d)"
        _, (refusal,) = read_scenes(str(tmp_path), time_pattern=pattern)
        assert refusal.reason == "no_time"
        assert refusal.detail.endswith(f"that the time pattern tells: {pattern!r} {told}")

    def test_fgdc_metadata(self, rasters: ModuleType, shared_data: Path, tmp_path: Path) -> None:
        (metadata,) = (shared_data / "stac").glob("m_3211605*.xml")
        shutil.copy(metadata, tmp_path / "naip.xml")
        assert self.scene(rasters, tmp_path / "naip.tif").time.date().isoformat() == "2020-04-15"

    def test_entities_of_xml_are_not_expanded(self, rasters: ModuleType, tmp_path: Path) -> None:
        bomb = '<!DOCTYPE a [<!ENTITY x "20230815">]><metadata><timeperd><timeinfo><caldate>&x;'
        (tmp_path / "a_20200101.xml").write_text(bomb)
        assert self.scene(rasters, tmp_path / "a_20200101.tif").time.year == 2020

    def test_a_real_sidecar(self, shared_data: Path) -> None:
        (scene,), _ = read_scenes(
            str(shared_data / "pairs/satellogic_s2_uae/lr_sentinel2_l2a_10m.tif")
        )
        assert scene.time == datetime(2022, 11, 9, 12, tzinfo=UTC)
        assert scene.properties["gsd"] == pytest.approx(10, abs=0.3)


class TestFolder:
    def test_a_scene_knows_place_bands_and_pixel_size(
        self, rasters: ModuleType, tmp_path: Path
    ) -> None:
        place(rasters, tmp_path / "a_20230815.tif", bands=("red", "green", "blue"))
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
            place(rasters, tmp_path / f"S2A_{day}_BOA.tif")
        rasters.write(tmp_path / "S2A_20170703_SCL.tif", image(1, "uint8"), rasters.grid((12, 15)))
        (first, second), refusals = read_scenes(str(tmp_path))
        assert refusals == []
        [mask] = first.masks
        assert Path(mask.href).name == "S2A_20170703_SCL.tif"
        assert second.masks == ()
        assert [Path(r.href).name for r in first.band_refs()] == ["S2A_20170703_BOA.tif"] * 3

    def test_files_of_one_name_keep_apart(self, rasters: ModuleType, tmp_path: Path) -> None:
        for folder in ("t33_20230815", "t34_20230815"):
            place(rasters, tmp_path / folder / "visual.tif")
        scenes, _ = read_scenes(str(tmp_path))
        assert {s.id for s in scenes} == {"t33_20230815/visual", "t34_20230815/visual"}

    def test_what_is_broken_is_listed_beside_what_is_good(
        self, rasters: ModuleType, tmp_path: Path
    ) -> None:
        place(rasters, tmp_path / "good_20230815.tif")
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

    def test_items_among_the_rasters_own_theirs(self, shared_data: Path) -> None:
        scenes, refusals = read_scenes(str(shared_data / "satellite/s2_tiles_with_stac"))
        assert [s.id for s in scenes] == ["S2A_33TWM_20230815_0_L2A", "S2B_33TWM_20230820_0_L2A"]
        assert refusals == []

    def test_one_raster_finds_its_mask_beside_it(self, shared_data: Path) -> None:
        folder = shared_data / "satellite/barbellino"
        (scene,), _ = read_scenes(str(folder / "S2A2A_20190723_022_Barbellino_BOA_10.tif"))
        (mask,) = scene.masks
        assert Path(mask.href).name == "S2A2A_20190723_022_Barbellino_SCL_10.tif"
        assert len(scene.band_refs()) == 11
        (alone,), _ = read_scenes(mask.href)
        assert alone.masks == ()

    def test_cloud_and_data_masks_beside_a_raster(
        self, rasters: ModuleType, tmp_path: Path
    ) -> None:
        for name in ("a_20230815", "a_20230815_cloud_mask", "a_20230815_valid_mask"):
            rasters.write(
                tmp_path / f"{name}.tif", np.ones((1, 9, 9), "uint8"), rasters.grid((9, 9))
            )
        (scene,), _ = read_scenes(str(tmp_path))
        assert {m.kind for m in scene.masks} == {"cloud", "data"}

    def test_ids_are_paths_and_stay_when_others_come(
        self, rasters: ModuleType, tmp_path: Path
    ) -> None:
        image, grid = np.ones((1, 9, 9), "uint8"), rasters.grid((9, 9))
        rasters.write(tmp_path / "x/t_20230815.tif", image, grid)
        first = [s.id for s in read_scenes(str(tmp_path))[0]]
        rasters.write(tmp_path / "y/x/t_20230815.tif", image, grid)
        assert first == ["x/t_20230815"]
        assert {s.id for s in read_scenes(str(tmp_path))[0]} == {"x/t_20230815", "y/x/t_20230815"}


def damaged(path: Path, kind: str) -> None:
    """Damage a good GeoTIFF in place."""
    whole = path.read_bytes()
    if kind == "truncated":
        path.write_bytes(whole[: len(whole) // 3])
    elif kind == "cut_header":
        path.write_bytes(whole[:40])
    elif kind == "zero_bytes":
        path.write_bytes(b"")
    elif kind == "zeros":
        path.write_bytes(bytes(len(whole)))
    elif kind == "html":
        path.write_text("<!DOCTYPE html><html><body>503 Service Unavailable</body></html>")
    elif kind == "noise":
        path.write_bytes(np.random.default_rng(0).bytes(len(whole)))
    elif kind == "flipped":
        path.write_bytes(whole[:200] + bytes(255 - b for b in whole[200:400]) + whole[400:])


@pytest.mark.parametrize(
    "kind", ["truncated", "cut_header", "zero_bytes", "zeros", "html", "noise", "flipped"]
)
def test_damaged_copies_of_a_real_scene_are_listed_beside_the_good(
    shared_data: Path, tmp_path: Path, kind: str
) -> None:
    source = shared_data / "trial/prairie/satellite/sat_20120726"
    (good,) = (p for p in source.glob("*.tif") if "SCL" not in p.name)
    shutil.copy(good, tmp_path / "good_20120726.tif")
    shutil.copy(good, tmp_path / "bad_20120726.tif")
    damaged(tmp_path / "bad_20120726.tif", kind)
    scenes, refusals = read_scenes(str(tmp_path))
    assert "good_20120726" in [s.id for s in scenes]
    for refusal in refusals:
        assert refusal.id == "bad_20120726"
        assert refusal.reason in ("unreadable", "no_georeference", "nodata", "unknown_crs")
    if kind not in ("truncated", "flipped"):  # these may be found out only where they are read
        assert len(refusals) == 1
