"""Refuses what cannot be trained before anything is started, in one sentence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from flows.errors import FlowError, UsageError
from geo.pairstore.config import StoreConfig
from models.config import TrainConfig
from models.errors import ConfigError


def check_machines(*, nproc: int, nnodes: int, rendezvous: str | None, joins: bool) -> None:
    """Refuse numbers of processes that cannot meet.

    Parameters
    ----------
    joins : bool
        Whether the run exists already.

    Raises
    ------
    UsageError
    """
    for name, value in (("nproc", nproc), ("nnodes", nnodes)):
        if value < 1:
            raise UsageError(f"{name} is {value}; wanted 1 or more")
    if nnodes > 1 and not rendezvous:
        raise UsageError(
            f"nnodes is {nnodes}, but nothing says where the machines meet: give --rendezvous "
            "HOST:PORT of one of them"
        )
    if nnodes > 1 and not joins:
        raise UsageError(
            f"nnodes is {nnodes}, and each machine would open a run of its own: make one by "
            "`skyscale train --prepare`, then give --resume RUN on every machine"
        )


_COLOURS = 3

# Blocks are those of UTM: chips of another grid never lie whole in a block of their own size.
HELD_OUT_GROUND = (
    "with a smaller --split-block, which gives small regions held-out ground (at least 2 where "
    "scenes are not in UTM)"
)


def check_pairs(store: str, splits: Mapping[str, int], config: TrainConfig, *, world: int) -> None:
    """Refuse too few pairs, and mini-batches that cannot be shared.

    Parameters
    ----------
    splits : mapping
        Pairs of each split.
    world : int
        Ranks, over all machines.

    Raises
    ------
    FlowError, UsageError
    """
    for split, name in (("train", "training"), ("val", "validation")):
        if not splits.get(split):
            raise FlowError(
                f"{store}: no {name} pairs (splits: {dict(splits) or 'none'}); ingest more ground, "
                f"or {HELD_OUT_GROUND}"
            )
    if splits["train"] < config.batch_size:
        raise FlowError(
            f"{store}: {splits['train']} training pairs are fewer than a mini-batch of "
            f"{config.batch_size}: ingest more ground or set batch_size to {splits['train']} or "
            "less"
        )
    if config.batch_size % (world * config.accumulate):
        pieces = (
            f" in {config.accumulate} pieces each (accumulate)" if config.accumulate > 1 else ""
        )
        raise UsageError(
            f"batch_size {config.batch_size} cannot be shared by {world} ranks{pieces}: choose a "
            f"multiple of {world * config.accumulate}"
        )


def check_networks(config: TrainConfig, store: StoreConfig) -> None:
    """Refuse networks and losses that cannot be built for a store, or not for such patches.

    Built and used once on an empty patch, so that every module speaks for itself.

    Raises
    ------
    UsageError
    """
    import torch

    from models.content_losses import build_losses
    from models.discriminators.registry import build_discriminator
    from models.features import RANDOM, load_features

    bands, scale = len(store.bands), store.scale
    features = config.losses.features
    if features not in (None, RANDOM) and not Path(str(features)).is_file():
        raise UsageError(f"losses features {features}: no such file")
    side = min(config.patch_lr, store.lr_size)
    if config.task == "style":
        scale, side = 1, min(config.patch_lr, store.lr_size * store.scale)
    lr = torch.zeros(1, bands, side, side)
    hr = torch.zeros(1, bands, side * scale, side * scale)
    try:
        with torch.inference_mode():
            if config.task == "style":
                load_features(str(features), bands=_COLOURS)(torch.zeros(1, _COLOURS, side, side))
                return
            build_losses(config.losses, scale=scale, bands=bands)(hr, hr, hr[:, :1], lr)
            if config.adversarial_steps:
                discriminator = build_discriminator(config.discriminator, bands=bands)
                discriminator.eval()(hr, hr if config.discriminator.conditional else None)
    except ConfigError as error:
        raise UsageError(f"training settings: {error}") from error


def check_devices(config: TrainConfig, nproc: int) -> None:
    """Refuse a device that is not here, and more processes than GPUs.

    Raises
    ------
    UsageError
    """
    import torch

    from models.distributed import pick_device

    try:
        device = pick_device(config.device)
    except ConfigError as error:
        raise UsageError(f"training settings: {error}") from error
    if device.type == "cuda" and nproc > (there := torch.cuda.device_count()):
        raise UsageError(f"nproc is {nproc}, but this machine has {there} GPUs")
