"""The running mean of a network's weights."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import torch
from torch import nn

from models.batch_norm import BatchNorm

_Network = TypeVar("_Network", bound=nn.Module)


class EMA(Generic[_Network]):
    """Exponential moving average of a network, itself a network.

    After update t the mean is m <- d m + (1 - d) w with d = min(decay, t / (t + 10)), so that the
    first weights, which know nothing, are soon forgotten. On adversarial training see Yazici et
    al., "The unusual effectiveness of averaging in GAN training", 2019. The statistics of
    `BatchNorm` are averaged in step with the weights that they belong to.
    """

    def __init__(self, network: _Network, *, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.decay = decay
        self.updates = 0
        self._means = _averaged(self.network)

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take in the weights of `network` as they are now."""
        self.updates += 1
        decay = min(self.decay, self.updates / (self.updates + 10))
        # At once: on a CPU, calls for one tensor after the other took a thirtieth of all time.
        torch._foreach_lerp_(self._means, _averaged(network), 1 - decay)

    def begin_at(self, network: _Network) -> None:
        """Take over weights that are worth keeping, as a mean over many updates."""
        self.network.load_state_dict(network.state_dict())
        self.updates = math.ceil(10 * self.decay / max(1 - self.decay, 1e-6))

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"network": self.network.state_dict(), "updates": self.updates}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what `state_dict` gave."""
        self.network.load_state_dict(state["network"])
        self.updates = int(state["updates"])


def _averaged(network: nn.Module) -> list[torch.Tensor]:
    """All that has a running mean."""
    statistics = [
        tensor
        for module in network.modules()
        if isinstance(module, BatchNorm)
        for tensor in (module.mean, module.variance)
    ]
    return [*network.parameters(), *statistics]
