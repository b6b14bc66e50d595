"""A network in training, and the one way in which it is moved."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn

from models.config import TrainConfig
from models.distributed import Ranks
from models.tensors import Tensors

Metrics = dict[str, Tensor]

LossOf = Callable[[Tensors], tuple[Tensor, Metrics]]
"""Loss of a piece of a mini-batch, and what is told of it."""


class Player:
    """A network with the optimiser that moves it.

    Parameters
    ----------
    who : str
        Begins the names of what is told of its updates.
    wrapped : nn.Module
        As `Ranks.wrap` gives it: its backward averages gradients over ranks.
    optimiser : Optimizer
        A fused one.
    """

    def __init__(
        self,
        who: str,
        wrapped: nn.Module,
        optimiser: torch.optim.Optimizer,
        config: TrainConfig,
        ranks: Ranks,
    ) -> None:
        self.wrapped = wrapped
        self.optimiser = optimiser
        self._who = who
        self._config = config
        self._ranks = ranks

    def set_rate(self, rate: float) -> None:
        """Learning rate of the next updates."""
        for group in self.optimiser.param_groups:
            group["lr"] = rate

    def update(self, batch: Tensors, loss_of: LossOf) -> Metrics:
        """One update. Left out when its gradient is not finite, which is told."""
        self.optimiser.zero_grad(set_to_none=True)
        pieces = batch.pieces(self._config.accumulate)
        told = []
        for number, piece in enumerate(pieces, 1):
            # Ranks average their gradients once, with the last piece.
            wait = number < len(pieces) and self._ranks.world > 1
            with self.wrapped.no_sync() if wait else nullcontext():  # type: ignore[operator]  # of DDP
                loss, metrics = loss_of(piece)
                (loss / len(pieces)).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            told.append(metrics)
        parameters = [p for group in self.optimiser.param_groups for p in group["params"]]
        norm = nn.utils.clip_grad_norm_(parameters, self._config.grad_clip)
        broken = (~torch.isfinite(norm)).float()
        # Fused optimisers leave a step out by this flag, as they do for `GradScaler`.
        self.optimiser.found_inf = broken  # type: ignore[attr-defined]
        self.optimiser.grad_scale = None  # type: ignore[attr-defined]
        self.optimiser.step()
        means = (
            told[0]
            if len(told) == 1
            else {name: mean_of(metrics[name] for metrics in told) for name in told[0]}
        )
        return {
            **means,
            f"{self._who}_grad_norm": torch.where(broken > 0, 0.0, norm.detach()),
            f"{self._who}_skipped": broken,
        }


def autocast(ranks: Ranks, dtype: torch.dtype) -> torch.autocast:
    """Context in which convolutions compute in `dtype`."""
    return autocast_on(ranks.device, dtype)


def autocast_on(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """The same for a device alone."""
    return torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32)


def mean_of(values: Iterable[Tensor]) -> Tensor:
    """Mean of scalars."""
    return torch.stack(list(values)).mean()


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Without gradients for its weights, and without anything it learns in passing."""
    network.requires_grad_(False).eval()
    try:
        yield
    finally:
        network.requires_grad_(True).train()
