"""From two scenes to rows of the store: inspected, aligned, cut, each cell answered."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from geo.catalog.folder import lonlat_footprint
from geo.catalog.scene import Asset, Scene
from geo.chips import Cell, blocks_of
from geo.decisions import PairingRules
from geo.errors import BandError, GeoError, GridError, SourceError
from geo.landcover import LandCover
from geo.match import Candidate, MatchRules, match_scenes
from geo.pairblock import BlockJob, pair_block
from geo.pairing import (
    align_pair,
    cells_of,
    common_bands,
    first_dtype,
    inspect_pair,
    lattice_of,
    unknown_cells,
)
from geo.pairstore.config import StoreConfig
from geo.pairstore.rows import pair_identity
from geo.pairstore.store import PairStore

DAY = datetime(2023, 8, 15, 10, tzinfo=UTC)
BANDS = ("red", "green", "blue")
RULES = PairingRules(bands=BANDS, lr_size=16)


def scene(name: str, href: str, grid: Any, bands: tuple[str, ...] = BANDS, **more: Any) -> Scene:
    assets = {"visual": Asset(href=href, bands=bands, roles=("data",))} | more.pop("assets", {})
    footprint = lonlat_footprint(grid, href)
    return Scene(**{"id": name, "time": DAY, "footprint": footprint, "assets": assets} | more)


def join(satellite: Scene, aerial: Scene, **rules: Any) -> Candidate:
    (candidate,), _ = match_scenes([satellite], [aerial], MatchRules(**rules))
    return candidate


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pairing")


@pytest.fixture(scope="module")
def satellite(rasters: ModuleType, world: Any, folder: Path) -> Scene:
    lr = np.rint(world.lr).astype("uint16")
    scl = np.full((1, *lr.shape[1:]), 4, "uint8")
    scl[0, 60:90, 60:90] = 9
    return scene(
        "sat",
        rasters.write(folder / "lr.tif", lr, world.lr_grid, nodata=0),
        world.lr_grid,
        assets={
            "scl": Asset(href=rasters.write(folder / "scl.tif", scl, world.lr_grid), bands=("scl",))
        },
    )


@pytest.fixture(scope="module")
def aerial_scene(world: Any, aerial: str) -> Scene:
    return scene("air", aerial, world.hr_grid, time=DAY + timedelta(days=2))


@pytest.fixture(scope="module")
def candidate(satellite: Scene, aerial_scene: Scene) -> Candidate:
    return join(satellite, aerial_scene)


@pytest.fixture(scope="module")
def job(candidate: Candidate, folder: Path) -> BlockJob:
    """All cells of the pair, into a new store."""
    pair = inspect_pair(candidate, RULES)
    config = StoreConfig(bands=BANDS, lr_size=RULES.lr_size, dtype=pair.dtype)
    store = PairStore.create_or_open(folder / "store", config)
    east = shapely.box(15.0, 47.0, 16.0, 48.0)
    return BlockJob(
        pair=pair,
        alignment=align_pair(pair, RULES),
        rules=RULES,
        cells=tuple(cells_of(pair, RULES)),
        store=str(folder / "store"),
        split_rule=store.config.split,
        landcover=LandCover(("fields",), (east,)),
        run_name="first",
    )


# --- inspecting ---------------------------------------------------------------------------------


class TestInspecting:
    def test_what_is_known_before_any_pixel_is_read(self, candidate: Candidate, world: Any) -> None:
        pair = inspect_pair(candidate, RULES)
        assert pair.geobox == world.lr_grid
        assert pair.dtype == "uint16"
        height, width = world.lr_grid.shape.yx
        assert pair.area == (slice(0, height), slice(0, width))
        assert [mask.kind for mask in pair.masks] == ["scl"]
        assert [ref.index for ref in pair.satellite] == [1, 2, 3]

    def test_the_area_is_the_common_ground(self, satellite: Scene, aerial: str, world: Any) -> None:
        window = world.hr_grid[200:400, 120:400]
        cover = scene("part", aerial, window)
        pair = inspect_pair(join(satellite, cover), RULES)
        for span, start, stop in zip(pair.area, (40, 20), (90, 90), strict=True):
            # The aerial image reaches 10 LR pixels further than the satellite's; lon/lat is skew.
            assert span.start == pytest.approx(start, abs=2)
            assert span.stop == pytest.approx(stop, abs=2)

    def test_a_missing_band(self, candidate: Candidate) -> None:
        with pytest.raises(BandError, match="scene sat has no band nir"):
            inspect_pair(candidate, replace(RULES, bands=("red", "nir")))

    def test_a_missing_file(self, candidate: Candidate, world: Any, tmp_path: Path) -> None:
        lost = scene("lost", str(tmp_path / "lost.tif"), world.hr_grid)
        with pytest.raises(SourceError, match="no such file"):
            inspect_pair(replace(candidate, aerial=lost), RULES)

    def test_a_satellite_grid_that_is_not_north_up(
        self, rasters: ModuleType, candidate: Candidate, world: Any, tmp_path: Path
    ) -> None:
        grid = rasters.upside_down(world.lr_grid)
        href = rasters.write(tmp_path / "south.tif", world.lr, grid)
        with pytest.raises(GridError, match="wanted north up") as caught:
            inspect_pair(replace(candidate, satellite=scene("s", href, grid)), RULES)
        assert caught.value.facts["cause"] == "unsupported_grid"

    @pytest.mark.parametrize(
        ("size", "scale", "enough"),
        [(2.5, 4, True), (3.9, 4, True), (4.1, 4, False), (2.5, 8, False), (5.0, 2, True)],
    )
    def test_an_aerial_image_must_have_detail_to_teach(
        self,
        rasters: ModuleType,
        satellite: Scene,
        tmp_path: Path,
        size: float,
        scale: int,
        enough: bool,
    ) -> None:
        """At most 1.6 pixels of the HR grid a pixel; the satellite's are 10 m."""
        grid = rasters.grid((300, 300), size=size)
        href = rasters.write(tmp_path / "a.tif", np.ones((3, 300, 300), "uint8"), grid)
        candidate = join(satellite, scene("a", href, grid))
        rules = replace(RULES, scale=scale)
        if enough:
            inspect_pair(candidate, rules)
            return
        with pytest.raises(GridError, match="aerial pixels for each pixel of sat") as caught:
            inspect_pair(candidate, rules)
        assert caught.value.facts["cause"] == "aerial_too_coarse"
        assert caught.value.facts["value"] == pytest.approx(10 / size, rel=0.01)
        assert caught.value.facts["limit"] == scale / 1.6

    def test_detail_is_judged_on_the_ground_not_by_units(
        self, rasters: ModuleType, satellite: Scene, tmp_path: Path
    ) -> None:
        """Web Mercator stretches by 1.5 at 48 N: 3.7 units are 2.5 m."""
        grid = rasters.grid((400, 400), size=3.7, left=1_669_800, top=6_083_000, crs="EPSG:3857")
        href = rasters.write(tmp_path / "a.tif", np.ones((3, 400, 400), "uint8"), grid)
        inspect_pair(join(satellite, scene("a", href, grid)), RULES)

    def test_a_footprint_elsewhere(self, candidate: Candidate) -> None:
        away = shapely.box(15.5, 47.5, 15.6, 47.6)
        with pytest.raises(GridError, match="different places") as caught:
            inspect_pair(replace(candidate, overlap=away, ground=away), RULES)
        assert caught.value.facts["cause"] == "footprint_mismatch"


