"""A generator as data: ``generator.safetensors`` and ``generator.json``, and no code.

The JSON says how to build the network and what it was made for; the weights are named tensors.
Reading builds the network from its configuration and checks every name and shape.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from models.config_checks import from_dict, positive, whole
from models.config_networks import GeneratorConfig
from models.errors import ConfigError, ExportError
from models.generators.base import Generator
from models.generators.registry import build_generator
from models.weights_file import (
    card_name,
    fill_network,
    read_bands,
    read_card,
    read_weights,
    weights_name,
    write_network,
)

FORMAT = 1
_NAME = "generator"
WEIGHTS = weights_name(_NAME)
CARD = card_name(_NAME)


@dataclass(frozen=True, kw_only=True)
class GeneratorCard:
    """What must be known of a generator to use it, and where it comes from.

    Parameters
    ----------
    architecture : GeneratorConfig
    scale : int
    bands : tuple of str
        In the order of the input's planes.
    data_range : float
        The DN that means reflectance one.
    halo : int
        Receptive field: how far in LR pixels an output pixel looks.
    pixel_dtype : str
        Of the DN it was trained on.
    store_version, store_digest : str or None
        Of the pair store it was trained on.
    training : mapping
        Summary of the run: configuration, steps, scores.
    weights_sha256 : str
        Of the weights file; filled in on saving.
    format : int
    """

    architecture: GeneratorConfig
    scale: int
    bands: tuple[str, ...]
    data_range: float
    halo: int
    pixel_dtype: str = "uint16"
    store_version: str | None = None
    store_digest: str | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
    weights_sha256: str = ""
    format: int = FORMAT

    def __post_init__(self) -> None:
        for name in ("scale", "halo"):
            whole(name, getattr(self, name))
        positive("data_range", self.data_range)

    @property
    def name(self) -> str:
        """Identity for provenance: architecture and the beginning of the weights' digest."""
        shape = self.architecture
        kind = f"{shape.name}-{shape.planes}x{shape.depth}-x{self.scale}"
        return f"{kind}@{self.weights_sha256[:12]}"

    def to_dict(self) -> dict[str, Any]:
        """As plain values, ready for JSON."""
        values = dataclasses.asdict(self)
        return {**values, "bands": list(self.bands), "training": dict(self.training)}


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
    values = read_card(folder, _NAME, GeneratorCard, version=FORMAT)
    try:
        values["architecture"] = from_dict(GeneratorConfig, values["architecture"])
        values["bands"] = read_bands(values)
        values["data_range"] = float(values["data_range"])
        return GeneratorCard(**values)
    except (ConfigError, KeyError, TypeError, ValueError) as error:
        path = folder / CARD
        raise ExportError(
            f"{path} does not describe a generator: {error}", path=str(path)
        ) from error


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
