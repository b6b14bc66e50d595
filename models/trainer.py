"""The training loop: content warm-up, adversarial phase, and what is told along the way."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch

from models.checkpoint import load_newest, restore, save_checkpoint
from models.clock import Clock, Phase, settings_at
from models.config import TrainConfig
from models.data import (
    BatchMaker,
    CachedPairs,
    PairSource,
    PairSpec,
    Prefetcher,
    band_statistics,
    check_pairs,
)
from models.discriminators.registry import build_discriminator
from models.distributed import Ranks, pick_dtype, ranks
from models.errors import ConfigError, DataError, TrainingError
from models.evaluate import Evaluation, Score, evaluate
from models.export import GeneratorCard, save_generator
from models.generators.registry import build_generator
from models.meter import Meter
from models.predict import upsample
from models.sampler import balanced_weights
from models.step import Learner, Tensors

_SAMPLES = 4

_log = logging.getLogger("skyscale.models.trainer")


class Listener(Protocol):
    """Hears of a run as it goes; only on rank 0."""

    def on_progress(
        self,
        *,
        step: int,
        images: int,
        phase: Phase,
        metrics: Mapping[str, float],
        eta_s: float | None,
    ) -> None:
        """Means since the last call, every `log_every` steps, named ``train/...``."""

    def on_validation(self, *, step: int, evaluation: Evaluation) -> None:
        """Scores and pictures of the averaged generator on validation pairs."""

    def on_checkpoint(self, *, step: int, path: Path) -> None:
        """The run can be continued from here."""


class Silent:
    """A listener that does nothing."""

    def on_progress(self, **_: Any) -> None:
        """Nothing."""

    def on_validation(self, **_: Any) -> None:
        """Nothing."""

    def on_checkpoint(self, **_: Any) -> None:
        """Nothing."""


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """What a run has come to.

    Parameters
    ----------
    generator : Path
        Folder of the exported generator (averaged weights), as `Predictor` reads it.
    stopped_by : str
        ``steps`` or ``time`` when the run has finished, ``request`` when it can be continued.
    clock : Clock
        Steps, images and seconds of both phases.
    validation : mapping
        Last scores on validation pairs.
    parameters : int
        Of the generator.
    """

    generator: Path
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

    Raises
    ------
    ConfigError
        When categories are to be balanced and `groups` are not given.
    DataError
        When the pairs are not what `spec` says, or too few, or `groups` are not one for each;
        before anything starts.
    CheckpointError
        When `folder` holds another run, or none that can be read.
    TrainingError
        When `folder` holds a run and `resume` is false; when the loss is no longer finite (the
        last checkpoint is kept).
    """
    with ranks(config.device) as here, _own_random_numbers(config.seed):
        weights = _weights(config, groups, len(train_pairs))
        run = _Run(
            config,
            here,
            train_pairs,
            val_pairs,
            spec,
            score,
            folder,
            listener or Silent(),
            weights,
        )
        run.start(resume)
        run.go(stop or (lambda: False))
        card = GeneratorCard(
            architecture=config.generator,
            scale=spec.scale,
            bands=spec.bands,
            data_range=spec.data_range,
            halo=run.learner.generator.halo,
            pixel_dtype=spec.dtype,
            store_version=store_version,
            store_digest=store_digest,
            training=run.summary(),
        )
        target = folder / "generator"
        if here.leads:
            save_generator(target, run.averaged, card)
        return TrainResult(
            generator=target,
            stopped_by=run.clock.stopped_by(config),
            clock=run.clock,
            validation=run.validation,
            parameters=sum(p.numel() for p in run.learner.generator.parameters()),
        )


