"""The updates of learning what every pixel shows."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from models.data import PairSpec
from models.latents import batch_latents
from models.player import Metrics
from models.segmenter import Segmenter
from models.segmenting import Segmenting
from models.solo import SoloLearner
from models.tensors import Tensors

_OF_BANDS = 0.3  # of what changes in all bands together: light has a colour


class SegmentLearner(SoloLearner[Segmenter]):
    """HR images and what their pixels show; cross-entropy, and nothing else.

    Long, Shelhamer and Darrell, 2015: every labelled pixel counts alike, whatever its class.
    """

    def product(self, spec: PairSpec) -> Segmenting:
        """The averaged network."""
        return Segmenting(self.ema.network, self._config.segment, spec, self._ranks.device)

    @torch.no_grad()
    def check_up(self, batch: Tensors) -> Metrics:
        """``mean_loss``, what it would cost to know nothing but how frequent the classes are."""
        labels = _labels(batch)
        counts = torch.bincount(labels.flatten(), minlength=self.network.classes + 1)[1:].float()
        shares = counts / counts.sum().clamp(min=1)
        return {"mean_loss": -(shares * shares.clamp(min=1e-12).log()).sum()}

    def _loss(self, batch: Tensors) -> tuple[Tensor, Metrics]:
        image = torch.lerp(self.network.standardise.mean, batch.hr, batch.valid)
        if self._config.segment.jitter:
            image = self._in_another_light(image)
        with self._autocast():
            scores = self._player.wrapped(image)
        labels = _labels(batch)
        # A label of 0 becomes -1, which is not counted; divided by all pixels, as many on every
        # rank, so that a pixel weighs alike on all of them.
        nats = functional.cross_entropy(scores, labels - 1, ignore_index=-1, reduction="sum")
        loss = nats / labels.numel()
        known = labels > 0
        right = ((scores.argmax(dim=1) + 1 == labels) & known).sum() / known.sum().clamp(min=1)
        return loss, {"content_loss": loss.detach(), "accuracy": right.detach()}

    def _in_another_light(self, image: Tensor) -> Tensor:
        """Each chip brighter or darker, with more or less contrast; its bands nearly alike."""
        units, bands = self.network.standardise, image.shape[1]
        drawn = batch_latents(len(image), 2 + 2 * bands, self._ranks)[..., None, None]
        of_bands = _OF_BANDS * drawn[:, 2:]
        jitter = self._config.segment.jitter
        contrast = jitter * (drawn[:, :1] + of_bands[:, :bands])  # [n, C, 1, 1]
        brightness = jitter * (drawn[:, 1:2] + of_bands[:, bands:])
        seen: Tensor = (image - units.mean) * contrast.exp() + units.mean
        return seen + brightness * units.spread


def _labels(batch: Tensors) -> Tensor:
    assert batch.labels is not None  # `check_pairs` has seen to it
    return batch.labels
