"""How far a drawing is from the real image, pixel by pixel, where the real image is valid.

Each loss is the sum over valid pixels divided by the number of all pixels. Dividing by the valid
ones instead would let a pixel of a cloudy mini-batch weigh more than one of a clear one, and the
mean over ranks would not be the mean over the mini-batch.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

ContentLoss = Callable[[Tensor, Tensor, Tensor], Tensor]


def l1(sr: Tensor, hr: Tensor, valid: Tensor) -> Tensor:
    """Mean of |sr - hr|; `sr`, `hr` [N, C, H, W], `valid` [N, 1, H, W]."""
    return ((sr - hr).abs() * valid).mean()


def charbonnier(sr: Tensor, hr: Tensor, valid: Tensor, epsilon: float = 1e-3) -> Tensor:
    """Mean of sqrt((sr - hr)^2 + epsilon^2) - epsilon, an L1 that is smooth at zero.

    Charbonnier et al., 1994; epsilon after Lai et al., LapSRN, 2017.
    """
    return ((((sr - hr).square() + epsilon**2).sqrt() - epsilon) * valid).mean()


CONTENT_LOSSES: dict[str, ContentLoss] = {"l1": l1, "charbonnier": charbonnier}
