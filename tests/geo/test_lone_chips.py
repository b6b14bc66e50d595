"""Scenes without partners to chips: the same pixels and screens as of pairs, whatever the CRS."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import shapely
from odc.geo.geobox import GeoBox

from geo.catalog.folder import lonlat_footprint
from geo.catalog.scene import Asset, Scene
from geo.colour_fit import ColourFit
from geo.cut import CutRules
from geo.decisions import PairingRules
from geo.derive import seed_of
from geo.errors import GridError
from geo.harmonise import fit_collections
from geo.lone_cut import HELD_OUT, LoneJob, cut_lone_job
from geo.lone_rows import colours_of_store, lr_of_store, pixel_of_store
from geo.lone_scene import LoneRules, LoneScene, inspect_alone, lattice_grid, look_at
from geo.match import MatchRules, match_scenes, scenes_alone
from geo.pairblock import BlockJob, cut_job
from geo.pairing import align_pair, cells_of, inspect_pair
from geo.pairstore.config import StoreConfig
from geo.pairstore.rows import PairData, Row
from geo.pairstore.store import PairStore
from geo.splits import SplitRule
from geo.warp import warp_to

DAY = datetime(2023, 8, 15, 10, tzinfo=UTC)
BANDS = ("red", "green", "blue")
PAIRING = PairingRules(bands=BANDS, lr_size=16, cut=CutRules(min_valid=0.5))
RULES = LoneRules(pairing=PAIRING, pixel_m=10.0, coloured=False)
SPLIT = SplitRule(block_m=160.0, buffer_m=0.0)


def scene(name: str, href: str, grid: GeoBox, **assets: Asset) -> Scene:
    return Scene(
        id=name,
        time=DAY,
        footprint=lonlat_footprint(grid, href),
        assets={"visual": Asset(href=href, bands=BANDS, roles=("data",)), **assets},
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lone")


@pytest.fixture(scope="module")
def satellite(rasters: ModuleType, world: Any, folder: Path) -> Scene:
    lr = np.rint(world.lr).astype("uint16")
    scl = np.full((1, *lr.shape[1:]), 4, "uint8")
    scl[0, 60:90, 60:90] = 9
    mask = Asset(href=rasters.write(folder / "scl.tif", scl, world.lr_grid), bands=("scl",))
    href = rasters.write(folder / "lr.tif", lr, world.lr_grid, nodata=0)
    return scene("sat", href, world.lr_grid, scl=mask)


@pytest.fixture(scope="module")
def aerial_scene(world: Any, aerial: str) -> Scene:
    return scene("air", aerial, world.hr_grid)


def job_of(
    lone: LoneScene, rules: LoneRules = RULES, colours: ColourFit | None = None, **more: Any
) -> LoneJob:
    facts: dict[str, Any] = {
        "lone": lone,
        "rules": rules,
        "colours": colours,
        "noise_dn": (5.0,) * 3,
        "cells": tuple(lone.cells(rules.pairing.lr_size)),
        "store": "",
        "dtype": lone.dtype,
        "split_rule": SPLIT,
        "landcover": None,
        "run_name": "run",
    }
    return LoneJob(**(facts | more))


def look(one: Scene, side: str, rules: LoneRules = RULES) -> LoneScene:
    return inspect_alone(one, side, one.footprint, rules.pairing, rules.pixel_m)


@pytest.fixture(scope="module")
def both(satellite: Scene, aerial_scene: Scene) -> Any:
    """All cells of the scene, cut alone and in pairs."""
    (candidate,), _ = match_scenes([satellite], [aerial_scene], MatchRules())
    pair = inspect_pair(candidate, PAIRING)
    job = BlockJob(
        pair=pair,
        alignment=align_pair(pair, PAIRING),
        rules=PAIRING,
        cells=tuple(cells_of(pair, PAIRING)),
        store="",
        split_rule=SPLIT,
        landcover=None,
        run_name="run",
    )
    return cut_job(job), cut_lone_job(job_of(look(satellite, "lr")))


class TestSatelliteSide:
    def test_chips_are_those_of_pairs_on_the_same_cells(self, both: Any) -> None:
        (pairs, _), (chips, refused) = both
        alone = {(c.row["row"], c.row["col"]): c for c in chips}
        assert len(pairs) > 5
        for pair in pairs:
            chip = alone[pair.row["row"], pair.row["col"]]
            np.testing.assert_array_equal(chip.lr, pair.lr)
            assert not chip.hr.any()
            assert chip.row["split"] == pair.row["split"]
            for name in ("left", "top", "crs", "cloud_fraction", "satellite_id", "resolution_x"):
                assert chip.row[name] == pair.row[name], name  # type: ignore[literal-required]
        assert {row["reason"] for row in refused} == {"cloud"}

    def test_a_row_says_what_it_is_and_nothing_that_wants_a_partner(self, both: Any) -> None:
        _, (chips, refused) = both
        row = chips[0].row
        assert (row["kind"], row["side"], row["aerial_id"]) == ("chip", "lr", "")
        assert not {"similarity", "changed_fraction", "gap_days", "dy_px", "gains"} & set(row)
        assert row["valid_fraction"] == chips[0].valid.mean()
        assert {r["kind"] for r in refused} == {"rejection"}
        identities = [c.row["identity"] for c in chips] + [r["identity"] for r in refused]
        assert len(set(identities)) == len(identities)

    def test_valid_ground_is_whole_lr_pixels(self, both: Any) -> None:
        _, (chips, _) = both
        part = next(c for c in chips if not c.valid.all())
        cells = part.valid.reshape(16, 4, 16, 4)
        assert (cells.all(axis=(1, 3)) == cells.any(axis=(1, 3))).all()

    def test_clouds_of_a_scene_are_seen_before_it_is_cut(self, satellite: Scene) -> None:
        seen = look_at(look(satellite, "lr"))
        assert 0.03 < seen.cloud_fraction < 0.2
        assert len(seen.noise_dn) == 3
        assert seen.pixels(500).shape[1] <= 500


class TestAerialSide:
    def test_chips_are_the_warp_onto_the_lattice(self, aerial_scene: Scene) -> None:
        lone = look(aerial_scene, "hr")
        chips, _ = cut_lone_job(job_of(lone))
        assert chips
        for chip in chips:
            row = chip.row
            cell = lone.lattice(16).geobox_of(
                next(c for c in lone.cells(16) if (c.row, c.col) == (row["row"], row["col"])),
                lone.geobox,
            )
            oracle = warp_to(lone.refs, cell.zoom_out(1 / 4))
            both = chip.valid & oracle.valid
            assert both.mean() > 0.4
            difference = np.abs(chip.hr - np.rint(oracle.data))[:, both]
            assert difference.max() <= 1
            assert not chip.lr.any()
            assert (row["kind"], row["side"], row["satellite_id"]) == ("chip", "hr", "")
            assert "gains" not in row

    def test_colours_are_those_asked_for_and_are_told(self, aerial_scene: Scene) -> None:
        fit = replace(ColourFit.as_it_is(3), gains=(2.0, 3.0, 4.0), offsets=(10.0, 20.0, 30.0))
        lone = look(aerial_scene, "hr")
        plain = cut_lone_job(job_of(lone))[0][0]
        coloured = cut_lone_job(job_of(lone, colours=fit, dtype="uint16"))[0][0]
        line = np.array([2, 3, 4])[:, None] * plain.hr[:, plain.valid].astype(float)
        line += np.array([10, 20, 30])[:, None]
        np.testing.assert_allclose(coloured.hr[:, plain.valid], line, atol=3)  # rounded before
        assert coloured.row["gains"] == [2.0, 3.0, 4.0]
        assert coloured.row["identity"] == plain.row["identity"]
        rules = replace(RULES, coloured=True)
        assert rules.digest("hr") != RULES.digest("hr")
        assert rules.digest("lr") == RULES.digest("lr")

    def test_neighbouring_rasters_share_their_cells(self, rasters: ModuleType) -> None:
        first = rasters.grid((400, 400), size=2.5, left=500_003.3, top=5_300_001.7)
        second = first.translate_pix(200, 100)
        one, other = (lattice_grid(g, 10.0) for g in (first, second))
        assert (one.affine.a, one.affine.e) == (10.0, -10.0)
        assert (other.affine.c - one.affine.c) % 10 == 0
        assert one.affine.c <= 500_003.3 < one.affine.c + 10
        assert one.boundingbox.top >= 5_300_001.7

    @pytest.mark.parametrize(
        ("crs", "left", "top", "size", "expected"),
        [
            ("EPSG:2056", 2_683_000.0, 1_248_000.0, 0.5, "EPSG:2056"),
            ("EPSG:3857", 950_000.0, 6_000_000.0, 0.5, "EPSG:32632"),  # its metres are too long
            ("EPSG:32632", 400_000.0, 5_250_000.0, 0.5, "EPSG:32632"),
            ("EPSG:4326", 8.5, 47.4, 5e-6, "EPSG:32632"),
            ("EPSG:4326", 39.2, -6.1, 5e-6, "EPSG:32737"),
        ],
    )
    def test_the_lattice_counts_metres_of_ground(
        self, rasters: ModuleType, crs: str, left: float, top: float, size: float, expected: str
    ) -> None:
        raster = rasters.grid((100, 120), size=size, left=left, top=top, crs=crs)
        found = lattice_grid(raster, 2.0)
        assert str(found.crs) == expected
        assert found.affine.a == 2.0

    def test_an_image_too_coarse_for_the_hr_grid_is_refused(self, aerial_scene: Scene) -> None:
        with pytest.raises(GridError, match=r"LR pixel of 2 m; wanted about 4 or more") as caught:
            look(aerial_scene, "hr", replace(RULES, pixel_m=2.0))
        assert caught.value.facts["cause"] == "aerial_too_coarse"

    def test_hr_of_held_out_ground_becomes_no_derived_pair(self, aerial_scene: Scene) -> None:
        lone = look(aerial_scene, "hr")
        asked: list[list[int]] = []

        def derive(hr: Any, seeds: Any) -> Any:
            asked.append(list(seeds))
            return hr.reshape(*hr.shape[:2], 16, 4, 16, 4).mean(axis=(3, 5))

        chips, plain_refused = cut_lone_job(job_of(lone))
        rules = replace(RULES, derived="mean")
        pairs, refused = cut_lone_job(job_of(lone, rules), derive)
        train = [c for c in chips if c.row["split"] == "train"]
        assert 0 < len(pairs) == len(train) < len(chips)
        assert asked == [[seed_of(p.row["identity"]) for p in pairs]]
        for pair, chip in zip(pairs, train, strict=True):
            assert (pair.row["kind"], pair.row["split"]) == ("pair", "train")
            assert (pair.row["derived"], pair.row["side"]) == ("mean", None)
            assert pair.row["identity"] != chip.row["identity"]
            np.testing.assert_array_equal(pair.hr, chip.hr)
            mean = pair.hr.reshape(3, 16, 4, 16, 4).mean(axis=(2, 4))
            np.testing.assert_allclose(pair.lr, mean, atol=0.51)
        held_out = [r for r in refused if r["reason"] == HELD_OUT]
        assert len(held_out) == len(chips) - len(train)
        assert len(refused) == len(held_out) + len(plain_refused)


def test_which_scenes_are_wanted(satellite: Scene) -> None:
    west, south, east, north = satellite.footprint.bounds
    half = shapely.box(west, south, (west + east) / 2, north)
    cloudy = replace(satellite, id="cloudy", cloud_fraction=0.9)
    rules = MatchRules(aoi=half, max_cloud=0.5)
    wanted, refused = scenes_alone([satellite, cloudy], rules, satellite=True)
    assert [one.id for one, _ in wanted] == ["sat"]
    assert wanted[0][1].area == pytest.approx(satellite.footprint.intersection(half).area)
    assert [(one.id, reason) for one, reason in refused] == [("cloudy", "cloud")]
    wanted, refused = scenes_alone([cloudy], rules, satellite=False)
    assert len(wanted) == 1, "clouds and days are a satellite's"
    far = replace(rules, aoi=shapely.box(100, 10, 101, 11))
    assert scenes_alone([satellite], far, satellite=False)[1] == [(satellite, "no_overlap")]


class TestColoursOfCollections:
    def test_a_line_is_found_though_no_pixel_has_a_partner(self) -> None:
        random = np.random.default_rng(0)
        aerial = random.gamma(4, 20, (2, 20_000)).astype(np.float32)
        line = np.array([[3.0], [5.0]]) * aerial + np.array([[100.0], [-20.0]])
        noise = 40.0
        seen = line[:, random.permutation(20_000)] + random.normal(0, noise, line.shape)
        plain = fit_collections(aerial, seen.astype(np.float32))
        quiet = fit_collections(aerial, seen.astype(np.float32), noise_dn=(noise, noise))
        np.testing.assert_allclose(quiet.gains, (3, 5), rtol=0.02)
        np.testing.assert_allclose(quiet.offsets, (100, -20), atol=8)
        assert plain.gains[0] > quiet.gains[0], "noise is no contrast"
        assert quiet.noise_dn == (noise, noise)

    def test_a_tone_curve_is_found_by_quantiles(self) -> None:
        random = np.random.default_rng(1)
        aerial = random.uniform(10, 250, (1, 50_000)).astype(np.float32)
        bent = (1000 * np.sqrt(aerial))[:, random.permutation(50_000)]
        fit = fit_collections(aerial, bent, "histogram")
        at = np.array([[40.0, 100.0, 200.0]], np.float32)
        np.testing.assert_allclose(fit.apply(at), 1000 * np.sqrt(at), rtol=0.02)

    def test_without_contrast_only_the_level_comes_over(self) -> None:
        fit = fit_collections(np.full((1, 9), 5.0, np.float32), np.full((1, 7), 90.0, np.float32))
        assert (fit.gains, fit.offsets) == ((1.0,), (85.0,))
        with pytest.raises(ValueError, match="0 aerial"):
            fit_collections(np.empty((1, 0), np.float32), np.empty((1, 3), np.float32))


class TestWhatAStoreSettles:
    @pytest.fixture
    def store(self, tmp_path: Path) -> PairStore:
        return PairStore.create_or_open(tmp_path / "s", StoreConfig(bands=BANDS, lr_size=16))

    @staticmethod
    def put(store: PairStore, chips: list[PairData]) -> None:
        store.commit(store.write_part(chips), "test")

    def test_hr_chips_before_lr_images_decide_the_pixel(
        self, store: PairStore, satellite: Scene, aerial_scene: Scene
    ) -> None:
        assert pixel_of_store(store) is None
        assert lr_of_store(store, 100) is None
        self.put(store, cut_lone_job(job_of(look(satellite, "lr")))[0])
        assert pixel_of_store(store) == 10.0
        rules = replace(RULES, pixel_m=12.0)
        lone = look(aerial_scene, "hr", rules)
        self.put(store, cut_lone_job(job_of(lone, rules, dtype="uint16"))[0])
        assert pixel_of_store(store) == 12.0

    def test_lr_pixels_are_good_ones_of_training_ground(
        self, store: PairStore, satellite: Scene
    ) -> None:
        chips = cut_lone_job(job_of(look(satellite, "lr")))[0]
        self.put(store, chips)
        found = lr_of_store(store, 10_000)
        assert found is not None
        wanted = [c.lr[:, c.valid[::4, ::4]] for c in chips if c.row["split"] == "train"]
        assert sorted(found[0].sum(axis=0)) == sorted(np.concatenate(wanted, axis=1).sum(axis=0))

    def test_colours_that_were_used_are_used_again(
        self, store: PairStore, aerial_scene: Scene
    ) -> None:
        rules = replace(RULES, coloured=True)
        assert colours_of_store(store, rules) is None
        fit = replace(ColourFit.as_it_is(3), gains=(2.0, 3.0, 4.0))
        lone = look(aerial_scene, "hr", rules)
        self.put(store, cut_lone_job(job_of(lone, rules, fit, dtype="uint16"))[0])
        assert colours_of_store(store, rules) == fit
        assert colours_of_store(store, replace(rules, derived="sensor")) == fit
        assert colours_of_store(store, replace(rules, pixel_m=12.0)) is None


def test_rows_of_one_side_fit_the_store(satellite: Scene) -> None:
    row: Row = cut_lone_job(job_of(look(satellite, "lr")))[0][0].row
    assert row["settings_digest"] == RULES.digest("lr")
