"""Layers that the networks share, and the arithmetic of what a pixel can see."""

from __future__ import annotations

import math
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.errors import ConfigError

_TAPS = 5  # half-pixel centres lie within half a pixel of the middle tap, the cubic reaches 2


def keys_cubic(x: Tensor, a: float = -0.5) -> Tensor:
    """Weight of the cubic convolution kernel at distance `x` in pixels.

    Keys, "Cubic convolution interpolation for digital image processing", 1981, eq. 15; with
    a = -1/2 exact for parabolas, and what Pillow and Matlab call bicubic.
    """
    x = x.abs()
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return torch.where(x <= 1, near, torch.where(x < 2, far, torch.zeros_like(x)))


def keys_phases(scale: int) -> Tensor:
    """Weights [scale, 5] of LR pixels -2 to 2 for each of the HR pixels inside an LR pixel.

    HR pixel p of LR pixel i has its centre at i + (p + 1/2) / scale - 1/2.
    """
    centre = (torch.arange(scale, dtype=torch.float64) + 0.5) / scale - 0.5  # [s]
    taps = torch.arange(_TAPS, dtype=torch.float64) - _TAPS // 2  # [5]
    return keys_cubic(taps[None, :] - centre[:, None])  # [s, 5]


class KeysBicubic(nn.Module):
    """Bicubic upsampling as one fixed convolution and a pixel shuffle; always in float32.

    torch's own bicubic has a = -0.75, which rings more and is not the bicubic that reports
    compare with. Edges are replicated.
    """

    kernel: Tensor

    def __init__(self, *, bands: int, scale: int) -> None:
        super().__init__()
        self.scale = scale
        phases = keys_phases(scale)  # [s, 5]
        kernel = phases[:, None, :, None] * phases[None, :, None, :]  # [s, s, 5, 5]
        kernel = kernel.reshape(scale * scale, 1, _TAPS, _TAPS).float().repeat(bands, 1, 1, 1)
        # Follows from the scale, so it does not belong among the weights on disk.
        self.register_buffer("kernel", kernel, persistent=False)  # [C*s*s, 1, 5, 5]

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, h, w] to [N, C, s*h, s*w]."""
        with torch.autocast(x.device.type, enabled=False):
            # A grouped convolution is ten times faster in this layout than in the usual one.
            x = x.float().contiguous(memory_format=torch.channels_last)
            x = functional.pad(x, (_TAPS // 2,) * 4, mode="replicate")
            x = functional.conv2d(x, self.kernel, groups=x.shape[1])  # [N, C*s*s, h, w]
            return functional.pixel_shuffle(x, self.scale)

    def input_radius(self, radius: int) -> int:
        """See `Reaching`."""
        return math.ceil(radius / self.scale) + _TAPS // 2


class Standardise(nn.Module):
    """Constants of the training imagery: a mean for each band and one spread for all.

    With them a learning rate or a loss weight means the same whether the imagery is uint8 of a
    bright town or reflectance of a dark forest. One spread, because errors of all bands count
    alike in DN. They are constants of a generator, never taken from the image at hand, which
    would make neighbouring tiles disagree.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, bands: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(1, bands, 1, 1))
        self.register_buffer("spread", torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        """Reflectance to zero mean and unit spread, any shape [N, C, ...]."""
        return (x - self.mean) / self.spread

    def set(self, mean: Tensor, spread: float) -> None:
        """Fix the constants: `mean` [C]."""
        self.mean.copy_(mean.reshape_as(self.mean))
        self.spread.fill_(spread)


class ResidualBlock(nn.Module):
    """x + conv(activation(conv(x))), without batch normalisation (Lim et al., EDSR, 2017)."""

    def __init__(self, channels: int, activation: nn.Module) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            conv3x3(channels, channels), activation, conv3x3(channels, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, h, w] to [N, C, h, w]."""
        out: Tensor = x + self.branch(x)
        return out

    def input_radius(self, radius: int) -> int:
        """See `Reaching`."""
        return input_radius(self.branch, radius)


class Residual(nn.Sequential):
    """x + layers(x)."""

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, h, w] to [N, C, h, w]."""
        out: Tensor = x + super().forward(x)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return out


def conv3x3(inputs: int, outputs: int) -> nn.Conv2d:
    """3x3 convolution that keeps the size (zeros outside the image)."""
    return nn.Conv2d(inputs, outputs, 3, padding=1)


def icnr_(conv: nn.Conv2d, factor: int) -> nn.Conv2d:
    """Give all sub-pixels of a later pixel shuffle the same weights: no checkerboard at first.

    Aitken et al., "Checkerboard artifact free sub-pixel convolution", 2017.
    """
    with torch.no_grad():
        first = conv.weight[:: factor * factor].clone()
        conv.weight.copy_(first.repeat_interleave(factor * factor, dim=0))
        if conv.bias is not None:
            conv.bias.copy_(conv.bias[:: factor * factor].clone().repeat_interleave(factor**2))
    return conv


@runtime_checkable
class Reaching(Protocol):
    """A module that knows how far its output sees."""

    def input_radius(self, radius: int) -> int:
        """How far around, in input pixels, output pixels within `radius` depend on the input."""


_POINTWISE = (nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.Identity)


def input_radius(module: nn.Module, radius: int = 0) -> int:
    """Radius in input pixels that outputs within `radius` of a pixel depend on.

    Walked from the output back to the input, which makes the roundings of a pixel shuffle exact:
    R fine pixels beside a fine pixel at the edge of its coarse one are ceil(R / r) coarse pixels
    away.

    Raises
    ------
    ConfigError
        For a layer whose reach is not known: a guess would put seams between blocks.
    """
    if isinstance(module, nn.Sequential):
        for layer in reversed(module):
            radius = input_radius(layer, radius)
        return radius
    if isinstance(module, Reaching):
        return module.input_radius(radius)
    if isinstance(module, nn.Conv2d) and set(module.stride) == {1}:
        return radius + max(
            dilation * (size - 1) // 2
            for dilation, size in zip(module.dilation, module.kernel_size, strict=True)
        )
    if isinstance(module, nn.PixelShuffle):
        return math.ceil(radius / module.upscale_factor)
    if isinstance(module, _POINTWISE):
        return radius
    raise ConfigError(f"the reach of {type(module).__name__} is not known: give it input_radius")
