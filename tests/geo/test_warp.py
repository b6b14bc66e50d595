"""Warping, judged by images whose pixels are their own positions."""

from __future__ import annotations

import math
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from pyproj.exceptions import ProjError

from geo.errors import GeoError, GridError
from geo.raster_io import BandRef, inspect_raster
from geo.warp import warp_to

NEAR_PX = 0.1


def around(source: GeoBox, crs: str, *, ratio: float = 1.0, pixels: int = 40) -> GeoBox:
    """A grid in some CRS over the middle of another, with pixels `ratio` times as large."""
    middle = source.center_pixel.pad(math.ceil(pixels * ratio / 2))
    there = middle.to_crs(crs)
    target = there.zoom_out(ratio)
    return GeoBox((pixels, pixels + 3), target.affine, target.crs)


def assert_in_place(got: Any, source: GeoBox, target: GeoBox, rasters: ModuleType) -> None:
    """Every valid pixel holds the position it came from, in source pixels."""
    want = rasters.positions_in(source, target)
    assert got.data.dtype == np.float32
    assert got.data.shape == want.shape
    assert got.valid.any()
    error = np.abs(got.data - want).max(axis=0)
    assert error[got.valid].max() < NEAR_PX
    assert (got.data[:, ~got.valid] == 0).all()


SOURCES = {
    "utm": {},
    "utm south-up": {"south_up": True},
    "utm turned": {"rotation": 25},
    "utm oblong pixels": {"size": (20, 10)},
    "web mercator": {"crs": "EPSG:3857", "left": 1.67e6, "top": 6.1e6, "size": 15},
    "lat/lon": {"crs": "EPSG:4326", "left": 15.0, "top": 47.85, "size": (9e-5, 13e-5)},
    "lat/lon south-up": {
        "crs": "EPSG:4326", "left": 15.0, "top": 47.85, "size": (9e-5, 13e-5), "south_up": True,
    },
    "swiss": {"crs": "EPSG:2056", "left": 2.68e6, "top": 1.25e6},
}  # fmt: skip
TARGETS = ["EPSG:32633", "EPSG:32634", "EPSG:3857", "EPSG:4326", "EPSG:3035"]


def make_source(rasters: ModuleType, kind: str, shape: tuple[int, int] = (180, 200)) -> GeoBox:
    options: dict[str, Any] = dict(SOURCES[kind])
    south_up = options.pop("south_up", False)
    geobox = rasters.grid(shape, **options)
    return rasters.upside_down(geobox) if south_up else geobox


@pytest.mark.parametrize("target_crs", TARGETS)
@pytest.mark.parametrize("kind", SOURCES)
def test_pixels_land_where_proj_says(
    rasters: ModuleType, tmp_path: Path, kind: str, target_crs: str
) -> None:
    source = make_source(rasters, kind)
    href = rasters.write(tmp_path / "a.tif", rasters.positions(source), source)
    target = around(source, target_crs)
    got = warp_to(href, target)
    assert_in_place(got, source, target, rasters)
    assert got.valid.mean() > 0.9


@pytest.mark.parametrize("resampling", ["cubic", "bilinear"])
@pytest.mark.parametrize("ratio", [0.25, 0.7, 1.0, 2.5, 4.0, 6.3])
def test_any_ratio_of_pixel_sizes_keeps_the_place(
    rasters: ModuleType, tmp_path: Path, resampling: str, ratio: float
) -> None:
    source = rasters.grid((400, 420))
    href = rasters.write(tmp_path / "a.tif", rasters.positions(source), source)
    target = around(source, "EPSG:3857", ratio=ratio)
    got = warp_to(href, target, resampling=resampling)
    assert_in_place(got, source, target, rasters)
    assert got.valid.mean() > 0.9


@pytest.mark.parametrize("ratio", [8, 13.7, 40])
def test_far_finer_images_are_thinned_without_losing_their_place(
    rasters: ModuleType, tmp_path: Path, ratio: float
) -> None:
    source = rasters.grid((1000, 1100), size=1.0)
    href = rasters.write(tmp_path / "a.tif", rasters.positions(source), source)
    target = GeoBox(
        (14, 15), around(source, "EPSG:32633", ratio=ratio, pixels=14).affine, source.crs
    )
    got = warp_to(href, target, resampling="bilinear")
    want = rasters.positions_in(source, target)
    # A tenth of a target pixel, for that is where the answer is used.
    assert got.valid.any()
    assert np.abs(got.data - want)[:, got.valid].max() < NEAR_PX * ratio / 4


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(dy=st.floats(-3, 3), dx=st.floats(-3, 3), scale=st.sampled_from([1, 2, 4]))
def test_sub_pixel_moves_are_exact(
    rasters: ModuleType, tmp_path: Path, dy: float, dx: float, scale: int
) -> None:
    source = rasters.grid((40, 44))
    href = rasters.write(tmp_path / "a.tif", rasters.positions(source), source)
    target = source[8:32, 8:30].zoom_out(1 / scale).translate_pix(dx, dy)
    got = warp_to(href, target)
    assert got.valid.all()
    error = np.abs(got.data - rasters.positions_in(source, target))
    assert error.max() < 0.02


