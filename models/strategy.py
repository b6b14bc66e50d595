"""What the training loop asks of whoever knows the networks of a task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from models.balance import Balance
from models.chip_networks import Autoencoder, ChipEncoder, ChipGenerator
from models.chips import build_chips
from models.config import TrainConfig
from models.config_networks import DiscriminatorConfig
from models.config_unpaired import PRODUCTS
from models.data import PairSpec
from models.dcgan import DCGANLearner
from models.degrade_step import DegradeLearner
from models.degrader import Degrader
from models.discriminators.base import Discriminator
from models.discriminators.registry import build_discriminator
from models.distributed import Ranks
from models.generators.base import Generator
from models.generators.registry import build_generator
from models.player import Metrics
from models.product import Product
from models.segment_step import SegmentLearner
from models.segmenter import Segmenter
from models.step import Growth, Learner
from models.style import StyleLearner
from models.tensors import Tensors
from models.unpaired import UnpairedLearner
from models.vae import VAELearner


class Strategy(Protocol):
    """Networks with their optimisers, and the updates of a task."""

    @property
    def levels(self) -> tuple[int, ...]:
        """Scales that the generator can work at while it grows up; none for most."""

    def product(self, spec: PairSpec) -> Product:
        """What is validated and exported."""

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """All that learn."""

    @property
    def balance(self) -> Balance:
        """What steers the discriminator's learning rate."""

    def start_as(self, exported: Generator) -> None:
        """Let the generator and its mean begin as one that is trained."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what `state_dict` gave."""

    def content_step(self, batch: Tensors, growth: Growth | None = None) -> Metrics:
        """Update of the generator without a game."""

    def discriminator_step(self, batch: Tensors) -> Metrics:
        """Update of who judges."""

    def generator_step(self, batch: Tensors, adversarial_weight: float) -> Metrics:
        """Update of the generator in the game."""

    def set_rates(self, generator: float, discriminator: float) -> None:
        """Learning rates of the next updates."""

    def check_up(self, batch: Tensors) -> Metrics:
        """What health is judged by, beside what each update tells."""


def build_strategy(
    config: TrainConfig,
    spec: PairSpec,
    statistics: tuple[npt.NDArray[np.float32], float],
    here: Ranks,
    dtype: torch.dtype,
    patch_lr: int | None = None,
) -> Strategy:
    """Networks and optimisers of the task; the same on every rank, because the seed is.

    Parameters
    ----------
    statistics : (array, float)
        Of the imagery; see `models.data.band_statistics`.
    patch_lr : int, optional
        Of the crops, where chips are smaller than `config` says.
    """
    bands = len(spec.bands)
    if config.task == "degrade":
        return _degrading(config, spec, statistics, here, dtype)
    if config.task == "segment":
        network = Segmenter(bands=bands, classes=len(spec.classes), config=config.segment)
        _settle((network,), statistics, here)
        return SegmentLearner(network, config, here, dtype)
    if PRODUCTS[config.task] == "chips":
        side = spec.scale * (patch_lr or config.patch_lr)
        return _of_noise(config, bands, side, statistics, here, dtype)
    generator = build_generator(config.generator, bands=bands, scale=spec.scale)
    if config.growing_share:
        generator.prepare_to_grow()
    if config.task == "style":
        _settle((generator,), statistics, here)
        _compile(config, here, generator)
        return StyleLearner(generator, config, here, dtype)
    judge = build_discriminator(config.discriminator, bands=bands)
    if config.task == "paired":
        _settle((generator, judge), statistics, here)
        _compile(config, here, generator, judge)
        return Learner(generator, judge, config, here, dtype)
    degrader, coarse = _coarse_side(config, spec)
    _settle((generator, degrader, judge, coarse), statistics, here)
    _compile(config, here, generator, judge)
    return UnpairedLearner(generator, degrader, judge, coarse, config, here, dtype)


def _of_noise(
    config: TrainConfig,
    bands: int,
    side: int,
    statistics: tuple[npt.NDArray[np.float32], float],
    here: Ranks,
    dtype: torch.dtype,
) -> VAELearner | DCGANLearner:
    network = build_chips(config.task, bands=bands, side=side, config=config.chips)
    if isinstance(network, Autoencoder):
        network.to(here.device)
        _settle((network.encoder, network.decoder), statistics, here)
        return VAELearner(network, config, here, dtype)
    judge = build_discriminator(config.discriminator, bands=bands)
    _settle((network, judge), statistics, here)
    return DCGANLearner(network, judge, config, here, dtype)


def _degrading(
    config: TrainConfig,
    spec: PairSpec,
    statistics: tuple[npt.NDArray[np.float32], float],
    here: Ranks,
    dtype: torch.dtype,
) -> DegradeLearner:
    degrader, judge = _coarse_side(config, spec)
    _settle((degrader, judge), statistics, here)
    return DegradeLearner(degrader, judge, config, here, dtype)


def _coarse_side(config: TrainConfig, spec: PairSpec) -> tuple[Degrader, Discriminator]:
    """Who makes LR images of HR images, and who judges them."""
    cycle, bands = config.cycle, len(spec.bands)
    degrader = Degrader(bands=bands, scale=spec.scale, channels=cycle.channels, blocks=cycle.blocks)
    judge = DiscriminatorConfig(
        name="patchgan",
        channels=config.discriminator.channels,
        stages=cycle.stages,
        conditional=config.discriminator.conditional,
    )
    return degrader, build_discriminator(judge, bands=bands)


def _settle(
    networks: tuple[
        Generator | Discriminator | Degrader | ChipGenerator | ChipEncoder | Segmenter, ...
    ],
    statistics: tuple[npt.NDArray[np.float32], float],
    here: Ranks,
) -> None:
    """Give them their constants and bring them to where they work."""
    mean, spread = statistics
    for network in networks:
        network.standardise.set(torch.from_numpy(mean), spread)
        network.to(here.device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # stubs forget this overload


def _compile(
    config: TrainConfig,
    here: Ranks,
    generator: Generator,
    discriminator: Discriminator | None = None,
) -> None:
    if config.compile == "on" or (config.compile == "auto" and here.device.type == "cuda"):
        generator.compile()
        if discriminator is not None and not (config.r1 or config.r2 or config.unroll_steps):
            discriminator.compile()  # what is compiled cannot be differentiated twice
