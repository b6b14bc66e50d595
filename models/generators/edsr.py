"""The small fast default: all work on LR pixels, one pixel shuffle at the very end."""

from __future__ import annotations

from torch import nn

from models.generators.base import Generator, zero_
from models.layers import Residual, ResidualBlock, conv3x3


class EDSR(Generator):
    """Residual blocks without batch normalisation, sub-pixel convolution as last layer.

    Blocks of Lim et al., "Enhanced deep residual networks for single image super-resolution",
    2017; upsampling of Shi et al., "Efficient sub-pixel convolutional neural network", 2016.
    """

    def __init__(self, *, bands: int, scale: int, channels: int, blocks: int) -> None:
        detail = nn.Sequential(
            conv3x3(bands, channels),
            Residual(
                *(ResidualBlock(channels, nn.ReLU(inplace=True)) for _ in range(blocks)),
                conv3x3(channels, channels),
            ),
            zero_(conv3x3(channels, bands * scale * scale)),
            nn.PixelShuffle(scale),
        )
        super().__init__(detail, bands=bands, scale=scale)