def test_common_bands_come_in_the_satellites_order(
    satellite: Scene, aerial_scene: Scene, world: Any
) -> None:
    four = replace(
        aerial_scene,
        assets={"v": Asset(href="x.tif", bands=("nir", "blue", "red"), roles=("data",))},
    )
    assert common_bands([join(satellite, four)]) == ("red", "blue")
    assert common_bands([join(satellite, aerial_scene)]) == BANDS
    assert common_bands([]) == ()
    other = replace(
        aerial_scene, assets={"v": Asset(href="x.tif", bands=("pan",), roles=("data",))}
    )
    with pytest.raises(BandError, match=r"satellite bands \(red, green, blue\).*share no name"):
        common_bands([join(satellite, other)])


def test_one_lost_file_does_not_decide_for_the_others(
    satellite: Scene, aerial_scene: Scene, tmp_path: Path
) -> None:
    lost = replace(aerial_scene, assets={"v": Asset(href=str(tmp_path / "lost.tif"))})
    bad, good = join(satellite, lost), join(satellite, aerial_scene)
    assert common_bands([bad, good]) == BANDS
    assert first_dtype([bad, good], RULES) == "uint16"
    assert first_dtype([], RULES) is None
    with pytest.raises(GeoError):
        first_dtype([bad], RULES)


# --- cells --------------------------------------------------------------------------------------


def test_cells_lie_wholly_inside_the_scene(job: BlockJob) -> None:
    lattice = lattice_of(job.pair.geobox, RULES.lr_size)
    assert lattice.lr_size == RULES.lr_size
    assert list(job.cells) == lattice.cells_in(job.pair.geobox)


def test_only_cells_on_the_ground_asked_for(
    candidate: Candidate, job: BlockJob, world: Any
) -> None:
    aoi = world.lr_grid[50:80, 30:50].footprint("EPSG:4326", buffer=0).geom
    pair = inspect_pair(replace(candidate, ground=aoi), RULES)
    cells = cells_of(pair, RULES)
    assert 0 < len(cells) < len(job.cells)
    assert set(cells) < set(job.cells)
    for cell in job.cells:
        rows, cols = lattice_of(pair.geobox, RULES.lr_size).window(cell, pair.geobox)
        meets = rows.start < 79 and rows.stop > 51 and cols.start < 49 and cols.stop > 31
        assert (cell in cells) >= meets


