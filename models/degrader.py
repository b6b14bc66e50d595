"""From HR back to LR: what a satellite would have seen, learned."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from models.generators.base import zero_
from models.layers import Residual, ResidualBlock, Standardise, conv3x3


class Degrader(nn.Module):
    """The mean over each LR pixel, plus what is learned of blur, colour and noise.

    All work is done on LR pixels, each with its s*s HR pixels as planes, and beside them a plane
    of noise: a sensor adds some of its own, which no function of the image can (Bulat, Yang and
    Tzimiropoulos, "To learn image super-resolution, use a GAN to learn how to do image
    degradation first", 2018). The last convolution starts at zero, so that an untrained degrader
    is the mean exactly.

    Parameters
    ----------
    bands, scale : int
    channels, blocks : int
        Feature planes and residual blocks.
    """

    def __init__(self, *, bands: int, scale: int, channels: int, blocks: int) -> None:
        super().__init__()
        self.bands = bands
        self.scale = scale
        self.blocks = blocks
        self.standardise = Standardise(bands)
        self.head = nn.Sequential(nn.PixelUnshuffle(scale), conv3x3(bands * scale**2, channels))
        self.noise = conv3x3(1, channels)
        self.body = nn.Sequential(
            nn.ReLU(),
            Residual(*(ResidualBlock(channels, nn.ReLU()) for _ in range(blocks))),
            zero_(conv3x3(channels, bands)),
        )

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        """HR reflectance [N, C, s*h, s*w] to LR reflectance [N, C, h, w], float32.

        Parameters
        ----------
        x : Tensor
        noise : Tensor
            [N, 1, h, w], as `noise_for` draws it.
        """
        learned = self.body(self.head(self.standardise(x)) + self.noise(noise))  # [N, C, h, w]
        return torch.addcmul(avg_pool2d(x, self.scale), learned.float(), self.standardise.spread)

    @property
    def halo(self) -> int:
        """How far in LR pixels an LR pixel looks around its own HR pixels, and its noise."""
        return 2 + 2 * self.blocks  # the first convolution, two of each block, the last one

    def noise_for(self, x: Tensor, random: torch.Generator | None = None) -> Tensor:
        """A plane of noise [N, 1, h, w] for HR images [N, C, s*h, s*w].

        Parameters
        ----------
        random : torch.Generator, optional
            Of a CPU, so that its noise is the same on any device.
        """
        n, _, height, width = x.shape
        size = (n, 1, height // self.scale, width // self.scale)
        if random is not None:
            return torch.randn(size, generator=random).to(x.device)
        return torch.randn(size, device=x.device)  # on a CPU, of what a checkpoint keeps
