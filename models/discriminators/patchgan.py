"""The judge of texture: one decision for each of many overlapping squares."""

from __future__ import annotations

from torch import Tensor, nn

from models.discriminators.base import SLOPE, Judge, activations, halvings, planes
from models.layers import conv3x3


class PatchGANJudge(Judge):
    """Convolutions alone, so that each value sees a square of the patch and no more.

    After Isola et al., pix2pix, 2017, without batch normalisation and with 3x3 convolutions after
    the strided ones, where the paper has 4x4: these keep the size, so that a value is left of any
    patch that can be halved so often. Three stages judge squares of 54 px (70 in the paper).
    """

    def __init__(self, *, inputs: int, channels: int, stages: int) -> None:
        super().__init__()
        width = planes(channels, stages)
        self.layers = nn.Sequential(
            *halvings(inputs, channels, stages),
            conv3x3(planes(channels, stages - 1), width),
            nn.LeakyReLU(SLOPE, inplace=True),
        )
        self.decision = conv3x3(width, 1)

    @property
    def judged_px(self) -> int:
        """Side of the square that each value judges, in pixels of the image it is given."""
        side = 1
        for layer in reversed([*self.layers, self.decision]):
            if isinstance(layer, nn.Conv2d):
                side = (side - 1) * layer.stride[0] + layer.kernel_size[0]
        return side

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """[N, inputs, H, W] to logits [N, 1, H/2^stages, W/2^stages]."""
        features = activations(self.layers, x)
        logits: Tensor = self.decision(features[-1])
        return logits.float(), features
