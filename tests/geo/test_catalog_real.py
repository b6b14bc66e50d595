"""Real catalogues and folders: several publishers, and files that are odd or damaged."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import shapely

from geo.catalog.sources import read_scenes


def test_trial_collections(shared_data: Path) -> None:
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


def test_a_trial_folder_read_without_its_collection(shared_data: Path, tmp_path: Path) -> None:
    scene = tmp_path / "sat_20120726"
    shutil.copytree(shared_data / "trial/prairie/satellite/sat_20120726", scene)
    (found,), refusals = read_scenes(str(tmp_path))
    assert refusals == []
    assert found.time.date().isoformat() == "2012-07-26"
    [mask] = found.masks
    assert Path(mask.href).name == "SCL.tif"


def test_items_of_several_publishers(shared_data: Path) -> None:
    for path in sorted((shared_data / "stac").glob("*.json")):
        if json.loads(path.read_text())["type"] != "Feature":
            continue
        scenes, refusals = read_scenes(str(path))
        assert len(scenes) + len(refusals) == 1, path
        for scene in scenes:
            assert scene.footprint.is_valid
            assert scene.assets


def test_a_footprint_that_jumps_over_the_antimeridian_is_healed(shared_data: Path) -> None:
    """A real tile of 110 km, published as a belt around the Earth."""
    (path,) = (shared_data / "stac").glob("S2A_OPER_*T01VCC.json")
    (scene,), _ = read_scenes(str(path))
    assert scene.footprint.area < 1.5
    for lon, lat, inside in ((179.95, 56.6, True), (-179.9, 56.6, True), (0, 56.6, False)):
        assert scene.footprint.buffer(0.3).contains(shapely.Point(lon, lat)) == inside


def test_scenes_with_dates_in_their_names(shared_data: Path) -> None:
    scenes, refusals = read_scenes(str(shared_data / "satellite/boadella_series"))
    assert [s.time.date().isoformat() for s in scenes] == [
        "2020-01-13",
        "2020-01-28",
        "2020-06-21",
        "2021-07-21",
    ]
    assert refusals == []


def test_classifications_beside_their_scenes(shared_data: Path) -> None:
    scenes, _ = read_scenes(str(shared_data / "satellite/barbellino"))
    found = {s.id: Path(s.masks[0].href).name for s in scenes if s.masks}
    assert found == {
        f"S2A{v}_{day}_022_Barbellino_{level}_10": f"S2A2A_{day}_022_Barbellino_SCL_10.tif"
        for v, level in (("1C", "TOA"), ("2A", "BOA"))
        for day in ("20170703", "20190723")
    }


def test_a_folder_of_odd_rasters_lists_every_one(shared_data: Path) -> None:
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
    shared_data: Path, tmp_path: Path
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
