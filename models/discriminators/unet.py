"""The judge of pixels: one decision for each, knowing what is around it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from models.discriminators.base import SLOPE, Judge, planes


class UNetJudge(Judge):
    """Down by strided convolutions and up again, with the finer planes added on the way.

    Schönfeld et al., "A U-Net based discriminator for generative adversarial networks", 2020, as
    Real-ESRGAN has it (Wang et al., 2021): spectral normalisation (Miyato et al., 2018), skips
    that are added, no decision on the whole. Upsampling repeats pixels (Schönfeld et al.) rather
    than interpolating: its gradient is the same sum in the same order every time, also on GPUs.

    Notes
    -----
    Spectral normalisation keeps a running estimate of each layer's largest singular value in
    buffers. These move with each forward in training mode, from the weights alone, so that ranks
    agree without talking. In `eval` mode the network is a pure function of its state.
    """

    def __init__(self, *, inputs: int, channels: int, stages: int) -> None:
        super().__init__()
        widths = [planes(channels, stage) for stage in range(stages + 1)]
        self.entry = _normalised(inputs, channels)
        self.down = nn.ModuleList(
            _normalised(widths[i], widths[i + 1], halves=True) for i in range(stages)
        )
        self.up = nn.ModuleList(
            _normalised(widths[i + 1], widths[i]) for i in reversed(range(stages))
        )
        self.exit = _normalised(channels, channels)
        self.decision = _normalised(channels, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """[N, inputs, H, W] to logits [N, 1, H, W]."""
        features = [_leaky(self.entry(x))]
        for layer in self.down:
            features.append(_leaky(layer(features[-1])))
        finer = features[-2::-1]
        for layer, skip in zip(self.up, finer, strict=True):
            # To the very size of the skip, since halving an odd side loses a row.
            coarse = functional.interpolate(features[-1], size=skip.shape[-2:], mode="nearest")
            features.append(_leaky(layer(coarse)) + skip)
        logits: Tensor = self.decision(_leaky(self.exit(features[-1])))
        return logits.float(), features


class _NormalisedConv2d(nn.Conv2d):
    """A convolution whose weight may be computed from others, and then is in full precision."""

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, H, W] to [N, outputs, h, w]."""
        # Under autocast the singular value would have the three digits of bfloat16.
        with torch.autocast(x.device.type, enabled=False):
            weight = self.weight
        out: Tensor = self._conv_forward(x, weight, self.bias)
        return out


def _normalised(inputs: int, outputs: int, *, halves: bool = False) -> nn.Module:
    size, stride = (4, 2) if halves else (3, 1)
    conv = _NormalisedConv2d(inputs, outputs, size, stride=stride, padding=1)
    spectral_norm(conv)
    return conv


def _leaky(x: Tensor) -> Tensor:
    return functional.leaky_relu(x, SLOPE)
