"""The U-Net of pix2pix, made so that a region can be drawn block by block."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from models.errors import ConfigError
from models.generators.base import Generator, zero_
from models.layers import conv3x3

_SLOPE = 0.2


class UNetBody(nn.Module):
    """Down and up again with skip connections, dropout on the way up.

    What the U-Net halves is left as it is here, and the convolutions reach twice as far instead
    (dilation; the undecimated form, as Holschneider's "algorithme a trous" is that of the wavelet
    transform). With halvings the result would depend on where on the halved grids a block of a
    region begins; so it looks as far and does not.
    """

    def __init__(self, channels: int, levels: int, dropout: float) -> None:
        super().__init__()
        self.down = nn.ModuleList(_dilated(channels, channels, 2**n) for n in range(levels))
        self.middle = _dilated(channels, channels, 2**levels)
        self.up = nn.ModuleList(
            _dilated(2 * channels, channels, 2**n) for n in reversed(range(levels))
        )
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, h, w] to [N, C, h, w]."""
        skips = []
        for layer in self.down:
            x = leaky_relu(layer(x), _SLOPE)
            skips.append(x)
        x = leaky_relu(self.middle(x), _SLOPE)
        for layer, skip in zip(self.up, reversed(skips), strict=True):
            x = self.dropout(leaky_relu(layer(torch.cat([x, skip], dim=1)), _SLOPE))
        return x

    @torch.no_grad()
    def thin_(self, random: np.random.Generator) -> None:
        """Leave out planes for good, as dropout does for a step of training.

        What is kept is larger by 1 / (1 - dropout). That factor is not negative, so a leaky ReLU
        lets it through, and it is part of the weights before: no layer is added.
        """
        kept = 1 - self.dropout.p
        for layer in self.up:
            assert isinstance(layer, nn.Conv2d)
            assert layer.bias is not None
            factors = (random.random(layer.out_channels) < kept) / kept  # [C]
            mask = torch.from_numpy(factors).to(layer.weight)
            layer.weight *= mask[:, None, None, None]
            layer.bias *= mask

    def input_radius(self, radius: int) -> int:
        """See `models.layers.Reaching`."""
        furthest = 1 << len(self.down)
        return radius + 2 * (furthest - 1) + furthest


class UNet(Generator):
    """Encoder and decoder on LR pixels, upsampled by a sub-pixel convolution at the end.

    Ronneberger et al., "U-Net", 2015; Isola et al., "Image-to-image translation with conditional
    adversarial networks" (pix2pix), 2017, whose only noise is dropout.
    """

    def __init__(
        self, *, bands: int, scale: int, channels: int, blocks: int, dropout: float
    ) -> None:
        detail = nn.Sequential(
            conv3x3(bands, channels),
            nn.LeakyReLU(_SLOPE),
            UNetBody(channels, blocks, dropout),
            zero_(conv3x3(channels, bands * scale * scale)),
            nn.PixelShuffle(scale),
        )
        super().__init__(detail, bands=bands, scale=scale)

    def thinned(self, random: np.random.Generator) -> Generator:
        """See `Generator.thinned`."""
        thin = copy.deepcopy(self).eval().requires_grad_(False)
        assert isinstance(thin.detail, nn.Sequential)
        (body,) = (layer for layer in thin.detail if isinstance(layer, UNetBody))
        if not body.dropout.p:
            raise ConfigError("UNet was made with dropout 0: it has no planes to leave out")
        body.thin_(random)
        return thin


def _dilated(inputs: int, outputs: int, dilation: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=dilation, dilation=dilation)
