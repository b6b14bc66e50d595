"""Refuses what cannot be trained before anything is started, in one sentence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flows.errors import FlowError, UsageError
from geo.pairstore.config import StoreConfig
from models.config import TrainConfig
from models.config_unpaired import PRODUCTS
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


def images_of(summary: Mapping[str, Any], config: TrainConfig) -> dict[str, int]:
    """How many training images of each side there are for a task; of one apart, true ones.

    Parameters
    ----------
    summary : mapping
        Of the version, as the store tells it.
    """
    pairs = summary["splits"].get("train", 0)
    if config.task in ("paired", "segment"):
        return {"lr": pairs, "hr": pairs}
    true = pairs - sum(summary["derived"].values())
    if config.task == "degrade":
        return {"lr": true, "hr": true}
    both = {"lr": true, "hr": pairs}
    return {side: both[side] + of.get("train", 0) for side, of in summary["chips"].items()}


def check_pairs(store: str, summary: Mapping[str, Any], config: TrainConfig, *, world: int) -> None:
    """Refuse too few pairs or images, and mini-batches that cannot be shared.

    Parameters
    ----------
    summary : mapping
        Of the version, as the store tells it.
    world : int
        Ranks, over all machines.

    Raises
    ------
    FlowError, UsageError
    """
    images = images_of(summary, config)
    if config.task == "unpaired":
        _check_sides(store, images)
    else:
        _check_splits(store, summary)
    fewest = min(images.values())
    if fewest < config.batch_size:
        told = f"{fewest} training pairs are fewer than a mini-batch of {config.batch_size}"
        if config.task == "unpaired":
            side = min(images, key=lambda side: images[side]).upper()
            told = (
                f"{fewest} {side} images to train on are fewer than a mini-batch of "
                f"{config.batch_size}"
            )
        raise FlowError(
            f"{store}: {told}: ingest more ground or set batch_size to {fewest} or less"
        )
    if config.batch_size % (world * config.accumulate):
        pieces = (
            f" in {config.accumulate} pieces each (accumulate)" if config.accumulate > 1 else ""
        )
        raise UsageError(
            f"batch_size {config.batch_size} cannot be shared by {world} ranks{pieces}: choose a "
            f"multiple of {world * config.accumulate}"
        )


def _check_splits(store: str, summary: Mapping[str, Any]) -> None:
    """Refuse a store without pairs to learn from, or to validate on."""
    splits = summary["splits"]
    alone = {side: sum(of.values()) for side, of in summary["chips"].items()}
    for split, name in (("train", "training"), ("val", "validation")):
        if splits.get(split):
            continue
        told = ""
        if split == "train" and any(alone.values()):
            told = (
                f"; its {alone['lr']} LR and {alone['hr']} HR chips have no partners, and "
                'task = "unpaired" trains on such (docs/guides/training.md)'
            )
        raise FlowError(
            f"{store}: no {name} pairs (splits: {dict(splits) or 'none'}){told}; ingest more "
            f"ground, or {HELD_OUT_GROUND}"
        )


def _check_sides(store: str, images: Mapping[str, int]) -> None:
    """Refuse a store that lacks the images of a side."""
    for side, source in (("lr", "--satellite"), ("hr", "--aerial")):
        if not images[side]:
            raise FlowError(
                f"{store}: no {side.upper()} images to train on; skyscale ingest --unpaired "
                f"{source} SRC --store {store} brings some"
            )


def check_networks(config: TrainConfig, store: StoreConfig) -> None:
    """Refuse networks and losses that cannot be built for a store, or not for such patches.

    Built and used once on an empty patch, so that every module speaks for itself.

    Raises
    ------
    UsageError
    """
    import torch

    from models.chips import build_chips
    from models.content_losses import build_losses
    from models.discriminators.registry import build_discriminator
    from models.features import RANDOM, load_features

    if config.task == "segment":
        return  # it is built for any, and has no losses but one
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
        if PRODUCTS[config.task] == "chips":
            build_chips(config.task, bands=bands, side=side * scale, config=config.chips)
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
