from __future__ import annotations

import numpy as np
import torch

from models.batches import Batch
from models.config import TrainConfig
from models.config_networks import DiscriminatorConfig, GeneratorConfig, LossConfig
from models.discriminators.registry import build_discriminator
from models.distributed import Ranks
from models.generators.registry import build_generator
from models.step import Learner
from models.tensors import Tensors

CPU = torch.device("cpu")
CONFIG = TrainConfig(
    generator=GeneratorConfig(channels=4, blocks=1),
    discriminator=DiscriminatorConfig(channels=4, stages=3),
    losses=LossConfig(lattice=0.0),  # of the adversarial phase
)


def learner() -> Learner:
    torch.manual_seed(0)
    return Learner(
        build_generator(CONFIG.generator, bands=1, scale=2),
        build_discriminator(CONFIG.discriminator, bands=1),
        CONFIG,
        Ranks(rank=0, world=1, device=CPU),
        torch.float32,
    )


def batch(shift: tuple[int, int] = (3, 5)) -> Tensors:
    random = np.random.default_rng(0)
    valid = random.random((2, 1, 32, 32)) > 0.3
    hr = random.random((2, 1, 32, 32), np.float32) * valid
    lr = random.random((2, 1, 16, 16), np.float32)
    stored = Batch(lr=lr, hr=hr, valid=valid, data_range=1.0, swapped=False, shift=shift)
    return Tensors.of(stored, CPU)


def weights(network: torch.nn.Module) -> list[torch.Tensor]:
    return [p.detach().clone() for p in network.parameters()]


def moved(before: list[torch.Tensor], network: torch.nn.Module) -> bool:
    return any(not torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


def test_each_step_moves_its_own_network_only() -> None:
    one = learner()
    for name, generator_moves in (("content", True), ("discriminator", False), ("generator", True)):
        generator, discriminator = weights(one.generator), weights(one.discriminator)
        if name == "content":
            one.content_step(batch())
        elif name == "discriminator":
            one.discriminator_step(batch())
        else:
            one.generator_step(batch(), 0.1)
        assert moved(generator, one.generator) is generator_moves, name
        assert moved(discriminator, one.discriminator) is (name == "discriminator"), name
        assert all(p.requires_grad for p in one.discriminator.parameters())


def test_the_discriminator_sees_valid_pixels_only_and_rolled() -> None:
    tensors = batch()
    images = torch.rand(2, 1, 32, 32)
    seen = tensors.for_discriminator(images)
    assert seen[1, 0, 3 + 4, 5 + 6] == images[1, 0, 4, 6] * tensors.valid[1, 0, 4, 6]
    torch.testing.assert_close(seen.sum(), (images * tensors.valid).sum())


def test_without_adversarial_weight_a_generator_step_is_a_content_step() -> None:
    first, second = learner(), learner()
    first.content_step(batch())
    second.generator_step(batch(), 0.0)
    for a, b in zip(first.generator.parameters(), second.generator.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-7, rtol=1e-5)
