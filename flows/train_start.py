"""What a training goes on from: a generator that is found, checked and kept beside the run."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows import registry
from flows.console import say
from flows.errors import FlowError, UsageError
from models.config import TrainConfig
from models.errors import ConfigError, ModelError

if TYPE_CHECKING:
    from geo.pairstore.config import StoreConfig
    from models.data import PairSpec
    from models.export import GeneratorCard

CHAMPION = f"models:/{registry.MODEL_NAME}@champion"

# A generator that has been trained is near where a content phase leads; a quarter of the steps
# takes it over new ground, at a rate that does not shake what it knows (docs/benchmarks.md).
FURTHER = {"content_steps": TrainConfig().content_steps // 4, "lr_content": 1e-3}


@dataclass(frozen=True, kw_only=True)
class Beginning:
    """A generator to go on from.

    Parameters
    ----------
    source : ModelSource
    card : GeneratorCard
    """

    source: registry.ModelSource
    card: GeneratorCard

    @property
    def name(self) -> str:
        """``NAME/VERSION`` where it is registered, else as the user named it."""
        return self.source.version or self.source.uri

    def to_dict(self) -> dict[str, Any]:
        """What the job keeps of it, so that nobody has to ask the registry again."""
        return {
            "name": self.name,
            "uri": self.source.uri,
            "version": self.source.version,
            "run_id": self.source.run_id,
            "weights_sha256": self.card.weights_sha256,
        }

    def fill(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Settings for going on: its own architecture, and a short and gentle content phase.

        Parameters
        ----------
        given : mapping
            Settings that the user has given; they stay.
        """
        from models.start import trainable_form

        own = dataclasses.asdict(trainable_form(self.card.architecture))
        asked = given.get("generator") or {}
        same_kind = asked.get("name", own["name"]) == own["name"]
        return {**FURTHER, **given, "generator": {**(own if same_kind else {}), **asked}}


def find_start(uri: str) -> Beginning | None:
    """Find a generator; None where the champion is asked for and there is none yet.

    Raises
    ------
    UsageError, FlowError
        If there is no such model, or it is damaged.
    """
    from models.export import load_generator

    if uri == CHAMPION and registry.has_no_champion():
        say("train: there is no champion yet to go on from, so this begins from scratch")
        return None
    source = registry.find_model(uri)
    if source.folder is None:
        raise UsageError(f"--start-from {uri}: it has no weights; wanted a trained generator")
    try:
        _, card = load_generator(Path(source.folder))
    except ModelError as error:
        raise FlowError(f"--start-from {uri}: {error}") from error
    return Beginning(source=source, card=card)


def check_start(start: Beginning, settings: TrainConfig, spec: PairSpec) -> None:
    """Refuse a generator of another shape than asked for, or one for other imagery.

    Raises
    ------
    UsageError
    """
    from models import start as starting

    try:
        starting.check_start(start.card, settings, spec)
    except ConfigError as error:
        raise UsageError(f"--start-from {start.source.uri}: {error}") from error


def find_restyler(uri: str, spec: PairSpec) -> Beginning:
    """Find what gives training pairs another look.

    Raises
    ------
    UsageError, FlowError
        If there is no such network, it is damaged, or it redraws other imagery.
    """
    from models.export import load_generator
    from models.restyler import check_restyler

    source = registry.find_model(uri)
    if source.folder is None:
        raise UsageError(f"augment style {uri}: it has no weights; wanted what task style has made")
    try:
        _, card = load_generator(Path(source.folder))
        check_restyler(card, spec)
    except ConfigError as error:
        raise UsageError(f"{uri}: {error}") from error
    except ModelError as error:
        raise FlowError(f"augment style {uri}: {error}") from error
    return Beginning(source=source, card=card)


def keep_network(network: Beginning, folder: Path) -> None:
    """Copy its two files into a folder of the run, where every rank finds them."""
    from models.export import CARD, WEIGHTS

    assert network.source.folder is not None
    folder.mkdir(parents=True, exist_ok=True)
    for name in (WEIGHTS, CARD):
        shutil.copyfile(Path(network.source.folder) / name, folder / name)


def pair_spec(config: StoreConfig) -> PairSpec:
    """What all pairs of a store have in common, as training wants to know it."""
    from models.data import PairSpec

    return PairSpec(
        bands=config.bands, scale=config.scale, data_range=config.data_range, dtype=config.dtype
    )
