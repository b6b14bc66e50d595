"""The plain judge: one decision for a whole patch."""

from __future__ import annotations

from torch import Tensor, nn

from models.discriminators.base import SLOPE, Judge, activations, halvings, planes


class SRGANJudge(Judge):
    """Strided convolutions with leaky ReLU, then two dense layers.

    After Ledig et al., SRGAN, 2017, with the strided 4x4 convolutions of DCGAN (Radford et al.,
    2016). Without batch normalisation, whose statistics would tell real from fake mini-batches
    and differ between ranks. The mean over what is left of the patch makes one network serve
    patches of any size. The sigmoid of the paper is part of the objective.
    """

    def __init__(self, *, inputs: int, channels: int, stages: int) -> None:
        super().__init__()
        self.features = nn.Sequential(*halvings(inputs, channels, stages))
        width = planes(channels, stages - 1)
        self.decision = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1),
            nn.LeakyReLU(SLOPE, inplace=True),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(width, width),
            nn.LeakyReLU(SLOPE, inplace=True),
            nn.Linear(width, 1),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """[N, inputs, H, W] to logits [N]."""
        features = activations(self.features, x)
        logits: Tensor = self.decision(features[-1])  # [N, 1]
        return logits.flatten().float(), features
