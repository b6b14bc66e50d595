"""One process or many: the only module that knows of torchrun."""

from __future__ import annotations

import contextlib
import ctypes
import inspect
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.distributed.nn.functional import all_reduce as all_reduce_with_gradient
from torch.nn.parallel import DistributedDataParallel

from models.errors import ConfigError

_PATIENCE = timedelta(hours=1)  # the others wait while rank 0 validates
# All buffers are constants. torch 2.13 renames the option and warns of the old name.
_DDP_OPTIONS = inspect.signature(DistributedDataParallel).parameters
_BUFFERS_STAY: dict[str, Any] = {
    "forward_sync_buffers" if "forward_sync_buffers" in _DDP_OPTIONS else "broadcast_buffers": False
}
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
# A rank that was asked to stop saves itself within this; one that hangs does not.
_LAST_WORDS_S = 25.0


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """Who is training.

    Parameters
    ----------
    rank, world : int
        This process, and how many there are.
    device : torch.device
        Of this process.
    """

    rank: int
    world: int
    device: torch.device
    _wrapped: list[DistributedDataParallel] = field(default_factory=list, repr=False, compare=False)

    @property
    def leads(self) -> bool:
        """Whether this process validates, saves and reports."""
        return self.rank == 0

    def wrap(self, network: nn.Module, *, partly: bool = False) -> nn.Module:
        """Average gradients over ranks when there are several.

        `partly`: not every update uses all weights, which costs a search for those it does.
        """
        if self.world == 1:
            return network
        wrapped = DistributedDataParallel(
            network,
            device_ids=[self.device] if self.device.type == "cuda" else None,
            find_unused_parameters=partly,
            **_BUFFERS_STAY,
        )
        self._wrapped.append(wrapped)
        return wrapped

    def let_go(self) -> None:
        """Take the group out of the hands of all wrapped networks, which train no more.

        The last of them would destroy it while it holds the interpreter's lock, and wait for a
        thread of gloo's that waits for that lock (seen with torch 2.13: a rank that never ends).
        """
        for network in self._wrapped:
            network.reducer = None  # type: ignore[assignment]  # never looked at again
            network.logger = None
        self._wrapped.clear()

    def mean(self, values: Tensor) -> Tensor:
        """Mean over ranks, in place."""
        if self.world > 1:
            distributed.all_reduce(values)
            values /= self.world
        return values

    def mean_with_gradient(self, values: Tensor) -> Tensor:
        """Mean over ranks, through which gradients flow to all of them."""
        if self.world == 1:
            return values
        summed: Tensor = all_reduce_with_gradient(values)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return summed / self.world

    def say(self, values: list[float]) -> list[float]:
        """What rank 0 says, on all ranks: clocks differ, decisions must not."""
        if self.world == 1:
            return values
        message = torch.tensor(values, dtype=torch.float64, device=self.device)
        distributed.broadcast(message, src=0)
        return [float(value) for value in message.tolist()]


@contextlib.contextmanager
def ranks(device: str = "auto") -> Iterator[Ranks]:
    """Join the other processes when torchrun started this one; else be the only one.

    Gradients travel by NCCL between GPUs and by gloo between CPUs.
    """
    if not distributed.is_torchelastic_launched():
        yield Ranks(rank=0, world=1, device=pick_device(device))
        return
    _die_with_parent()
    mine = pick_device(device, local_rank=distributed.get_node_local_rank(fallback_rank=0))
    if mine.type == "cuda":
        torch.cuda.set_device(mine)
    distributed.init_process_group(
        "nccl" if mine.type == "cuda" else "gloo",
        timeout=_PATIENCE,
        device_id=mine if mine.type == "cuda" else None,
    )
    here = Ranks(rank=distributed.get_rank(), world=distributed.get_world_size(), device=mine)
    try:
        yield here
    finally:
        here.let_go()
        distributed.destroy_process_group()


def pick_device(device: str = "auto", *, local_rank: int = 0) -> torch.device:
    """The device asked for; ``auto`` is this rank's GPU where there is one.

    Raises
    ------
    ConfigError
        For a device that is unknown or not here.
    """
    if device == "auto":
        return (
            torch.device("cuda", local_rank) if torch.cuda.is_available() else torch.device("cpu")
        )
    try:
        picked = torch.device(device)
    except RuntimeError as error:
        raise ConfigError(
            f"device must be auto, cpu or cuda, got {device!r}", device=device
        ) from error
    if picked.type == "cuda":
        if not torch.cuda.is_available():
            raise ConfigError(f"device {device!r} was asked for, but no GPU is here", device=device)
        return torch.device("cuda", local_rank if picked.index is None else picked.index)
    return picked


def pick_dtype(precision: str, device: torch.device) -> torch.dtype:
    """Number format of convolutions; ``auto`` is bfloat16 where the hardware computes in it."""
    if precision == "auto":
        return torch.bfloat16 if _computes_bfloat16(device) else torch.float32
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def _computes_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        # Elsewhere it is emulated, slower than float32. Older torch cannot tell.
        capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
        return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    return False


def _die_with_parent() -> None:
    """Have this process end when torchrun dies, which otherwise leaves it training.

    Linux asks it to stop; where it cannot hear that, waiting for ranks that are gone, it ends.
    """
    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    threading.Thread(target=_end_as_orphan, args=(parent,), name="orphan", daemon=True).start()


def _end_as_orphan(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    time.sleep(_LAST_WORDS_S)
    os._exit(1)
