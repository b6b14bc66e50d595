"""One rank of training: joins store, trainer and tracker. Started by `flows.launcher`.

Rank 0 prints one JSON object a line for the flow to pass on, and logs to MLflow.
"""

from __future__ import annotations

import contextlib
import json
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flows.run_logger import RunLogger
from flows.settings import is_leading_rank, prepare_rank_environment
from flows.system_metrics import system_reader
from flows.train_evaluate import PairScore, evaluate_run
from flows.train_folder import RunFolder, folder_of
from geo.pairstore.store import PairStore
from geo.pictures import training_strip
from models.config import TrainConfig
from models.data import PairSpec
from models.errors import ModelError
from models.evaluate import Evaluation
from models.trainer import train

_STOPPED = 3  # exit status


class Reporter:
    """Passes what the trainer says on to MLflow and to the flow.

    Parameters
    ----------
    run_id : str
    folder : RunFolder
    bands : tuple of str
    """

    def __init__(self, run_id: str, folder: RunFolder, bands: tuple[str, ...]) -> None:
        self._logger = RunLogger(run_id, folder.spool, system=system_reader())
        self._events = folder.events
        self._bands = bands

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
        if step % 500 == 0:
            left = "" if eta_s is None else f", {eta_s:.0f} s to go"
            speed = metrics.get("train/images_per_s")
            rate = "" if speed is None else f", {speed:.0f} images/s"
            tell(f"{phase} step {step}{rate}{left}")

    def on_validation(self, *, step: int, evaluation: Evaluation) -> None:
        """Log scores and pictures."""
        scores = evaluation.scores
        self._logger.metrics({f"val/{name}": value for name, value in scores.items()}, step)
        for number, sample in enumerate(evaluation.samples):
            png = training_strip(sample.lr, sample.sr, sample.hr, sample.valid, bands=self._bands)
            self._logger.picture(f"samples/place{number}/step{step:06d}.png", png, step)
        if "gain_db" in scores:
            detail = scores.get("hf_power_ratio")
            told = "" if detail is None else f", detail {detail:.0%} of reality's"
            tell(
                f"step {step}: validation PSNR {scores['psnr_db']:.2f} dB, bicubic "
                f"{scores['bicubic_psnr_db']:.2f} dB, gain {scores['gain_db']:+.2f} dB{told}"
            )

    def on_checkpoint(self, *, step: int, path: Path) -> None:
        """Nothing to log: a checkpoint is for resuming, on this disk."""

    def on_event(self, *, step: int, text: str) -> None:
        """Say what a person should know, and write it down."""
        tell(text)
        with contextlib.suppress(OSError), self._events.open("a") as file:
            file.write(f"step {step}: {text}\n")

    def close(self, *, patience_s: float) -> None:
        """Let MLflow have it all, if it is there; say what it does not have."""
        left = self._logger.close(patience_s=patience_s)
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
    spec = PairSpec(
        bands=store.config.bands,
        scale=store.config.scale,
        data_range=store.config.data_range,
        dtype=store.config.dtype,
    )
    score = PairScore(scale=spec.scale, data_range=spec.data_range)
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: stopping.append(number))
    leads = is_leading_rank()
    reporter = Reporter(job["run_id"], folder, spec.bands) if leads else None
    training = store.reader("train", version=version)
    try:
        result = train(
            TrainConfig.from_dict(job["config"]),
            train_pairs=training,
            groups=training.groups,
            val_pairs=store.reader("val", version=version),
            spec=spec,
            score=score,
            folder=folder.path,
            listener=reporter,
            resume=True,
            stop=lambda: bool(stopping),
            store_version=str(version),
            store_digest=job["store_digest"],
        )
        if leads and result.stopped_by != "request":
            evaluate_run(job, store, score, result, tell)
    finally:
        if reporter is not None:
            # Who asks to stop will not wait for a tracker; what it lacks is kept.
            reporter.close(patience_s=3.0 if stopping else 30.0)
    if result.stopped_by == "request":
        if leads:
            _write({"stopped": True})
        return _STOPPED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
