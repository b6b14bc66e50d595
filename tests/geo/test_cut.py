"""Chips: the sensor's own LR pixels, HR on the refined grid, judged one by one."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from geo.align import align_source
from geo.catalog.scene import Mask
from geo.chips import Cell, Lattice
from geo.cut import AlignedPair, Chip, CutRules, cut_block, judge_chip, split, to_dtype
from geo.quality import screen_masks
from geo.raster_io import inspect_raster
from geo.sensor import degrade

SCALE, SIZE = 4, 16
RULES = CutRules()


@pytest.fixture(scope="module")
def satellite(
    rasters: ModuleType, world: Any, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, str]:
    """The satellite image with a nodata corner, and its classification with a cloud."""
    folder = tmp_path_factory.mktemp("cut")
    lr = np.rint(world.lr).astype("uint16")
    lr[:, :30, :30] = 0
    scl = np.full((1, *lr.shape[1:]), 4, "uint8")
    scl[0, 60:90, 60:90] = 9
    return (
        rasters.write(folder / "lr.tif", lr, world.lr_grid, nodata=0),
        rasters.write(folder / "scl.tif", scl, world.lr_grid),
    )


@pytest.fixture(scope="module")
def pair(world: Any, aerial: str, satellite: tuple[str, str]) -> AlignedPair:
    height, width = world.lr_grid.shape.yx
    alignment = align_source(
        satellite[0], world.lr_grid, aerial, area=(slice(0, height), slice(0, width))
    )
    assert alignment.accepted
    return AlignedPair(
        satellite=satellite[0],
        aerial=aerial,
        geobox=world.lr_grid,
        masks=[Mask(href=satellite[1], kind="scl")],
        alignment=alignment,
        scale=SCALE,
    )


@pytest.fixture(scope="module")
def lattice(world: Any) -> Lattice:
    return Lattice(crs=str(world.lr_grid.crs), resolution_xy=(10, 10), lr_size=SIZE)


@pytest.fixture(scope="module")
def chips(pair: AlignedPair, lattice: Lattice) -> list[Any]:
    return cut_block(pair, lattice, lattice.cells_in(pair.geobox), RULES)


class TestBlock:
    def test_every_cell_is_answered_once(
        self, chips: list[Any], lattice: Lattice, pair: AlignedPair
    ) -> None:
        assert [chip.cell for chip in chips] == lattice.cells_in(pair.geobox)
        assert len(chips) >= 30

    def test_lr_are_the_sensors_own_pixels(
        self, chips: list[Any], lattice: Lattice, pair: AlignedPair, world: Any
    ) -> None:
        lr = np.rint(world.lr).astype("uint16")
        lr[:, :30, :30] = 0
        for chip in chips:
            rows, cols = lattice.window(chip.cell, pair.geobox)
            assert chip.lr.dtype == np.uint16
            np.testing.assert_array_equal(chip.lr, lr[:, rows, cols])
            assert chip.geobox == pair.geobox[rows, cols]

    def test_hr_is_what_the_satellite_saw_in_its_colours(
        self, chips: list[Any], lattice: Lattice, pair: AlignedPair, world: Any
    ) -> None:
        for chip in chips:
            rows, cols = (
                slice(s.start * SCALE, s.stop * SCALE)
                for s in lattice.window(chip.cell, pair.geobox)
            )
            assert chip.hr.shape == (3, SIZE * SCALE, SIZE * SCALE)
            assert chip.hr.dtype == np.uint16
            truth = world.true_hr[:, rows, cols]
            error = chip.hr.astype(np.float32) - truth
            assert np.abs(error).mean() < 0.1 * world.true_hr.std()

    def test_what_is_kept_is_clear_and_what_is_not_says_why(self, chips: list[Any]) -> None:
        reasons = {chip.reason for chip in chips}
        assert reasons == {None, "cloud", "nodata"}
        for chip in chips:
            assert chip.valid.shape == (SIZE * SCALE, SIZE * SCALE)
            assert chip.valid_fraction == chip.valid.mean()
            if chip.reason is None:
                assert chip.valid_fraction >= RULES.min_valid
                assert chip.similarity > 0.9
                assert chip.value is chip.limit is None
            else:
                assert chip.value == chip.valid_fraction < RULES.min_valid == chip.limit

    def test_cloud_and_its_rim_are_not_valid(
        self, chips: list[Any], lattice: Lattice, pair: AlignedPair
    ) -> None:
        bad = np.zeros(pair.geobox.shape.yx, bool)
        bad[60:90, 60:90] = bad[:30, :30] = True
        for chip in chips:
            rows, cols = lattice.window(chip.cell, pair.geobox)
            there = bad[rows, cols].repeat(SCALE, 0).repeat(SCALE, 1)
            assert not chip.valid[there].any()

    def test_a_cell_comes_out_the_same_alone_and_in_company(
        self, chips: list[Any], lattice: Lattice, pair: AlignedPair
    ) -> None:
        for chip in chips[::7]:
            (alone,) = cut_block(pair, lattice, [chip.cell], RULES)
            np.testing.assert_array_equal(alone.lr, chip.lr)
            np.testing.assert_array_equal(alone.valid, chip.valid)
            assert np.abs(alone.hr.astype(int) - chip.hr.astype(int)).max() <= 1
            assert alone.reason == chip.reason

    def test_chips_own_their_pixels(self, chips: list[Any]) -> None:
        """A view would keep the whole block in memory."""
        for chip in chips:
            for array in (chip.lr, chip.hr, chip.valid):
                assert array.flags.c_contiguous


def test_beyond_the_aerial_image_it_is_nodata(
    rasters: ModuleType, tmp_path: Path, world: Any, pair: AlignedPair, lattice: Lattice
) -> None:
    """The aerial image takes the ground away, not a cloud."""
    half = (slice(None), slice(0, 300))
    href = rasters.write(tmp_path / "half.tif", world.hr[:, *half], world.hr_grid[half])
    cut = AlignedPair(**{**pair.__dict__, "aerial": href, "masks": ()})
    chips = cut_block(cut, lattice, lattice.cells_in(pair.geobox), RULES)
    east = [c for c in chips if lattice.window(c.cell, pair.geobox)[1].start > 70]
    assert east
    assert {c.reason for c in east} == {"nodata"}
    assert all((c.hr[:, ~c.valid] == 0).all() for c in east)


class TestJudging:
    def chip(self, **facts: Any) -> Chip:
        nothing = np.zeros((1, 1, 1))
        good = {"valid_fraction": 1.0, "cloud_fraction": 0.0, "similarity": 0.95, "content": 5.0}
        return Chip(
            cell=Cell(0, 0), geobox=None, lr=nothing, hr=nothing, valid=nothing[0], **good | facts
        )

    def test_a_good_chip_is_kept_without_a_flag(self) -> None:
        chip = judge_chip(self.chip(), RULES)
        assert (chip.reason, chip.value, chip.limit, chip.flags) == (None, None, None, ())

    def test_other_ground_is_dissimilar(self) -> None:
        chip = judge_chip(self.chip(similarity=0.4, changed_fraction=0.7), RULES)
        assert (chip.reason, chip.value, chip.limit) == ("dissimilar_content", 0.4, 0.6)

    def test_ground_that_has_changed_in_part_is_refused_with_its_share(self) -> None:
        chip = judge_chip(self.chip(similarity=0.75, changed_fraction=0.25), RULES)
        assert (chip.reason, chip.value, chip.limit) == ("changed_ground", 0.25, 0.2)

    def test_little_content_is_flagged_and_kept(self) -> None:
        chip = judge_chip(self.chip(content=1.0), RULES)
        assert chip.reason is None
        assert chip.flags == ("low_content",)

    def test_a_few_saturated_pixels_are_flagged_and_kept(self) -> None:
        chip = judge_chip(self.chip(saturated_fraction=0.01, valid_fraction=0.99), RULES)
        assert chip.reason is None
        assert chip.flags == ("saturated",)

    @pytest.mark.parametrize(
        ("cloud", "nodata", "saturated", "reason"),
        [
            (0.5, 0.0, 0.0, "cloud"),
            (0.0, 0.5, 0.0, "nodata"),
            (0.4, 0.2, 0.0, "cloud"),
            (0.1, 0.15, 0.3, "saturated"),
        ],
    )
    def test_too_few_good_pixels_are_named_by_what_takes_most(
        self, cloud: float, nodata: float, saturated: float, reason: str
    ) -> None:
        facts = {"cloud": cloud, "nodata": nodata, "saturated": saturated}
        facts = {f"{name}_fraction": share for name, share in facts.items()}
        chip = judge_chip(self.chip(valid_fraction=0.5, similarity=0.0, **facts), RULES)
        assert (chip.reason, chip.value, chip.limit) == (reason, 0.5, 0.9)


class TestSplitting:
    def test_chips_are_cells_of_the_block(self) -> None:
        block = np.arange(2 * 6 * 9).reshape(2, 6, 9)
        places = np.array([(1, 2), (0, 0), (1, 0)])
        chips = split(block, places, 3)
        for chip, (row, col) in zip(chips, places, strict=True):
            there = (slice(3 * row, 3 * row + 3), slice(3 * col, 3 * col + 3))
            np.testing.assert_array_equal(chip, block[:, *there])
        assert chips.flags.c_contiguous


class TestSaturation:
    @pytest.fixture
    def cut(
        self, rasters: ModuleType, tmp_path: Path, world: Any, pair: AlignedPair, lattice: Lattice
    ) -> list[Chip]:
        """The aerial image as a file of bytes with a roof that is too bright for them."""
        hr = np.clip(world.hr, 0, 254).astype("uint8")
        hr[:, 200:260, 200:260] = 255
        href = rasters.write(tmp_path / "hot.tif", hr, world.hr_grid)
        hot = AlignedPair(**{**pair.__dict__, "aerial": href, "masks": ()})
        return cut_block(hot, lattice, lattice.cells_in(pair.geobox), RULES)

    def test_a_plateau_of_the_aerial_image_is_not_valid(
        self, cut: list[Chip], pair: AlignedPair, lattice: Lattice
    ) -> None:
        lost = sum(c.valid.size * c.saturated_fraction for c in cut)
        assert lost == pytest.approx(60 * 60, rel=0.15)
        assert {c.reason for c in cut if c.saturated_fraction > 0.2} == {"saturated"}
        assert all(("saturated" in c.flags) == (c.saturated_fraction > 0) for c in cut)

    def test_and_nothing_else_is(self, cut: list[Chip]) -> None:
        assert sum(c.saturated_fraction > 0 for c in cut) <= 4


def test_black_beyond_the_aerial_image_is_nodata_where_its_file_does_not_say_so(
    rasters: ModuleType, tmp_path: Path, world: Any, pair: AlignedPair, lattice: Lattice
) -> None:
    hr = np.clip(world.hr, 1, 254).astype("uint8")
    hr[:, :, 300:] = 0
    href = rasters.write(tmp_path / "black.tif", hr, world.hr_grid)
    cut = AlignedPair(**{**pair.__dict__, "aerial": href, "masks": ()})
    chips = cut_block(cut, lattice, lattice.cells_in(pair.geobox), RULES)
    for chip in chips:
        rows, cols = lattice.window(chip.cell, pair.geobox)
        if cols.start > 70:
            assert (chip.reason, chip.valid.any()) == ("nodata", False)
        elif cols.start < 40 and rows.start > 30:  # the satellite's own nodata lies above
            assert chip.nodata_fraction == 0


def step(image: np.ndarray, axis: int) -> np.ndarray:
    """Mean size of the step between neighbours, for each line between them."""
    steps = np.abs(np.diff(image.astype(np.float64), axis=axis + 1))
    return steps.mean(axis=(0, 2 - axis))


def mosaic(chips: list[Chip], name: str) -> np.ndarray:
    """Chips of a full block put together again."""
    cells = sorted(c.cell for c in chips)
    size = getattr(chips[0], name).shape[-1]
    shape = (cells[-1].row - cells[0].row + 1, cells[-1].col - cells[0].col + 1)
    out = np.zeros((chips[0].hr.shape[0], shape[0] * size, shape[1] * size))
    for chip in chips:
        y, x = (chip.cell.row - cells[0].row) * size, (chip.cell.col - cells[0].col) * size
        out[:, y : y + size, x : x + size] = getattr(chip, name)
    return out


@pytest.mark.parametrize("axis", [0, 1])
def test_chips_meet_without_a_seam(
    pair: AlignedPair, lattice: Lattice, axis: int, world: Any
) -> None:
    """Cut one by one, so that nothing in common but the scene's own fit holds them together."""
    cells = lattice.cells_in(pair.geobox)
    chips = [chip for cell in cells for chip in cut_block(pair, lattice, [cell], RULES)]
    steps = step(mosaic(chips, "hr"), axis)
    border = np.arange(1, len(steps) + 1) % (SIZE * SCALE) == 0
    assert border.sum() >= 4
    inside = steps[~border]
    assert steps[border].mean() < inside.mean() + 2 * inside.std() / np.sqrt(border.sum())