def test_what_is_decided_is_not_done_again(job: BlockJob) -> None:
    pair = job.pair
    crs = str(pair.geobox.crs)
    known = {
        pair_identity("sat", "air", crs, cell.row, cell.col, RULES.scale) for cell in job.cells[:5]
    }
    assert unknown_cells(pair, RULES, known) == list(job.cells[5:])
    assert unknown_cells(pair, RULES, set()) == list(job.cells)


@given(
    st.lists(st.builds(Cell, st.integers(-99, 99), st.integers(-99, 99)), unique=True),
    st.tuples(st.integers(1, 9), st.integers(1, 17)),
)
def test_blocks_hold_every_cell_once_and_stay_small(
    cells: list[Cell], side: tuple[int, int]
) -> None:
    blocks = list(blocks_of(cells, side=side))
    assert sorted(c for block in blocks for c in block) == sorted(cells)
    for block in blocks:
        assert len(block) <= side[0] * side[1]
        for axis, most in zip(("row", "col"), side, strict=True):
            at = [getattr(c, axis) for c in block]
            assert max(at) - min(at) < most


def test_a_full_block_is_as_wide_and_high_as_asked_for() -> None:
    cells = [Cell(row, col) for row in range(-16, 16) for col in range(-16, 16)]
    blocks = list(blocks_of(cells, side=(8, 16)))
    assert len(blocks) == 4 * 2
    for block in blocks:
        assert len({c.row for c in block}) == 8
        assert len({c.col for c in block}) == 16


# --- a block into the store ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def rows(job: BlockJob) -> list[Any]:
    return pair_block(job)


class TestBlock:
    def test_every_cell_is_a_pair_or_a_rejection(self, rows: list[Any], job: BlockJob) -> None:
        assert {(r["row"], r["col"]) for r in rows} == {(c.row, c.col) for c in job.cells}
        assert len(rows) == len(job.cells) == len({r["identity"] for r in rows})
        assert {r["kind"] for r in rows} == {"pair", "rejection"}

    def test_a_row_says_where_when_and_how(
        self, rows: list[Any], job: BlockJob, world: Any
    ) -> None:
        crs = str(job.pair.geobox.crs)
        for row in rows:
            assert (row["satellite_id"], row["aerial_id"]) == ("sat", "air")
            assert row["identity"] == pair_identity(
                "sat", "air", crs, row["row"], row["col"], RULES.scale
            )
            assert row["gap_days"] == 2
            assert (row["dy_px"], row["dx_px"]) == pytest.approx((world.dy, world.dx), abs=0.05)
            assert row["category"] == "fields"
            assert row["split"] in {"train", "val", "test", "buffer"}
            assert row["settings_digest"] == RULES.digest
            assert (row["resolution_x"], row["resolution_y"]) == (10, 10)
            # The lattice hangs on the CRS: bounds follow from row and column alone.
            assert row["left"] == row["col"] * 160
            assert row["top"] == -row["row"] * 160
            assert (row["right"] - row["left"], row["top"] - row["bottom"]) == (160, 160)

    def test_refused_chips_say_why(self, rows: list[Any]) -> None:
        refused = [r for r in rows if r["kind"] == "rejection"]
        assert {r["reason"] for r in refused} == {"cloud"}
        assert all(r["value"] < r["limit"] == RULES.cut.min_valid for r in refused)
        assert all("part" not in r for r in refused)

    def test_what_the_store_returns_is_what_was_cut(
        self, rows: list[Any], job: BlockJob, world: Any
    ) -> None:
        store = PairStore.open(job.store)
        store.commit(rows, "first")
        reader = store.reader()
        assert len(reader) == sum(r["kind"] == "pair" for r in rows)
        lr = np.rint(world.lr).astype("uint16")
        lattice = lattice_of(job.pair.geobox, RULES.lr_size)
        for index, pair in enumerate(reader.read(range(len(reader)))):
            row = reader.row(index)
            where = lattice.window(Cell(row["row"], row["col"]), job.pair.geobox)
            np.testing.assert_array_equal(pair.lr, lr[:, *where])
            assert pair.hr.shape == (3, 64, 64)
            assert pair.valid.mean() == row["valid_fraction"]

    def test_a_second_time_changes_nothing(self, rows: list[Any], job: BlockJob) -> None:
        store = PairStore.open(job.store)
        version = store.commit(rows, "first")
        again = pair_block(replace(job, run_name="second"))
        assert store.commit(again, "second") == version
        known = store.known(RULES.digest, "sat", "air")
        assert unknown_cells(job.pair, RULES, known) == []
