"""Training as one call: pairs in, an exported network out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from models.clock import Clock
from models.config import TrainConfig
from models.config_unpaired import APART
from models.data import PairSource, PairSpec, Side, places_of
from models.distributed import ranks
from models.errors import ConfigError, DataError
from models.evaluate import Score
from models.listener import Listener, Silent
from models.run import Run
from models.sampler import balanced_weights
from models.start import Start


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """What a run has come to.

    Parameters
    ----------
    exported : Path
        Folder of what was made, of averaged weights: a generator as `Predictor` reads it, for
        example.
    stopped_by : str
        ``steps`` or ``time`` when the run has finished, ``request`` when it can be continued.
    clock : Clock
        Steps, images and seconds of both phases.
    validation : mapping
        Scores on validation pairs of the state that is exported; see `models.selection`.
    parameters : int
        Of what was made.
    """

    exported: Path
    stopped_by: Literal["steps", "time", "request"]
    clock: Clock
    validation: Mapping[str, float]
    parameters: int


def train(
    config: TrainConfig,
    *,
    train_pairs: PairSource,
    val_pairs: PairSource,
    spec: PairSpec,
    score: Score,
    folder: Path,
    groups: Sequence[str | None] | None = None,
    sides: Sequence[str | None] | None = None,
    listener: Listener | None = None,
    resume: bool = False,
    stop: Callable[[], bool] | None = None,
    store_version: str | None = None,
    store_digest: str | None = None,
    start_from: Start | None = None,
    restyler: Start | None = None,
) -> TrainResult:
    """Train a generator on pairs and export it.

    The same call serves one process and each rank of torchrun, which it joins by itself.

    Parameters
    ----------
    train_pairs, val_pairs : PairSource
    spec : PairSpec
        What the pairs are.
    score : callable
        ``(sr, hr, lr, valid) -> {name: value}`` on DN [C, H, W], for validation.
    folder : Path
        Gets ``checkpoints/`` and ``generator/``; seen by all ranks.
    groups : sequence of str or None, optional
        Category of each training pair; needed when `config.balance` is not 0. A resumed run goes
        on exactly only with the same ones.
    sides : sequence of str or None, optional
        The one image, ``lr`` or ``hr``, of each training pair that has no partner; None for a
        pair. Only for the task ``unpaired``, which needs no validation pairs either: without any
        the last running mean is exported.
    listener : Listener, optional
    resume : bool
        Go on from the newest checkpoint in `folder`, if there is one.
    stop : callable, optional
        Asked before each step (on rank 0); once true, the run saves itself and returns.
    store_version, store_digest : str, optional
        Of the pair store, for the record.
    start_from : Start, optional
        An exported generator that this one begins as; the discriminator begins anew. A
        resumed run reads it no more.
    restyler : Start, optional
        Where what `config.augment` names was put; by default what it names is a folder.

    Raises
    ------
    ConfigError
        When categories are to be balanced and `groups` are not given; when `start_from` holds
        another network than `config` says, or one for other imagery than `spec` says.
    ExportError
        When `start_from` holds no generator, a damaged one, or another one.
    DataError
        When the pairs are not what `spec` says, or too few, or `groups` or `sides` are not one for
        each, or a side has no image; before anything starts.
    CheckpointError
        When `folder` holds another run, or none that can be read.
    TrainingError
        When `folder` holds a run and `resume` is false; when training falls ill again and again
        (see `models.health`; the last healthy state is kept).
    """
    with ranks(config.device) as here, _own_random_numbers(config.seed):
        count = len(train_pairs)
        apart = _apart(config, groups, sides, count)
        weights = None if apart else _weights(config, groups, count)
        run = Run(
            config,
            here,
            train_pairs,
            val_pairs,
            spec,
            score,
            folder,
            listener or Silent(),
            weights,
            start_from,
            apart,
            restyler,
        )
        run.start(resume)
        run.go(stop or (lambda: False))
        if here.leads and run.clock.phase == "done":
            run.choose()
        target = folder / run.product.folder
        if here.leads:
            run.export(target, store_version=store_version, store_digest=store_digest)
        return TrainResult(
            exported=target,
            stopped_by=run.clock.stopped_by(config),
            clock=run.clock,
            validation=run.choice.scores if run.choice else {},
            parameters=sum(p.numel() for p in run.product.network.parameters()),
        )


def _weights(
    config: TrainConfig, groups: Sequence[str | None] | None, pairs: int
) -> npt.NDArray[np.float64] | None:
    """How often to show each training pair, or image of a side; None for all alike."""
    if config.balance == 0:
        return None
    if groups is None:
        raise ConfigError(
            f"balance is {config.balance}, but the categories of the training pairs are not known: "
            "give `groups`, or set balance to 0",
            balance=config.balance,
        )
    _check_one_each("categories", groups, pairs)
    return balanced_weights(groups, config.balance)


def _check_one_each(what: str, values: Sequence[str | None] | None, pairs: int) -> None:
    if values is not None and len(values) != pairs:
        raise DataError(
            f"there are {len(values)} {what} for {pairs} training pairs",
            got=len(values),
            pairs=pairs,
        )


def _apart(
    config: TrainConfig,
    groups: Sequence[str | None] | None,
    sides: Sequence[str | None] | None,
    count: int,
) -> tuple[Side, Side] | None:
    """LR and HR images of a task that shows them without their partners."""
    _check_one_each("sides", sides, count)
    alone = 0 if sides is None else sum(side is not None for side in sides)
    if alone and config.task != "unpaired":
        raise DataError(
            f"{alone} of {count} training pairs have no partner, which only the task unpaired can "
            "be trained on",
            alone=alone,
        )
    if config.task not in APART:
        return None
    _check_one_each("categories", groups, count)
    lr, hr = (_side(config, groups, places_of(side, sides, count), side) for side in ("lr", "hr"))
    return lr, hr


def _side(
    config: TrainConfig,
    groups: Sequence[str | None] | None,
    places: npt.NDArray[np.int64],
    side: str,
) -> Side:
    if not len(places):
        raise DataError(f"there are no {side.upper()} images to train on", side=side)
    of_side = None if groups is None else [groups[int(place)] for place in places]
    return Side(places=places, weights=_weights(config, of_side, len(places)))


@contextmanager
def _own_random_numbers(seed: int) -> Iterator[None]:
    """Seed torch for a run and leave the caller's random numbers as they were."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
