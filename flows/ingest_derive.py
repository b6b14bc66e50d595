"""What makes the LR images of ``skyscale ingest --degrade``: found, checked, sent to workers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from flows.errors import UsageError

if TYPE_CHECKING:
    from geo.derive import Derive
    from geo.pairstore.config import StoreConfig


class Deriver(Protocol):
    """Something that degrades HR images; small, for it travels to workers by its own name."""

    @property
    def name(self) -> str:
        """What the rows of its pairs say of it: two that differ have two names."""

    def check(self, config: StoreConfig) -> None:
        """Refuse a store whose images it was not made for."""

    def load(self, config: StoreConfig, noise_dn: tuple[float, ...]) -> Derive:
        """Make it ready to work, on a worker.

        Parameters
        ----------
        noise_dn : tuple of float
            Of the store's true LR images, for each band; zeros where there are none.
        """


@dataclass(frozen=True)
class SensorDeriver:
    """The fixed sensor model: what a learned degrader is compared with."""

    name: str = "sensor"

    def check(self, config: StoreConfig) -> None:
        """It takes any."""

    def load(self, config: StoreConfig, noise_dn: tuple[float, ...]) -> Derive:
        """See `Deriver`."""
        from geo.derive import SensorModel

        return SensorModel(scale=config.scale, noise_dn=noise_dn)


@dataclass(frozen=True)
class ModelDeriver:
    """A degrader that was trained.

    Parameters
    ----------
    folder : str
        As `models.degrade.save_degrader` writes it; workers have to see it.
    name : str
        Of its card: kind and digest of the weights.
    """

    folder: str
    name: str

    def check(self, config: StoreConfig) -> None:
        """Refuse other bands, another scale or another range of numbers than it has learned."""
        from models.degrade import load_degrader_card

        card = load_degrader_card(Path(self.folder))
        told = [
            f"{what} {theirs} (the store: {ours})"
            for what, theirs, ours in (
                ("bands", ", ".join(card.bands), ", ".join(config.bands)),
                ("scale", card.scale, config.scale),
                ("data range", f"{card.data_range:g}", f"{config.data_range:g}"),
            )
            if theirs != ours
        ]
        if told:
            raise UsageError(
                f"the degrader {self.name} was trained for {'; '.join(told)}: take one that was "
                "trained on this store's kind of imagery, or another store"
            )

    def load(self, config: StoreConfig, noise_dn: tuple[float, ...]) -> Derive:
        """See `Deriver`; noise is its own."""
        return _read_degrader(self.folder)


@lru_cache(maxsize=2)  # once for a worker, not for each block
def _read_degrader(folder: str) -> Derive:
    from models.degrade import DegraderModel

    return DegraderModel(folder)


def find_deriver(text: str) -> Deriver:
    """What a user means by a name.

    Raises
    ------
    UsageError
        If there is no such thing.
    FlowError, ModelError
        If it cannot be had or read.
    """
    from flows.registry import find_degrader
    from models.degrade import load_degrader_card

    sensor = SensorDeriver()
    if text == sensor.name:
        return sensor
    found = find_degrader(text)
    if found is None or found.folder is None:
        raise UsageError(
            f"degrade is {text!r}; wanted {sensor.name}, models:/skyscale-degrader@ALIAS, "
            "runs:/ID/degrader, or a folder with degrader.json"
        )
    return ModelDeriver(folder=found.folder, name=load_degrader_card(Path(found.folder)).name)
