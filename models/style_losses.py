"""Looks of imagery as moments over many images, and how far one look is from another.

Images are in units of the imagery's spread about its mean. Moments are means over images: those of
parts of a mini-batch, of ranks and of past mini-batches can be averaged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from models.content_losses import gram, perceptual
from models.distributed import Ranks
from models.features import FeatureNetwork

Moments = list[Tensor]
"""Means over all pixels, valid or not, of what is 0 where they are not; their share among them."""

Shown = tuple[Tensor, Tensor]
"""Images [N, C, H, W], and where they are valid: [N, 1, H, W], 1 or 0."""

_RGB = 3
_FLAT = 0.05  # spreads: contrast that counts as none
_LEAST = 1e-6


def views(image: Tensor) -> Tensor:
    """What a feature network for red, green and blue is shown of any bands.

    Returns
    -------
    Tensor
        [views*N, 3, H, W], view by view: the first three bands as colours, each other one as grey;
        of fewer than three bands each as grey.
    """
    bands = image.shape[1]
    coloured = _RGB if bands >= _RGB else 0
    shown = [image[:, :_RGB]] if coloured else []
    shown += [image[:, band : band + 1].expand(-1, _RGB, -1, -1) for band in range(coloured, bands)]
    return torch.cat(shown)


def own_units(image: Tensor, valid: Tensor) -> Tensor:
    """Each band of each image about its own mean and in units of its own contrast, 0 in holes.

    Whatever gain and offset a band is given, this stays the same.
    """
    count = valid.sum(dim=(2, 3), keepdim=True).clamp(min=1)
    mean = (image * valid).sum(dim=(2, 3), keepdim=True) / count
    centred = (image - mean) * valid
    variance = centred.square().sum(dim=(2, 3), keepdim=True) / count
    return centred / (variance + _FLAT**2).sqrt()


def layout(drawn: Tensor, source: Tensor, valid: Tensor, network: FeatureNetwork) -> Tensor:
    """How far a drawing shows other things, or elsewhere, than its source does.

    The feature reconstruction loss of Johnson, Alahi and Fei-Fei, "Perceptual losses for real-time
    style transfer and super-resolution", 2016, of images in units of their own: colours and
    contrast are a matter of looks.

    Parameters
    ----------
    drawn, source : Tensor
        [N, C, H, W].
    valid : Tensor
        [N, 1, H, W], 1 or 0.
    """
    with torch.no_grad():
        real = network(views(own_units(source, valid)))
    return perceptual(real, network(views(own_units(drawn, valid))))


def band_moments(image: Tensor, valid: Tensor) -> Moments:
    """Share of valid pixels [1], first and second moments of each band [C], of [N, C, H, W]."""
    image = image * valid
    moments = (x.mean(dim=(0, 2, 3)) for x in (image, image.square()))
    return [valid.mean().reshape(1), *moments]


def gram_moments(image: Tensor, valid: Tensor, network: FeatureNetwork) -> Moments:
    """Of each stage of the network share of valid pixels [1] and Gram matrices [views, c, c]."""
    moments: Moments = []
    shown = views(image * valid)
    count = len(shown) // len(image)
    for number, layer in enumerate(network(shown)):
        side = 1 << number
        whole = (avg_pool2d(valid, side) == 1).float() if side > 1 else valid
        products = gram(layer * whole.repeat(count, 1, 1, 1))  # [views*N, c, c]
        moments += [
            whole.mean().reshape(1),
            products.reshape(count, -1, *products.shape[1:]).mean(dim=1),
        ]
    return moments


def mean_and_spread(bands: Moments) -> tuple[Tensor, Tensor]:
    """Of each band, [C]."""
    share, first, second = bands
    mean = first / share.clamp(min=_LEAST)
    variance = second / share.clamp(min=_LEAST) - mean.square()
    return mean, variance.clamp(min=_FLAT**2).sqrt()


def colour(one: Moments, other: Moments) -> Tensor:
    """Squared differences of mean and of spread, each a mean over bands."""
    (mean, spread), (other_mean, other_spread) = mean_and_spread(one), mean_and_spread(other)
    return (mean - other_mean).square().mean() + (spread - other_spread).square().mean()


def texture(one: Moments, other: Moments) -> Tensor:
    """Squared difference of Gram matrices in parts of the other's square, over views and stages.

    Gatys, Ecker and Bethge, "Image style transfer using convolutional neural networks", 2016,
    eq. 3-4; of many images together, for the look of a campaign is not that of any one image, and
    in parts of what is wanted, so that weights do not depend on the network.
    """
    return torch.stack(
        [
            (a - b).square().mean() / b.square().mean().clamp(min=_LEAST)
            for a, b in zip(_grams(one), _grams(other), strict=True)
        ]
    ).mean()


def _grams(moments: Moments) -> list[Tensor]:
    return [
        matrices / share.clamp(min=_LEAST)
        for share, matrices in zip(moments[::2], moments[1::2], strict=True)
    ]


class RunningMoments:
    """Moments of a stream of images, of the more recent ones the more.

    A mini-batch is too small to know a look by, and a loss that squares what it knows would teach
    all images to be alike. So what is compared is the running mean, and gradients go through the
    images at hand: parts of a mini-batch and ranks then add up to the whole exactly.

    Parameters
    ----------
    memory : float
        What remains from one update to the next; at first it is the mean of all.
    """

    def __init__(self, memory: float) -> None:
        self._memory = memory
        self.values: Moments = []
        self.updates = 0

    @torch.no_grad()
    def update(self, found: Sequence[Moments], here: Ranks) -> None:
        """Take in those of the parts of a mini-batch; what is not finite is left out."""
        parts = [torch.cat([moment.flatten() for moment in moments]) for moments in found]
        new = here.mean(torch.stack(parts).mean(dim=0))
        shapes = [moment.shape for moment in found[0]]
        pieces = torch.split(new, [shape.numel() for shape in shapes])
        fresh = [piece.reshape(shape) for piece, shape in zip(pieces, shapes, strict=True)]
        if self.updates:
            weight = 1 - min(self._memory, self.updates / (self.updates + 1))
            good = new.isfinite().all()
            fresh = [
                torch.where(good, torch.lerp(old, moment, weight), old)
                for old, moment in zip(self.values, fresh, strict=True)
            ]
        self.values = [moment.clone() for moment in fresh]
        self.updates += 1

    def through(self, found: Moments) -> Moments:
        """As known now, with the gradients of the images at hand."""
        return [
            moment + (known - moment).detach()
            for moment, known in zip(found, self.values, strict=True)
        ]

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"values": list(self.values), "updates": self.updates}

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Put back what `state_dict` gave."""
        self.values = [moment.to(device) for moment in state["values"]]
        self.updates = int(state["updates"])


class Look:
    """What is known of the look of a stream of images: its colours, and its textures without them.

    Parameters
    ----------
    memory : float
        See `RunningMoments`.
    network : FeatureNetwork
    """

    def __init__(self, memory: float, network: FeatureNetwork) -> None:
        self.bands, self.grams = RunningMoments(memory), RunningMoments(memory)
        self._network = network

    def grams_of(self, image: Tensor, valid: Tensor) -> Moments:
        """Of images whose bands are brought to no mean and unit spread, as known of all of them."""
        mean, spread = (x[:, None, None] for x in mean_and_spread(self.bands.values))
        return gram_moments((image - mean) / spread, valid, self._network)

    def take_in(self, shown: Sequence[Shown], here: Ranks) -> None:
        """Learn from the parts of a mini-batch."""
        self.bands.update([band_moments(*part) for part in shown], here)
        self.grams.update([self.grams_of(*part) for part in shown], here)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"bands": self.bands.state_dict(), "grams": self.grams.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Put back what `state_dict` gave."""
        self.bands.load_state_dict(state["bands"], device)
        self.grams.load_state_dict(state["grams"], device)
