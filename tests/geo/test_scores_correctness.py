"""Where detail comes from: opensr-test's three by hand, under masks, and what they are blind to."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import ndimage

from geo.interpolate import upsample
from geo.scores.correctness import NAMES, Correctness
from geo.scores.harmony import Palette, PhaseCompass, moved
from geo.scores.pair import score_pair
from geo.sensor import degrade
from tests.geo.score_tiles import RANGE, SCALE, Tile, made_tile


def shares(tile: Tile, lr_valid: np.ndarray | None = None) -> list[float]:
    judge = Correctness(
        tile.hr, tile.lr, tile.valid, scale=SCALE, data_range=RANGE, lr_valid=lr_valid
    )
    found = judge.of(tile.sr)
    return [found[name] for name in NAMES]


def swapped(valid: np.ndarray) -> Tile:
    """Ground of which some valid pixels have changed places with their neighbours.

    Its histogram is that of the truth and it lies where the truth lies: nothing is taken off it.
    """
    hr = made_tile(30).hr
    sr = hr.copy()
    for y, x in np.random.default_rng(0).integers(1, 95, (300, 2)):
        if valid[y, x] and valid[y, x - 1]:
            sr[:, y, [x - 1, x]] = sr[:, y, [x, x - 1]]
    assert PhaseCompass(hr.astype(np.float32), valid).shift(sr.astype(np.float32)) == (0, 0)
    return Tile(sr, hr, degrade(hr.astype(np.float32), SCALE), valid)


def by_hand(tile: Tile, counted: np.ndarray) -> list[float]:
    """The formulas of the paper's package, pixel after pixel."""
    size = tile.valid.shape[0]
    at = ((np.arange(size) + 0.5) / SCALE - 0.5).clip(0, size / SCALE - 1)
    grid = np.meshgrid(at, at, indexing="ij")
    coarse = np.stack([ndimage.map_coordinates(band, grid, order=1) for band in tile.lr])
    images = [a.astype(float) / RANGE for a in (coarse, tile.hr, tile.sr)]
    pairs = ((0, 1), (2, 1), (2, 0))  # d_ref, d_im, d_om
    distances = [
        np.mean(np.abs(images[a] - images[b]) / (images[a] + images[b]), axis=0)[counted]
        for a, b in pairs
    ]
    least = np.sort(distances[0])[int(0.75 * counted.sum()) - 1]
    total = np.zeros(3)
    pixels = 0
    for d_ref, d_im, d_om in zip(*distances, strict=True):
        if max(d_ref, d_im, d_om) <= least:
            continue
        im, om = d_im / d_ref, d_om / d_ref
        soft = 1 - math.exp(-0.05 * (im + om - 1))
        far = (im + om * soft, om + im * soft, math.exp(-0.05 * im * om))
        near = np.exp(-np.array(far) / 0.25)
        total += near / near.sum()
        pixels += 1
    return list(total / pixels)


def test_the_three_by_hand_under_a_mask() -> None:
    valid = np.ones((96, 96), bool)
    valid[20:33, 40:71] = False
    tile = swapped(valid)
    assert shares(tile) == pytest.approx(by_hand(tile, valid), abs=1e-5)


def test_pixels_that_an_unseen_lr_pixel_has_a_part_in_do_not_count() -> None:
    tile = swapped(np.ones((96, 96), bool))
    lr_valid = np.ones((24, 24), bool)
    lr_valid[10, 12] = False
    counted = np.ones((96, 96), bool)
    counted[38:46, 46:54] = False  # two pixels around it lean on it
    known = tile.lr.copy()
    known[:, 10, 12] = 0
    wanted = by_hand(tile._replace(lr=known), counted)
    tile.lr[:, 10, 12] = np.nan
    assert shares(tile, lr_valid) == pytest.approx(wanted, abs=1e-5)


def test_holes_never_count_whatever_stands_in_them() -> None:
    tile = made_tile(31, holes=True)
    wanted = shares(tile)
    spoiled = tile._replace(sr=tile.sr.copy(), hr=tile.hr.copy())
    spoiled.sr[:, ~tile.valid] = np.nan
    spoiled.hr[:, ~tile.valid] = -9999
    assert shares(spoiled) == pytest.approx(wanted, abs=1e-6)