REAL = {
    "prairie 2012": ("prairie", "sat_20120726", "naip_20120731"),
    "prairie 2020": ("prairie", "sat_20200906", "naip_20200831"),
    "village": ("village", "sat_20170911", "oam_zanzibar"),
    "cloudy": ("prairie", "sat_20120805", "naip_20120731"),
}


def real_pair(shared_data: Path, name: str) -> tuple[AlignedPair, Lattice]:
    """A trial scene pair, its classification not told."""
    region, scene, ground = REAL[name]
    folder = shared_data / "trial" / region
    satellite = inspect_raster(str(folder / "satellite" / scene / "B04B03B02.tif"))
    aerial = inspect_raster(str(folder / "aerial" / ground / "visual.tif"))
    geobox = satellite.geobox
    area = (slice(0, geobox.shape.y), slice(0, geobox.shape.x))
    sources = satellite.refs()[:3], aerial.refs()[:3]
    alignment = align_source(sources[0], geobox, sources[1], area=area)
    pair = AlignedPair(
        satellite=sources[0],
        aerial=sources[1],
        geobox=geobox,
        masks=(),
        alignment=alignment,
        scale=SCALE,
    )
    affine = geobox.affine
    return pair, Lattice(crs=str(geobox.crs), resolution_xy=(affine.a, -affine.e), lr_size=32)


