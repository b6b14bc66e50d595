from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from models.diversity import diversity

SCALE, SIDE, N = 4, 96, 16
CLEAR = torch.ones(N, 1, SIDE, SIDE)


def natural(seed: int, number: int = N, side: int = SIDE) -> Tensor:
    """Images [number, 3, side, side] whose amplitudes fall as 1/f, each another one."""
    white = torch.randn(number, 3, side, side, generator=torch.Generator().manual_seed(seed))
    y, x = torch.fft.fftfreq(side)[:, None], torch.fft.rfftfreq(side)
    radius = torch.hypot(y, x).clamp(min=1 / side)
    image = torch.fft.irfft2(torch.fft.rfft2(white) / radius, s=(side, side))
    return image / image.std()


def blurred(image: Tensor, width: int) -> Tensor:
    return avg_pool2d(image, width, stride=1, padding=width // 2, count_include_pad=False)


def lattice(period: int) -> Tensor:
    tile = torch.randn(1, 3, period, period, generator=torch.Generator().manual_seed(9))
    return tile.repeat(1, 1, 2 * SIDE // period, 2 * SIDE // period)


HR = natural(0)
BASE = blurred(HR, 7)
DETAIL = HR - BASE
STRENGTH = float(DETAIL.std())


def index(detail: Tensor, valid: Tensor = CLEAR) -> float:
    return diversity(BASE + detail, HR, BASE, valid, scale=SCALE)


def test_real_detail_is_as_varied_as_itself() -> None:
    assert index(DETAIL) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("share", [0.01, 0.3, 3.0])
def test_strength_is_not_variety(share: float) -> None:
    assert index(share * DETAIL) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("width", [3, 5])
def test_a_blurry_generator_has_not_collapsed(width: int) -> None:
    assert 0.7 < index(blurred(DETAIL, width)) < 1.3


def test_detail_of_other_places_is_as_varied() -> None:
    other = natural(1)
    assert index(other - blurred(other, 7)) == pytest.approx(1, abs=0.1)


# --- planted collapse ---------------------------------------------------------------------------


def test_one_pattern_for_all_has_no_variety() -> None:
    assert index(DETAIL[:1].expand_as(DETAIL)) == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("period", [4, 12])
def test_a_pattern_is_the_same_at_any_shift(period: int) -> None:
    pattern = lattice(period)
    places = torch.randint(period, (N, 2), generator=torch.Generator().manual_seed(2)).tolist()
    moved = torch.cat([pattern[..., y : y + SIDE, x : x + SIDE] for y, x in places])
    assert index(STRENGTH * moved) < 0.01


def test_a_pattern_over_blurred_content_is_collapse() -> None:
    pattern = STRENGTH * lattice(4)[..., :SIDE, :SIDE]
    assert index(pattern + 0.5 * blurred(DETAIL, 5)) < 0.05


def test_a_brightness_learned_for_all_is_not_a_pattern() -> None:
    assert index(DETAIL + 10) == pytest.approx(1, abs=0.01)


def test_the_index_falls_as_the_pattern_takes_over() -> None:
    noise = torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(3))
    pattern = STRENGTH * noise
    values = [index((1 - share) * DETAIL + share * pattern) for share in (0, 0.25, 0.5, 0.75, 1)]
    assert values == sorted(values, reverse=True)
    assert values[0] > 0.99
    assert values[-1] < 0.01


# --- mini-batches as they come ------------------------------------------------------------------


@pytest.mark.parametrize("number", [4, 16])
def test_few_patches_say_the_same_as_many(number: int) -> None:
    hr = natural(5, number=number)
    base, other = blurred(hr, 7), natural(6, number=number)
    sr = base + blurred(other - blurred(other, 7), 3)
    clear = torch.ones(number, 1, SIDE, SIDE)
    assert 0.7 < diversity(sr, hr, base, clear, scale=SCALE) < 1.3


def test_the_unit_does_not_matter() -> None:
    sr = BASE + 0.5 * DETAIL.flip(0)
    here = diversity(sr, HR, BASE, CLEAR, scale=SCALE)
    there = diversity(sr * 1e4, HR * 1e4, BASE * 1e4, CLEAR, scale=SCALE)
    assert there == pytest.approx(here, rel=1e-3)


def with_holes(side: int) -> Tensor:
    """Another hole in each of half of the patches."""
    valid = CLEAR.clone()
    for number in range(N // 2):
        y, x = 5 * number, 70 - 8 * number
        valid[number, :, y : y + side, x : x + side] = 0
    return valid


@pytest.mark.parametrize("side", [15, 40])
def test_invalid_pixels_do_not_count(side: int) -> None:
    valid, detail = with_holes(side), 0.5 * DETAIL
    assert index(detail + 100 * (1 - valid), valid) == pytest.approx(index(detail, valid), rel=1e-3)
    assert index(detail, valid) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("side", [15, 40])
def test_holes_do_not_hide_a_pattern(side: int) -> None:
    pattern = STRENGTH * lattice(4)[..., :SIDE, :SIDE].expand_as(HR)
    assert index(pattern, with_holes(side)) < 0.05


def test_flat_patches_say_nothing() -> None:
    flat = torch.zeros_like(DETAIL)
    flat[:6] = DETAIL[:6]
    noise = 1e-6 * torch.randn(DETAIL.shape, generator=torch.Generator().manual_seed(4))
    value = diversity(BASE + flat + noise, BASE + flat, BASE, CLEAR, scale=SCALE)
    assert value == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("case", ["nothing drawn", "nothing real", "one patch", "nothing valid"])
def test_where_nothing_can_be_said_nothing_is_wrong(case: str) -> None:
    sr, hr, base, valid = BASE + DETAIL, HR, BASE, CLEAR
    if case == "nothing drawn":
        sr = base
    if case == "nothing real":
        hr = base
    if case == "one patch":
        sr, hr, base, valid = (x[:1] for x in (sr, hr, base, valid))
    if case == "nothing valid":
        valid = 0 * valid
    assert diversity(sr, hr, base, valid, scale=SCALE) == 1


def test_precision_of_training_is_enough() -> None:
    detail = 0.5 * DETAIL
    value = diversity((BASE + detail).bfloat16(), HR, BASE, CLEAR, scale=SCALE)
    assert value == pytest.approx(index(detail), abs=0.05)
