"""Alignment: the aerial image lands where the satellite saw it, in the satellite's colours."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from geo.align import align_pixels, align_source
from geo.alignment import Alignment, AlignRules, read_aligned
from geo.catalog.scene import Mask
from geo.catalog.sources import read_scenes
from geo.colour_fit import ColourFit
from geo.coregister import RegistrationRules
from geo.decisions import PairingRules
from geo.ground import read_ground
from geo.harmonise import HarmoniseRules
from geo.match import MatchRules, match_scenes
from geo.pairing import align_pair, inspect_pair
from geo.raster_io import Pixels

SCALE = 4


@pytest.fixture(scope="module")
def alignment(world: Any, aerial: str) -> Alignment:
    return align_pixels(all_valid(world.lr), world.lr_grid, aerial)


def all_valid(data: Any) -> Pixels:
    return Pixels(data, np.ones(data.shape[1:], bool))


def assert_shift(found: Alignment, dy: float, dx: float, within: float = 0.05) -> None:
    assert found.accepted, found
    assert np.hypot(found.dy_px - dy, found.dx_px - dx) < within, found


# --- made ground --------------------------------------------------------------------------------


def test_shift_and_colours_are_found_together(world: Any, alignment: Alignment) -> None:
    assert_shift(alignment, world.dy, world.dx, within=0.02)
    assert alignment.reason is alignment.value is alignment.limit is None
    assert alignment.reliability > 0.9
    assert alignment.residual_px < 0.05
    assert alignment.correlation > 0.98
    np.testing.assert_allclose(alignment.gains, world.gains, rtol=0.015)
    for gain, offset, want, level in zip(
        alignment.gains, alignment.offsets, world.gains, world.offsets, strict=True
    ):
        assert gain * 100 + offset == pytest.approx(want * 100 + level, rel=0.01)


def test_the_aerial_image_is_read_onto_what_the_satellite_saw(
    world: Any, aerial: str, alignment: Alignment
) -> None:
    got = read_aligned(aerial, world.lr_grid.zoom_out(1 / SCALE), alignment, scale=SCALE)
    assert got.valid.all()
    assert got.data.dtype == np.float32
    error = got.data - world.true_hr
    spread = world.true_hr.std(axis=(1, 2))
    assert (np.sqrt((error**2).mean(axis=(1, 2))) < 0.1 * spread).all()
    # An alignment with the wrong sign would be worse than none.
    for wrong in (
        replace(alignment, dy_px=-world.dy, dx_px=-world.dx),
        replace(alignment, dy_px=0, dx_px=0),
    ):
        there = read_aligned(aerial, world.lr_grid.zoom_out(1 / SCALE), wrong, scale=SCALE)
        assert np.abs(there.data - world.true_hr).mean() > 5 * np.abs(error).mean()


def test_a_window_is_a_piece_of_the_whole(world: Any, aerial: str, alignment: Alignment) -> None:
    grid = world.lr_grid.zoom_out(1 / SCALE)
    whole = read_aligned(aerial, grid, alignment, scale=SCALE)
    piece = read_aligned(aerial, grid[100:180, 40:140], alignment, scale=SCALE)
    np.testing.assert_allclose(piece.data, whole.data[:, 100:180, 40:140], atol=1.0)


def test_beyond_the_aerial_image_nothing_is_valid(
    world: Any, aerial: str, alignment: Alignment
) -> None:
    grid = world.lr_grid.zoom_out(1 / SCALE).pad(200)
    got = read_aligned(aerial, grid, alignment, scale=SCALE)
    assert not got.valid.all()
    assert (got.data[:, ~got.valid] == 0).all()
    assert got.valid.mean() == pytest.approx(world.hr[0].size / got.valid.size, rel=0.02)


@pytest.mark.parametrize(
    ("crs", "size", "left", "top", "rotation", "south_up"),
    [
        ("EPSG:32633", 2.5, 500_000.7, 5_299_999.1, 0, True),
        ("EPSG:32633", 1.9, 500_200.0, 5_300_100.0, 11, False),
        ("EPSG:3857", 3.7, 1_669_792.3, 6_083_100.0, 0, False),
        ("EPSG:4326", 2.9e-5, 15.0, 47.8555, 0, False),
    ],
)
def test_the_aerial_grid_may_be_any(
    rasters: ModuleType,
    tmp_path: Path,
    world: Any,
    crs: str,
    size: float,
    left: float,
    top: float,
    rotation: float,
    south_up: bool,
) -> None:
    grid = rasters.grid((640, 640), crs=crs, size=size, left=left, top=top, rotation=rotation)
    if south_up:
        grid = rasters.upside_down(grid)
    href = rasters.write(tmp_path / "a.tif", rasters.resampled(world.hr, world.hr_grid, grid), grid)
    assert_shift(align_pixels(all_valid(world.lr), world.lr_grid, href), world.dy, world.dx)


@pytest.mark.parametrize(("dy", "dx"), [(0.0, 0.0), (-2.4, 2.9)])
def test_any_shift_within_the_limit(rasters: ModuleType, aerial: str, dy: float, dx: float) -> None:
    world = rasters.make_world(dy=dy, dx=dx)
    assert_shift(align_pixels(all_valid(world.lr), world.lr_grid, aerial), dy, dx, within=0.03)


def test_clouds_that_were_masked_do_not_matter(rasters: ModuleType, aerial: str) -> None:
    """Far off and half clouded: a second look, from where the first led, makes it exact."""
    world = rasters.make_world(dy=2.6, dx=-2.2)
    rows, cols = np.indices(world.lr.shape[1:])
    cloud = (np.hypot(rows - 35, cols - 40) < 22) | (np.hypot(rows - 90, cols - 110) < 18)
    lr = np.where(cloud, 9000, world.lr).astype(np.float32)
    found = align_pixels(Pixels(lr, ~cloud), world.lr_grid, aerial)
    assert_shift(found, world.dy, world.dx, within=0.015)
    np.testing.assert_allclose(found.gains, world.gains, rtol=0.07)


def test_a_shift_beyond_the_limit_is_refused_with_value_and_limit(world: Any, aerial: str) -> None:
    rules = AlignRules(registration=RegistrationRules(max_shift_px=1.0))
    found = align_pixels(all_valid(world.lr), world.lr_grid, aerial, rules=rules)
    assert not found.accepted
    assert found.reason == "shift_beyond_limit"
    assert found.value == pytest.approx(np.hypot(world.dy, world.dx), abs=0.1)
    assert found.limit == 1.0


def test_other_ground_is_refused(rasters: ModuleType, aerial: str) -> None:
    other = rasters.make_world(seed=11)
    found = align_pixels(all_valid(other.lr), other.lr_grid, aerial)
    assert not found.accepted
    assert found.reason == "unreliable_registration"
    assert found.limit == RegistrationRules().min_reliability
    assert found.value is not None
    assert found.value < found.limit


def test_too_little_ground_is_refused(world: Any, aerial: str) -> None:
    nothing = Pixels(world.lr, np.zeros(world.lr.shape[1:], bool))
    found = align_pixels(nothing, world.lr_grid, aerial)
    assert (found.accepted, found.reason) == (False, "too_little_ground")


def test_ground_that_never_looks_alike_is_refused(world: Any, aerial: str) -> None:
    rules = AlignRules(harmonise=HarmoniseRules(min_agreement=0.9999))
    found = align_pixels(all_valid(world.lr), world.lr_grid, aerial, rules=rules)
    assert (found.accepted, found.reason) == (False, "poor_colour_fit")
    assert found.value == found.colours.agreement < 0.9999
    assert found.limit == 0.9999


def test_an_alignment_goes_into_json_and_back(alignment: Alignment) -> None:
    again = json.loads(json.dumps(alignment.to_dict()))
    colours = ColourFit.from_dict(again.pop("colours"))
    assert Alignment(**again, colours=colours) == alignment


class TestFiles:
    """Reading windows of a satellite file gives what pixels in memory give."""

    def write_satellite(self, rasters: ModuleType, folder: Path, world: Any) -> str:
        lr = np.rint(world.lr).astype("uint16")
        return str(rasters.write(folder / "lr.tif", lr, world.lr_grid, nodata=0))

    def test_from_a_file(
        self, rasters: ModuleType, tmp_path: Path, world: Any, aerial: str
    ) -> None:
        href = self.write_satellite(rasters, tmp_path, world)
        area = (slice(0, 110), slice(8, 130))
        assert_shift(align_source(href, world.lr_grid, aerial, area=area), world.dy, world.dx)

    def test_with_its_classification(
        self, rasters: ModuleType, tmp_path: Path, world: Any, aerial: str
    ) -> None:
        rows, cols = np.indices(world.lr.shape[1:])
        cloud = np.hypot(rows - 50, cols - 50) < 30
        cloudy = replace_pixels(world, cloud, 9000)
        href = self.write_satellite(rasters, tmp_path, cloudy)
        scl = np.where(cloud, 9, 4)[None].astype("uint8")
        scl_href = rasters.write(tmp_path / "scl.tif", scl, world.lr_grid)
        area = (slice(0, 116), slice(0, 132))
        found = align_source(
            href, world.lr_grid, aerial, area=area, masks=[Mask(href=scl_href, kind="scl")]
        )
        assert_shift(found, world.dy, world.dx)
        assert 0.1 < found.cloud_fraction < 0.35
        # The same scene under a stricter rule.
        rules = AlignRules(max_cloud=0.05)
        refused = align_source(
            href,
            world.lr_grid,
            aerial,
            area=area,
            masks=[Mask(href=scl_href, kind="scl")],
            rules=rules,
        )
        assert (refused.accepted, refused.reason, refused.limit) == (False, "cloud", 0.05)
        assert refused.value == refused.cloud_fraction == found.cloud_fraction

    def test_ground_is_read_with_clouds_and_nodata_out(
        self, rasters: ModuleType, tmp_path: Path, world: Any
    ) -> None:
        dark = np.zeros(world.lr.shape[1:], bool)
        dark[:, :5] = True
        href = self.write_satellite(rasters, tmp_path, replace_pixels(world, dark, 0))
        scl = np.full((1, *dark.shape), 4, "uint8")
        scl[0, 20:30, 20:30] = 9
        scl_href = rasters.write(tmp_path / "scl.tif", scl, world.lr_grid)
        ground = read_ground(
            href, world.lr_grid, slice(10, 40), slice(0, 40), [Mask(href=scl_href, kind="scl")]
        )
        assert ground.geobox == world.lr_grid[10:40, 0:40]
        assert not ground.pixels.valid[:, :5].any()
        assert not ground.pixels.valid[10:20, 20:30].any()
        assert ground.cloud_fraction == pytest.approx(100 / (30 * 35))
        assert ground.pixels.valid[0:7, 6:].all()


def replace_pixels(world: Any, where: Any, value: float) -> Any:
    return replace(world, lr=np.where(where, value, world.lr).astype(np.float32))


# --- real ground --------------------------------------------------------------------------------

REGIONS = ("prairie", "village", "lakeshore")
RULES = PairingRules(bands=("red", "green", "blue"))


@pytest.mark.parametrize("region", REGIONS)
def test_trial_scenes_match_their_truth(shared_data: Path, region: str) -> None:
    """Within 0.05 LR px where accepted; refused: out of time, and under 85 % cloud."""
    folder = shared_data / "trial"
    truth = {
        (t["scene"], t["of"]): t["shift_lr_px"]
        for t in json.loads((folder / "truth.json").read_text())
        if t["region"] == region
    }
    satellites, _ = read_scenes(str(folder / region / "satellite"))
    aerials, _ = read_scenes(str(folder / region / "aerial"))
    # Let the pixels speak of clouds, not the catalogue.
    candidates, rejections = match_scenes(satellites, aerials, MatchRules(max_cloud=1.0))
    aligned = {
        (c.satellite.id, c.aerial.id): align_pair(inspect_pair(c, RULES), RULES) for c in candidates
    }

    accepted = {names for names, found in aligned.items() if found.accepted}
    expected = {
        "prairie": {"sat_20120726", "sat_20120805", "sat_20200906"},
        "village": {"sat_20170911"},
        "lakeshore": {"sat_20190623"},
    }
    assert {satellite for satellite, _ in accepted} == expected[region]
    for names in accepted:
        found, want = aligned[names], truth[names]
        assert_shift(found, want["dy"], want["dx"], within=0.03)
        assert found.residual_px < 0.25
    if region == "village":
        refused = aligned["sat_20170921", "oam_zanzibar"]
        assert refused.reason == "cloud"
        assert refused.value == pytest.approx(0.85, abs=0.06)
    if region == "prairie":
        [late] = rejections
        assert (late.satellite_id, late.reason) == ("sat_20140730", "time_gap")
        assert late.aerial_id == "naip_20120731"  # the nearest miss
