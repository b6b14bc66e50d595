"""Fields of shifts: constants stay constant, noise is not fitted, gross errors are let go."""

from __future__ import annotations

import json
import pickle
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from scipy import ndimage

from geo.coregister import RegistrationRules, believe, measure_window
from geo.sensor import degrade
from geo.shift_field import ShiftField, fit_field

SIZE = 512
STEP = 32


def scene(rasters: ModuleType) -> GeoBox:
    return GeoBox((SIZE, SIZE), rasters.grid().affine, "EPSG:32633")


def lattice(size: int = SIZE, window: int = 64, step: int = STEP) -> npt.NDArray[np.float64]:
    """Middles of half-overlapping windows, [n, 2]."""
    at = np.arange(window / 2, size - window / 2 + 1, step)
    return np.stack(np.meshgrid(at, at, indexing="ij"), -1).reshape(-1, 2)


def relief(
    at_yx: npt.NDArray[np.floating], wavelength: float, amplitude: float = 1.5
) -> npt.NDArray[np.float64]:
    """A smooth made distortion about a constant shift: [..., 2] to [..., 2]."""
    y, x = np.moveaxis(np.asarray(at_yx, np.float64), -1, 0) * (2 * np.pi / wavelength)
    dy = 0.4 + amplitude * np.sin(0.8 * x + 0.3) * np.cos(0.6 * y)
    dx = -0.7 + amplitude * np.cos(0.5 * x - 0.87 * y + 1.0)
    return np.stack([dy, dx], axis=-1)


def fitted(
    rasters: ModuleType,
    positions: npt.NDArray[np.floating],
    shifts: npt.NDArray[np.floating],
    sigmas: npt.NDArray[np.floating] | None = None,
) -> ShiftField:
    sigmas = np.full(len(positions), 0.1) if sigmas is None else sigmas
    return fit_field(
        positions, shifts, sigmas, grid=scene(rasters), spacing_px=STEP, margin_px=STEP / 2
    )


def rmse_px(field: ShiftField, truth: Any, margin: int = 16) -> float:
    """Per axis, over all ground but a rim."""
    at = np.arange(margin, SIZE - margin, 4.0)
    places = np.stack(np.meshgrid(at, at, indexing="ij"), -1).reshape(-1, 2)
    return float(np.sqrt(np.mean((field.at(*places.T).T - truth(places)) ** 2)))


@settings(max_examples=8, deadline=None)
@given(
    dy=st.floats(-4, 4),
    dx=st.floats(-4, 4),
    seed=st.integers(0, 99),
    kept=st.integers(12, 225),
)
def test_a_constant_shift_is_a_constant_field(
    rasters: ModuleType, dy: float, dx: float, seed: int, kept: int
) -> None:
    rng = np.random.default_rng(seed)
    positions = rng.permutation(lattice())[:kept]
    field = fitted(rasters, positions, np.tile([dy, dx], (kept, 1)))
    np.testing.assert_allclose(field.over(scene(rasters)), np.full((2, 1, 1), [[[dy]], [[dx]]])
                               * np.ones((1, SIZE, SIZE)), atol=1e-4)  # fmt: skip
    assert field.residual_px < 1e-4
    assert field.kept == 1


@pytest.mark.parametrize("seed", range(5))
def test_noise_is_not_fitted(rasters: ModuleType, seed: int) -> None:
    """Of 225 windows a constant and a tilt are left, so little of their noise."""
    positions = lattice()
    noise = np.random.default_rng(seed).normal(0, 0.15, (len(positions), 2))
    field = fitted(rasters, positions, np.array([0.4, -0.7]) + noise)
    assert rmse_px(field, lambda places: np.array([0.4, -0.7])) < 0.05


@pytest.mark.parametrize("wavelength", [180, 250, 400])
@pytest.mark.parametrize("gross", [0.0, 0.1, 0.2])
def test_gross_errors_are_let_go(rasters: ModuleType, wavelength: int, gross: float) -> None:
    rng = np.random.default_rng(wavelength)
    positions = lattice()
    shifts = relief(positions, wavelength) + rng.normal(0, 0.06, (len(positions), 2))
    wrong = rng.random(len(positions)) < gross
    shifts[wrong] = rng.uniform(-6, 6, (wrong.sum(), 2))
    field = fitted(rasters, positions, shifts)
    assert rmse_px(field, lambda places: relief(places, wavelength)) < 0.15
    assert field.kept == pytest.approx(1 - wrong.mean(), abs=0.05)


def test_wrong_windows_that_side_together_do_not_win(rasters: ModuleType) -> None:
    """A patch of another date's ground: sixteen neighbours agree on the same wrong shift."""
    positions = lattice()
    shifts = relief(positions, 400, 0.5)
    patch = (np.abs(positions - 250) < 60).all(axis=1)
    assert patch.sum() == 16
    shifts[patch] += [5.0, -4.0]
    field = fitted(rasters, positions, shifts)
    assert rmse_px(field, lambda places: relief(places, 400, 0.5)) < 0.15


def test_holes_are_bridged_and_the_rim_goes_on(rasters: ModuleType) -> None:
    positions = lattice()
    hole = (np.abs(positions - 256) < 70).all(axis=1)
    shifts = relief(positions, 400, 0.8)
    field = fitted(rasters, positions[~hole], shifts[~hole])
    assert rmse_px(field, lambda places: relief(places, 400, 0.8)) < 0.15
    # Far beyond what was measured, the shift at the rim goes on as it is.
    inner, outer = field.at([300.0], [SIZE - 16.0]), field.at([300.0], [SIZE + 5000.0])
    np.testing.assert_allclose(inner, outer, atol=1e-9)


