"""What makes the LR images of ``skyscale ingest --degrade``: found, checked, sent to workers."""

from __future__ import annotations

from dataclasses import dataclass
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


def find_deriver(text: str) -> Deriver:
    """What a user means by a name.

    Raises
    ------
    UsageError
        If there is no such thing.
    """
    sensor = SensorDeriver()
    if text == sensor.name:
        return sensor
    raise UsageError(f"degrade is {text!r}; wanted {sensor.name}")