@pytest.mark.parametrize("name", ["prairie 2012", "prairie 2020", "village"])
def test_real_chips_agree_with_what_the_satellite_saw(shared_data: Path, name: str) -> None:
    pair, lattice = real_pair(shared_data, name)
    cells = lattice.cells_in(pair.geobox)[:60]
    kept = [c for c in cut_block(pair, lattice, cells, RULES) if c.reason is None]
    assert len(kept) > 0.9 * len(cells)
    r_squared = np.array([agreement(c) for c in kept])  # [chips, C]
    assert np.median(r_squared, axis=0).min() >= 0.95
    assert min(c.similarity for c in kept) > 0.85
    assert seam(kept) < 1.15


def test_clouds_that_nobody_told_of_are_hardly_kept(shared_data: Path) -> None:
    """What the brightness screen misses, the comparison sees."""
    pair, lattice = real_pair(shared_data, "cloudy")
    folder = shared_data / "trial/prairie/satellite/sat_20120805"
    told = screen_masks([Mask(href=str(folder / "SCL.tif"), kind="scl")], pair.geobox)
    chips = cut_block(pair, lattice, lattice.cells_in(pair.geobox), RULES)
    cloudy = {c.cell: told.cloudy[lattice.window(c.cell, pair.geobox)].mean() for c in chips}
    kept = [c.cell for c in chips if c.reason is None]
    assert max(cloudy[cell] for cell in kept) < 0.15
    clear = [cell for cell, share in cloudy.items() if share < 0.01]
    assert {cell for cell in clear if cell not in kept} == set()