def test_sure_windows_count_for_more(rasters: ModuleType) -> None:
    rng = np.random.default_rng(0)
    positions = lattice()
    sigmas = np.where(rng.random(len(positions)) < 0.5, 0.02, 0.3)
    shifts = relief(positions, 300) + rng.normal(size=(len(positions), 2)) * sigmas[:, None]
    knowing = fitted(rasters, positions, shifts, sigmas)
    equal = fitted(rasters, positions, shifts)
    errors = [rmse_px(field, lambda places: relief(places, 300)) for field in (knowing, equal)]
    assert errors[0] < errors[1]


@pytest.mark.parametrize("windows", [20, 40, 225])
@pytest.mark.parametrize("wavelength", [180, 400])
def test_it_knows_how_well_it_is_known(rasters: ModuleType, wavelength: int, windows: int) -> None:
    """A field bent through few windows fits each of them, and is wrong between them."""
    errors, doubts = [], []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        positions = rng.permutation(lattice())[:windows]
        noise = rng.normal(0, 0.06, (windows, 2))
        field = fitted(rasters, positions, relief(positions, wavelength) + noise)
        errors.append(rmse_px(field, lambda places: relief(places, wavelength), margin=48))
        doubts.append(field.sigma_px)
    assert 0.3 < np.median(doubts) / np.median(errors) < 3


def test_too_few_windows_are_an_error(rasters: ModuleType) -> None:
    with pytest.raises(ValueError, match="too few"):
        fitted(rasters, lattice()[:2], np.zeros((2, 2)))


class TestField:
    @pytest.fixture
    def field(self, rasters: ModuleType) -> ShiftField:
        positions = lattice()
        return fitted(rasters, positions, relief(positions, 200))

    def test_travels_as_json_and_as_a_pickle(self, field: ShiftField) -> None:
        assert ShiftField.from_dict(json.loads(json.dumps(field.to_dict()))) == field
        assert pickle.loads(pickle.dumps(field)) == field
        assert len(json.dumps(field.to_dict())) < 20_000

    @pytest.mark.parametrize("scale", [1, 2, 4])
    def test_a_window_is_a_piece_of_the_whole(
        self, field: ShiftField, rasters: ModuleType, scale: int
    ) -> None:
        """The same shift for the same place: chips meet without a seam."""
        whole = scene(rasters).zoom_out(1 / scale)
        part = (slice(100 * scale, 117 * scale), slice(40 * scale, 61 * scale))
        rows, cols = ((np.arange(s.start, s.stop) + 0.5) / scale for s in part)
        mesh = np.meshgrid(rows, cols, indexing="ij")
        want = field.at(*(m.ravel() for m in mesh)).reshape(2, *mesh[0].shape)
        np.testing.assert_allclose(field.over(whole[part]), want, atol=1e-5)

    def test_is_smooth(self, field: ShiftField) -> None:
        """Value and slope go on everywhere: no step where nodes meet."""
        along = np.arange(20, SIZE - 20, 0.25)
        values = field.at(np.full(len(along), 201.3), along)
        slope = np.diff(values, axis=1) / 0.25
        assert np.abs(np.diff(slope, axis=1)).max() < 0.25 * 1.5 * (2 * np.pi / 200) ** 2 * 3


@pytest.mark.parametrize("wavelength", [150, 300])
def test_a_made_distortion_is_recovered(rasters: ModuleType, wavelength: int) -> None:
    """Measured by windows of 64 px on ground warped by a known field, in three rounds."""
    scale, size = 2, 384
    fine = rasters.ground((size * scale, size * scale), seed=1, finest_px=2.5)
    places = (np.indices(fine.shape[1:]) + 0.5) / scale  # LR pixels
    shift = np.moveaxis(relief(np.moveaxis(places, 0, -1), wavelength, 1.2), -1, 0)
    target = degrade(sampled(fine, places, shift, scale), scale)
    target += np.random.default_rng(0).normal(0, 0.05, target.shape).astype(np.float32)
    grid = GeoBox((size, size), rasters.grid().affine, "EPSG:32633")
    positions = lattice(size)
    field: ShiftField | None = None
    for _ in range(3):
        known = (
            np.zeros((2, *fine.shape[1:]))
            if field is None
            else field.over(grid.zoom_out(1 / scale))
        )
        reference = degrade(sampled(fine, places, known, scale), scale)
        rows = []
        for y, x in positions.astype(int):
            piece = (slice(None), slice(y - 32, y + 32), slice(x - 32, x + 32))
            found = measure_window(reference[piece], target[piece], np.ones((64, 64), bool))
            before = (0.0, 0.0) if field is None else field.at([y], [x])[:, 0]
            ok = believe([found], RegistrationRules())[0]
            rows.append((ok, found.dy_px + before[0], found.dx_px + before[1], found.sigma_px))
        table = np.array(rows)[[bool(r[0]) for r in rows]]
        at = positions[[bool(r[0]) for r in rows]]
        field = fit_field(at, table[:, 1:3], table[:, 3], grid=grid, spacing_px=32, margin_px=16)
    assert field is not None
    inner = np.arange(16, size - 16, 4.0)
    where = np.stack(np.meshgrid(inner, inner, indexing="ij"), -1).reshape(-1, 2)
    error = field.at(*where.T).T - relief(where, wavelength, 1.2)
    assert np.sqrt(np.mean(error**2)) < 0.15


def sampled(
    fine: npt.NDArray[np.float32],
    places: npt.NDArray[np.floating],
    shift: npt.NDArray[np.floating],
    scale: int,
) -> npt.NDArray[np.float32]:
    """Content moved down and right by a shift given at each place, in LR pixels."""
    at = (places - shift) * scale - 0.5
    planes = [ndimage.map_coordinates(p, at, order=3, mode="grid-wrap") for p in fine]
    return np.asarray(np.stack(planes), np.float32)