def test_the_three_are_shares() -> None:
    assert sum(shares(made_tile(32, holes=True))) == pytest.approx(1, abs=1e-5)


def test_the_truth_improves_and_the_satellite_s_own_image_omits() -> None:
    tile = made_tile(33)
    assert shares(tile._replace(sr=tile.hr))[0] > 0.95
    stretched = upsample(tile.lr, SCALE, "bicubic")
    improvement, omission, hallucination = shares(tile._replace(sr=stretched))
    assert omission > improvement
    assert omission > hallucination > 0.2  # bicubic has some of it, for it is neither


def test_ground_from_elsewhere_is_hallucination() -> None:
    told = shares(made_tile(34)._replace(sr=made_tile(35).hr))
    assert told[2] == max(told)


def test_a_truth_moved_by_two_px_is_seen_by_psnr_forgiven_by_cpsnr_and_named_by_consistency() -> (
    None
):
    noise = np.random.default_rng(36).normal(size=(4, 140, 140))
    ground = ndimage.gaussian_filter(noise, (0, 1.5, 1.5))
    ground = (2000 + 800 * ground / ground.std()).clip(1)
    hr, away = ground[:, 20:116, 20:116], ground[:, 18:114, 20:116]
    lr = degrade(hr.astype(np.float32), SCALE)
    valid = np.ones((96, 96), bool)
    truth = score_pair(hr, hr, lr, valid, scale=SCALE, data_range=RANGE)
    found = score_pair(away, hr, lr, valid, scale=SCALE, data_range=RANGE)
    assert found["psnr_db"] < found["bicubic_psnr_db"]
    assert found["cpsnr_db"] > 100
    assert truth["lr_consistency"] < 1e-6
    assert found["lr_consistency"] > max(0.02, found["bicubic_lr_consistency"])
    # opensr-test moves it back before it looks: nearly all is improvement, hardly any made up.
    assert found["improvement"] > 0.85
    assert found["hallucination"] < 0.1 < found["bicubic_hallucination"]


def test_the_histogram_is_that_of_the_truth_also_where_values_repeat() -> None:
    random = np.random.default_rng(37)
    target = random.integers(0, 40, (2, 20, 20)).astype(np.float32)
    image = random.integers(-2, 3, (2, 20, 20)).astype(np.float32)
    found = Palette(target, np.ones((20, 20), bool)).matched(image)
    for before, after, wanted in zip(image, found, target, strict=True):
        share = np.array([(before <= v).mean() for v in before.ravel()])
        values, counts = np.unique(wanted, return_counts=True)
        by_definition = np.interp(share, np.cumsum(counts) / wanted.size, values)
        np.testing.assert_allclose(after.ravel(), by_definition, rtol=1e-6)


@pytest.mark.parametrize("shift", [(0.0, 0.0), (2.0, -3.0), (-0.5, 1.26)])
def test_a_shift_is_found_to_a_fiftieth_and_taken_back(shift: tuple[float, float]) -> None:
    hr = made_tile(38).hr.astype(np.float32)
    freq = np.fft.fftfreq(96)
    turn = np.exp(-2j * np.pi * (freq[:, None] * shift[0] + freq * shift[1]))
    away = np.fft.ifft2(np.fft.fft2(hr) * turn).real.astype(np.float32)
    found = PhaseCompass(hr, np.ones((96, 96), bool)).shift(away)
    assert found == pytest.approx((-shift[0], -shift[1]), abs=0.011)
    if all(s == round(s) for s in shift):
        inner = np.s_[:, 8:-8, 8:-8]
        np.testing.assert_allclose(moved(away, *found)[inner], hr[inner], rtol=1e-3)


def test_nothing_is_known_of_slivers_nor_of_ground_without_any_distance() -> None:
    tile = made_tile(39)
    sliver = np.zeros_like(tile.valid)
    sliver[:4, :10] = True
    assert np.isnan(shares(tile._replace(valid=sliver))).all()
    flat = np.full((4, 96, 96), 500.0)
    assert np.isnan(shares(Tile(flat, flat, flat[:, ::4, ::4], tile.valid))).all()
