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
from geo.cut import AlignedPair, CutRules, cut_block, judge_chip, to_dtype
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
    residual = (20.0,)

    def judge(self, lr: Any, hr: Any, *, valid: Any = None, **facts: Any) -> Any:
        valid = np.ones(hr.shape[1:], bool) if valid is None else valid
        facts = {"clear_fraction": 1.0, "data_fraction": 1.0} | facts
        return judge_chip(
            Cell(0, 0), None, lr, hr, valid, residual_dn=self.residual, rules=RULES, **facts
        )

    def make(self, rasters: ModuleType, contrast: float, seed: int = 0) -> tuple[Any, Any]:
        hr = 1000 + contrast * rasters.ground((64, 64), seed=seed, bands=1, finest_px=8)
        noise = np.random.default_rng(seed).normal(0, self.residual[0], (1, 16, 16))
        return degrade(hr, SCALE) + noise, hr

    def test_the_same_ground_is_kept(self, rasters: ModuleType) -> None:
        chip = self.judge(*self.make(rasters, 200))
        assert chip.reason is None
        assert chip.similarity > 0.95

    def test_other_ground_is_dissimilar(self, rasters: ModuleType) -> None:
        lr, _ = self.make(rasters, 200)
        _, hr = self.make(rasters, 200, seed=1)
        chip = self.judge(lr, hr)
        assert chip.reason == "dissimilar_content"
        assert chip.value == chip.similarity < RULES.min_similarity == chip.limit

    def test_still_water_correlates_with_nothing_and_is_kept(self, rasters: ModuleType) -> None:
        chip = self.judge(*self.make(rasters, 0.5))
        assert chip.similarity < RULES.min_similarity
        assert chip.reason is None

    @pytest.mark.parametrize("shape", [(1, 16, 16), (3, 16, 16)])
    def test_flat_pixels_are_no_trouble(self, shape: tuple[int, ...]) -> None:
        lr, hr = np.full(shape, 7.0), np.full((shape[0], 64, 64), 7.0)
        chip = self.judge(lr, hr)
        assert chip.reason is None
        assert chip.similarity == 0

    @pytest.mark.parametrize(
        ("clear", "seen", "reason"),
        [(0.5, 1.0, "cloud"), (1.0, 0.5, "nodata"), (0.6, 0.8, "cloud")],
    )
    def test_too_few_good_pixels_are_named_by_what_takes_more(
        self, rasters: ModuleType, clear: float, seen: float, reason: str
    ) -> None:
        valid = np.zeros((64, 64), bool)
        valid[:32] = True
        lr, hr = self.make(rasters, 200)
        chip = self.judge(lr, hr, valid=valid, clear_fraction=clear, data_fraction=seen)
        assert (chip.reason, chip.value, chip.limit) == (reason, 0.5, 0.9)
        assert chip.cloud_fraction == pytest.approx(1 - clear)

    def test_what_is_not_valid_is_not_compared(self, rasters: ModuleType) -> None:
        lr, hr = self.make(rasters, 200)
        valid = np.ones((64, 64), bool)
        valid[:4, :] = valid[:, 60:] = False
        lr, hr = lr.copy(), hr.copy()
        lr[:, :1], lr[:, :, 15:] = 9e4, -9e4
        assert self.judge(lr, hr, valid=valid, clear_fraction=0.9).similarity > 0.95


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


@pytest.mark.parametrize("share", [0.0, -0.1, 1.1])
def test_rules_check_themselves(share: float) -> None:
    with pytest.raises(ValueError, match="min_valid is"):
        CutRules(min_valid=share)
