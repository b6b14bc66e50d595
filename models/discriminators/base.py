"""What every discriminator is: judges of one image at one or more resolutions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.errors import ConfigError
from models.layers import Standardise

SLOPE = 0.2
_WIDEST = 4  # times the planes of the first layer


class Judgement(NamedTuple):
    """What a discriminator makes of a mini-batch.

    Parameters
    ----------
    logits : list of Tensor
        One for each resolution, the finest first, float32, positive for real; [N], or
        [N, 1, h, w] where parts of the image are judged for themselves.
    features : list of Tensor
        Activations [N, c, h, w] of all judges, in the order they are computed.
    """

    logits: list[Tensor]
    features: list[Tensor]


class Judge(nn.Module):
    """Tells drawn from real at one resolution."""

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Standardised image [N, inputs, H, W] to float32 logits and the activations before."""
        raise NotImplementedError


class Discriminator(nn.Module):
    """Judges of an image and of coarser copies of it, each blind to what the others see.

    Several resolutions after Wang et al., pix2pixHD, 2018: the fine judge looks at texture, the
    coarse ones at what goes together, and the generator learns from all at once (Karnewar and
    Wang, MSG-GAN, 2020). Seeing the input beside the image is the conditional GAN of Mirza and
    Osindero, 2014.

    Parameters
    ----------
    judges : sequence of Judge
        The finest first; each after it sees the image reduced by two once more, as means over
        2x2 pixels.
    bands : int
    conditional : bool
        Whether judges see the upsampled LR image beside the patch.
    smallest_patch : int
        Least side of a patch in HR pixels.
    """

    def __init__(
        self, judges: Sequence[Judge], *, bands: int, conditional: bool, smallest_patch: int
    ) -> None:
        super().__init__()
        self.conditional = conditional
        self.smallest_patch = smallest_patch
        self.standardise = Standardise(bands)
        self.judges = nn.ModuleList(judges)

    def forward(self, x: Tensor, lr_up: Tensor | None = None) -> list[Tensor]:
        """HR reflectance [N, C, H, W] to the logits of each resolution, see `Judgement`.

        Parameters
        ----------
        x : Tensor
            Patches; invalid pixels are the same constant in real and drawn ones.
        lr_up : Tensor, optional
            LR images on the grid of the patches [N, C, H, W], where the network is conditional.

        Raises
        ------
        ConfigError
            For patches that are too small, or `lr_up` missing or not wanted.
        """
        return self.judge(x, lr_up).logits

    def judge(self, x: Tensor, lr_up: Tensor | None = None) -> Judgement:
        """Logits as `forward` gives them, and the activations that lead to them."""
        image = self._seen(x, lr_up)
        judgement = Judgement([], [])
        for number, judge in enumerate(self.judges):
            if number:
                image = functional.avg_pool2d(image, 2)
            logits, features = judge(image)
            judgement.logits.append(logits)
            judgement.features.extend(features)
        return judgement

    def _seen(self, x: Tensor, lr_up: Tensor | None) -> Tensor:
        if min(x.shape[-2:]) < self.smallest_patch:
            raise ConfigError(
                f"the discriminator judges patches of {self.smallest_patch} HR pixels and more, "
                f"got {tuple(x.shape[-2:])}: larger patches, fewer stages or fewer resolutions",
                smallest_patch=self.smallest_patch,
            )
        if self.conditional != (lr_up is not None):
            raise ConfigError(
                "a conditional discriminator needs the upsampled LR image beside the patch"
                if self.conditional
                else "this discriminator is not conditional: it takes no LR image"
            )
        image: Tensor = self.standardise(x)
        if lr_up is None:
            return image
        if lr_up.shape != x.shape:
            raise ConfigError(
                f"the upsampled LR image is {tuple(lr_up.shape)}, its patches {tuple(x.shape)}"
            )
        return torch.cat([image, self.standardise(lr_up)], dim=1)  # [N, 2C, H, W]


def planes(channels: int, stage: int) -> int:
    """Feature planes after `stage` halvings, when there are `channels` at first."""
    return channels * min(1 << stage, _WIDEST)


def halvings(inputs: int, channels: int, stages: int) -> list[nn.Module]:
    """Strided 4x4 convolutions, each with a leaky ReLU, that leave [N, 4c, H/2^s, W/2^s].

    As in DCGAN (Radford et al., 2016): the kernel is a multiple of the stride, so that all pixels
    are looked at equally often.
    """
    layers: list[nn.Module] = []
    for stage in range(stages):
        outputs = planes(channels, stage)
        layers += [
            nn.Conv2d(inputs, outputs, 4, stride=2, padding=1),
            nn.LeakyReLU(SLOPE, inplace=True),
        ]
        inputs = outputs
    return layers


def activations(layers: Iterable[nn.Module], x: Tensor) -> list[Tensor]:
    """What each leaky ReLU of a chain of layers gives, the last one last."""
    found = []
    for layer in layers:
        x = layer(x)
        if isinstance(layer, nn.LeakyReLU):
            found.append(x)
    return found