@pytest.mark.parametrize("resampling", ["cubic", "bilinear", "nearest"])
def test_its_own_grid_gives_an_image_back_as_it_is(
    rasters: ModuleType, tmp_path: Path, resampling: str
) -> None:
    source = rasters.grid((30, 33))
    pixels = np.random.default_rng(0).integers(1, 4000, (3, 30, 33)).astype("uint16")
    got = warp_to(rasters.write(tmp_path / "a.tif", pixels, source), source, resampling=resampling)
    np.testing.assert_allclose(got.data[:, 2:-2, 2:-2], pixels[:, 2:-2, 2:-2], atol=0.01)
    assert got.valid[2:-2, 2:-2].all()


def test_nearest_invents_no_value(rasters: ModuleType, tmp_path: Path) -> None:
    source = rasters.grid((60, 60), size=20.0)
    classes = np.random.default_rng(0).choice([4, 5, 8, 9], (1, 60, 60)).astype("uint8")
    href = rasters.write(tmp_path / "scl.tif", classes, source)
    target = rasters.grid((100, 100), size=10.0, left=500_100.0, top=5_299_900.0)
    got = warp_to(href, target, resampling="nearest")
    assert got.valid.all()
    np.testing.assert_array_equal(got.data[0], classes[0, 5:55, 5:55].repeat(2, 0).repeat(2, 1))


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_piece_is_a_piece_of_the_whole(
    rasters: ModuleType, tmp_path: Path, data: st.DataObject
) -> None:
    """What a pixel becomes does not depend on what is asked for beside it: no seams."""
    source = rasters.grid((120, 130), size=2.5)
    href = str(tmp_path / "a.tif")
    if not Path(href).exists():
        pixels = np.random.default_rng(0).normal(500, 100, (1, 120, 130)).astype(np.float32)
        rasters.write(Path(href), pixels, source)
    target = data.draw(
        st.sampled_from(
            [
                around(source, "EPSG:32633").translate_pix(0.3, -0.4),
                around(source, "EPSG:3857", ratio=1.5),
                around(source, "EPSG:32633", ratio=4, pixels=24).translate_pix(0.3, -0.4),
            ]
        )
    )
    y, x = data.draw(st.integers(0, 15)), data.draw(st.integers(0, 15))
    h, w = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 9))
    whole, piece = warp_to(href, target), warp_to(href, target[y : y + h, x : x + w])
    np.testing.assert_array_equal(piece.valid, whole.valid[y : y + h, x : x + w])
    np.testing.assert_allclose(piece.data, whole.data[:, y : y + h, x : x + w], atol=0.5)


def gratings(cycles: npt.NDArray[np.floating], ratio: int, pixels: int = 40) -> Any:
    """Waves of 1 about 10, so many cycles on a pixel `ratio` times as large, in two phases."""
    x = (np.arange(pixels * ratio) + 0.5) / ratio
    phase = 2 * np.pi * cycles[:, None] * x
    waves = np.concatenate([np.cos(phase), np.sin(phase)])[:, None]
    return (10 + waves.repeat(pixels * ratio, axis=1)).astype(np.float32)


class TestAntialiasing:
    """The kernel is as wide as the ratio asks for: what the target cannot hold is gone."""

    @pytest.mark.parametrize("turned", [False, True], ids=["along rows", "along columns"])
    @pytest.mark.parametrize("displaced", [False, True], ids=["as it is", "displaced"])
    @pytest.mark.parametrize("ratio", [2, 4, 8])
    def test_detail_beyond_the_target_is_gone_and_the_rest_kept(
        self, rasters: ModuleType, tmp_path: Path, ratio: int, displaced: bool, turned: bool
    ) -> None:
        cycles = np.array(
            [0.05, 0.1, 0.25, 0.5] + [f for f in (0.95, 1.3, 2.2, 3.7) if f < ratio / 2]
        )
        pixels = gratings(cycles, ratio)
        source = rasters.grid(pixels.shape[1:], size=2.5 / ratio)
        if turned:
            pixels = pixels.swapaxes(1, 2)
        href = rasters.write(tmp_path / "a.tif", np.ascontiguousarray(pixels), source)
        target = source.zoom_out(ratio)[8:-8, 8:-8].translate_pix(0.27, 0.4)
        none = np.zeros((2, *target.shape.yx), np.float32) if displaced else None

        got = warp_to(href, target, displacement_yx=none)

        assert got.valid.all()
        wave = (got.data - 10).reshape(2, len(cycles), -1)
        passed = np.sqrt((wave**2).sum(axis=0).mean(axis=-1))  # of 1, by frequency
        assert passed[:2].min() > 0.99
        assert 0.9 < passed[2] < 1
        assert 0.4 < passed[3] < 0.6  # half at the target's Nyquist frequency
        assert (passed[4:] < 0.01).all()

    def test_a_finer_image_is_not_sharpened_away(self, rasters: ModuleType, tmp_path: Path) -> None:
        """Enlarging widens nothing: the source's own detail stays."""
        source = rasters.grid((64, 64))
        pixels = gratings(np.array([0.25]), 1, 64)
        href = rasters.write(tmp_path / "a.tif", pixels, source)
        got = warp_to(href, source.zoom_out(1 / 4)[40:200, 40:200])
        assert np.sqrt(((got.data - 10) ** 2).sum(axis=0).mean()) > 0.9


