"""The bound of the likelihood that an autoencoder is trained by, term by term.

Kingma and Welling, "Auto-encoding variational Bayes", 2014: log p(x) is at least the expected log
likelihood of what is decoded less the KL divergence of where the encoder says the image lies from
where noise is drawn.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def gaussian_nats(image: Tensor, decoded: Tensor, log_variance: Tensor, valid: Tensor) -> Tensor:
    """Negative log likelihood of each image in nats, [N], over valid pixels.

    Parameters
    ----------
    image, decoded : Tensor
        [N, C, H, W], in units of the imagery's spread.
    log_variance : Tensor
        A scalar, of each value.
    valid : Tensor
        [N, 1, H, W], 1 or 0.
    """
    squares = (image - decoded).square() * torch.exp(-log_variance)
    nats = 0.5 * (math.log(2 * math.pi) + log_variance + squares)
    return (nats * valid).sum(dim=(1, 2, 3))


def kl_nats(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL divergence of N(mean, variance) from N(0, 1), summed over latent numbers, [N].

    Parameters
    ----------
    mean, log_variance : Tensor
        [N, latent].
    """
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1)
