from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy import ndimage
from torch import Tensor

from models.config_networks import LossConfig
from models.content_losses import (
    CONTENT_LOSSES,
    Consistency,
    build_losses,
    charbonnier,
    feature_matching,
    frequency,
    l1,
    lattice,
    mse,
    perceptual,
    ssim,
    style,
    total_variation,
)
from models.errors import ConfigError
from tests.models.test_features import vgg

SCALE = 2
ALL = {
    "l1": 1.0,
    "charbonnier": 1.0,
    "mse": 1.0,
    "ssim": 1.0,
    "frequency": 1.0,
    "total_variation": 1.0,
    "consistency": 1.0,
    "perceptual": 1.0,
    "style": 1.0,
}
names = pytest.mark.parametrize("name", CONTENT_LOSSES)
Images = tuple[Tensor, Tensor, Tensor]


@pytest.fixture
def images() -> Images:
    generator = torch.Generator().manual_seed(0)
    sr, hr = torch.rand(2, 4, 3, 24, 24, generator=generator)
    valid = (torch.rand(4, 1, 24, 24, generator=generator) > 0.3).float()
    valid[:, :, :, 8:] = 1  # so that there are pixels with nothing invalid about them
    return sr, hr, valid


@pytest.fixture
def features(tmp_path: Path) -> str:
    path = tmp_path / "vgg.safetensors"
    save_file(vgg([4, 4, "pool", 8]), path)
    return str(path)


def every_loss(features: str, **weights: Any) -> Any:
    config = LossConfig(**{**ALL, "features": features, **weights})
    return build_losses(config, scale=SCALE, bands=3)


def lr_of(sr: Tensor) -> Tensor:
    return torch.nn.functional.avg_pool2d(sr, SCALE)


# --- pixels -------------------------------------------------------------------------------------


def test_l1_and_mse_by_hand(images: Images) -> None:
    sr, hr, valid = (t.numpy() for t in images)
    inside = np.broadcast_to(valid > 0, sr.shape)
    assert float(l1(*images)) == pytest.approx(np.abs(sr - hr)[inside].sum() / sr.size, rel=1e-5)
    assert float(mse(*images)) == pytest.approx(((sr - hr) ** 2)[inside].sum() / sr.size, rel=1e-5)


def test_charbonnier_is_l1_far_from_zero_and_flat_at_it() -> None:
    one = torch.ones(1, 1, 1, 1)
    assert float(charbonnier(one * 5, one * 2, one)) == pytest.approx(3, abs=2e-3)
    x = torch.zeros(1, 1, 1, 1, requires_grad=True)
    loss = charbonnier(x, torch.zeros(1, 1, 1, 1), one)
    assert loss.item() == 0
    assert float(torch.autograd.grad(loss, x)[0]) == 0


def test_total_variation_by_hand() -> None:
    sr = torch.tensor([[0.0, 1, 1], [0, 5, 1], [0, 1, 1]])[None, None]
    clear = torch.ones_like(sr)
    assert float(total_variation(sr, sr, clear)) == pytest.approx((8 + 2 + 9) / 9)
    hole = clear.clone()
    hole[..., 1, 1] = 0
    assert float(total_variation(sr, sr, hole)) == pytest.approx(2 / 9)


# --- structure ----------------------------------------------------------------------------------


