"""The generator that gives images another look, as what a run makes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from models.config_networks import GeneratorConfig
from models.data import PairSource, PairSpec
from models.evaluate import Evaluation, Score, Upsample, evaluate
from models.features import FeatureNetwork
from models.generators.base import Generator
from models.layers import Standardise
from models.product import Upsampling
from models.style_scores import score_looks

_Image = npt.NDArray[Any]
MOST_SCORED = 256
"""Images that a look is judged by, at most: all three sides of them are held in memory."""


class Restyling(Upsampling):
    """A generator of scale 1, judged by the look of what it draws and by what it leaves in place.

    Parameters
    ----------
    features : FeatureNetwork
        See `score_looks`.
    """

    folder = "style"

    def __init__(
        self,
        network: Generator,
        architecture: GeneratorConfig,
        spec: PairSpec,
        device: torch.device,
        dtype: torch.dtype,
        features: FeatureNetwork,
    ) -> None:
        super().__init__(network, architecture, spec, device, dtype)
        self._features = features

    def validate(self, pairs: PairSource, score: Score, *, limit: int, samples: int) -> Evaluation:
        """Scores of the look of all images together, beside those of each by itself."""
        return score_restyled(
            self._draw,
            pairs,
            score,
            features=self._features,
            units=units_of(self.network.standardise, self._spec.data_range),
            limit=limit,
            samples=samples,
        )


def units_of(standardise: Standardise, data_range: float) -> Callable[[_Image], _Image]:
    """DN [C, H, W] to units of the imagery's spread about its mean."""
    mean = standardise.mean[0].cpu().numpy() * data_range  # [C, 1, 1]
    spread = float(standardise.spread) * data_range

    def in_units(image: _Image) -> _Image:
        return ((image - mean) / spread).astype(np.float32)

    return in_units


def score_restyled(
    restyle: Upsample,
    pairs: PairSource,
    score: Score,
    *,
    features: FeatureNetwork,
    units: Callable[[_Image], _Image],
    limit: int = MOST_SCORED,
    samples: int = 0,
) -> Evaluation:
    """Redraw the source images of `pairs` and score them; see `evaluate` and `score_looks`."""
    seen: list[tuple[_Image, _Image, _Image, npt.NDArray[np.bool_]]] = []

    def keep(
        drawn: _Image, target: _Image, source: _Image, valid: npt.NDArray[np.bool_]
    ) -> Mapping[str, float]:
        seen.append((units(source), units(drawn), units(target), valid))
        return score(drawn, target, source, valid)

    found = evaluate(restyle, pairs, keep, limit=min(limit, MOST_SCORED), samples=samples)
    source, drawn, target, valid = (np.stack(images) for images in zip(*seen, strict=True))
    looks = score_looks(source, drawn, target, valid, features)
    return dataclasses.replace(found, scores={**found.scores, **looks})
