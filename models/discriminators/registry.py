"""Discriminators by name."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn

from models.config import DiscriminatorConfig
from models.discriminators.srgan import SRGANDiscriminator
from models.layers import Standardise


class Discriminator(Protocol):
    """HR reflectance [N, C, H, W] to logits, positive for real."""

    standardise: Standardise

    def __call__(self, x: Tensor) -> Tensor:
        """Judge patches."""
        ...


class _Build(Protocol):
    def __call__(self, *, bands: int, channels: int, stages: int) -> nn.Module: ...


BUILDERS: dict[str, _Build] = {"srgan": SRGANDiscriminator}


def build_discriminator(config: DiscriminatorConfig, *, bands: int) -> nn.Module:
    """Untrained discriminator."""
    return BUILDERS[config.name](bands=bands, channels=config.channels, stages=config.stages)
