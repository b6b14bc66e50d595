"""A generator as data: ``generator.safetensors`` and ``generator.json``, and no code.

The JSON says how to build the network and what it was made for; the weights are named tensors.
Reading builds the network from its configuration and checks every name and shape.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from models.config_checks import whole
from models.config_networks import GeneratorConfig
from models.errors import ConfigError, ExportError
from models.generators.base import Generator
from models.generators.registry import build_generator
from models.weights_file import (
    NetworkCard,
    card_name,
    fill_network,
    read_card,
    read_weights,
    weights_name,
    write_network,
)

_NAME = "generator"
WEIGHTS = weights_name(_NAME)
CARD = card_name(_NAME)


@dataclass(frozen=True, kw_only=True)
class GeneratorCard(NetworkCard):
    """What must be known of a generator to use it, and where it comes from.

    Parameters
    ----------
    architecture : GeneratorConfig
    scale : int
    halo : int
        Receptive field: how far in LR pixels an output pixel looks.
    """

    architecture: GeneratorConfig
    scale: int
    halo: int

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("scale", "halo"):
            whole(name, getattr(self, name))

    @property
    def name(self) -> str:
        """Identity for provenance: architecture and the beginning of the weights' digest."""
        shape = self.architecture
        kind = f"{shape.name}-{shape.planes}x{shape.depth}-x{self.scale}"
        return f"{kind}@{self.weights_sha256[:12]}"


def save_generator(folder: Path, generator: Generator, card: GeneratorCard) -> GeneratorCard:
    """Write a generator into a folder; see `models.weights_file.write_network`.

    Returns
    -------
    GeneratorCard
        With the digest of the weights.
    """
    return write_network(folder, _NAME, generator, card)


def load_card(folder: Path) -> GeneratorCard:
    """Read what a generator is, without its weights.

    Raises
    ------
    ExportError
        When the card is missing, damaged, or of another format.
    """
    return read_card(folder, _NAME, GeneratorCard, architecture=GeneratorConfig)


def load_generator(folder: Path) -> tuple[Generator, GeneratorCard]:
    """Read a generator, on the CPU, ready to be used.

    Raises
    ------
    ExportError
        When card or weights are missing or damaged, or do not fit each other.
    """
    card = load_card(folder)
    tensors = read_weights(folder, _NAME, card.weights_sha256)
    try:
        generator = build_generator(card.architecture, bands=len(card.bands), scale=card.scale)
    except ConfigError as error:
        raise ExportError(
            f"{folder} holds no usable generator: {error}", folder=str(folder)
        ) from error
    fill_network(generator, tensors, folder, _NAME)
    if generator.halo != card.halo:
        raise ExportError(
            f"{folder / CARD} says a halo of {card.halo}, its architecture has {generator.halo}"
        )
    return generator.eval().requires_grad_(False), card
