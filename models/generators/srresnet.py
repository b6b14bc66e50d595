"""The generator of SRGAN, without its batch normalisation."""

from __future__ import annotations

from torch import nn

from models.generators.base import Generator, zero_
from models.layers import Residual, ResidualBlock, conv3x3, icnr_


class SRResNet(Generator):
    """Residual blocks on LR pixels, then upsampling by two at a time, the last layer on HR pixels.

    Ledig et al., "Photo-realistic single image super-resolution using a GAN", 2017; 3x3 instead
    of 9x9 at both ends, which costs little quality and spares most of the time on HR pixels.
    """

    def __init__(self, *, bands: int, scale: int, channels: int, blocks: int) -> None:
        upsampling: list[nn.Module] = []
        for _ in range(scale.bit_length() - 1):
            upsampling += [
                icnr_(conv3x3(channels, 4 * channels), 2),
                nn.PixelShuffle(2),
                nn.PReLU(),
            ]
        detail = nn.Sequential(
            conv3x3(bands, channels),
            nn.PReLU(),
            Residual(
                *(ResidualBlock(channels, nn.PReLU()) for _ in range(blocks)),
                conv3x3(channels, channels),
            ),
            *upsampling,
            zero_(conv3x3(channels, bands)),
        )
        super().__init__(detail, bands=bands, scale=scale)