class TestValidity:
    """Nothing bad leaks: not a nodata value, not a NaN, not the edge of the raster."""

    @pytest.mark.parametrize("resampling", ["cubic", "bilinear", "nearest"])
    @pytest.mark.parametrize("ratio", [0.25, 1.0, 4.0, 8.0])
    @pytest.mark.parametrize("bad", [-9999.0, 1e30, np.nan])
    def test_bad_pixels_do_not_bleed(
        self, rasters: ModuleType, tmp_path: Path, resampling: str, ratio: float, bad: float
    ) -> None:
        source = rasters.grid((400, 400))
        pixels = rasters.positions(source)
        hole = np.zeros((400, 400), bool)
        hole[190:211, 195:204] = True
        hole[170, 170] = True
        pixels[:, hole] = bad
        href = rasters.write(tmp_path / "a.tif", pixels, source, nodata=bad)
        target = around(source, "EPSG:32633", ratio=ratio, pixels=40).translate_pix(0.37, 0.21)

        got = warp_to(href, target, resampling=resampling)

        assert got.valid.any()
        assert np.isfinite(got.data).all()
        want = rasters.positions_in(source, target)
        error = np.abs(got.data - want).max(axis=0)
        assert error[got.valid].max() < (0.51 if resampling == "nearest" else 0.05 * max(1, ratio))
        x, y = np.floor(want).astype(int)
        inside = hole[y, x]
        assert inside.any()
        assert not got.valid[inside].any()
        if resampling != "nearest":  # nor where one of the four pixels around is bad
            left, top = np.floor(want - 0.5).astype(int)
            touched = hole[top, left] | hole[top + 1, left] | hole[top, left + 1]
            assert not got.valid[touched | hole[top + 1, left + 1]].any()
        assert (got.data[:, ~got.valid] == 0).all()

    def test_a_hole_in_one_band_is_a_hole(self, rasters: ModuleType, tmp_path: Path) -> None:
        source = rasters.grid((40, 40))
        a, b = np.full((2, 1, 40, 40), 5, "uint16")
        b[:, 20:, :] = 0
        refs = [
            BandRef(href=rasters.write(tmp_path / f"{n}.tif", p, source, nodata=0), index=1)
            for n, p in (("a", a), ("b", b))
        ]
        got = warp_to(refs, source)
        assert got.valid[3:19, 3:-3].all()
        assert not got.valid[20:].any()
        assert (got.data[:, 20:] == 0).all()

    def test_internal_masks_and_alpha_count(self, rasters: ModuleType, tmp_path: Path) -> None:
        source = rasters.grid((40, 40))
        mask = np.ones((40, 40), bool)
        mask[:, :20] = False
        pixels = np.full((1, 40, 40), 9, "uint8")
        masked = rasters.write(tmp_path / "m.tif", pixels, source, mask=mask)
        alpha = np.concatenate([pixels.repeat(3, 0), np.where(mask, 255, 0)[None].astype("uint8")])
        with_alpha = rasters.write(
            tmp_path / "a.tif", alpha, source, photometric="RGB", alpha="YES"
        )
        for href in (masked, with_alpha):
            got = warp_to(href, source)
            assert not got.valid[:, :20].any()
            assert got.valid[3:-3, 22:-3].all()

    def test_beyond_the_raster_nothing_is_valid(self, rasters: ModuleType, tmp_path: Path) -> None:
        source = rasters.grid((40, 40))
        href = rasters.write(tmp_path / "a.tif", np.full((1, 40, 40), 7, "uint8"), source)
        target = source.pad(10)
        got = warp_to(href, target)
        inside = np.zeros((60, 60), bool)
        inside[10:50, 10:50] = True
        assert not got.valid[~inside].any()
        assert got.valid[13:47, 13:47].all()
        assert set(np.unique(got.data[:, got.valid])) == {7.0}

    @pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:4326", "EPSG:3857"])
    def test_no_common_ground(self, rasters: ModuleType, tmp_path: Path, crs: str) -> None:
        source = rasters.grid((40, 40))
        href = rasters.write(tmp_path / "a.tif", np.ones((2, 40, 40), "uint8"), source)
        got = warp_to(href, around(source.translate_pix(5000, 300), crs))
        assert got.data.shape == (2, *got.valid.shape)
        assert not got.valid.any()
        assert not got.data.any()


