"""What a training run makes: how it is judged on the way, and what is written of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from models.config_networks import GeneratorConfig, exported_form
from models.data import PairSource, PairSpec
from models.evaluate import Evaluation, Score, evaluate
from models.export import GeneratorCard, save_generator
from models.generators.base import Generator
from models.predict import upsample


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a product comes from.

    Parameters
    ----------
    training : mapping
        Summary of the run: configuration, steps, scores.
    store_version, store_digest : str or None
        Of the pair store.
    """

    training: Mapping[str, Any]
    store_version: str | None = None
    store_digest: str | None = None


class Product(Protocol):
    """The averaged network that a run is for."""

    @property
    def folder(self) -> str:
        """Where it is written, in the folder of the run."""

    @property
    def network(self) -> nn.Module:
        """What is validated, kept and exported."""

    def validate(self, pairs: PairSource, score: Score, *, limit: int, samples: int) -> Evaluation:
        """Scores on validation pairs; see `models.evaluate.evaluate`."""

    def export(self, target: Path, origin: Origin) -> None:
        """Write it there."""


class Upsampling:
    """A generator that makes HR images of LR images.

    Parameters
    ----------
    network : Generator
    architecture : GeneratorConfig
        As it is trained.
    spec : PairSpec
    device : torch.device
    dtype : torch.dtype
        Of the convolutions.
    """

    folder = "generator"

    def __init__(
        self,
        network: Generator,
        architecture: GeneratorConfig,
        spec: PairSpec,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.network = network
        self._architecture = architecture
        self._spec = spec
        self._device = device
        self._dtype = dtype

    def validate(self, pairs: PairSource, score: Score, *, limit: int, samples: int) -> Evaluation:
        """Scores of what it draws, beside the truth."""
        return evaluate(self._draw, pairs, score, limit=limit, samples=samples)

    def export(self, target: Path, origin: Origin) -> None:
        """Write it as `Predictor` reads it."""
        spec = self._spec
        card = GeneratorCard(
            architecture=exported_form(self._architecture),
            scale=spec.scale,
            bands=spec.bands,
            data_range=spec.data_range,
            halo=self.network.halo,
            pixel_dtype=spec.dtype,
            store_version=origin.store_version,
            store_digest=origin.store_digest,
            training=origin.training,
        )
        save_generator(target, self.network.for_export(), card)

    def _draw(self, lr: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return upsample(
            self.network,
            lr,
            data_range=self._spec.data_range,
            device=self._device,
            dtype=self._dtype,
        )
