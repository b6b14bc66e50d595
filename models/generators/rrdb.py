"""Dense blocks within residual ones: the most for its parameters, where time is no matter."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from models.generators.base import Generator, zero_
from models.layers import Residual, conv3x3, icnr_

_SLOPE = 0.2
_LAYERS = 5  # of a dense block
_SCALED = 0.2  # what of a branch is added to its input


class DenseBlock(nn.Module):
    """x + 0.2 f(x), each layer of f seeing all before it."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            conv3x3(channels + n * growth, growth if n < _LAYERS - 1 else channels)
            for n in range(_LAYERS)
        )

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, h, w] to [N, C, h, w]."""
        seen = [x]
        for layer in self.layers[:-1]:
            seen.append(leaky_relu(layer(torch.cat(seen, dim=1)), _SLOPE))
        out: Tensor = x + _SCALED * self.layers[-1](torch.cat(seen, dim=1))
        return out

    def input_radius(self, radius: int) -> int:
        """See `models.layers.Reaching`."""
        return radius + _LAYERS


class ResidualDense(nn.Sequential):
    """x + 0.2 of three dense blocks."""

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, h, w] to [N, C, h, w]."""
        out: Tensor = x + _SCALED * super().forward(x)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return out


class RRDB(Generator):
    """Residual in residual dense blocks, then upsampling by two at a time.

    Wang et al., "ESRGAN: enhanced super-resolution generative adversarial networks", 2018, with
    sub-pixel convolutions instead of interpolation before the last layers.
    """

    def __init__(self, *, bands: int, scale: int, channels: int, blocks: int, growth: int) -> None:
        upsampling: list[nn.Module] = []
        for _ in range(scale.bit_length() - 1):
            upsampling += [
                icnr_(conv3x3(channels, 4 * channels), 2),
                nn.PixelShuffle(2),
                nn.LeakyReLU(_SLOPE),
            ]
        detail = nn.Sequential(
            conv3x3(bands, channels),
            Residual(
                *(
                    ResidualDense(*(DenseBlock(channels, growth) for _ in range(3)))
                    for _ in range(blocks)
                ),
                conv3x3(channels, channels),
            ),
            *upsampling,
            zero_(conv3x3(channels, bands)),
        )
        super().__init__(detail, bands=bands, scale=scale)
