"""A generator as data: ``generator.safetensors`` and ``generator.json``, and no code.

The JSON says how to build the network and what it was made for; the weights are named tensors.
Reading builds the network from its configuration and checks every name and shape.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from models.config_checks import from_dict, positive, whole
from models.config_networks import GeneratorConfig
from models.errors import ConfigError, ExportError
from models.generators.base import Generator
from models.generators.registry import build_generator

FORMAT = 1
WEIGHTS = "generator.safetensors"
CARD = "generator.json"
_REMEDY = "take both files as they were written together"


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
    """Write a generator into a folder.

    The weights are written first and the card, which names their digest, last: whoever finds a
    card that fits finds a whole generator.

    Returns
    -------
    GeneratorCard
        With the digest of the weights.
    """
    tensors = {name: t.detach().cpu().contiguous() for name, t in generator.state_dict().items()}
    weights = save_tensors(tensors)
    card = dataclasses.replace(card, weights_sha256=hashlib.sha256(weights).hexdigest())
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder / WEIGHTS, weights)
    _replace(folder / CARD, (json.dumps(card.to_dict(), indent=2) + "\n").encode())
    return card


def load_card(folder: Path) -> GeneratorCard:
    """Read what a generator is, without its weights.

    Raises
    ------
    ExportError
        When the card is missing, damaged, or of another format.
    """
    path = folder / CARD
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ExportError(
            f"{folder} holds no generator: there is no {CARD}", folder=str(folder)
        ) from error
    except (OSError, ValueError) as error:
        raise ExportError(f"{path} cannot be read: {error}", path=str(path)) from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        found = values.get("format") if isinstance(values, dict) else type(values).__name__
        raise ExportError(
            f"{path} has generator format {found}, this version reads {FORMAT}", path=str(path)
        )
    # Later versions of a format may add keys; those of this version must be there.
    known = {item.name for item in dataclasses.fields(GeneratorCard)}
    values = {key: value for key, value in values.items() if key in known}
    try:
        values["architecture"] = from_dict(GeneratorConfig, values["architecture"])
        if not isinstance(values["bands"], list):
            raise ConfigError(f"bands must be a list of names, got {values['bands']!r}")
        values["bands"] = tuple(str(band) for band in values["bands"])
        values["data_range"] = float(values["data_range"])
        return GeneratorCard(**values)
    except (ConfigError, KeyError, TypeError, ValueError) as error:
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
    path = folder / WEIGHTS
    try:
        weights = path.read_bytes()
    except OSError as error:
        raise ExportError(f"{path} cannot be read: {error}", path=str(path)) from error
    if hashlib.sha256(weights).hexdigest() != card.weights_sha256:
        raise ExportError(
            f"{path} is not the file that {CARD} describes: its digest differs; "
            "copy both files again",
            path=str(path),
        )
    try:
        tensors = load_tensors(weights)
        generator = build_generator(card.architecture, bands=len(card.bands), scale=card.scale)
    except (SafetensorError, ConfigError) as error:
        raise ExportError(
            f"{folder} holds no usable generator: {error}", folder=str(folder)
        ) from error
    _check(generator.state_dict(), tensors, path)
    if generator.halo != card.halo:
        raise ExportError(
            f"{folder / CARD} says a halo of {card.halo}, its architecture has {generator.halo}"
        )
    generator.load_state_dict(tensors)
    return generator.eval().requires_grad_(False), card


def _check(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], path: Path) -> None:
    missing, extra = sorted(set(wanted) - set(found)), sorted(set(found) - set(wanted))
    if missing or extra:
        raise ExportError(
            f"{path} does not fit the architecture and scale in {CARD}: "
            f"missing {', '.join(missing) or 'nothing'}, "
            f"unexpected {', '.join(extra) or 'nothing'}; {_REMEDY}",
            missing=missing,
            extra=extra,
        )
    for name, tensor in wanted.items():
        if found[name].shape != tensor.shape:
            raise ExportError(
                f"{path}: {name} has shape {tuple(found[name].shape)}, the architecture and scale "
                f"in {CARD} want {tuple(tensor.shape)}; {_REMEDY}",
                name=name,
            )
        if not torch.isfinite(found[name]).all():
            raise ExportError(
                f"{path}: {name} holds values that are not finite; wanted a generator whose "
                "training went well, so take another version or train it again",
                name=name,
            )


def _replace(path: Path, content: bytes) -> None:
    partial = path.with_name(path.name + ".partial")
    with open(partial, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
