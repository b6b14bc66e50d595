"""Generators: trained on pairs, scored beside bicubic, judged against the champion."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flows import registry
from flows.train_kinds import Kind

if TYPE_CHECKING:
    from geo.pairstore.config import StoreConfig
    from geo.pairstore.reader import PairReader
    from geo.pairstore.store import PairStore
    from models.config import TrainConfig
    from models.data import PairSpec
    from models.evaluate import Evaluation, Score
    from models.trainer import TrainResult


class GeneratorKind(Kind):
    """See `flows.train_kinds.Kind`."""

    product = "generator"
    model_name = registry.MODEL_NAME
    next_step = "skyscale upscale SCENE OUT.tif --model {model}"
    pictured = "satellite, bicubic, generator, aerial"

    def spec(self, store: StoreConfig) -> PairSpec:
        """What all pairs of a store have in common."""
        from flows.train_start import pair_spec

        return pair_spec(store)

    def pairs(self, store: PairStore, split: str, version: int, config: TrainConfig) -> PairReader:
        """Pairs as they are stored; to a task that wants no partners chips without them as well."""
        chips = config.task == "unpaired" and split == "train"
        return store.reader(split, version=version, chips=chips)

    def score(self, spec: PairSpec) -> Score:
        """Scores beside those of bicubic."""
        from flows.train_evaluate import PairScore

        return PairScore(scale=spec.scale, data_range=spec.data_range)

    def pictures(self, evaluation: Evaluation, bands: tuple[str, ...]) -> Mapping[str, bytes]:
        """LR pixels, bicubic, SR and HR of each sample."""
        from geo.pictures import training_strip

        return {
            f"place{number}": training_strip(s.lr, s.sr, s.hr, s.valid, bands=bands)
            for number, s in enumerate(evaluation.samples)
        }

    def tell_scores(self, scores: Mapping[str, float]) -> str | None:
        """PSNR beside bicubic's, and how much detail there is."""
        if "gain_db" not in scores:
            return None
        detail = scores.get("hf_power_ratio")
        told = "" if detail is None else f", detail {detail:.0%} of reality's"
        return (
            f"PSNR {scores['psnr_db']:.2f} dB, bicubic {scores['bicubic_psnr_db']:.2f} dB, "
            f"gain {scores['gain_db']:+.2f} dB{told}"
        )

    def evaluate(
        self,
        job: Mapping[str, Any],
        store: PairStore,
        score: Score,
        result: TrainResult,
        tell: Callable[[str], None],
    ) -> dict[str, Any]:
        """Score validation and test pairs, and the champion on the same test pairs."""
        from flows.train_evaluate import evaluate_run

        return evaluate_run(job, store, score, result, tell)

    def write_card(self, job: Mapping[str, Any], evaluation: Mapping[str, Any]) -> str:
        """The model card."""
        from flows.model_card import write_card

        return write_card(job, evaluation)

    def section(
        self,
        job: Mapping[str, Any],
        evaluation: Mapping[str, Any],
        *,
        experiment_id: str,
        version: str,
        pictures: Sequence[tuple[str, str]],
    ) -> str:
        """Gain, numbers, pictures."""
        from flows.run_notes import training_section

        return training_section(
            job, evaluation, experiment_id=experiment_id, version=version, pictures=pictures
        )

    def version_tags(self, evaluation: Mapping[str, Any]) -> dict[str, Any]:
        """Scores of the test pairs."""
        test = evaluation.get("test") or {}
        names = ("psnr_db", "bicubic_psnr_db", "gain_db", "hf_power_ratio")
        return {f"test_{name}": test.get(name) for name in names}

    def judge(self, version: str, job: Mapping[str, Any], evaluation: Mapping[str, Any]) -> None:
        """Against the champion, on the same test pairs."""
        from flows.champion import judge

        judge(version, job, evaluation)
