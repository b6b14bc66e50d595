"""What settings of a run its task has no use for, or cannot do without.

This module must not import torch: flows show these values as a form, and ``--help`` stays fast.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from models.config_networks import GeneratorConfig, LossConfig
from models.config_unpaired import PRODUCTS
from models.errors import ConfigError

if TYPE_CHECKING:
    from models.config import TrainConfig


def check_task(config: TrainConfig) -> None:
    """Refuse settings that do not fit the task.

    Raises
    ------
    ConfigError
    """
    if config.augment.style and config.task != "paired":
        raise ConfigError(
            f"augment style gives pairs another look, but the task is {config.task}: leave it out"
        )
    if config.task == "degrade" and (config.growing_share or config.losses.feature_matching):
        raise ConfigError(
            "growing_share and losses.feature_matching have no meaning for the task degrade: "
            "set them to 0"
        )
    if config.task == "unpaired":
        _check_unpaired(config)
    if config.task == "style":
        _check_style(config)
    if config.task == "segment":
        _check_segment(config)
    if PRODUCTS[config.task] == "chips":
        _check_chips(config)


def _check_unpaired(config: TrainConfig) -> None:
    """Refuse what compares a drawing with the truth of its own ground."""
    wants_a_partner = {
        "objective relativistic_paired": config.objective == "relativistic_paired",
        "discriminator.conditional": config.discriminator.conditional,
        "losses.feature_matching": config.losses.feature_matching > 0,
        "growing_share": config.growing_share > 0,
    }
    for name, wants in wants_a_partner.items():
        if wants:
            raise ConfigError(
                f"{name} needs LR and HR images of the same ground, which the task unpaired "
                "has not; docs/guides/training.md has settings that fit, with the objective "
                "least_squares"
            )


def _check_style(config: TrainConfig) -> None:
    """Refuse what a game, an LR image or a partner would be needed for."""
    for name in ("source", "target"):
        if not getattr(config.style, name):
            raise ConfigError(
                f"the task style needs style {name}: a pattern of aerial scene ids, such as "
                '"*_2012*"'
            )
    if not config.losses.features:
        raise ConfigError(
            "the task style needs losses features: the weights file of a VGG network, or "
            '"random" for one that has learned nothing'
        )
    no_use = {
        "adversarial_steps": (config.adversarial_steps, "there is no game"),
        "growing_share": (config.growing_share, "there is one scale only"),
        "balance": (config.balance, "no pairs have categories to be weighed by"),
        "losses perceptual": (config.losses.perceptual, "style layout is its weight"),
        "losses style": (config.losses.style, "style style is its weight"),
    }
    for name, (value, why) in no_use.items():
        if value:
            raise ConfigError(f"{name} is {value}, but in the task style {why}: set it to 0")


def _check_chips(config: TrainConfig) -> None:
    """Refuse what a task without any input has no use for."""
    task = config.task
    if (config.content_steps if task == "dcgan" else config.adversarial_steps) > 0:
        without, wanted = (
            ("content", "adversarial") if task == "dcgan" else ("adversarial", "content")
        )
        raise ConfigError(
            f"the task {task} has no {without} phase: set {without}_steps to 0, and "
            f"{wanted}_steps to what it may take"
        )
    if task == "dcgan" and config.objective == "relativistic_paired":
        raise ConfigError(
            "objective relativistic_paired compares with the truth of the same ground, and "
            "chips drawn of noise show none; docs/guides/training.md has settings that fit, "
            "with the objective non_saturating"
        )
    _refuse_set(
        task,
        {
            "generator": config.generator != GeneratorConfig(),
            "losses": config.losses != LossConfig(),
            "discriminator.conditional": config.discriminator.conditional,
            "growing_share": config.growing_share > 0,
        },
        "which draws of noise alone: leave it out; [chips] says what draws",
    )
    _check_whole_batches(config)


def _check_segment(config: TrainConfig) -> None:
    """Refuse what would need an image to draw."""
    if not config.segment.labels:
        raise ConfigError(
            "the task segment needs segment labels: a GeoJSON file of polygons with the property "
            "`category`, or a label raster"
        )
    if config.adversarial_steps:
        raise ConfigError(
            f"adversarial_steps is {config.adversarial_steps}, but the task segment has no game: "
            "set it to 0"
        )
    _refuse_set(
        config.task,
        {
            "generator": config.generator != GeneratorConfig(),
            "losses": config.losses != LossConfig(),
            "growing_share": config.growing_share > 0,
        },
        "which draws nothing: leave it out; [segment] says what learns",
    )
    _check_whole_batches(config)


def _refuse_set(task: str, given: Mapping[str, bool], why: str) -> None:
    for name, is_set in given.items():
        if is_set:
            raise ConfigError(f"{name} has no meaning for the task {task}, {why}")


def _check_whole_batches(config: TrainConfig) -> None:
    if config.accumulate > 1:
        raise ConfigError(
            f"accumulate is {config.accumulate}, but batch normalisation counts a whole "
            f"mini-batch: set it to 1, or batch_size lower, for the task {config.task}"
        )
