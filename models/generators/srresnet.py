"""The generator of SRGAN, without its batch normalisation; it can grow up."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from models.generators.base import Generator, zero_
from models.layers import KeysBicubic, Residual, ResidualBlock, conv3x3, icnr_

_BODY = 3  # layers before the first upsampling
_STEP = 3  # layers of an upsampling by two


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
        self._channels = channels
        self.stages = nn.ModuleDict()
        """For each scale below the full one: its own last layer and bicubic base."""

    def prepare_to_grow(self) -> None:
        """Add what it needs to work at coarser scales, and `for_export` takes away again."""
        self.levels = tuple(2**n for n in range(1, self.scale.bit_length()))
        for level in self.levels[:-1]:
            self.stages[str(level)] = nn.ModuleDict(
                {
                    "last": zero_(conv3x3(self._channels, self.bands)),
                    "base": KeysBicubic(bands=self.bands, scale=level),
                }
            )

    def draw(self, x: Tensor, level: int, alpha: float) -> Tensor:
        """LR reflectance to [N, C, level*h, level*w]; see `Generator.draw`.

        The detail of the level below is repeated to the finer grid while it is faded out.
        """
        assert isinstance(self.detail, nn.Sequential)
        layers = list(self.detail)
        planes = self.standardise(x)
        for layer in layers[:_BODY]:
            planes = layer(planes)
        detail = below = None
        for number, scale in enumerate(self.levels[: self.levels.index(level) + 1]):
            start = _BODY + number * _STEP
            for layer in layers[start : start + _STEP]:
                planes = layer(planes)
            if scale == level or (2 * scale == level and alpha < 1):
                below, detail = detail, self._last(scale)(planes)
        assert detail is not None
        if below is not None:
            detail = alpha * detail + (1 - alpha) * interpolate(below, scale_factor=2)
        base = self.base if level == self.scale else self.stages[str(level)]["base"]  # type: ignore[index]
        return torch.addcmul(base(x), detail.float(), self.standardise.spread)

    def for_export(self) -> Generator:
        """The same without what only served to grow."""
        if not self.levels:
            return self
        grown = copy.deepcopy(self)
        grown.levels = ()
        grown.stages = nn.ModuleDict()
        return grown

    def _last(self, scale: int) -> nn.Module:
        assert isinstance(self.detail, nn.Sequential)
        last = self.detail[-1]
        if scale != self.scale:
            last = self.stages[str(scale)]["last"]  # type: ignore[index]  # a ModuleDict
        assert isinstance(last, nn.Module)
        return last
