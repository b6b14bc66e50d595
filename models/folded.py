"""A generator in the form in which it is used: DN to DN, constants folded into the weights."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.errors import ConfigError
from models.generators.base import Generator
from models.layers import KeysBicubic


class FoldedGenerator(nn.Module):
    """The same function as a generator, with less to do for each pixel.

    The data range and the spread are part of the last weights. Where the generator ends with a
    pixel shuffle, bicubic base and detail are added before it, as phases of LR pixels, and the
    shuffle is left to whoever lays the image out: see `lay_out`.

    Parameters
    ----------
    generator : Generator
        Left as it is.
    data_range : float
        The DN that means reflectance one.
    dtype : torch.dtype
        Of the detail; the bicubic base and the sum are always float32.

    Raises
    ------
    ConfigError
        For a generator that does not end with a convolution.
    """

    def __init__(
        self, generator: Generator, data_range: float, dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__()
        generator = generator.for_export()
        layers = list(generator.detail) if isinstance(generator.detail, nn.Sequential) else []
        shuffles = bool(layers) and isinstance(layers[-1], nn.PixelShuffle)
        trunk = layers[:-1] if shuffles else layers
        last = trunk.pop() if trunk else None
        if not isinstance(last, nn.Conv2d):
            raise ConfigError(
                f"{type(generator).__name__} cannot be folded: its detail must end with a "
                "convolution, and perhaps a pixel shuffle"
            )
        self.bands = generator.bands
        self.scale = generator.scale
        self.factor = generator.scale if shuffles else 1
        """Of the pixel shuffle that is left to do."""
        self.dtype = dtype
        self.trunk = copy.deepcopy(nn.Sequential(*trunk))
        self.last = copy.deepcopy(last)
        self.base = BicubicPhases(generator.base)
        self.grow = nn.Identity() if shuffles else nn.PixelShuffle(generator.scale)
        self.register_buffer("mean", generator.standardise.mean * data_range)
        self.register_buffer("spread", generator.standardise.spread * data_range)
        with torch.no_grad():
            self.last.weight *= self.spread
            if self.last.bias is not None:
                self.last.bias *= self.spread
        self.trunk.to(dtype)
        self.last.to(dtype)
        self.eval().requires_grad_(False)

    mean: Tensor
    spread: Tensor

    def forward(self, lr: Tensor) -> Tensor:
        """DN float32 [N, C, h, w] to phases of DN, float32 [N, C*f*f, s/f*h, s/f*w]."""
        standard = (lr - self.mean) / self.spread
        detail = self.last(self.trunk(standard.to(self.dtype)))
        out: Tensor = self.grow(self.base(lr)) + detail
        return out


class BicubicPhases(nn.Module):
    """The HR pixels inside each LR pixel by bicubic upsampling, as planes: see `KeysBicubic`."""

    kernel: Tensor

    def __init__(self, base: KeysBicubic) -> None:
        super().__init__()
        self.bands = base.kernel.shape[0] // base.scale**2
        self.reach = base.kernel.shape[-1] // 2
        self.register_buffer("kernel", base.kernel.clone())

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, h, w] to [N, C*s*s, h, w]."""
        return self.within(x, self.reach, self.reach)

    def within(self, x: Tensor, above: int, below: int) -> Tensor:
        """The same with so many rows repeated above and below, instead of as many as it needs."""
        x = functional.pad(x, (self.reach, self.reach, above, below), mode="replicate")
        return functional.conv2d(x, self.kernel, groups=self.bands)


def lay_out(phases: Tensor, factor: int, out: Tensor) -> None:
    """Write phases [N, C*f*f, h, w] as images [N, C, f*h, f*w]: a pixel shuffle in one copy."""
    n, bands, height, width = out.shape
    h, w = height // factor, width // factor
    pixels = phases.view(n, bands, factor, factor, h, w).permute(0, 1, 4, 2, 5, 3)
    out.view(n, bands, h, factor, w, factor).copy_(pixels)  # [N, C, h, f, w, f]