class _Run:
    """A run under way."""

    def __init__(
        self,
        config: TrainConfig,
        here: Ranks,
        train_pairs: PairSource,
        val_pairs: PairSource,
        spec: PairSpec,
        score: Score,
        folder: Path,
        listener: Listener,
        weights: npt.NDArray[np.float64] | None,
    ) -> None:
        chip = check_pairs(train_pairs, spec, what="training")
        check_pairs(val_pairs, spec, what="validation")
        self.config = config
        self.here = here
        self.spec = spec
        self.clock = Clock()
        self.validation: Mapping[str, float] = {}
        self._validated_at: int | None = None
        self._train_pairs = CachedPairs(train_pairs, limit_mb=config.cache_mb)
        self._val_pairs = val_pairs
        self._score = score
        self._checkpoints = folder / "checkpoints"
        self._listener = listener
        self._dtype = pick_dtype(config.precision, here.device)
        self._make = BatchMaker(
            self._train_pairs,
            spec,
            batch_size=config.batch_size,
            chip_lr=chip,
            patch_lr=min(config.patch_lr, *chip),
            seed=config.seed,
            weights=weights,
            rank=here.rank,
            world=here.world,
        )
        self.learner = self._build()

    @property
    def averaged(self) -> Any:
        """The generator that is validated and exported."""
        return self.learner.ema.network

    def start(self, resume: bool) -> None:
        """Begin, or go on where the newest checkpoint says."""
        state = load_newest(self._checkpoints)
        if state is None:
            return
        if not resume:
            raise TrainingError(
                f"{self._checkpoints} holds a run already: resume it or choose another folder",
                folder=str(self._checkpoints),
            )
        self.clock = restore(state, self.learner, self.config, self.spec)
        # A finished run may be given more steps or minutes.
        self.clock.ended = self.clock.ended and self.clock.position(self.config) >= 1

    def go(self, stop: Callable[[], bool]) -> None:
        """Train until both phases are over or someone asks to stop."""
        meter = Meter(self.here)
        tick = time.perf_counter()
        with Prefetcher(self._make, self.clock.batches) as batches:
            while self.clock.phase != "done":
                now = time.perf_counter()
                self.clock.add_seconds(now - tick)
                tick = now
                # Rank 0 has the clock that counts, or ranks would change phase apart.
                position, asked = self.here.say([self.clock.position(self.config), float(stop())])
                if position >= 1:
                    self.clock.end_phase()
                    self._pause(validate=True, checkpoint=True)
                    continue
                if asked:
                    self._pause(validate=False, checkpoint=True)
                    return
                self._step(batches, meter, position)
                step = self.clock.step
                if step % self.config.log_every == 0:
                    self._report(meter.read(batches.waited_s))
                self._pause(
                    validate=step % self.config.val_every == 0,
                    checkpoint=step % self.config.checkpoint_every == 0,
                )
        if not self.validation:  # resumed at its end
            self._pause(validate=True, checkpoint=False)

    def summary(self) -> dict[str, Any]:
        """What the exported generator says of its training."""
        return {
            "config": self.config.to_dict(),
            "clock": self.clock.to_dict(),
            "stopped_by": self.clock.stopped_by(self.config),
            "validation": dict(self.validation),
            "ranks": self.here.world,
        }

    def _build(self) -> Learner:
        """Networks and optimisers; the same on every rank, because the seed is."""
        bands, device = len(self.spec.bands), self.here.device
        generator = build_generator(self.config.generator, bands=bands, scale=self.spec.scale)
        discriminator = build_discriminator(self.config.discriminator, bands=bands)
        mean, spread = band_statistics(self._train_pairs, self.spec)
        for network in (generator, discriminator):
            network.standardise.set(torch.from_numpy(mean), spread)  # type: ignore[union-attr, operator]  # every network has it
            network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # stubs forget this overload
        return Learner(generator, discriminator, self.config, self.here, self._dtype)

    def _step(self, batches: Iterator[Any], meter: Meter, position: float) -> None:
        """One generator update, in the adversarial phase after those of the discriminator."""
        config, learner = self.config, self.learner
        settings = settings_at(config, self.clock, position)
        learner.set_rates(settings.lr_generator, settings.lr_discriminator)

        def take() -> Tensors:
            self.clock.batches += 1
            self.clock.images += config.batch_size
            return Tensors.of(next(batches), self.here.device)

        if self.clock.phase == "content":
            meter.add(learner.content_step(take()))
            self.clock.content_steps += 1
        else:
            for _ in range(config.discriminator_steps):
                meter.add(learner.discriminator_step(take()))
            meter.add(learner.generator_step(take(), settings.adversarial_weight))
            self.clock.adversarial_steps += 1
            meter.note("lr_discriminator", settings.lr_discriminator)
            meter.note("adversarial_weight", settings.adversarial_weight)
        meter.note("lr_generator", settings.lr_generator)
        meter.count(self.clock.images)

    def _report(self, metrics: dict[str, float]) -> None:
        self._insist_on_finite(metrics)
        if self.here.leads:
            self._listener.on_progress(
                step=self.clock.step,
                images=self.clock.images,
                phase=self.clock.phase,
                metrics={f"train/{name}": value for name, value in metrics.items()},
                eta_s=self.clock.eta_s(self.config),
            )

    def _pause(self, *, validate: bool, checkpoint: bool) -> None:
        """Validate and save, if so, on rank 0; the others wait at the next gradient."""
        if not (validate or checkpoint) or not self.here.leads:
            return
        self._insist_on_finite_weights()
        step = self.clock.step
        if validate and step != self._validated_at:  # a phase may end at any step
            evaluation = self._validate()
            self.validation, self._validated_at = evaluation.scores, step
            self._listener.on_validation(step=step, evaluation=evaluation)
        if checkpoint:
            path = save_checkpoint(
                self._checkpoints, self.learner, self.clock, self.config, self.spec
            )
            self._listener.on_checkpoint(step=step, path=path)

    def _validate(self) -> Evaluation:
        return evaluate(
            lambda lr: upsample(
                self.averaged,
                lr,
                data_range=self.spec.data_range,
                device=self.here.device,
                dtype=self._dtype,
            ),
            self._val_pairs,
            self._score,
            limit=self.config.val_pairs,
            samples=_SAMPLES,
        )

    def _insist_on_finite(self, metrics: Mapping[str, float]) -> None:
        broken = sorted(name for name, value in metrics.items() if not math.isfinite(value))
        if broken:
            raise self._diverged(", ".join(broken))

    def _insist_on_finite_weights(self) -> None:
        """Never replace a good checkpoint by a broken one."""
        for network in (self.learner.generator, self.learner.discriminator):
            if not all(bool(torch.isfinite(p).all()) for p in network.parameters()):
                raise self._diverged(f"weights of {type(network).__name__}")

    def _diverged(self, what: str) -> TrainingError:
        return TrainingError(
            f"training diverged at step {self.clock.step} ({self.clock.phase} phase): {what} not "
            f"finite; the last checkpoint is kept in {self._checkpoints}. Look for broken pixels "
            "in the pairs, or resume with a lower learning rate",
            step=self.clock.step,
            phase=self.clock.phase,
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
