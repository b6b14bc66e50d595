"""Made scenes: what is written, that it is true, and that it is always the same."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio
import shapely
from scipy import ndimage

from geo.errors import GeoError
from geo.landcover import LandCover
from geo.raster_io import inspect_raster
from geo.scenes.layout import CATEGORIES, make_layout
from geo.scenes.make import SatelliteDate, ScenesConfig, ScenesSummary, make_scenes
from geo.sensor import blur_sigma_px

# odc-geo still calls shapely.ops.transform, which shapely 2.2 deprecates (opendatacube/odc-geo).
pytestmark = pytest.mark.filterwarnings("ignore:The 'shapely.ops.transform:DeprecationWarning")

SMALL = ScenesConfig(seed=7, width_px=576, height_px=512)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> ScenesSummary:
    return make_scenes(tmp_path_factory.mktemp("made") / "region", SMALL)


@pytest.fixture(scope="module")
def truths(made: ScenesSummary) -> list[dict[str, Any]]:
    return json.loads(Path(made.truth).read_text())


def digests(folder: Path) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as dataset:
        return dataset.read()


def test_same_seed_same_bytes_other_seed_other_ground(tmp_path: Path) -> None:
    dates = (SatelliteDate(gap_days=2, cloud_fraction=0.3),)
    tiny: dict[str, Any] = {"width_px": 256, "height_px": 256, "dates": dates}
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        make_scenes(tmp_path / name, ScenesConfig(seed=seed, **tiny))
    first, again, other = (digests(tmp_path / n) for n in "abc")
    assert first == again
    assert first["aerial/aerial_20240618/visual.tif"] != other["aerial/aerial_20240618/visual.tif"]
    # Made anew in place, nothing old remains.
    make_scenes(tmp_path / "c", ScenesConfig(seed=3, **tiny))
    assert digests(tmp_path / "c") == first


def test_collections_open_and_hrefs_resolve(made: ScenesSummary) -> None:
    for href, count in ((made.aerial, 1), (made.satellite, 6)):
        collection = pystac.Collection.from_file(href)
        items = list(collection.get_items())
        assert len(items) == count
        for item in items:
            assert item.get_collection().id == collection.id
            for asset in item.assets.values():
                assert not Path(asset.href).is_absolute()
                assert Path(asset.get_absolute_href()).is_file()
            asset = item.assets["visual"]
            info = inspect_raster(asset.get_absolute_href())
            assert info.bands == ("red", "green", "blue")
            assert [b["eo:common_name"] for b in asset.extra_fields["bands"]] == list(info.bands)
            assert item.properties["proj:code"] == str(info.geobox.crs)
            assert tuple(item.properties["proj:shape"]) == info.geobox.shape.yx
            assert item.properties["proj:transform"] == list(info.geobox.affine)[:6]
            footprint = shapely.geometry.shape(item.geometry)
            raster = info.geobox.footprint("EPSG:4326", buffer=0, npoints=64).geom
            # A millionth of a degree is a tenth of a metre: sides are curves in lon/lat.
            assert footprint.buffer(1e-6).contains(raster)


def test_satellite_lies_inside_aerial_on_its_own_grid(
    made: ScenesSummary, truths: list[dict[str, Any]]
) -> None:
    aerial = inspect_raster(str(Path(made.aerial).parent / "aerial_20240618" / "visual.tif")).geobox
    for truth in truths:
        info = inspect_raster(str(Path(made.satellite).parent / truth["scene"] / "B04B03B02.tif"))
        assert info.dtype == "uint16"
        assert info.nodata == 0
        lr = info.geobox
        assert aerial.extent.geom.contains(lr.extent.geom)
        assert lr.affine.c % lr.affine.a == 0
        off_x = (lr.affine.c - aerial.affine.c) / lr.affine.a
        off_y = (lr.affine.f - aerial.affine.f) / lr.affine.e
        assert off_x == pytest.approx(truth["grid_origin_lr_px"]["dx"], abs=1e-6)
        assert off_y == pytest.approx(truth["grid_origin_lr_px"]["dy"], abs=1e-6)
        assert 0.1 < off_x < 0.9
        assert 0.1 < off_y < 0.9


def degraded(aerial: np.ndarray, truth: dict[str, Any], shape: tuple[int, int]) -> np.ndarray:
    """Straightforward simulation: blur, then sample by splines where the truth says, [3, h, w]."""
    scale = SMALL.scale
    blurred = ndimage.gaussian_filter(
        aerial.astype(np.float64) / 255, (0, blur_sigma_px(scale), blur_sigma_px(scale))
    )
    boxed = ndimage.uniform_filter(blurred, (0, scale + 1, scale + 1))  # odd: stays centred
    shift, origin = truth["shift_lr_px"], truth["grid_origin_lr_px"]
    rows = (np.arange(shape[0]) + 0.5 - shift["dy"] + origin["dy"]) * scale - 0.5
    cols = (np.arange(shape[1]) + 0.5 - shift["dx"] + origin["dx"]) * scale - 0.5
    grid = np.meshgrid(rows, cols, indexing="ij")
    return np.stack(
        [ndimage.map_coordinates(band, grid, order=3, mode="nearest") for band in boxed]
    )


def test_a_clear_scene_is_the_ground_as_the_truth_says(
    made: ScenesSummary, truths: list[dict[str, Any]]
) -> None:
    aerial = read(Path(made.aerial).parent / "aerial_20240618" / "visual.tif")
    clear = [t for t in truths if t["cloud_fraction"] == 0 and abs(t["gap_days"]) <= 20]
    assert len(clear) >= 2
    for truth in clear:
        dn = read(Path(made.satellite).parent / truth["scene"] / "B04B03B02.tif")
        right = misfit(aerial, dn, truth, 0, 0)
        # The noise, and a little for boats, cut fields and the plain simulation.
        assert right < 2.5 * truth["noise_dn"]
        for dy, dx in ((0.1, 0), (-0.1, 0), (0, 0.1), (0, -0.1)):
            assert misfit(aerial, dn, truth, dy, dx) > right


def misfit(
    aerial: np.ndarray, dn: np.ndarray, truth: dict[str, Any], dy: float, dx: float
) -> float:
    """Robust standard deviation, in DN, from what a shift off by (dy, dx) lets expect."""
    shift = truth["shift_lr_px"]
    moved = truth | {"shift_lr_px": {"dy": shift["dy"] + dy, "dx": shift["dx"] + dx}}
    brightness = np.clip(degraded(aerial, moved, dn.shape[1:]), 0, 1)
    gain, offset = (np.array(truth[k])[:, None, None] for k in ("gain", "offset"))
    wrong = dn - 1e4 * (offset + gain * brightness ** truth["gamma"])
    return float(np.sqrt(np.median(wrong[:, 4:-4, 4:-4] ** 2)) / 0.6745)


def test_classes_match_the_clouds(made: ScenesSummary, truths: list[dict[str, Any]]) -> None:
    items = {i.id: i for i in pystac.Collection.from_file(made.satellite).get_items()}
    for truth in truths:
        folder = Path(made.satellite).parent / truth["scene"]
        dn, classes = read(folder / "B04B03B02.tif"), read(folder / "SCL.tif")[0]
        assert dn.min() > 0
        assert classes.shape == (dn.shape[1] // 2, dn.shape[2] // 2)
        assert set(np.unique(classes)) <= {3, 4, 5, 6, 8, 9}
        cloudy = np.isin(classes, (8, 9))
        assert items[truth["scene"]].properties["eo:cloud_cover"] == pytest.approx(
            100 * cloudy.mean(), abs=0.06
        )
        # A class pixel is cloudy when any of its four pixels is.
        assert 0 <= cloudy.mean() - truth["cloud_fraction"] < 0.05
        if truth["cloud_fraction"] == 0:
            assert not np.isin(classes, (3, 8, 9)).any()
            assert {4, 5, 6} <= set(np.unique(classes))
        else:
            pixels = dn.mean(axis=0)
            halves = pixels.reshape(classes.shape[0], 2, classes.shape[1], 2).mean(axis=(1, 3))
            land_or_sea = np.isin(classes, (4, 5, 6))
            assert np.median(halves[classes == 9]) > 2 * np.median(halves[land_or_sea])
            assert (classes == 3).any()


def test_dates_serve_every_rule(truths: list[dict[str, Any]]) -> None:
    near = [t for t in truths if abs(t["gap_days"]) <= 20]
    clouds = [t["cloud_fraction"] for t in near]
    assert [t["gap_days"] for t in truths if t not in near] == [427]
    assert all(abs(t["gap_days"]) >= 2 for t in near)
    assert sum(c == 0 for c in clouds) >= 2
    assert sum(0.25 <= c <= 0.35 for c in clouds) == 1
    assert sum(0.8 <= c <= 0.9 for c in clouds) == 1


def test_land_cover_covers_the_region_without_gaps(made: ScenesSummary) -> None:
    cover = LandCover.read(made.landcover)
    assert set(cover.categories) == set(CATEGORIES)
    aerial = inspect_raster(str(Path(made.aerial).parent / "aerial_20240618" / "visual.tif")).geobox
    footprint = aerial.footprint("EPSG:4326", buffer=0, npoints=16).geom
    union = shapely.union_all(cover.polygons)
    assert union.buffer(1e-9).contains(footprint)
    assert sum(p.area for p in cover.polygons) == pytest.approx(union.area, rel=1e-6)


def test_water_is_where_the_land_cover_says_ocean(made: ScenesSummary) -> None:
    cover = LandCover.read(made.landcover)
    path = Path(made.satellite).parent / "sat_20240621"
    classes = read(path / "SCL.tif")[0]
    geobox = inspect_raster(str(path / "SCL.tif")).geobox
    sea = [
        classes[r, c] == 6
        for r in range(0, classes.shape[0] - 4, 4)
        for c in range(0, classes.shape[1] - 4, 4)
        if cover.category_of(geobox[r : r + 4, c : c + 4]) == "ocean"
    ]
    assert len(sea) > 20
    assert np.mean(sea) > 0.9


@pytest.mark.parametrize("seed", range(12))
def test_every_seed_has_all_land_covers(seed: int) -> None:
    layout = make_layout(seed, (3130.0, 3130.0))
    shares = np.bincount(layout.category.ravel(), minlength=len(CATEGORIES)) / layout.category.size
    assert shares.min() > 0.02


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(GeoError, match="not empty"):
        make_scenes(tmp_path, SMALL)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(GeoError, match="is a file"):
        make_scenes(tmp_path / "thesis.txt", SMALL)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("seed", -1),
        ("width_px", 100),
        ("height_px", 100_000),
        ("aerial_gsd_m", 0.0),
        ("scale", 5),
        ("dates", ()),
        ("dates", (SatelliteDate(gap_days=1), SatelliteDate(gap_days=1))),
    ],
)
def test_bad_settings_are_named(setting: str, value: Any) -> None:
    with pytest.raises(ValueError, match=setting):
        ScenesConfig(**{setting: value})
    with pytest.raises(ValueError, match="cloud_fraction"):
        SatelliteDate(gap_days=1, cloud_fraction=1.5)


def test_summary_is_json(made: ScenesSummary) -> None:
    assert json.loads(json.dumps(made.to_dict()))["lr_shape"] == list(made.lr_shape)
