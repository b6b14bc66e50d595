from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from models.config_networks import GENERATORS, GeneratorConfig, exported_form
from models.errors import ConfigError
from models.generators.base import Generator
from models.generators.registry import build_generator
from models.layers import KeysBicubic

names = pytest.mark.parametrize("name", GENERATORS)
scales = pytest.mark.parametrize("scale", [1, 2, 4, 8])


def busy_generator(name: str, *, scale: int, bands: int = 3, seed: int = 0) -> Generator:
    """A generator that has something to say: no weight is zero."""
    torch.manual_seed(seed)
    config = GeneratorConfig(name=name, channels=8, blocks=2)
    generator = build_generator(config, bands=bands, scale=scale)
    for parameter in generator.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.1)
    return generator.eval().requires_grad_(False)


@names
@scales
@pytest.mark.parametrize("bands", [1, 4])
def test_an_untrained_generator_is_bicubic(name: str, scale: int, bands: int) -> None:
    generator = build_generator(GeneratorConfig(name=name), bands=bands, scale=scale)
    generator.standardise.set(torch.full((bands,), 0.3), 0.05)
    x = torch.rand(2, bands, 9, 12)
    expected = KeysBicubic(bands=bands, scale=scale)(x)
    assert expected.shape == (2, bands, 9 * scale, 12 * scale)
    torch.testing.assert_close(generator(x), expected, atol=1e-6, rtol=0)


@names
def test_an_untrained_generator_can_learn(name: str) -> None:
    generator = build_generator(GeneratorConfig(name=name), bands=3, scale=4)
    (generator(torch.rand(1, 3, 8, 8)) - 1).abs().mean().backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in generator.parameters())


@names
@scales
def test_pixels_beyond_the_halo_change_nothing_and_one_at_it_does(name: str, scale: int) -> None:
    generator = busy_generator(name, scale=scale, bands=1)
    generator.detail.double()  # what arrives through many layers is very little
    generator.standardise.double()
    halo = generator.halo
    side = 2 * halo + 5
    middle = side // 2
    centre = slice(middle * scale, (middle + 1) * scale)
    x = torch.rand(1, 1, side, side, dtype=torch.float64, requires_grad=True)
    drawn = generator.detail(generator.standardise(x)) + generator.base(x)
    (gradient,) = torch.autograd.grad(drawn[..., centre, centre].square().sum(), x)
    rows, cells = (gradient[0, 0].abs().sum(axis) for axis in (1, 0))
    for reached in (rows, cells):
        assert reached[middle - halo] > 0
        assert reached[middle + halo] > 0
        assert not reached[: middle - halo].any()
        assert not reached[middle + halo + 1 :].any()


def test_the_default_is_small() -> None:
    generator = build_generator(GeneratorConfig(), bands=3, scale=4)
    assert sum(p.numel() for p in generator.parameters()) < 100_000
    assert generator.halo == 11  # head, 4 blocks of 2, the last of the body, the last of all


@pytest.mark.parametrize(("scale", "bands"), [(3, 3), (4, 0)])
def test_impossible_generators_are_refused(scale: int, bands: int) -> None:
    with pytest.raises(ConfigError, match="must be"):
        build_generator(GeneratorConfig(), bands=bands, scale=scale)


