"""One rank of training: joins store, trainer and tracker. Started by `flows.launcher`.

Rank 0 prints one JSON object a line for the flow to pass on, and logs to MLflow.
"""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from flows.progress import Pace
from flows.run_logger import RunLogger
from flows.settings import is_leading_rank, prepare_rank_environment
from flows.system_metrics import system_reader
from flows.train_folder import RunFolder, folder_of
from flows.train_kinds import Kind, kind_of
from geo.pairstore.store import PairStore
from models.config import TrainConfig
from models.errors import ModelError
from models.evaluate import Evaluation
from models.start import Start
from models.trainer import train

_STOPPED = 3  # exit status
# Lines come with steps; where these are slow, sooner.
_LONGEST_SILENCE_S = 60.0
_IN_A_HURRY = {"patience_s": 3.0, "most_s": 6.0}


class Reporter:
    """Passes what the trainer says on to MLflow and to the flow.

    Parameters
    ----------
    run_id : str
    folder : RunFolder
    bands : tuple of str
    config : TrainConfig
        Says how many steps there are.
    kind : Kind
        Of what is trained.
    """

    def __init__(
        self,
        run_id: str,
        folder: RunFolder,
        bands: tuple[str, ...],
        config: TrainConfig,
        kind: Kind,
    ) -> None:
        self._logger = RunLogger(run_id, folder.spool, system=system_reader())
        self._events = folder.events
        self._bands = bands
        self._config = config
        self._kind = kind
        self._first: tuple[int, float] | None = None  # step and time of this sitting's first word
        self._told_at = time.monotonic()

    def on_progress(
        self,
        *,
        step: int,
        images: int,
        phase: str,
        metrics: Mapping[str, float],
        eta_s: float | None,
    ) -> None:
        """Log metrics; tell now and then."""
        self._logger.metrics({**metrics, "train/images": images}, step)
        pace = self._pace(step, metrics.get("train/images_per_s"), eta_s)
        if step % 500 == 0 or time.monotonic() - self._told_at >= _LONGEST_SILENCE_S:
            self._told_at = time.monotonic()
            _write({"say": f"{phase} phase, {pace}", "pace": asdict(pace)})
        else:
            _write({"pace": asdict(pace)})

    def _pace(self, step: int, rate: float | None, eta_s: float | None) -> Pace:
        """Time may end before the steps do: then those that it lets one expect are all."""
        now = time.monotonic()
        first, begun = self._first = self._first or (step, now)
        steps_s = (step - first) / max(now - begun, 1e-9)
        total = self._config.steps
        if eta_s is not None and steps_s and self._config.max_minutes is not None:
            total = min(total, step + round(eta_s * steps_s))
        return Pace(
            done=step,
            total=total,
            unit="steps",
            share=min(1.0, step / max(1, total)),
            rate=rate,
            rate_unit="images",
            eta_s=eta_s,
        )

    def on_validation(self, *, step: int, evaluation: Evaluation) -> None:
        """Log scores and pictures."""
        scores = evaluation.scores
        self._logger.metrics({f"val/{name}": value for name, value in scores.items()}, step)
        for name, png in self._kind.pictures(evaluation, self._bands).items():
            self._logger.picture(f"samples/{name}/step{step:06d}.png", png, step)
        if (told := self._kind.tell_scores(scores)) is not None:
            tell(f"step {step}: validation {told}")

    def on_checkpoint(self, *, step: int, path: Path) -> None:
        """Nothing to log: a checkpoint is for resuming, on this disk."""

    def on_event(self, *, step: int, text: str) -> None:
        """Say what a person should know, and write it down."""
        tell(text)
        with contextlib.suppress(OSError), self._events.open("a") as file:
            file.write(f"step {step}: {text}\n")

    def close(self, *, asked_to_stop: bool) -> None:
        """Let MLflow have it all, if it is there; say what it does not have.

        Who asks to stop will not wait for a tracker; what it lacks is kept.
        """
        left = self._logger.close(**(_IN_A_HURRY if asked_to_stop else {}))
        if left is not None:
            tell(left)


def tell(text: str) -> None:
    """Say a line to the flow."""
    _write({"say": text})


def _write(event: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def main(path: str) -> int:
    """Run a job; the exit status is 0 when training has finished."""
    prepare_rank_environment()
    try:
        return _run(json.loads(Path(path).read_text()))
    except ModelError as error:
        if is_leading_rank():
            _write({"failed": str(error)})
        raise


def _run(job: Mapping[str, Any]) -> int:
    store = PairStore.open(job["store"])
    version = job["store_version"]
    folder = folder_of(job)
    config = TrainConfig.from_dict(job["config"])
    kind = kind_of(config)
    spec = kind.spec(store.config)
    score = kind.score(spec)
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: stopping.append(number))
    leads = is_leading_rank()
    reporter = Reporter(job["run_id"], folder, spec.bands, config, kind) if leads else None
    training = kind.pairs(store, "train", version, config)
    try:
        result = train(
            config,
            train_pairs=training,
            groups=training.groups,
            sides=training.sides if config.task == "unpaired" else None,
            val_pairs=kind.pairs(store, "val", version, config),
            spec=spec,
            score=score,
            folder=folder.path,
            listener=reporter,
            resume=True,
            stop=lambda: bool(stopping),
            store_version=str(version),
            store_digest=job["store_digest"],
            start_from=_network_of(job, "start", folder.start),
            restyler=_network_of(job, "restyler", folder.restyler),
        )
        if leads and result.stopped_by != "request":
            kind.evaluate(job, store, score, result, tell)
    finally:
        if reporter is not None:
            reporter.close(asked_to_stop=bool(stopping))
    if result.stopped_by == "request":
        if leads:
            _write({"stopped": True})
        return _STOPPED
    return 0


def _network_of(job: Mapping[str, Any], name: str, folder: Path) -> Start | None:
    """What the run was given; jobs of before there was such a thing say nothing of it."""
    if (given := job.get(name)) is None:
        return None
    return Start(folder=folder, weights_sha256=given["weights_sha256"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
