"""One rank of training: joins store, trainer and tracker. Started by `flows.launcher`.

Rank 0 prints one JSON object a line for the flow to pass on, and logs to MLflow.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from flows.settings import is_leading_rank, prepare_environment
from flows.tracking import RunLogger
from geo.pairstore.store import PairReader, PairStore
from geo.pictures import training_strip
from geo.scoring import score_pair
from models.config import TrainConfig
from models.data import PairSpec
from models.evaluate import Evaluation, evaluate
from models.predict import Predictor
from models.trainer import TrainResult, train


class Reporter:
    """Passes what the trainer says on to MLflow and to the flow."""

    def __init__(self, run_id: str, bands: tuple[str, ...]) -> None:
        self._logger = RunLogger(run_id)
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
        """Say what a person should know."""
        tell(text)

    def close(self) -> None:
        """Wait until MLflow has it all."""
        self._logger.close()


def tell(text: str) -> None:
    """Say a line to the flow."""
    sys.stdout.write(json.dumps({"say": text}) + "\n")
    sys.stdout.flush()


def main(path: str) -> int:
    """Run a job; the exit status is 0 when training has finished."""
    prepare_environment(quiet=True)
    job = json.loads(Path(path).read_text())
    config = TrainConfig.from_dict(job["config"])
    store = PairStore.open(job["store"])
    version = job["store_version"]
    folder = Path(job["folder"])
    spec = PairSpec(
        bands=store.config.bands,
        scale=store.config.scale,
        data_range=store.config.data_range,
        dtype=store.config.dtype,
    )
    score = partial(score_pair, scale=spec.scale, data_range=spec.data_range)
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: stopping.append(number))
    leads = is_leading_rank()
    reporter = Reporter(job["run_id"], spec.bands) if leads else None
    training = store.reader("train", version=version)
    try:
        result = train(
            config,
            train_pairs=training,
            groups=training.groups,
            val_pairs=store.reader("val", version=version),
            spec=spec,
            score=score,
            folder=folder,
            listener=reporter,
            resume=True,
            stop=lambda: bool(stopping),
            store_version=str(version),
            store_digest=job["store_digest"],
        )
    finally:
        if reporter is not None:
            reporter.close()
    if result.stopped_by == "request":
        tell("stopped on request; the state is saved")
        return 3
    if leads:
        _evaluate(job, store, spec, score, result)
    return 0


def _evaluate(
    job: Mapping[str, Any], store: PairStore, spec: PairSpec, score: Any, result: TrainResult
) -> None:
    """Score validation and test pairs, and the champion on the same test pairs."""
    mine = Predictor(result.generator)
    scores: dict[str, Any] = {"parameters": result.parameters}
    test = store.reader("test", version=job["store_version"])
    scores["val"] = _score(mine, store.reader("val", version=job["store_version"]), score)
    scores["test"] = _score(mine, test, score)
    if job["champion"]:
        champion = Predictor(job["champion"])
        comparable = (champion.scale, champion.bands) == (spec.scale, spec.bands)
        scores["champion"] = _score(champion, test, score) if comparable else None
    for split in ("val", "test"):
        if found := scores[split]:
            tell(
                f"{split}: PSNR {found['psnr_db']:.2f} dB, bicubic "
                f"{found['bicubic_psnr_db']:.2f} dB, gain {found['gain_db']:+.2f} dB "
                f"over {found['pairs']} pairs"
            )
    (Path(job["folder"]) / "evaluation.json").write_text(json.dumps(scores, indent=2))


def _score(predictor: Predictor, pairs: PairReader, score: Any) -> dict[str, Any] | None:
    if not len(pairs):
        return None
    evaluation = evaluate(predictor, pairs, score)
    return {**evaluation.scores, "pairs": evaluation.pairs}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
