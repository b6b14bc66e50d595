"""What every generator is: something learned on top of bicubic upsampling."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from models.errors import ConfigError
from models.layers import KeysBicubic, Standardise, input_radius


class Generator(nn.Module):
    """Bicubic upsampling plus what `detail` adds to it.

    The last convolution of `detail` starts at zero, so an untrained generator is bicubic exactly:
    training starts from the baseline instead of from noise.

    Parameters
    ----------
    detail : nn.Module
        [N, C, h, w] to [N, C, s*h, s*w], both in units of the spread.
    bands, scale : int
    """

    def __init__(self, detail: nn.Module, *, bands: int, scale: int) -> None:
        super().__init__()
        self.bands = bands
        self.scale = scale
        self.standardise = Standardise(bands)
        self.base = KeysBicubic(bands=bands, scale=scale)
        self.detail = detail

    levels: tuple[int, ...] = ()
    """Scales it can work at while it grows up; none for most."""

    def forward(self, x: Tensor) -> Tensor:
        """LR reflectance [N, C, h, w] to HR reflectance [N, C, s*h, s*w], float32."""
        detail: Tensor = self.detail(self.standardise(x))  # [N, C, s*h, s*w]
        return torch.addcmul(self.base(x), detail.float(), self.standardise.spread)

    def draw(self, x: Tensor, level: int, alpha: float) -> Tensor:
        """LR reflectance to [N, C, level*h, level*w], at one of its `levels`.

        Parameters
        ----------
        alpha : float
            How far the level is faded in over the one below, 0 to 1.

        Raises
        ------
        ConfigError
            When it cannot grow.
        """
        raise ConfigError(f"{type(self).__name__} cannot grow: it has no level {level}")

    def prepare_to_grow(self) -> None:
        """Add what it needs to work at coarser scales.

        Raises
        ------
        ConfigError
            When it cannot grow.
        """
        raise ConfigError(f"{type(self).__name__} cannot grow")

    def for_export(self) -> Generator:
        """The same function in the form in which it is used, without what only training needs."""
        return self

    def start_as(self, exported: Generator) -> None:
        """Become the function that `exported` is, to be trained further: `for_export` undone.

        Parameters
        ----------
        exported : Generator
            Of the same kind, size, bands and scale, as it was exported.
        """
        self.load_state_dict(exported.state_dict())

    def thinned(self, random: np.random.Generator) -> Generator:
        """The same network with one choice of its dropout made for good, ready to be used.

        Raises
        ------
        ConfigError
            When it has no dropout.
        """
        raise ConfigError(f"{type(self).__name__} has no dropout to choose planes by")

    @property
    def halo(self) -> int:
        """How far in LR pixels an output pixel looks around its own LR pixel."""
        return max(input_radius(self.detail), input_radius(self.base))


def zero_(conv: nn.Conv2d) -> nn.Conv2d:
    """Let a convolution say nothing until it has learned something."""
    nn.init.zeros_(conv.weight)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv
