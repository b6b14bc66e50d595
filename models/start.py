"""What a training may begin with instead of bicubic upsampling: a generator that is trained."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from models.config import TrainConfig
from models.config_networks import GeneratorConfig, exported_form
from models.data import PairSpec
from models.errors import ConfigError, ExportError
from models.export import GeneratorCard, load_generator
from models.generators.base import Generator


@dataclass(frozen=True, kw_only=True)
class Start:
    """A generator to begin with.

    Parameters
    ----------
    folder : Path
        As `save_generator` writes it.
    weights_sha256 : str or None
        Of the weights that it is known to have; None for whatever is there.
    """

    folder: Path
    weights_sha256: str | None = None


def trainable_form(architecture: GeneratorConfig) -> GeneratorConfig:
    """Configuration of the network that was exported as one of `architecture`."""
    return dataclasses.replace(architecture, fused=False)


def check_start(card: GeneratorCard, config: TrainConfig, spec: PairSpec) -> None:
    """Refuse to begin with a generator of another shape, or made for other imagery.

    Raises
    ------
    ConfigError
        The message names each difference: what the generator has, and what is wanted.
    """
    values = (
        ("bands", ",".join(card.bands), ",".join(spec.bands)),
        ("scale", card.scale, spec.scale),
        ("data_range", card.data_range, spec.data_range),
    )
    other = [
        f"{name} {has} where the pairs have {wanted}"
        for name, has, wanted in values
        if has != wanted
    ]
    if other:
        raise ConfigError(
            f"the generator to start from has {', '.join(other)}: start from one that was trained "
            "on such pairs, or from scratch"
        )
    has, wanted = card.architecture, exported_form(config.generator)
    unlike = [
        f"{item.name} {getattr(has, item.name)}, not {getattr(wanted, item.name)}"
        for item in dataclasses.fields(GeneratorConfig)
        if item.name != "dropout"  # it has no weights
        and getattr(has, item.name) != getattr(wanted, item.name)
    ]
    if unlike:
        raise ConfigError(
            f"the generator to start from has {', '.join(unlike)}: leave the settings of "
            "[generator] out, which takes its own, or start from scratch"
        )
    if config.growing_share:
        raise ConfigError(
            f"growing_share is {config.growing_share}, but a generator to start from has grown up: "
            "set it to 0"
        )


def load_start(start: Start, config: TrainConfig, spec: PairSpec) -> Generator:
    """Read the generator to begin with.

    Raises
    ------
    ExportError
        When there is none, or it is damaged or another one.
    ConfigError
        See `check_start`.
    """
    generator, card = load_generator(start.folder)
    if start.weights_sha256 not in (None, card.weights_sha256):
        raise ExportError(
            f"{start.folder} holds the generator {card.weights_sha256[:12]}; this training began "
            f"with {str(start.weights_sha256)[:12]}: put that one back, or start anew",
            folder=str(start.folder),
        )
    check_start(card, config, spec)
    return generator
