"""What was trained, as data: ``NAME.safetensors`` and ``NAME.json``, and no code.

The JSON, its card, says how to build the network and what it was made for; the weights are named
tensors. Whoever reads builds the network from the card and checks every name and shape.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from models.config_checks import from_dict, positive
from models.errors import ConfigError, ExportError

FORMAT = 1
_REMEDY = "take both files as they were written together"


@dataclass(frozen=True, kw_only=True)
class NetworkCard:
    """What the cards of all networks say: of which imagery, where from, and of which weights.

    Parameters
    ----------
    bands : tuple of str
        In the order of the planes.
    data_range : float
        The DN that means reflectance one.
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

    bands: tuple[str, ...]
    data_range: float
    pixel_dtype: str = "uint16"
    store_version: str | None = None
    store_digest: str | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
    weights_sha256: str = ""
    format: int = FORMAT

    def __post_init__(self) -> None:
        positive("data_range", self.data_range)

    def to_dict(self) -> dict[str, Any]:
        """As plain values, ready for JSON."""
        values = dataclasses.asdict(self)
        return {**values, "bands": list(self.bands), "training": dict(self.training)}


_Card = TypeVar("_Card", bound=NetworkCard)


def weights_name(name: str) -> str:
    """File of the weights."""
    return f"{name}.safetensors"


def card_name(name: str) -> str:
    """File of the card."""
    return f"{name}.json"


def write_network(folder: Path, name: str, network: nn.Module, card: _Card) -> _Card:
    """Write a network into a folder.

    The weights are written first and the card, which names their digest, last: whoever finds a
    card that fits finds a whole network.

    Returns
    -------
    NetworkCard
        With the digest of the weights.
    """
    tensors = {key: t.detach().cpu().contiguous() for key, t in network.state_dict().items()}
    weights = save_tensors(tensors)
    digest = hashlib.sha256(weights).hexdigest()
    card = dataclasses.replace(card, weights_sha256=digest)
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder / weights_name(name), weights)
    _replace(folder / card_name(name), (json.dumps(card.to_dict(), indent=2) + "\n").encode())
    return card


def read_card(
    folder: Path, name: str, kind: type[_Card], *, architecture: type | None = None
) -> _Card:
    """Read what a network is, without its weights.

    Parameters
    ----------
    kind : type
        Of the card.
    architecture : type, optional
        Configuration that stands under ``architecture``.

    Raises
    ------
    ExportError
        When the card is missing, damaged, or of another format.
    """
    path = folder / card_name(name)
    values = _card_values(folder, name)
    # Later versions of a format may add keys; those of this version must be there.
    known = {item.name for item in dataclasses.fields(kind)}
    values = {key: value for key, value in values.items() if key in known}
    try:
        if architecture is not None:
            values["architecture"] = from_dict(architecture, values["architecture"])
        if not isinstance(values["bands"], list):
            raise ConfigError(f"bands must be a list of names, got {values['bands']!r}")
        values["bands"] = tuple(str(band) for band in values["bands"])
        values["data_range"] = float(values["data_range"])
        return kind(**values)
    except (ConfigError, KeyError, TypeError, ValueError) as error:
        what = name if name.endswith("s") else f"a {name}"
        raise ExportError(f"{path} does not describe {what}: {error}", path=str(path)) from error


def _card_values(folder: Path, name: str) -> dict[str, Any]:
    path = folder / card_name(name)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ExportError(
            f"{folder} holds no {name}: there is no {path.name}", folder=str(folder)
        ) from error
    except (OSError, ValueError) as error:
        raise ExportError(f"{path} cannot be read: {error}", path=str(path)) from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        found = values.get("format") if isinstance(values, dict) else type(values).__name__
        raise ExportError(
            f"{path} has {name} format {found}, this version reads {FORMAT}", path=str(path)
        )
    return values


def read_weights(folder: Path, name: str, digest: str) -> dict[str, Tensor]:
    """Named tensors, on the CPU.

    Raises
    ------
    ExportError
        When they are missing, damaged, or not those that the card names.
    """
    path = folder / weights_name(name)
    try:
        weights = path.read_bytes()
    except OSError as error:
        raise ExportError(f"{path} cannot be read: {error}", path=str(path)) from error
    if hashlib.sha256(weights).hexdigest() != digest:
        raise ExportError(
            f"{path} is not the file that {card_name(name)} describes: its digest differs; "
            "copy both files again",
            path=str(path),
        )
    try:
        return load_tensors(weights)
    except SafetensorError as error:
        raise ExportError(
            f"{folder} holds no usable {name}: {error}", folder=str(folder)
        ) from error


def fill_network(network: nn.Module, found: Mapping[str, Tensor], folder: Path, name: str) -> None:
    """Give a network its tensors.

    Raises
    ------
    ExportError
        When names or shapes differ, or values are not finite.
    """
    path, card, wanted = folder / weights_name(name), card_name(name), network.state_dict()
    missing, extra = sorted(set(wanted) - set(found)), sorted(set(found) - set(wanted))
    if missing or extra:
        raise ExportError(
            f"{path} does not fit the architecture and scale in {card}: "
            f"missing {', '.join(missing) or 'nothing'}, "
            f"unexpected {', '.join(extra) or 'nothing'}; {_REMEDY}",
            missing=missing,
            extra=extra,
        )
    for key, tensor in wanted.items():
        if found[key].shape != tensor.shape:
            raise ExportError(
                f"{path}: {key} has shape {tuple(found[key].shape)}, the architecture and scale "
                f"in {card} want {tuple(tensor.shape)}; {_REMEDY}",
                name=key,
            )
        if not torch.isfinite(found[key]).all():
            raise ExportError(
                f"{path}: {key} holds values that are not finite; wanted weights whose "
                "training went well, so take another version or train it again",
                name=key,
            )
    network.load_state_dict(found)


def _replace(path: Path, content: bytes) -> None:
    partial = path.with_name(path.name + ".partial")
    with open(partial, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
