"""The scores against independent implementations, and against their own former numbers.

What others say of `made_tile` was computed once, by tests/benchmarks/scores_worker.py in an
environment of its own: scikit-image 0.26.0, torchmetrics 1.9.0, opensr-test 1.3.3 (satalign 0.1.17,
OpenCV 5.0.0), torch 2.13.0. `python -m tests.benchmarks scores` compares anew.
"""

from __future__ import annotations

import pytest

from geo.scores.pair import score_pair
from tests.geo.score_tiles import RANGE, SCALE, made_tile

# Without a rim, of tile 20 and of tile 21 in whole DN.
SCIKIT_IMAGE = (
    {"psnr_db": 22.631868897308912, "ssim": 0.43780129397953094},
    {"psnr_db": 22.64423089300059, "ssim": 0.4376753833918996},
)
# In float64; SSIM over windows inside the image (``return_full_image``, five px off each side).
TORCHMETRICS = (
    {"sam_deg": 16.465414423249506, "ergas": 9.320106767474089, "ssim": 0.4378012939795309},
    {"sam_deg": 16.407481742661517, "ergas": 9.134078025181726, "ssim": 0.4376753833919014},
)
# By ``border_mask``, the rim in pixels; ``gradient_threshold="auto"`` as ``compute`` has it.
OPENSR_TEST = {
    0: (
        (0.8477858304977417, 0.07874129712581635, 0.07347286492586136),
        (0.8638939261436462, 0.07415919750928879, 0.061946943402290344),
    ),
    16: (
        (0.6077798008918762, 0.19447118043899536, 0.19774895906448364),
        (0.6055072546005249, 0.22022217512130737, 0.1742706149816513),
    ),
}


def scores_of(case: int, rim: int = 0) -> dict[str, float]:
    tile = made_tile(20 + case, whole_dn=case == 1)
    return score_pair(*tile, scale=SCALE, data_range=RANGE, crop_px=rim)


@pytest.mark.parametrize("case", [0, 1])
def test_psnr_and_ssim_are_those_of_scikit_image(case: int) -> None:
    scores = scores_of(case)
    assert {n: scores[n] for n in SCIKIT_IMAGE[case]} == pytest.approx(SCIKIT_IMAGE[case], abs=1e-9)


@pytest.mark.parametrize("case", [0, 1])
def test_spectral_angle_ergas_and_ssim_are_those_of_torchmetrics(case: int) -> None:
    scores = scores_of(case)
    assert {n: scores[n] for n in TORCHMETRICS[case]} == pytest.approx(TORCHMETRICS[case], abs=1e-9)


@pytest.mark.parametrize("case", [0, 1])
@pytest.mark.parametrize("rim", [0, 16])
def test_improvement_omission_and_hallucination_are_those_of_opensr_test(
    case: int, rim: int
) -> None:
    scores = scores_of(case, rim)
    found = [scores[n] for n in ("improvement", "omission", "hallucination")]
    assert found == pytest.approx(OPENSR_TEST[rim][case], abs=1e-5)


# What the one file that this package was made of said of tiles 20 and 21, the latter with holes.
FORMER = (
    {
        "psnr_db": 23.13980952834236,
        "ssim": 0.4372263670428165,
        "cpsnr_db": 38.55384479263136,
        "sam_deg": 15.733839188632555,
        "squared_error": 15032955877.733059,
        "hf_power": 86573.15630331475,
        "lr_consistency": 0.02310898720341605,
        "bicubic_psnr_db": 25.612173730043367,
        "bicubic_ssim": 0.5301867198255324,
        "bicubic_cpsnr_db": 25.612290638843717,
        "bicubic_sam_deg": 11.839659185896485,
        "bicubic_squared_error": 8507617631.396929,
        "bicubic_hf_power": 1295.1583221175556,
        "bicubic_lr_consistency": 0.01480894041805677,
        "real_hf_power": 99812.01297165497,
        "gain_db": -2.472364201701005,
        "valid_fraction": 1.0,
        "values": 30976.0,
    },
    {
        "psnr_db": 23.090932731148982,
        "ssim": 0.4289797007236702,
        "cpsnr_db": 38.52529351680384,
        "sam_deg": 15.785888188839861,
        "squared_error": 14747632184.081532,
        "lr_consistency": 0.02246811908739815,
        "bicubic_psnr_db": 25.52680832768081,
        "bicubic_ssim": 0.528494634245801,
        "bicubic_cpsnr_db": 25.526873592442954,
        "bicubic_sam_deg": 11.78449381055253,
        "bicubic_squared_error": 8416562210.230263,
        "bicubic_lr_consistency": 0.014982677292832782,
        "gain_db": -2.4358755965318295,
        "valid_fraction": 0.9748263888888888,
        "values": 30048.0,
    },
)


@pytest.mark.parametrize("holes", [False, True])
def test_reports_of_before_can_be_held_against_those_of_now(holes: bool) -> None:
    tile = made_tile(20 + holes, holes=holes)
    scores = score_pair(*tile, scale=SCALE, data_range=RANGE)
    former = FORMER[holes]
    assert {name: scores[name] for name in former} == pytest.approx(former, rel=1e-9)
