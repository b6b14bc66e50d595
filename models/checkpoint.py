"""A training run on disk: everything that the next step depends on."""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from models.clock import Clock
from models.config import TrainConfig
from models.data import PairSpec
from models.errors import CheckpointError
from models.strategy import Strategy

FORMAT = 2
KEEP = 2

_NAME = re.compile(r"checkpoint-(\d{8})\.pt")
# What cannot change within a run: the networks and what they are shown. Lengths, rates and
# intervals may.
_FIXED = (
    *("task", "style", "augment", "generator", "discriminator", "chips", "objective"),
    *("seed", "batch_size", "patch_lr", "balance"),
)

_log = logging.getLogger("skyscale.models.checkpoint")


def save_checkpoint(
    folder: Path, learner: Strategy, clock: Clock, config: TrainConfig, spec: PairSpec
) -> Path:
    """Write a checkpoint as a whole or not at all, and drop all but the newest ones.

    Returns
    -------
    Path
        Of the file, named after the step.
    """
    state = {
        "format": FORMAT,
        "config": config.to_dict(),
        "pairs": _spec_values(spec),
        "clock": clock.to_dict(),
        **learner.state_dict(),
        "rng": torch.get_rng_state(),
    }
    path = folder / f"checkpoint-{clock.step:08d}.pt"
    write_whole(path, state)
    for old in list_checkpoints(folder)[KEEP:]:
        old.unlink(missing_ok=True)
    return path


def write_whole(path: Path, state: Mapping[str, Any]) -> None:
    """Save tensors and plain values; the file is there as a whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with open(partial, "wb") as file:
        torch.save(dict(state), file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
    _sync_folder(path.parent)


def list_checkpoints(folder: Path) -> list[Path]:
    """Checkpoints of a run, newest first; unfinished files are none."""
    if not folder.is_dir():
        return []
    named = [path for path in folder.iterdir() if _NAME.fullmatch(path.name)]
    return sorted(named, key=lambda path: path.name, reverse=True)


def load_newest(folder: Path) -> dict[str, Any] | None:
    """The newest checkpoint that can be read, or None where there is none at all.

    Raises
    ------
    CheckpointError
        When there are checkpoints and none can be read.
    """
    paths = list_checkpoints(folder)
    for path in paths:
        try:
            return load_checkpoint(path)
        except CheckpointError as error:
            _log.warning("%s; trying the one before", error)
    if paths:
        raise CheckpointError(f"none of the {len(paths)} checkpoints in {folder} can be read")
    return None


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint; tensors and plain values only, so no code can hide in it.

    Raises
    ------
    CheckpointError
        When the file is missing, damaged, or of another format.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever its zip reader and unpickler do
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"{path} is no checkpoint, or damaged: {first}", path=str(path)
        ) from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        found = state.get("format") if isinstance(state, dict) else type(state).__name__
        raise CheckpointError(
            f"{path} has checkpoint format {found}, this version reads {FORMAT}", path=str(path)
        )
    return state


def restore(
    state: Mapping[str, Any], learner: Strategy, config: TrainConfig, spec: PairSpec
) -> Clock:
    """Put a run back where `state` says it was.

    Raises
    ------
    CheckpointError
        When it is another run: other networks, other pairs, another order.
    """
    _same_run(state, config, spec)
    try:
        learner.load_state_dict(state)
    except (RuntimeError, KeyError, ValueError) as error:  # what torch raises for other shapes
        raise CheckpointError(f"the checkpoint does not fit its own settings: {error}") from error
    torch.set_rng_state(state["rng"])
    return Clock.from_dict(state["clock"])


def _same_run(state: Mapping[str, Any], config: TrainConfig, spec: PairSpec) -> None:
    # A setting that is newer than the checkpoint had no effect then, which is its default.
    before, now = {**TrainConfig().to_dict(), **state["config"]}, config.to_dict()
    other = [key for key in _FIXED if before[key] != now[key]]
    if other:
        differences = ", ".join(f"{key} was {before[key]}, is {now[key]}" for key in other)
        raise CheckpointError(
            f"the checkpoint belongs to another run: {differences}; "
            "give the former values or start in a new folder",
            differing=other,
        )
    if state["pairs"] != _spec_values(spec):
        raise CheckpointError(
            f"the checkpoint was trained on pairs of {state['pairs']}, "
            f"these are {_spec_values(spec)}"
        )


def _spec_values(spec: PairSpec) -> dict[str, Any]:
    values = {"scale": spec.scale, "bands": list(spec.bands), "data_range": spec.data_range}
    return {**values, **({"classes": list(spec.classes)} if spec.classes else {})}


def _sync_folder(folder: Path) -> None:
    # The new name itself must survive a power cut; not all file systems can be asked for it.
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