def seam(chips: list[Chip]) -> float:
    """Steps across borders of neighbouring chips over the steps just inside of them."""
    by_cell = {chip.cell: chip.hr.astype(np.float64) for chip in chips}
    across, inside = [], []
    for cell, west in by_cell.items():
        east = by_cell.get(Cell(cell.row, cell.col + 1))
        if east is not None:
            across.append(np.abs(east[..., 0] - west[..., -1]).mean())
            inside += [
                np.abs(np.diff(west[..., -2:])).mean(),
                np.abs(np.diff(east[..., :2])).mean(),
            ]
    return float(np.mean(across) / np.mean(inside))


def agreement(chip: Chip) -> list[float]:
    """R squared of each band between LR and HR averaged down."""
    good = chip.valid.reshape(32, SCALE, 32, SCALE).all(axis=(1, 3))
    seen = degrade(chip.hr.astype(np.float32), SCALE)
    pairs = zip(chip.lr[:, good].astype(np.float64), seen[:, good], strict=True)
    return [1 - float(np.mean((a - b) ** 2) / a.var()) for a, b in pairs]


@given(
    npst.arrays(np.float32, (2, 3, 3), elements=st.floats(-1e6, 1e6, width=32)),
    st.sampled_from(["uint8", "uint16", "int16", "float32"]),
)
def test_dtypes_are_rounded_and_clipped(data: Any, dtype: str) -> None:
    got = to_dtype(data, dtype)
    assert got.dtype == dtype
    if dtype == "float32":
        np.testing.assert_array_equal(got, data)
        return
    limits = np.iinfo(dtype)
    for value, want in zip(got.ravel().tolist(), data.ravel().tolist(), strict=True):
        assert limits.min <= value <= limits.max
        assert abs(value - min(max(want, limits.min), limits.max)) <= 0.5


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("min_valid", 0.0),
        ("min_valid", 1.1),
        ("min_similarity", 1.5),
        ("max_changed", -0.1),
        ("min_content", -1.0),
    ],
)
def test_rules_check_themselves(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{field} is"):
        CutRules(**{field: value})
