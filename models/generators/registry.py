"""Generators by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from models.config_networks import SCALES, GeneratorConfig
from models.errors import ConfigError
from models.generators.base import Generator
from models.generators.edsr import EDSR
from models.generators.rrdb import RRDB
from models.generators.span import SPAN
from models.generators.srresnet import SRResNet
from models.generators.unet import UNet

# Each with the settings it takes beside channels and blocks.
BUILDERS: dict[str, tuple[Callable[..., Generator], tuple[str, ...]]] = {
    "edsr": (EDSR, ()),
    "srresnet": (SRResNet, ()),
    "rrdb": (RRDB, ("growth",)),
    "span": (SPAN, ("fused",)),
    "unet": (UNet, ("dropout",)),
}


def build_generator(config: GeneratorConfig, *, bands: int, scale: int) -> Generator:
    """Untrained generator, which is bicubic upsampling until it is trained.

    Raises
    ------
    ConfigError
        For a scale other than 1, 2, 4 or 8, or no bands.
    """
    if scale not in SCALES:
        raise ConfigError(f"scale must be one of {SCALES}, got {scale}", scale=scale)
    if bands < 1:
        raise ConfigError(f"bands must be 1 or more, got {bands}", bands=bands)
    build, settings = BUILDERS[config.name]
    own: dict[str, Any] = {name: getattr(config, name) for name in settings}
    return build(bands=bands, scale=scale, channels=config.planes, blocks=config.depth, **own)
