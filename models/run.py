"""A training run under way: the loop, and what interrupts it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from models.batches import BatchMaker
from models.cached_pairs import CachedPairs
from models.checkpoint import load_newest, restore, save_checkpoint
from models.clock import Clock, growth_at, settings_at
from models.config import TrainConfig
from models.data import PairSource, PairSpec, Side, band_statistics, check_pairs
from models.distributed import Ranks, pick_dtype
from models.errors import TrainingError
from models.evaluate import Evaluation, Score
from models.health import Sickness, Watch
from models.listener import Listener
from models.meter import Meter
from models.prefetch import Prefetcher
from models.product import Origin
from models.quality import psnr_of
from models.restyler import Restyler, load_restyler
from models.selection import Choice, Selection, Weights, choose
from models.start import Start, load_start
from models.strategy import Strategy, build_strategy
from models.tensors import Tensors

_SAMPLES = 4
# What of each point between faithful and sharp is worth telling.
_TRADED = ("psnr_db", "gain_db", "hf_power_ratio", "ssim", "lr_consistency")


class Run:
    """Networks, data, clock and health of a run, and the loop that moves them.

    Parameters
    ----------
    config : TrainConfig
    here : Ranks
    train_pairs, val_pairs : PairSource
    spec : PairSpec
    score : Score
    folder : Path
        Gets ``checkpoints/``.
    listener : Listener
    weights : array or None
        How often to show each training pair.
    apart : (Side, Side) or None
        LR and HR images that are shown without their partners. Nothing need be validated then.
    start_from : Start or None
        A generator to begin with, instead of with bicubic.
    restyler : Start or None
        For `TrainConfig.augment`.
    """

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
        start_from: Start | None = None,
        apart: tuple[Side, Side] | None = None,
        restyler: Start | None = None,
    ) -> None:
        chip = check_pairs(train_pairs, spec, what="training")
        self._validates = apart is None or len(val_pairs) > 0
        if self._validates:
            check_pairs(val_pairs, spec, what="validation")
        self.config = config
        self.here = here
        self.spec = spec
        self.clock = Clock()
        self._validated_at: int | None = None
        self._train_pairs = CachedPairs(train_pairs, limit_mb=config.cache_mb)
        self._val_pairs = val_pairs
        self._score = score
        self._checkpoints = folder / "checkpoints"
        self._start_from = start_from
        self._listener = listener
        self._watch = Watch(config.health)
        self._dtype = pick_dtype(config.precision, here.device)
        self._patch = min(config.patch_lr, *chip)
        self._make = BatchMaker(
            self._train_pairs,
            spec,
            batch_size=config.batch_size,
            chip_lr=chip,
            patch_lr=self._patch,
            seed=config.seed,
            weights=weights,
            rank=here.rank,
            world=here.world,
            apart=apart,
            restyled=config.augment.share if config.augment.style else 0.0,
        )
        self._restyle = self._load_restyler(restyler)
        self.learner = self._build(None if apart is None else apart[0].places)
        self.product = self.learner.product(spec)
        self.selection = Selection(self._checkpoints)
        self.choice: Choice | None = None
        self._last_batch: Tensors | None = None
        self._broken_told = 0

    def start(self, resume: bool) -> None:
        """Begin, or go on where the newest checkpoint says."""
        state = load_newest(self._checkpoints)
        if state is None:
            if self._start_from is not None:
                self.learner.start_as(load_start(self._start_from, self.config, self.spec))
            return
        if not resume:
            raise TrainingError(
                f"{self._checkpoints} holds a run already: resume it or choose another folder",
                folder=str(self._checkpoints),
            )
        self._restore(state)
        self.selection.load()

    def _restore(self, state: Mapping[str, Any]) -> None:
        self.clock = restore(state, self.learner, self.config, self.spec)
        # A finished run may be given more steps or minutes.
        self.clock.ended = self.clock.ended and self.clock.position(self.config) >= 1

    def go(self, stop: Callable[[], bool]) -> None:
        """Train until both phases are over or someone asks to stop."""
        if self.clock.step == 0:
            if self._start_from is not None:  # what it begins with may stay the best
                self._pause(validate=True, checkpoint=False)
            self._save()  # where a run that falls ill at once goes back to
        while True:
            with Prefetcher(self._make, self.clock.batches) as batches:
                sickness = self._train(batches, stop)
            if sickness is None:
                break
            self._roll_back(sickness)
        if self.clock.phase == "done" and not self._has_validated():  # resumed at its end
            self._pause(validate=True, checkpoint=False)

    def choose(self) -> None:
        """Choose what is exported; only where `here.leads`."""
        self.choice = choose(self.selection, self.config.psnr_cost_db, self._score_weights)
        if self.choice is None or not self.choice.curve:
            return
        faithful, chosen = self.choice.curve[0][1], self.choice.scores
        cost = psnr_of(faithful) - psnr_of(chosen)
        detail = [scores.get("hf_power_ratio") for scores in (faithful, chosen)]
        if detail[0] is None or detail[1] is None:
            return
        self._tell(
            f"exported is {self.choice.share:.0%} of the way from the most faithful state to the "
            f"sharpest: {cost:.2f} dB of PSNR for {detail[1]:.0%} of reality's fine detail "
            f"instead of {detail[0]:.0%} (psnr_cost_db is {self.config.psnr_cost_db:g})"
        )

    def export(self, target: Path, *, store_version: str | None, store_digest: str | None) -> None:
        """Write what was chosen; only where `here.leads`."""
        if self.choice is not None:
            self.product.network.load_state_dict(self.selection.blend(self.choice.share))
        origin = Origin(
            training=self.summary(), store_version=store_version, store_digest=store_digest
        )
        self.product.export(target, origin)

    def summary(self) -> dict[str, Any]:
        """What the exported generator says of its training."""
        return {
            "config": self.config.to_dict(),
            "clock": self.clock.to_dict(),
            "stopped_by": self.clock.stopped_by(self.config),
            "validation": dict(self.choice.scores) if self.choice else {},
            "selected_step": self.choice.step if self.choice else None,
            "sharp_share": self.choice.share if self.choice else None,
            "trade_off": [
                {"share": share, **{name: scores[name] for name in _TRADED if name in scores}}
                for share, scores in (self.choice.curve if self.choice else ())
            ],
            "ranks": self.here.world,
        }

    def _build(self, lr_places: npt.NDArray[np.int64] | None) -> Strategy:
        statistics = band_statistics(self._train_pairs, self.spec, places=lr_places)
        return build_strategy(
            self.config, self.spec, statistics, self.here, self._dtype, self._patch
        )

    def _load_restyler(self, given: Start | None) -> Restyler | None:
        asked = self.config.augment.style
        if asked is None:
            return None
        # Without a flow that has fetched it, what is asked for is a folder.
        return load_restyler(
            given or Start(folder=Path(asked)), self.spec, self.here.device, self._dtype
        )

    def _train(self, batches: Prefetcher, stop: Callable[[], bool]) -> Sickness | None:
        """Steps until the end, a request to stop, or sickness."""
        meter = Meter(self.here)
        tick = time.perf_counter()
        while self.clock.phase != "done":
            now = time.perf_counter()
            self.clock.add_seconds(now - tick)
            tick = now
            # Rank 0 has the clock that counts, or ranks would change phase apart.
            position, asked = self.here.say([self.clock.position(self.config), float(stop())])
            if position >= 1:
                self.clock.end_phase()
                self._watch.forget()  # other signs count in the next phase
                self._pause(validate=True, checkpoint=True)
                continue
            if asked:
                self._save()
                return None
            self._step(batches, meter, position)
            step = self.clock.step
            if step % self.config.log_every == 0:
                sickness = self._report(meter, batches.waited_s)
                if sickness is not None:
                    return sickness
            self._pause(
                validate=step % self.config.val_every == 0,
                checkpoint=step % self.config.checkpoint_every == 0 and self._watch.well,
            )
        return None

    def _step(self, batches: Iterator[Any], meter: Meter, position: float) -> None:
        """One generator update, in the adversarial phase after those of the discriminator."""
        config, learner = self.config, self.learner
        settings = settings_at(config, self.clock, position)
        learner.set_rates(settings.lr_generator, settings.lr_discriminator)

        def take() -> Tensors:
            self.clock.batches += 1
            self.clock.images += config.batch_size
            batch = Tensors.of(next(batches), self.here.device)
            self._last_batch = batch if self._restyle is None else self._restyle(batch)
            return self._last_batch

        if self.clock.phase == "content":
            growth = growth_at(learner.levels, config.growing_share, position)
            meter.add(learner.content_step(take(), growth))
            self.clock.content_steps += 1
        else:
            for _ in range(config.discriminator_steps):
                meter.add(learner.discriminator_step(take()))
            meter.add(learner.generator_step(take(), settings.adversarial_weight))
            self.clock.adversarial_steps += 1
            meter.note("lr_discriminator", settings.lr_discriminator * learner.balance.factor)
            meter.note("adversarial_weight", settings.adversarial_weight)
        meter.note("lr_generator", settings.lr_generator)
        meter.count(self.clock.images)

    def _report(self, meter: Meter, waited_s: float) -> Sickness | None:
        assert self._last_batch is not None
        meter.add(self.learner.check_up(self._last_batch))
        metrics = meter.read(waited_s)
        if self.here.leads:
            self._listener.on_progress(
                step=self.clock.step,
                images=self.clock.images,
                phase=self.clock.phase,
                metrics={f"train/{name}": value for name, value in metrics.items()},
                eta_s=self.clock.eta_s(self.config),
            )
        self._tell_broken_pairs()
        return self._watch.read(metrics, self.clock.phase)

    def _tell_broken_pairs(self) -> None:
        found = sorted(self._make.broken)
        if len(found) > self._broken_told:
            self._broken_told = len(found)
            named = ", ".join(map(str, found[:10])) + (", ..." if len(found) > 10 else "")
            self._tell(
                f"{len(found)} training pairs hold values that are not finite and are left out "
                f"there: {named} (numbers within the split)"
            )

    def _tell(self, text: str) -> None:
        if self.here.leads:
            self._listener.on_event(step=self.clock.step, text=text)

    def _roll_back(self, sickness: Sickness) -> None:
        """Go back to the last healthy state with lower rates, or give up."""
        step, phase, config = self.clock.step, self.clock.phase, self.config.health
        seen = f"training fell ill at step {step} ({phase} phase): {sickness.name}, {sickness.text}"
        if self.clock.rollbacks >= config.rollbacks:
            raise TrainingError(
                f"{seen}. It went back to a healthy state {self.clock.rollbacks} times; the last "
                f"one is kept in {self._checkpoints}. To go on, {sickness.advice}",
                step=step,
                phase=phase,
                sickness=sickness.name,
            )
        state = load_newest(self._checkpoints)
        assert state is not None  # one is made before the first step
        batches, rollbacks = self.clock.batches, self.clock.rollbacks
        seconds = self.clock.content_s, self.clock.adversarial_s
        before = self.clock.rate_factor
        self._restore(state)
        # Other mini-batches than those it fell ill on; and time has passed all the same.
        self.clock.batches, self.clock.rollbacks = batches, rollbacks + 1
        self.clock.content_s, self.clock.adversarial_s = seconds
        self.clock.rate_factor = before * config.rollback_rate
        if sickness.name == "overpowered":
            self.learner.balance.factor *= config.rollback_rate
        self._watch.forget()
        self._tell(
            f"{seen}; back to step {self.clock.step}, learning rates times "
            f"{self.clock.rate_factor:g} ({self.clock.rollbacks} of {config.rollbacks} times)"
        )

    def _pause(self, *, validate: bool, checkpoint: bool) -> None:
        """Validate and save, if so, on rank 0; the others wait at the next step."""
        if not self.here.leads:
            return
        step = self.clock.step
        if (
            validate and self._validates and step != self._validated_at
        ):  # a phase may end at any step
            evaluation = self._validate()
            self._validated_at = step
            self.selection.offer(
                step,
                evaluation.scores,
                self.product.network,
                playing=self.clock.adversarial_steps > 0,
            )
            self._listener.on_validation(step=step, evaluation=evaluation)
        if checkpoint:
            self._save()

    def _save(self) -> None:
        if not self.here.leads or not self._is_finite():
            return  # never a broken state after a good one
        path = save_checkpoint(self._checkpoints, self.learner, self.clock, self.config, self.spec)
        self._listener.on_checkpoint(step=self.clock.step, path=path)

    def _is_finite(self) -> bool:
        return all(
            math.isfinite(float(parameter.detach().sum()))
            for network in self.learner.networks
            for parameter in network.parameters()
        )

    def _has_validated(self) -> bool:
        return self.selection.faithful is not None or self.selection.sharp is not None

    def _score_weights(self, weights: Weights) -> Mapping[str, float]:
        self.product.network.load_state_dict(weights)
        return self._validate(samples=0).scores

    def _validate(self, samples: int = _SAMPLES) -> Evaluation:
        return self.product.validate(
            self._val_pairs, self._score, limit=self.config.val_pairs, samples=samples
        )
