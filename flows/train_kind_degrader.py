"""Degraders: HR to LR, trained on pairs, scored beside the plain mean, judged by people."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from flows import mlflow_pages, registry
from flows.console import say
from flows.train_kind_generator import GeneratorKind

if TYPE_CHECKING:
    from geo.pairstore.reader import PairReader
    from geo.pairstore.store import PairStore
    from models.config import TrainConfig
    from models.data import PairSpec
    from models.evaluate import Evaluation, Score
    from models.trainer import TrainResult

_ROWS = (
    ("psnr_db", "mean_psnr_db", "PSNR but for noise, dB", ".2f"),
    ("spectrum_db", "mean_spectrum_db", "distance of spectra, dB", ".2f"),
    ("histogram", "mean_histogram", "distance of histograms, real spreads", ".3f"),
)


class DegraderKind(GeneratorKind):
    """See `flows.train_kinds.Kind`; data are those of generators."""

    product = "degrader"
    model_name = "skyscale-degrader"
    next_step = "skyscale ingest --degrade {model} --aerial ARCHIVE --store STORE"
    pictured = "aerial, what is seen of it, satellite"

    def pairs(self, store: PairStore, split: str, version: int, config: TrainConfig) -> PairReader:
        """True pairs: nothing is to be learned of what was degraded."""
        return store.reader(split, version=version, derived=False)

    def score(self, spec: PairSpec) -> Score:
        """PSNR against the true LR image, beside that of the plain mean."""
        from flows.degrader_scores import score_seen

        return partial(score_seen, data_range=spec.data_range)

    def pictures(self, evaluation: Evaluation, bands: tuple[str, ...]) -> Mapping[str, bytes]:
        """HR, what is seen of it, the true LR image, of each sample."""
        from geo.pictures import degraded_strip

        return {
            f"place{number}": degraded_strip(s.lr, s.sr, s.hr, bands=bands)
            for number, s in enumerate(evaluation.samples)
        }

    def tell_scores(self, scores: Mapping[str, float]) -> str | None:
        """PSNR beside the mean's, and distances where they are known."""
        if "psnr_db" not in scores:
            return None
        told = f"LR PSNR {scores['psnr_db']:.2f} dB, plain mean {scores['mean_psnr_db']:.2f} dB"
        if "spectrum_db" in scores:
            told += (
                f", spectrum {scores['spectrum_db']:.2f} dB from real LR (mean "
                f"{scores['mean_spectrum_db']:.2f})"
            )
        return told

    def evaluate(
        self,
        job: Mapping[str, Any],
        store: PairStore,
        score: Score,
        result: TrainResult,
        tell: Callable[[str], None],
    ) -> dict[str, Any]:
        """Score validation and test pairs."""
        from flows.degrader_scores import evaluate_degrader

        return evaluate_degrader(job, store, score, result, tell, self.tell_scores)

    def write_card(self, job: Mapping[str, Any], evaluation: Mapping[str, Any]) -> str:
        """What it is, what it was made of, how near it comes, what it is not for."""
        from flows.model_card import escape_markdown

        data = job.get("data", {})
        bands = ", ".join(escape_markdown(band) for band in data.get("bands", ())) or "unknown"
        return "\n".join(
            [
                f"# Skyscale degrader x{data.get('scale', '?')}",
                "",
                "Makes LR images of HR images, as the satellite of its pairs would have seen "
                f"them. {evaluation['parameters']:,} parameters; bands {bands}; MLflow run "
                f"`{job['run_id']}`; version {job['store_version']} of "
                f"{escape_markdown(job['store'])}.",
                "",
                "    from models.degrade import DegraderModel",
                "    lr = DegraderModel(folder)(hr, seed)   # DN [N, C, s*h, s*w] to [N, C, h, w]",
                "",
                *_table(evaluation),
                "",
                "Not for what its pairs are not of: another sensor, other seasons, other ground. "
                "Derived LR images are no observation and belong in no validation or test.",
                "",
            ]
        )

    def section(
        self,
        job: Mapping[str, Any],
        evaluation: Mapping[str, Any],
        *,
        experiment_id: str,
        version: str,
        pictures: Sequence[tuple[str, str]],
    ) -> str:
        """Scores, the way to version and card, pictures."""
        run_id = job["run_id"]
        card = mlflow_pages.file_page(experiment_id, run_id, f"{self.product}/README.md")
        told = self.tell_scores(evaluation.get("test") or {}) or "no test pairs"
        shown = [f"![Sample]({mlflow_pages.picture(run_id, path)})" for _, path in pictures]
        links = f"[{version}]({mlflow_pages.version_page(version)}) · [card]({card})"
        return "\n\n".join([f"Training: {told}.", links, "\n".join(_table(evaluation)), *shown])

    def version_tags(self, evaluation: Mapping[str, Any]) -> dict[str, Any]:
        """Scores of the test pairs."""
        test = evaluation.get("test") or {}
        return {f"test_{name}": test.get(name) for row in _ROWS for name in row[:2]}

    def judge(self, version: str, job: Mapping[str, Any], evaluation: Mapping[str, Any]) -> None:
        """Leave it to people: what a degrader is worth, the generators trained by it show."""
        told = (
            "not promoted: degraders are not judged by rule; give it the alias `champion` in "
            "MLflow if it should be"
        )
        registry.keep_champion(version, told, self.model_name)
        say(f"train: version {version} of {self.model_name} is registered")


def _table(evaluation: Mapping[str, Any]) -> list[str]:
    lines = ["| ground | score | degrader | plain mean |", "|---|---|---|---|"]
    for split in ("val", "test"):
        scores = evaluation.get(split) or {}
        lines += [
            f"| {split}, {scores['pairs']} pairs | {label} | {scores[own]:{form}} "
            f"| {scores[plain]:{form}} |"
            for own, plain, label, form in _ROWS
            if scores.get(own) is not None
        ]
    return lines