def test_bands_come_in_the_order_asked_for(rasters: ModuleType, tmp_path: Path) -> None:
    source = rasters.grid((20, 20))
    levels = np.array([1, 2, 3], "uint8")[:, None, None] * np.ones((20, 20), "uint8")
    href = rasters.write(tmp_path / "a.tif", levels, source, bands=("r", "g", "b"))
    got = warp_to(href, source[5:9, 5:9], bands=("b", "r"))
    np.testing.assert_allclose(got.data.mean(axis=(1, 2)), [3, 1])


def test_an_offset_is_added_and_nothing_is_darker_than_none(
    rasters: ModuleType, tmp_path: Path
) -> None:
    source = rasters.grid((20, 20))
    levels = np.array([3000, 600], "uint16")[:, None, None] * np.ones((20, 20), "uint16")
    href = rasters.write(tmp_path / "a.tif", levels, source)
    refs = [BandRef(href=href, index=i, offset_dn=-1000.0) for i in (1, 2)]
    got = warp_to([*refs, BandRef(href=href, index=2)], source[5:9, 5:9])
    np.testing.assert_allclose(got.data.mean(axis=(1, 2)), [2000, 0, 600])


def test_overviews_do_not_move_the_picture(rasters: ModuleType, tmp_path: Path) -> None:
    source = rasters.grid((512, 512), size=1.0)
    pixels = rasters.positions(source)
    href = rasters.write(tmp_path / "a.tif", pixels, source, tiled=True)
    with rasterio.open(href, "r+") as file:
        file.build_overviews([2, 4, 8], rasterio.enums.Resampling.nearest)
    target = around(source, "EPSG:32633", ratio=16, pixels=20)
    got = warp_to(href, target, resampling="bilinear")
    error = np.abs(got.data - rasters.positions_in(source, target))[:, got.valid]
    assert error.max() < NEAR_PX * 16


def test_no_way_between_two_crs(rasters: ModuleType, tmp_path: Path) -> None:
    source = rasters.grid((20, 20), crs='LOCAL_CS["site",UNIT["metre",1]]')
    href = rasters.write(tmp_path / "a.tif", np.ones((1, 20, 20), "uint8"), source)
    with pytest.raises(GridError, match="no way from"):
        warp_to(href, rasters.grid((20, 20)))


def test_odd_rasters_warp_or_are_refused(shared_data: Path) -> None:
    """Rotated, south-up, geostationary, across the antimeridian: pixels or a reason."""
    seen = {}
    for path in sorted((shared_data / "odd").iterdir()):
        try:
            got = warp_to(str(path), utm_grid_on(str(path)))
        except GeoError as error:
            seen[path.name] = str(error.facts.get("cause") or type(error).__name__)
            continue
        assert np.isfinite(got.data).all()
        assert (got.data[:, ~got.valid] == 0).all()
        seen[path.name] = "valid" if got.valid.any() else "empty"
    for name in ("odcgeo_au-3577-rotated.tif", "gdalraster_south-up.tif", "rasterio_goes.tif"):
        assert seen[name] == "valid", name
    for name in ("riotiler_cog_dateline.tif", "rasterio_world.byte.tif", "geotiffjs_utm.tif"):
        assert seen[name] == "valid", name
    assert seen["rasterio_all-nodata.tif"] == "empty"
    assert seen["gdalraster_complex.tif"] == "complex"
    assert seen["riotiler_cog_nonearth.tif"] == "GridError"


def utm_grid_on(href: str) -> GeoBox:
    """Eight by eight pixels of 100 m about the middle of a raster, in the UTM zone there."""
    source = inspect_raster(href).geobox
    row, col = (n / 2 for n in source.shape.yx)
    x, y = source.affine @ (col, row)
    try:
        project = Transformer.from_crs(str(source.crs), "EPSG:4326", always_xy=True)
        lon, lat = project.transform(x, y)
    except ProjError:  # another planet
        lon, lat = 9.0, 47.0
    crs = f"EPSG:{(32600 if lat >= 0 else 32700) + int((lon + 180) // 6) % 60 + 1}"
    x, y = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(lon, lat)
    return GeoBox((8, 8), Affine(100, 0, x - 400, 0, -100, y + 400), crs)
