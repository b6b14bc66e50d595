"""The plain judge: one decision for a whole patch."""

from __future__ import annotations

from torch import Tensor, nn

from models.layers import Standardise

_SLOPE = 0.2


class SRGANDiscriminator(nn.Module):
    """Strided convolutions with leaky ReLU, then two dense layers.

    After Ledig et al., SRGAN, 2017, with the strided 4x4 convolutions of DCGAN (Radford et al.,
    2016). Without batch normalisation, whose statistics would tell real from fake mini-batches
    and differ between ranks. The mean over what is left of the patch makes one network serve
    patches of any size from 32 HR pixels.
    """

    def __init__(self, *, bands: int, channels: int, stages: int) -> None:
        super().__init__()
        self.standardise = Standardise(bands)
        layers: list[nn.Module] = []
        inputs = bands
        for stage in range(stages):
            outputs = channels * min(2**stage, 4)
            layers += [
                nn.Conv2d(inputs, outputs, 4, stride=2, padding=1),
                nn.LeakyReLU(_SLOPE, inplace=True),
            ]
            inputs = outputs
        self.features = nn.Sequential(*layers)
        self.decision = nn.Sequential(
            nn.Conv2d(inputs, inputs, 3, padding=1),
            nn.LeakyReLU(_SLOPE, inplace=True),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(inputs, inputs),
            nn.LeakyReLU(_SLOPE, inplace=True),
            nn.Linear(inputs, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """HR reflectance [N, C, H, W] to logits [N], positive for real."""
        features = self.features(self.standardise(x))  # [N, 4c, H/2^stages, W/2^stages]
        logits: Tensor = self.decision(features)  # [N, 1]
        return logits.flatten().float()
