"""The class of every pixel, by convolutions alone."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from models.batch_norm import BatchNorm
from models.config_segment import SegmentConfig
from models.layers import Standardise

_WIDEST = 8  # times the planes at the full size


class Segmenter(nn.Module):
    """Down by halves, a score of each class at every size, and the scores added on the way up.

    Long, Shelhamer and Darrell, "Fully convolutional networks for semantic segmentation", 2015:
    scores are read off the coarse planes, which know what is around, and of the finer ones, which
    know where things end, and are summed after bilinear upsampling (their "skips", here from every
    size). Small, and trained from scratch, with batch normalisation (Ioffe and Szegedy, 2015), for
    there is no network of photographs under it.

    Parameters
    ----------
    bands, classes : int
    config : SegmentConfig
    """

    def __init__(self, *, bands: int, classes: int, config: SegmentConfig) -> None:
        super().__init__()
        self.bands = bands
        self.classes = classes
        self.stages = config.stages
        self.standardise = Standardise(bands)
        widths = [config.channels * min(1 << i, _WIDEST) for i in range(config.stages + 1)]
        self.stack = nn.ModuleList(
            _two_convolutions(inputs, width)
            for inputs, width in zip((bands, *widths), widths, strict=False)
        )
        self.scores = nn.ModuleList(nn.Conv2d(width, classes, 1) for width in widths)

    def forward(self, x: Tensor) -> Tensor:
        """Reflectance [N, C, H, W] to scores [N, classes, H, W], float32, of any height and width.

        Sides that are no multiple of `stride` are continued by their last pixels.
        """
        height, width = x.shape[-2:]
        over = [-side % self.stride for side in (width, height)]
        x = functional.pad(self.standardise(x), (0, over[0], 0, over[1]), mode="replicate")
        read = []
        for size, (layers, score) in enumerate(zip(self.stack, self.scores, strict=True)):
            x = layers(functional.max_pool2d(x, 2) if size else x)
            read.append(score(x).float())
        total: Tensor = read.pop()
        while read:
            total = _twice(total) + read.pop()
        return total[..., :height, :width]

    @property
    def stride(self) -> int:
        """Two windows whose corners lie so many pixels apart see their common pixels alike."""
        return 1 << self.stages

    @property
    def halo(self) -> int:
        """How far in pixels a pixel looks around itself, where nothing ends."""
        return max(map(self._reach, range(self.stride)))

    def _reach(self, at: int) -> int:
        """How far along a row the pixel looks that lies so far from a multiple of `stride`."""
        asked = [(at, at)]  # which scores of each size
        for _ in range(self.stages):
            low, high = asked[-1]
            asked.append(((low - 1) // 2, (high - 1) // 2 + 1))  # bilinear: of the two nearest
        low, high = asked[-1]
        for size in reversed(range(self.stages + 1)):
            low, high = min(low, asked[size][0]) - 2, max(high, asked[size][1]) + 2
            if size:
                low, high = 2 * low, 2 * high + 1  # the largest of two
        return max(at - low, high - at)


def _two_convolutions(inputs: int, width: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for planes in (inputs, width):
        # Without a bias: the normalisation takes it off again, and its gradient is but rounding.
        conv = nn.Conv2d(planes, width, 3, padding=1, bias=False)
        layers += [conv, BatchNorm(width), nn.ReLU()]
    return nn.Sequential(*layers)


def _twice(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
