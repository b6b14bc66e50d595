from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from models.errors import ConfigError
from models.layers import KeysBicubic, Standardise, icnr_, input_radius, keys_phases


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_bicubic_is_pillows_in_the_interior(scale: int) -> None:
    lr = np.random.default_rng(scale).random((3, 14, 19), np.float32)
    ours = KeysBicubic(bands=3, scale=scale)(torch.from_numpy(lr)[None])[0].numpy()
    size = (19 * scale, 14 * scale)
    pillows = np.stack(
        [np.asarray(Image.fromarray(b).resize(size, Image.Resampling.BICUBIC)) for b in lr]
    )
    inside = np.s_[:, 2 * scale : -2 * scale, 2 * scale : -2 * scale]
    np.testing.assert_allclose(ours[inside], pillows[inside], atol=2e-6)


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_bicubic_keeps_constants_up_to_the_edge_and_ramps_inside(scale: int) -> None:
    ramp = torch.arange(12.0).expand(1, 1, 9, 12)
    fine = KeysBicubic(bands=1, scale=scale)(ramp)[0, 0]
    centres = (torch.arange(12.0 * scale) + 0.5) / scale - 0.5
    inside = slice(2 * scale, -2 * scale)
    torch.testing.assert_close(fine[0, inside], centres[inside], atol=1e-5, rtol=0)
    flat = KeysBicubic(bands=1, scale=scale)(torch.full((1, 1, 5, 5), 7.0))
    torch.testing.assert_close(flat, torch.full_like(flat, 7.0), atol=1e-5, rtol=0)


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_phases_sum_to_one(scale: int) -> None:
    torch.testing.assert_close(keys_phases(scale).sum(1), torch.ones(scale, dtype=torch.float64))


def test_bicubic_stays_float32_under_autocast() -> None:
    layer, x = KeysBicubic(bands=2, scale=4), torch.rand(1, 2, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer(x), layer(x.clone()))
        assert layer(x).dtype is torch.float32
        inside = layer(x)
    torch.testing.assert_close(inside, layer(x), atol=1e-6, rtol=0)


@pytest.mark.parametrize("factor", [2, 4])
def test_icnr_starts_without_checkerboard(factor: int) -> None:
    conv = icnr_(nn.Conv2d(3, 5 * factor**2, 3, padding=1), factor)
    fine = nn.PixelShuffle(factor)(conv(torch.rand(1, 3, 6, 6)))
    repeated = fine[..., ::factor, ::factor]
    repeated = repeated.repeat_interleave(factor, -1).repeat_interleave(factor, -2)
    torch.testing.assert_close(fine, repeated)


@given(
    before=st.integers(0, 2),
    factors=st.lists(st.sampled_from([2, 4]), min_size=1, max_size=2),
    kernels=st.lists(st.sampled_from([1, 3, 5]), min_size=2, max_size=2),
)
@settings(max_examples=15, deadline=None)
def test_input_radius_is_what_gradients_reach(
    before: int, factors: list[int], kernels: list[int]
) -> None:
    layers: list[nn.Module] = [_ones(3, 1, 1) for _ in range(before)]
    for factor, kernel in zip(factors, kernels, strict=False):
        layers += [_ones(3, 1, factor**2), nn.PixelShuffle(factor), nn.ReLU(), _ones(kernel, 1, 1)]
    net = nn.Sequential(*layers)
    side = 25
    x = torch.ones(1, 1, side, side, requires_grad=True)
    scale = int(np.prod(factors))
    centre = slice(side // 2 * scale, (side // 2 + 1) * scale)  # all phases of the middle pixel
    net(x)[..., centre, centre].sum().backward()
    assert x.grad is not None
    rows = torch.nonzero(x.grad[0, 0])[:, 0]
    reached = max(side // 2 - int(rows.min()), int(rows.max()) - side // 2)
    assert input_radius(net) == reached


def _ones(kernel: int, inputs: int, outputs: int) -> nn.Conv2d:
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
    nn.init.constant_(conv.weight, 0.1)
    return conv


@pytest.mark.parametrize(
    "layer", [nn.MaxPool2d(2), nn.Conv2d(1, 1, 3, stride=2), nn.ConvTranspose2d(1, 1, 2)]
)
def test_a_layer_of_unknown_reach_is_not_guessed(layer: nn.Module) -> None:
    with pytest.raises(ConfigError, match="reach of"):
        input_radius(nn.Sequential(nn.ReLU(), layer))


def test_standardise_gives_zero_mean_and_unit_spread() -> None:
    layer = Standardise(2)
    layer.set(torch.tensor([0.2, 0.4]), 0.1)
    out = layer(torch.tensor([0.3, 0.2]).reshape(1, 2, 1, 1))
    torch.testing.assert_close(out.flatten(), torch.tensor([1.0, -2.0]))
