"""Generators by name."""

from __future__ import annotations

from typing import Protocol

from models.config import SCALES, GeneratorConfig
from models.errors import ConfigError
from models.generators.base import Generator
from models.generators.edsr import EDSR
from models.generators.srresnet import SRResNet


class _Build(Protocol):
    def __call__(self, *, bands: int, scale: int, channels: int, blocks: int) -> Generator: ...


BUILDERS: dict[str, _Build] = {"edsr": EDSR, "srresnet": SRResNet}


def build_generator(config: GeneratorConfig, *, bands: int, scale: int) -> Generator:
    """Untrained generator, which is bicubic upsampling until it is trained.

    Raises
    ------
    ConfigError
        For a scale other than 2, 4 or 8, or no bands.
    """
    if scale not in SCALES:
        raise ConfigError(f"scale must be one of {SCALES}, got {scale}", scale=scale)
    if bands < 1:
        raise ConfigError(f"bands must be 1 or more, got {bands}", bands=bands)
    return BUILDERS[config.name](
        bands=bands, scale=scale, channels=config.channels, blocks=config.blocks
    )
