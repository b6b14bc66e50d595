"""Discriminators by name."""

from __future__ import annotations

from typing import Protocol

from models.config_networks import DiscriminatorConfig
from models.discriminators.base import Discriminator, Judge
from models.discriminators.patchgan import PatchGANJudge
from models.discriminators.srgan import SRGANJudge
from models.discriminators.unet import UNetJudge
from models.errors import ConfigError


class _Build(Protocol):
    def __call__(self, *, inputs: int, channels: int, stages: int) -> Judge: ...


BUILDERS: dict[str, _Build] = {
    "srgan": SRGANJudge,
    "patchgan": PatchGANJudge,
    "unet": UNetJudge,
}


def build_discriminator(config: DiscriminatorConfig, *, bands: int) -> Discriminator:
    """Untrained discriminator of HR patches; it need not know how they came to be.

    Raises
    ------
    ConfigError
        For no bands.
    """
    if bands < 1:
        raise ConfigError(f"bands must be 1 or more, got {bands}", bands=bands)
    inputs = 2 * bands if config.conditional else bands
    judges = [
        BUILDERS[config.name](inputs=inputs, channels=config.channels, stages=config.depth)
        for _ in range(config.resolutions)
    ]
    return Discriminator(
        judges,
        bands=bands,
        conditional=config.conditional,
        smallest_patch=config.smallest_patch,
    )
