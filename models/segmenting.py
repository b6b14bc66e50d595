"""Segmenters as products of a training: how they are validated, and what is written of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from models.config_segment import SegmentConfig
from models.data import PairLike, PairSource, PairSpec, evenly_spaced, labels_of
from models.errors import DataError
from models.evaluate import Evaluation, Score
from models.product import Origin
from models.segment import NAME, Map, SegmenterCard, find_classes, save_segmenter
from models.segmenter import Segmenter

_TOGETHER = 16


class Segmenting:
    """A network that tells what every HR pixel shows; see `models.product.Product`.

    Parameters
    ----------
    network : Segmenter
    architecture : SegmentConfig
    spec : PairSpec
    device : torch.device
    """

    folder = NAME

    def __init__(
        self, network: Segmenter, architecture: SegmentConfig, spec: PairSpec, device: torch.device
    ) -> None:
        self.network = network
        self._architecture = architecture
        self._spec = spec
        self._device = device

    def validate(self, pairs: PairSource, score: Score, *, limit: int, samples: int) -> Evaluation:
        """Scores of the maps of HR images against labels; see `evaluate_maps`."""

        def find(image: npt.NDArray[np.float32]) -> Map:
            spec = self._spec
            return find_classes(
                self.network, image, data_range=spec.data_range, device=self._device
            )

        return evaluate_maps(find, pairs, score, limit=limit, samples=samples)

    def export(self, target: Path, origin: Origin) -> None:
        """Write it as `models.segment.load_segmenter` reads it."""
        spec = self._spec
        card = SegmenterCard(
            architecture=self._architecture,
            classes=spec.classes,
            bands=spec.bands,
            data_range=spec.data_range,
            pixel_dtype=spec.dtype,
            store_version=origin.store_version,
            store_digest=origin.store_digest,
            training=origin.training,
        )
        save_segmenter(target, self.network, card)


def evaluate_maps(
    find: Callable[[npt.NDArray[np.float32]], Map],
    pairs: PairSource,
    score: Score,
    *,
    limit: int | None = None,
    samples: int = 0,
    image_of: Callable[[PairLike], npt.NDArray[Any]] = lambda pair: pair.hr,
) -> Evaluation:
    """Make maps of images and hold them against labels, all pairs as if they were one.

    Parameters
    ----------
    find : callable
        DN [C, H, W] to classes [H, W].
    pairs : PairSource
        With labels.
    score : callable
        Asked once, with maps and labels [1, n*H, W] of all n pairs below each other, images of
        one plane: ``score(found, labels, labels, where there is a label)``.
    limit : int, optional
        At most so many pairs, evenly spread; all by default.
    samples : int
        Pictures to hand back, evenly spread over the pairs: sheets ``image`` [k, C, H, W],
        ``labels`` and ``found`` [k, 1, H, W].
    image_of : callable
        What a map is made of, of a pair; its HR image by default.

    Returns
    -------
    Evaluation
    """
    places = evenly_spaced(len(pairs), len(pairs) if limit is None else limit)
    shown = evenly_spaced(len(places), samples) if samples else []
    images: list[npt.NDArray[np.float32]] = []
    wanted: list[Map] = []
    found: list[Map] = []
    for first in range(0, len(places), _TOGETHER):
        for pair in pairs.read(places[first : first + _TOGETHER]):
            image = np.asarray(image_of(pair), np.float32)
            if len(wanted) in shown:
                images.append(image)
            wanted.append(_labels_of(pair))
            found.append(find(image))
    tall = [np.concatenate(maps)[None] for maps in (found, wanted)]
    sheets = {
        name: np.stack([maps[place] for place in shown])[:, None].astype(np.float32)
        for name, maps in (("labels", wanted), ("found", found))
        if shown
    }
    return Evaluation(
        scores=dict(score(tall[0], tall[1], tall[1], tall[1][0] > 0)),
        pairs=len(places),
        not_finite={},
        sheets={"image": np.stack(images), **sheets} if shown else {},
    )


def _labels_of(pair: PairLike) -> Map:
    """Labels where the image is good."""
    labels = labels_of(pair)
    if labels is None:
        raise DataError("a pair has no labels, so there is nothing to hold its map against")
    return np.asarray(np.where(pair.valid, labels, 0), np.uint8)
