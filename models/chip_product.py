"""Chips of noise as what a run makes: held against real held-out ones, pictures, export."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from models.chip_networks import Autoencoder, ChipGenerator
from models.chip_scores import compare_chips, largest_step, nearest_distances
from models.chips import DN, NAME, Chips, ChipsCard, read_chips, save_chips
from models.config import TrainConfig
from models.data import PairSource, PairSpec, evenly_spaced
from models.evaluate import Evaluation, Score
from models.product import Origin

_LEAST = 16  # that are drawn, however few there are to compare with


class DrawnChips:
    """A network that draws HR chips of noise; see `models.product.Product`.

    Parameters
    ----------
    network : ChipGenerator or Autoencoder
    config : TrainConfig
    spec : PairSpec
    device : torch.device
    """

    folder = NAME

    def __init__(
        self,
        network: ChipGenerator | Autoencoder,
        config: TrainConfig,
        spec: PairSpec,
        device: torch.device,
    ) -> None:
        self.network = network
        self._config = config
        self._spec = spec
        self._chips = Chips(network, data_range=spec.data_range, device=device)

    def validate(self, pairs: PairSource, score: Score, *, limit: int, samples: int) -> Evaluation:
        """Distances from real chips of other ground; no `score`, which wants one of the same."""
        return evaluate_chips(
            self._chips,
            pairs,
            self._spec,
            limit=limit,
            walk=self._config.chips.walk,
            pictures=samples > 0,
        )

    def export(self, target: Path, origin: Origin) -> None:
        """Write it as `models.chips.load_chips` reads it."""
        card = ChipsCard(
            task=self._config.task,
            architecture=self._config.chips,
            side=self._chips.generator.side,
            bands=self._spec.bands,
            data_range=self._spec.data_range,
            pixel_dtype=self._spec.dtype,
            store_version=origin.store_version,
            store_digest=origin.store_digest,
            training=origin.training,
        )
        save_chips(target, self.network, card)


def evaluate_chips(
    chips: Chips,
    pairs: PairSource,
    spec: PairSpec,
    *,
    walk: int,
    limit: int | None = None,
    pictures: bool = False,
) -> Evaluation:
    """Hold drawn chips against the HR chips of pairs.

    Parameters
    ----------
    chips : Chips
    pairs : PairSource
        Of ground that it was not trained on.
    walk : int
        Steps of each leg of the walk.
    limit : int, optional
        At most so many pairs; all by default.
    pictures : bool
        Hand back chips to look at.

    Returns
    -------
    Evaluation
        Scores: those of `compare_chips`; ``largest_step`` of the walk; of an autoencoder ``elbo``
        and ``kl``. Sheets: ``drawn``, ``real`` and ``walk``.
    """
    real, valid = read_chips(
        pairs, spec, side=chips.generator.side, mean=mean_dn(chips, spec), limit=limit
    )
    drawn, way = chips.draw(max(_LEAST, len(real))), chips.walk(walk)
    scores = {
        **compare_chips(drawn, real, chips.spread),
        "largest_step": largest_step(way),
        **(chips.likelihood(real, valid) or {}),
    }
    sheets = {"drawn": drawn[:_LEAST], "real": real[:_LEAST], "walk": way}
    return Evaluation(
        scores=scores,
        pairs=len(real),
        not_finite={},
        sheets=sheets if pictures else {},
    )


def mean_dn(chips: Chips, spec: PairSpec) -> DN:
    """Mean of the imagery, [C], DN."""
    mean = chips.generator.standardise.mean.flatten().cpu().numpy()
    return np.asarray(mean * spec.data_range, np.float32)


def judge_chips(
    chips: Chips, pairs: PairSource, training: PairSource, spec: PairSpec, *, walk: int
) -> dict[str, float]:
    """`evaluate_chips`, and beside it the same of real chips, and of what is learned by heart.

    Parameters
    ----------
    pairs : PairSource
        Of ground that it was not trained on.
    training : PairSource
        Of all that it was trained on.

    Returns
    -------
    dict
        Scores of `evaluate_chips`; those of `compare_chips` of as many training chips (``real_``);
        ``nearest`` and ``real_nearest``, the median distance from a drawn, and from a held-out
        chip, to the nearest training chip (see `nearest_distances`).
    """
    side, mean = chips.generator.side, mean_dn(chips, spec)
    real, _ = read_chips(pairs, spec, side=side, mean=mean)
    known, _ = read_chips(training, spec, side=side, mean=mean)
    drawn = chips.draw(max(_LEAST, len(real)))
    places = evenly_spaced(len(known), len(drawn))
    beside = compare_chips(known[places], real, chips.spread)
    return {
        **evaluate_chips(chips, pairs, spec, walk=walk).scores,
        **{f"real_{name}": value for name, value in beside.items()},
        "nearest": float(np.median(nearest_distances(drawn, known, chips.spread))),
        "real_nearest": float(np.median(nearest_distances(real, known, chips.spread))),
    }
