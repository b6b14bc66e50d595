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
from models.data import PairSource, PairSpec
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
        When the pairs are not what `spec` says, or too few, or `groups` are not one for each;
        before anything starts.
    CheckpointError
        When `folder` holds another run, or none that can be read.
    TrainingError
        When `folder` holds a run and `resume` is false; when training falls ill again and again
        (see `models.health`; the last healthy state is kept).
    """
    with ranks(config.device) as here, _own_random_numbers(config.seed):
        weights = _weights(config, groups, len(train_pairs))
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
    """How often to show each training pair; None for all alike."""
    if config.balance == 0:
        return None
    if groups is None:
        raise ConfigError(
            f"balance is {config.balance}, but the categories of the training pairs are not known: "
            "give `groups`, or set balance to 0",
            balance=config.balance,
        )
    if len(groups) != pairs:
        raise DataError(
            f"there are {len(groups)} categories for {pairs} training pairs",
            groups=len(groups),
            pairs=pairs,
        )
    return balanced_weights(groups, config.balance)


@contextmanager
def _own_random_numbers(seed: int) -> Iterator[None]:
    """Seed torch for a run and leave the caller's random numbers as they were."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