def ssim_of(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Of Wang et al., 2004, on one band, by scipy; the data range is five."""

    def blur(z: np.ndarray) -> np.ndarray:
        return ndimage.gaussian_filter(z, 1.5, radius=5, mode="constant")

    a, b = blur(x), blur(y)
    va, vb, ab = blur(x * x) - a * a, blur(y * y) - b * b, blur(x * y) - a * b
    c1, c2 = 0.05**2, 0.15**2
    return (2 * a * b + c1) * (2 * ab + c2) / ((a * a + b * b + c1) * (va + vb + c2))


def test_ssim_is_the_formula_of_the_paper_where_all_is_valid() -> None:
    """Beside two frames of other pixels the sums differ by those of the core alone."""
    sr, hr = 3 + torch.randn(2, 1, 1, 40, 40, generator=torch.Generator().manual_seed(0))
    ringed = hr.clone()
    ringed[..., 12:-12, 12:-12] = sr[..., 12:-12, 12:-12]
    clear = torch.ones_like(hr)
    value = float(ssim(sr, hr, clear) - ssim(sr, ringed, clear)) * 40 * 40
    of_both = [ssim_of(*(x.double().numpy()[0, 0] for x in (sr, y))) for y in (hr, ringed)]
    # Pixels that see the core lie far from the edges, which the reference fills with zeros.
    assert value == pytest.approx(float((of_both[1] - of_both[0])[6:-6, 6:-6].sum()), rel=1e-3)


def test_ssim_of_equal_images_is_one_also_where_there_are_holes(images: Images) -> None:
    _, hr, valid = images
    assert float(ssim(hr, hr, valid)) == pytest.approx(0, abs=1e-6)


def test_ssim_is_as_exact_far_from_zero(images: Images) -> None:
    """Brightness apart: 1000 spreads up, float32 has 6e-5 left for a value."""
    sr, hr, valid = images
    far = float(ssim(sr + 1000, hr + 1000, valid))
    exact = float(ssim((sr + 1000).double(), (hr + 1000).double(), valid.double()))
    assert far == pytest.approx(exact, rel=1e-2)


# --- frequencies --------------------------------------------------------------------------------


def test_frequency_asks_how_much_detail_and_not_where() -> None:
    x = torch.arange(64.0)
    wave = (0.8 * x).sin().expand(1, 1, 64, 64)
    moved = (0.8 * x + 1.5).sin().expand(1, 1, 64, 64)
    clear = torch.ones(1, 1, 64, 64)
    flat = torch.zeros_like(wave)
    assert float(frequency(moved, wave, clear)) < 0.1 * float(frequency(flat, wave, clear))
    assert float(l1(moved, wave, clear)) > float(l1(flat, wave, clear))


def test_frequency_by_hand(images: Images) -> None:
    sr, hr, _ = images
    x, y = ((t - hr.mean(dim=(2, 3), keepdim=True)).double().numpy() for t in (sr, hr))
    window = np.sin((np.arange(24) + 0.5) * np.pi / 24) ** 2
    window = np.outer(window, window)
    window /= np.sqrt((window**2).mean())
    amplitudes = [np.abs(np.fft.fft2(z * window)) / 24 for z in (x, y)]
    expected = np.abs(amplitudes[0] - amplitudes[1]).mean()
    value = frequency(sr, hr, torch.ones(4, 1, 24, 24))
    assert float(value) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("side", [23, 24])
def test_the_amplitude_of_white_noise_is_in_units_of_its_spread(side: int) -> None:
    noise = torch.randn(8, 1, side, side, generator=torch.Generator().manual_seed(0))
    clear = torch.ones(8, 1, side, side)
    value = float(frequency(torch.zeros_like(noise) + noise.mean(), noise, clear))
    assert value == pytest.approx(math.sqrt(math.pi) / 2, rel=0.05)  # mean of a Rayleigh variable


# --- sensor -------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_a_drawing_that_the_sensor_sees_as_its_input_is_consistent(scale: int) -> None:
    loss = Consistency(scale)
    side = 6 * scale
    sr = torch.rand(1, 2, side, side)
    lr = torch.zeros(1, 2, 6, 6)
    lr[..., 2:-2, 2:-2] = loss.sees(sr)
    assert float(loss(sr, lr, torch.ones(1, 1, side, side))) < 1e-6
    lr[..., 2, 3] += 1
    changed = float(loss(sr, lr, torch.ones(1, 1, side, side)))
    assert changed == pytest.approx(2 / lr.numel(), rel=1e-3)


def test_the_sensor_keeps_brightness() -> None:
    seen = Consistency(4).sees(torch.full((1, 1, 24, 24), 3.0))
    torch.testing.assert_close(seen, torch.full((1, 1, 2, 2), 3.0))


def test_input_pixels_that_see_an_invalid_pixel_do_not_count() -> None:
    loss = Consistency(2)  # an LR pixel sees 3 HR pixels beyond itself
    sr, lr, valid = torch.rand(1, 1, 20, 20), torch.rand(1, 1, 10, 10), torch.ones(1, 1, 20, 20)
    valid[..., 10, 10] = 0
    other = sr.clone()
    other[..., 10, 10] += 100
    assert float(loss(sr, lr, valid)) == float(loss(other, lr, valid))
    seen = loss.sees(sr) - lr[..., 2:-2, 2:-2]
    seen[..., 1:5, 1:5] = 0  # LR pixels 3 to 6 see HR pixel 10
    assert float(loss(sr, lr, valid)) == pytest.approx(float(seen.abs().sum()) / 100, rel=1e-4)


def test_patches_that_all_see_beyond_themselves_are_refused() -> None:
    with pytest.raises(ConfigError, match="more than 4 LR pixels"):
        Consistency(4)(torch.rand(1, 1, 16, 16), torch.rand(1, 1, 4, 4), torch.ones(1, 1, 16, 16))


# --- features -----------------------------------------------------------------------------------


def test_perceptual_by_hand() -> None:
    real = [torch.zeros(1, 2, 2, 2), torch.zeros(1, 1, 1, 1)]
    fake = [torch.full((1, 2, 2, 2), 3.0), torch.full((1, 1, 1, 1), -1.0)]
    assert float(perceptual(real, fake)) == 2


def test_style_asks_what_occurs_together_and_not_where() -> None:
    layer = torch.rand(2, 3, 4, 4)
    elsewhere = layer.flip(2).roll(1, dims=3)
    torch.testing.assert_close(style([layer], [elsewhere]), torch.zeros(()))
    assert float(perceptual([layer], [elsewhere])) > 0.1
    apart = torch.stack([layer[:, 0].roll(1, dims=1), layer[:, 1], layer[:, 2]], dim=1)
    assert float(style([layer], [apart])) > 1e-5


def test_style_by_hand() -> None:
    real, fake = torch.rand(2, 1, 2, 3, 3).double()
    a, b = (x[0].reshape(2, 9).numpy() for x in (real, fake))
    expected = ((b @ b.T / 9 - a @ a.T / 9) ** 2).mean()
    assert float(style([real], [fake])) == pytest.approx(expected, rel=1e-5)


def test_feature_matching_teaches_the_generator_only() -> None:
    real = [torch.rand(2, 3, 4, 4, requires_grad=True)]
    fake = [torch.rand(2, 3, 4, 4, requires_grad=True)]
    loss = feature_matching(real, fake)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(float((real[0] - fake[0]).abs().mean().detach()))
    assert real[0].grad is None
    assert fake[0].grad is not None


# --- what holds for all -------------------------------------------------------------------------


@names
def test_a_perfect_drawing_costs_nothing(name: str, images: Images) -> None:
    _, hr, valid = images
    loss = CONTENT_LOSSES[name](hr, hr, valid)
    assert (float(loss) == pytest.approx(0, abs=1e-6)) is (name != "total_variation")


def test_invalid_pixels_do_not_count(images: Images, features: str) -> None:
    sr, hr, valid = images
    losses = every_loss(features)
    other = torch.where(valid > 0, sr, sr + 100)
    before, after = (losses(x, hr, valid, lr_of(hr))[1] for x in (sr, other))
    assert set(before) == set(ALL)
    for name, value in before.items():
        assert float(value) > 0, name
        assert float(after[name]) == pytest.approx(float(value), rel=1e-4), name


def test_the_mean_over_parts_is_the_loss_of_the_whole(images: Images, features: str) -> None:
    losses = every_loss(features)
    four = (*images, lr_of(images[1]))
    halves = [losses(*(t[half] for t in four))[1] for half in (slice(2), slice(2, 4))]
    for name, whole in losses(*four)[1].items():
        parts = [float(half[name]) for half in halves]
        assert sum(parts) / 2 == pytest.approx(float(whole), rel=1e-4), name


def test_the_total_is_the_weighted_sum_of_its_parts(images: Images, features: str) -> None:
    sr, hr, valid = images
    weights = {name: 0.1 * (1 + number) for number, name in enumerate(ALL)}
    total, parts = every_loss(features, **weights)(sr, hr, valid, lr_of(hr))
    expected = sum(weights[name] * float(value) for name, value in parts.items())
    assert float(total) == pytest.approx(expected, rel=1e-5)


def test_what_weighs_nothing_is_not_computed(images: Images) -> None:
    sr, hr, valid = images
    config = LossConfig(feature_matching=1.0, lattice=1.0)  # of the adversarial phase
    total, parts = build_losses(config, scale=SCALE, bands=3)(sr, hr, valid, lr_of(hr))
    assert set(parts) == {"l1"}
    assert torch.equal(total, l1(sr, hr, valid))


@pytest.mark.parametrize("case", ["plain", "equal", "nothing valid", "flat"])
def test_gradients_are_finite(case: str, images: Images, features: str) -> None:
    sr, hr, valid = images
    if case == "equal":
        sr = hr.clone()
    if case == "nothing valid":
        valid = torch.zeros_like(valid)
    if case == "flat":
        sr, hr = torch.zeros_like(sr), torch.zeros_like(hr)
    sr.requires_grad_(True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total, _ = every_loss(features)(sr, hr, valid, lr_of(hr))
    assert total.dtype == torch.float32
    (gradient,) = torch.autograd.grad(total, sr)
    assert gradient.isfinite().all()
    assert bool(gradient.any()) is (case != "nothing valid") or case in ("equal", "flat")


def test_autocast_changes_features_alone(images: Images, features: str) -> None:
    sr, hr, valid = images
    losses = every_loss(features)
    full = losses(sr, hr, valid, lr_of(hr))[1]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = losses(sr, hr, valid, lr_of(hr))[1]
    for name, value in full.items():
        tolerance = 0.05 if name in ("perceptual", "style") else 0
        assert float(half[name]) == pytest.approx(float(value), rel=tolerance), name


@pytest.mark.parametrize("name", [name for name in ALL if name != "style"])
def test_gradients_are_those_of_finite_differences(
    name: str, images: Images, features: str
) -> None:
    sr, hr, valid = (t.double() for t in images)
    losses = every_loss(features).double()

    def loss(x: Tensor) -> Tensor:
        value: Tensor = losses(x, hr, valid, lr_of(hr))[1][name]
        return value

    sr.requires_grad_(True)
    (gradient,) = torch.autograd.grad(loss(sr), sr)
    step = 1e-4 if name == "perceptual" else 1e-7  # whose features are compared in float32
    direction = gradient.sign()
    with torch.no_grad():
        slope = (loss(sr + step * direction) - loss(sr - step * direction)) / (2 * step)
    assert float((gradient * direction).sum()) == pytest.approx(float(slope), rel=1e-2, abs=1e-6)


class TestLattice:
    """A pattern of the scale's own period on flat ground, and nothing else."""

    flat = torch.full((2, 3, 8, 8), 0.4)
    clear = torch.ones(2, 1, 32, 32)
    pattern = torch.tensor([[0.0, 0.1], [0.0, -0.1]]).repeat(2, 2).repeat(8, 8)

    def test_it_costs_its_mean_magnitude(self) -> None:
        ground = torch.full((2, 3, 32, 32), 0.4)
        found = lattice(ground + self.pattern, ground, self.clear, self.flat)
        assert float(found) == pytest.approx(float(self.pattern.abs().mean()))
        assert float(lattice(ground, ground, self.clear, self.flat)) == 0

    def test_texture_that_differs_from_pixel_to_pixel_costs_little(self) -> None:
        ground = torch.full((2, 3, 32, 32), 0.4)
        texture = torch.randn(2, 3, 32, 32) * self.pattern.std()
        found = lattice(ground + texture, ground, self.clear, self.flat)
        assert float(found) < 0.3 * float(self.pattern.abs().mean())

    def test_what_is_real_costs_nothing(self) -> None:
        ground = torch.full((2, 3, 32, 32), 0.4) + self.pattern
        assert float(lattice(ground, ground, self.clear, self.flat)) == 0

    def test_busy_and_invalid_ground_counts_little(self) -> None:
        ground = torch.full((2, 3, 32, 32), 0.4)
        lr, valid = self.flat.clone(), self.clear.clone()
        lr[..., :4, :] += torch.randn(2, 3, 4, 8)  # busy
        valid[..., 24:, :] = 0
        where = torch.zeros(32, 32)
        where[:12], where[24:] = 1, 1
        found = lattice(ground + self.pattern * where, ground, valid, lr)
        assert float(found) < 0.05 * float(self.pattern.abs().mean())
