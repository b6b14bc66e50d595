"""Generators by name."""

from __future__ import annotations

from typing import Protocol

from models.config import GeneratorConfig
from models.generators.base import Generator
from models.generators.edsr import EDSR
from models.generators.srresnet import SRResNet


class _Build(Protocol):
    def __call__(self, *, bands: int, scale: int, channels: int, blocks: int) -> Generator: ...


BUILDERS: dict[str, _Build] = {"edsr": EDSR, "srresnet": SRResNet}


def build_generator(config: GeneratorConfig, *, bands: int, scale: int) -> Generator:
    """Untrained generator, which is bicubic upsampling until it is trained."""
    return BUILDERS[config.name](
        bands=bands, scale=scale, channels=config.channels, blocks=config.blocks
    )
