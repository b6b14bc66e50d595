"""How near images come to the look of a campaign, beside what a plain gain and offset would do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.features import FeatureNetwork
from models.style_losses import Moments, gram_moments, layout, texture

_Stack = npt.NDArray[np.float32]
_TOGETHER = 8  # images in a forward of the feature network
_SHARES = np.linspace(0.005, 0.995, 199)
_MOST_VALUES = 1 << 21  # of a band that quantiles are taken of


def score_looks(
    source: _Stack,
    drawn: _Stack,
    target: _Stack,
    valid: npt.NDArray[np.bool_],
    network: FeatureNetwork,
) -> dict[str, float]:
    """Distances to the target of what is drawn, of the source, and of the source matched linearly.

    Linear matching gives each band the mean and the spread of the target's, over all images at
    once: what everybody has without a network.

    Parameters
    ----------
    source, drawn, target : array, [n, C, H, W]
        In units of the imagery's spread about its mean; targets are of other ground.
    valid : array of bool, [n, H, W]
        Of all three.
    network : FeatureNetwork

    Returns
    -------
    dict
        ``texture`` (of Gram matrices, colours apart), ``colours`` (mean distance of quantiles,
        bands apart, in spreads: the 1-D Wasserstein distance) and ``layout`` (to the source, not
        the target); the same with ``source_`` and ``linear_`` before it. Nothing where nothing is
        valid.
    """
    if not valid.any():
        return {}
    gain, offset = match_linearly(source, target, valid)
    linear = (source * gain + offset).astype(np.float32)
    seen = _grams(target, valid, network)
    found: dict[str, float] = {}
    for name, images in (("", drawn), ("source_", source), ("linear_", linear)):
        found[f"{name}texture"] = float(texture(_grams(images, valid, network), seen))
        found[f"{name}colours"] = quantile_distance(images, target, valid)
        found[f"{name}layout"] = _layout(images, source, valid, network)
    return found


def match_linearly(
    source: _Stack, target: _Stack, valid: npt.NDArray[np.bool_]
) -> tuple[_Stack, _Stack]:
    """Gain and offset, [C, 1, 1], that give each band the mean and the spread of the target's."""
    ours, theirs = _values(source, valid), _values(target, valid)  # [C, k]
    gain = theirs.std(axis=1) / np.maximum(ours.std(axis=1), 1e-6)
    offset = theirs.mean(axis=1) - gain * ours.mean(axis=1)
    return gain[:, None, None], offset[:, None, None]


def quantile_distance(one: _Stack, other: _Stack, valid: npt.NDArray[np.bool_]) -> float:
    """Mean distance of the quantiles of each band, then over bands."""
    ours, theirs = (
        np.quantile(_thinned(_values(images, valid)), _SHARES, axis=1) for images in (one, other)
    )
    return float(np.abs(ours - theirs).mean())


def _values(images: _Stack, valid: npt.NDArray[np.bool_]) -> _Stack:
    """Valid values of each band, [C, k]."""
    return np.moveaxis(images, 1, 0)[:, valid]


def _thinned(values: _Stack) -> _Stack:
    return values[:, :: -(-values.shape[1] // _MOST_VALUES)]


@torch.inference_mode()
def _grams(images: _Stack, valid: npt.NDArray[np.bool_], network: FeatureNetwork) -> Moments:
    """Of images whose bands are brought to no mean and unit spread, over all of them."""
    values = _values(images, valid)
    mean, spread = (x[:, None, None] for x in (values.mean(axis=1), values.std(axis=1)))
    plain = ((images - mean) / np.maximum(spread, 1e-6)).astype(np.float32)
    total: Moments = []
    for image, there in _some([plain], valid, network):
        weighed = [moment * len(there) for moment in gram_moments(image, there, network)]
        total = [a + b for a, b in zip(total, weighed, strict=True)] if total else weighed
    return [moment / len(images) for moment in total]


@torch.inference_mode()
def _layout(
    images: _Stack, source: _Stack, valid: npt.NDArray[np.bool_], network: FeatureNetwork
) -> float:
    total = 0.0
    for image, before, there in _some([images, source], valid, network):
        total += float(layout(image, before, there, network)) * len(there)
    return total / len(images)


def _some(
    stacks: Sequence[_Stack], valid: npt.NDArray[np.bool_], network: FeatureNetwork
) -> Iterator[list[Tensor]]:
    """A few images of each stack at a time, and where they are valid, on the network's device."""
    device = network.answer.device
    for first in range(0, len(valid), _TOGETHER):
        part = slice(first, first + _TOGETHER)
        images = [torch.from_numpy(np.ascontiguousarray(stack[part])) for stack in stacks]
        there = torch.from_numpy(valid[part, None].astype(np.float32))
        yield [image.to(device) for image in (*images, there)]
