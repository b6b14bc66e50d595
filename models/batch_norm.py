"""Batch normalisation that is the same for one rank and for many."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm

from models.distributed import Ranks

_EPS = 1e-5


class BatchNorm(nn.Module):
    """Each plane to zero mean and unit variance, then to a mean and a spread that are learned.

    Ioffe and Szegedy, "Batch normalization", 2015. While training, by the mini-batch of all ranks
    together (torch's own does so between GPUs alone), so that results do not depend on their
    number. What a mini-batch had stays in `mean` and `variance`, whose running mean is kept with
    that of the weights (`models.ema.EMA`) and is what counts once training is over.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, planes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(planes))
        self.bias = nn.Parameter(torch.zeros(planes))
        self.register_buffer("mean", torch.zeros(planes))
        self.register_buffer("variance", torch.ones(planes))
        self._ranks: Ranks | None = None

    def join(self, ranks: Ranks) -> None:
        """Share statistics with the other ranks, each with as many images, from now on."""
        self._ranks = ranks if ranks.world > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        """[N, c, ...] to the same in float32."""
        x = x.float()
        if self.training and self._ranks is not None:
            return self._over_ranks(x, self._ranks)
        return batch_norm(
            x,
            self.mean,
            self.variance,
            self.weight,
            self.bias,
            training=self.training,
            momentum=1.0,  # the last mini-batch alone
            eps=_EPS,
        )

    def _over_ranks(self, x: Tensor, ranks: Ranks) -> Tensor:
        over = [axis for axis in range(x.dim()) if axis != 1]
        count = ranks.world * x.numel() / x.shape[1]
        means = torch.stack([x.mean(dim=over), x.square().mean(dim=over)])
        mean, squares = ranks.mean_with_gradient(means)  # [c]
        variance = (squares - mean.square()).clamp(min=0)
        with torch.no_grad():
            self.mean.copy_(mean)
            self.variance.copy_(variance * count / (count - 1))  # as torch keeps it
        scale = self.weight * torch.rsqrt(variance + _EPS)
        shape = (1, -1, *(1,) * (x.dim() - 2))
        return torch.addcmul((self.bias - mean * scale).view(shape), x, scale.view(shape))


def join_ranks(network: nn.Module, ranks: Ranks) -> None:
    """Let all batch normalisation of a network count the mini-batch of all ranks."""
    for module in network.modules():
        if isinstance(module, BatchNorm):
            module.join(ranks)