@names
@scales
def test_the_exported_form_draws_the_same(name: str, scale: int) -> None:
    config = GeneratorConfig(name=name, channels=8, blocks=2)
    generator = busy_generator(name, scale=scale)
    exported = generator.for_export()
    rebuilt = build_generator(exported_form(config), bands=3, scale=scale)
    rebuilt.load_state_dict(exported.state_dict())
    x = torch.rand(2, 3, 7, 9)
    torch.testing.assert_close(exported(x), generator(x), atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(rebuilt.eval()(x), generator(x), atol=2e-5, rtol=1e-4)
    assert rebuilt.halo == generator.halo


def test_span_is_smaller_when_exported() -> None:
    generator = busy_generator("span", scale=4)
    before, after = (
        sum(p.numel() for p in network.parameters())
        for network in (generator, generator.for_export())
    )
    assert after < 0.4 * before


def test_dropout_is_noise_in_training_only() -> None:
    generator = busy_generator("unet", scale=2)
    x = torch.rand(1, 3, 8, 8)
    assert torch.equal(generator(x), generator(x))
    generator.train()
    assert not torch.equal(generator(x), generator(x))


class Masked(nn.Module):
    """Dropout whose choices are known beforehand, one after the other."""

    def __init__(self, masks: list[torch.Tensor]) -> None:
        super().__init__()
        self.masks = iter(masks)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * next(self.masks)[:, None, None]


def test_a_thinned_network_is_the_network_with_its_planes_masked() -> None:
    generator = busy_generator("unet", scale=2)  # two levels of 8 planes, dropout 0.2
    thin = generator.thinned(np.random.default_rng(4))
    drawn = np.random.default_rng(4).random((2, 8))
    assert 0 < (drawn >= 0.8).sum() < 16
    masks = [torch.tensor(row < 0.8) / 0.8 for row in drawn]
    x = torch.rand(2, 3, 9, 7)
    plain = generator(x)
    generator.detail[2].dropout = Masked(masks)
    torch.testing.assert_close(thin(x), generator(x))
    assert not torch.allclose(thin(x), plain, atol=1e-3)
    assert thin.halo == generator.halo


def test_the_mean_of_thinned_networks_is_the_network_where_all_after_dropout_is_linear() -> None:
    torch.manual_seed(0)
    config = GeneratorConfig(name="unet", channels=4, blocks=1, dropout=0.5)
    generator = build_generator(config, bands=1, scale=2)
    for parameter in generator.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.3)
    generator.eval().requires_grad_(False)
    x = torch.rand(1, 1, 6, 6)
    random = np.random.default_rng(0)
    drawn = torch.stack([generator.thinned(random)(x) for _ in range(800)])
    error = drawn.std(dim=0) / 800**0.5
    assert ((drawn.mean(dim=0) - generator(x)).abs() < 5 * error + 1e-5).all()
    assert error.max() > 1e-3


@pytest.mark.parametrize("name", GENERATORS)
def test_without_dropout_nothing_is_thinned(name: str) -> None:
    dropout = 0.0 if name == "unet" else None
    config = GeneratorConfig(name=name, channels=8, blocks=2, dropout=dropout)
    with pytest.raises(ConfigError, match="dropout"):
        build_generator(config, bands=3, scale=2).thinned(np.random.default_rng(0))


@pytest.mark.parametrize("scale", [4, 8])
def test_a_growing_generator_fades_from_scale_to_scale(scale: int) -> None:
    generator = build_generator(GeneratorConfig(name="srresnet", channels=8), bands=3, scale=scale)
    generator.prepare_to_grow()
    for parameter in generator.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.1)
    generator.eval().requires_grad_(False)
    x = torch.rand(2, 3, 6, 7)
    assert generator.levels == ((2, 4) if scale == 4 else (2, 4, 8))
    torch.testing.assert_close(generator.draw(x, scale, 1.0), generator(x))
    for below, level in itertools.pairwise(generator.levels):
        start = generator.draw(x, level, 0.0)
        assert start.shape == (2, 3, 6 * level, 7 * level)
        # Faded in by nothing it is what the level below drew, but for the bicubic base.
        detail = generator.draw(x, below, 1.0) - KeysBicubic(bands=3, scale=below)(x)
        again = start - KeysBicubic(bands=3, scale=level)(x)
        torch.testing.assert_close(again, detail.repeat_interleave(2, 2).repeat_interleave(2, 3))
        middle = (start + generator.draw(x, level, 1.0)) / 2
        torch.testing.assert_close(generator.draw(x, level, 0.5), middle)
    grown = generator.for_export()
    torch.testing.assert_close(grown(x), generator(x))
    plain = build_generator(GeneratorConfig(name="srresnet", channels=8), bands=3, scale=scale)
    plain.load_state_dict(grown.state_dict())


@pytest.mark.parametrize("name", [n for n in GENERATORS if n != "srresnet"])
def test_others_cannot_grow(name: str) -> None:
    generator = busy_generator(name, scale=4)
    with pytest.raises(ConfigError, match="cannot grow"):
        generator.prepare_to_grow()
    with pytest.raises(ConfigError, match="cannot grow"):
        generator.draw(torch.rand(1, 3, 4, 4), 2, 1.0)
