"""How far a way there and back is from where it began, and from doing nothing; CycleGAN's terms."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import avg_pool2d


def whole_cells(valid: Tensor, scale: int) -> Tensor:
    """LR pixels [N, 1, h, w] all of whose HR pixels [N, 1, s*h, s*w] are valid; 1 or 0."""
    return (avg_pool2d(valid, scale) == 1).float()


def distance(image: Tensor, wanted: Tensor, valid: Tensor, unit: Tensor) -> Tensor:
    """Mean of |image - wanted| over all pixels, those that are not valid counting as equal.

    The cycle consistency and identity losses of Zhu et al., "Unpaired image-to-image translation
    using cycle-consistent adversarial networks", 2017, eq. 2 and section 5.2, in units of the
    imagery's spread.

    Parameters
    ----------
    image, wanted : Tensor
        [N, C, H, W].
    valid : Tensor
        [N, 1, H, W], 1 or 0.
    unit : Tensor
        What counts as one.
    """
    return (((image - wanted).abs() * valid).mean() / unit).sum()
