from __future__ import annotations

import pytest
import torch

from models.config import DISCRIMINATORS, GENERATORS, DiscriminatorConfig, GeneratorConfig
from models.discriminators.registry import build_discriminator
from models.errors import ConfigError
from models.generators.base import Generator
from models.generators.registry import build_generator
from models.layers import KeysBicubic

names = pytest.mark.parametrize("name", GENERATORS)
scales = pytest.mark.parametrize("scale", [2, 4, 8])


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
    halo = generator.halo
    side = 2 * halo + 5
    middle = side // 2
    before = torch.rand(1, 1, side, side)
    after = before.clone()
    after[..., middle - halo - 1, :] += 1
    after[..., :, middle + halo + 1] += 1
    centre = slice(middle * scale, (middle + 1) * scale)
    same = (generator(before) == generator(after))[..., centre, centre]
    assert same.all()
    reached = before.clone()
    reached[..., middle - halo, :] += 1
    assert (generator(before) != generator(reached))[..., centre, centre].any()


def test_the_default_is_small() -> None:
    generator = build_generator(GeneratorConfig(), bands=3, scale=4)
    assert sum(p.numel() for p in generator.parameters()) < 100_000
    assert generator.halo == 11  # head, 4 blocks of 2, the last of the body, the last of all


@pytest.mark.parametrize(("scale", "bands"), [(3, 3), (4, 0)])
def test_impossible_generators_are_refused(scale: int, bands: int) -> None:
    with pytest.raises(ConfigError, match="must be"):
        build_generator(GeneratorConfig(), bands=bands, scale=scale)


@pytest.mark.parametrize("name", DISCRIMINATORS)
@pytest.mark.parametrize("side", [32, 50, 96, 128])
def test_a_discriminator_judges_patches_of_any_size(name: str, side: int) -> None:
    judge = build_discriminator(DiscriminatorConfig(name=name, channels=8, stages=5), bands=4)
    logits = judge(torch.rand(3, 4, side, side))
    assert logits.shape == (3,)
    assert logits.isfinite().all()
