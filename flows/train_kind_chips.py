"""Chips of noise: trained on HR chips alone, held against held-out ones, judged by nobody."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flows.errors import FlowError, UsageError
from flows.log_lines import finite
from flows.train_folder import folder_of, write_text_whole
from flows.train_kinds import Kind

if TYPE_CHECKING:
    from geo.pairstore.config import StoreConfig
    from geo.pairstore.reader import PairReader
    from geo.pairstore.store import PairStore
    from models.config import TrainConfig
    from models.data import PairSpec
    from models.evaluate import Evaluation, Score
    from models.trainer import TrainResult

_COLUMNS = 8


class ChipsKind(Kind):
    """See `flows.train_kinds.Kind`."""

    product = "chips"
    model_name = "skyscale-chips"
    next_step = (
        'python -c "from models.chips import load_chips; '
        "print(load_chips('{folder}').draw(16, seed=0).shape)\""
    )
    pictured = "drawn chips"

    def spec(self, store: StoreConfig) -> PairSpec:
        """What all pairs of a store have in common."""
        from flows.train_start import pair_spec

        return pair_spec(store)

    def splits(self, summary: Mapping[str, Any], config: TrainConfig) -> dict[str, int]:
        """Those of the category, if one is wanted."""
        wanted, there = config.chips.category, summary["balance"]
        if wanted is None:
            return dict(summary["splits"])
        if wanted not in there:
            raise UsageError(
                f"training settings: chips category is {wanted!r}, and {summary['store']} has "
                f"pairs of {', '.join(there) or 'none'}: name one of these, or leave it out for all"
            )
        for split, name in (("train", "training"), ("val", "validation")):
            if not there[wanted].get(split):
                raise FlowError(
                    f"{summary['store']}: no {name} pairs of category {wanted!r} "
                    f"({dict(there[wanted])}): ingest more of such ground, or name another"
                )
        return dict(there[wanted])

    def pairs(self, store: PairStore, split: str, version: int, config: TrainConfig) -> PairReader:
        """Pairs of the category, if one is wanted; of all ground by default."""
        category = config.chips.category
        return store.reader(
            split, version=version, categories=None if category is None else (category,)
        )

    def score(self, spec: PairSpec) -> Score:
        """None: a drawn chip shows no ground that another image could be of."""
        return lambda sr, hr, lr, valid: {}

    def pictures(self, evaluation: Evaluation, bands: tuple[str, ...]) -> Mapping[str, bytes]:
        """Sheets of drawn and of real chips, and a walk among drawn ones, in the same colours."""
        from geo.pictures import chips_sheet

        real = evaluation.sheets.get("real")
        if real is None:
            return {}
        return {
            name: chips_sheet(chips, like=real, bands=bands, columns=_COLUMNS)
            for name, chips in evaluation.sheets.items()
        }

    def tell_scores(self, scores: Mapping[str, float]) -> str | None:
        """How far drawn chips are from real ones."""
        if "spectrum_db" not in scores:
            return None
        parts = [
            f"chips {scores['spectrum_db']:.2f} dB of spectrum and {scores['histogram']:.2f} "
            "spreads of histogram from held-out ones"
        ]
        if scores.get("diversity") is not None:
            parts.append(f"diversity {scores['diversity']:.2f} of reality's")
        if scores.get("elbo") is not None:
            parts.append(f"ELBO {scores['elbo']:.3f} nats a value")
        return ", ".join(parts)

    def evaluate(
        self,
        job: Mapping[str, Any],
        store: PairStore,
        score: Score,
        result: TrainResult,
        tell: Callable[[str], None],
    ) -> dict[str, Any]:
        """Hold chips against validation and test ground, with real training chips beside them."""
        from models.chip_product import judge_chips
        from models.chips import load_chips, load_chips_card
        from models.config import TrainConfig

        config = TrainConfig.from_dict(job["config"])
        chips, card = load_chips(result.exported), load_chips_card(result.exported)
        spec, version = self.spec(store.config), job["store_version"]
        told = {key: value for key, value in card.training.items() if key != "config"}
        found: dict[str, Any] = {
            "parameters": result.parameters,
            "config": job["config"],
            "training": {**told, "weights_sha256": card.weights_sha256},
        }
        training = self.pairs(store, "train", version, config)
        for split in ("val", "test"):
            pairs = self.pairs(store, split, version, config)
            found[split] = None
            if len(pairs):
                scores = judge_chips(chips, pairs, training, spec, walk=config.chips.walk)
                found[split] = {**scores, "pairs": len(pairs)}
                tell(f"{split}: {self.tell_scores(scores)}")
        write_text_whole(folder_of(job).evaluation, json.dumps(finite(found), indent=2))
        return found

    def write_card(self, job: Mapping[str, Any], evaluation: Mapping[str, Any]) -> str:
        """What it draws, of what it learned, how far that is from reality."""
        return "\n".join(_card(job, evaluation)) + "\n"

    def section(
        self,
        job: Mapping[str, Any],
        evaluation: Mapping[str, Any],
        *,
        experiment_id: str,
        version: str,
        pictures: Sequence[tuple[str, str]],
    ) -> str:
        """Distances, the way to the card, and chips to look at."""
        from flows import mlflow_pages
        from flows.run_notes import plain

        run_id, scores = job["run_id"], evaluation.get("test") or evaluation.get("val") or {}
        card = mlflow_pages.file_page(experiment_id, run_id, f"{self.product}/README.md")
        links = (
            f"[{plain(version)}]({mlflow_pages.version_page(version)})",
            f"[card]({card})",
            f"{evaluation['parameters']:,} parameters",
            f"version {job['store_version']} of {plain(job['store'])}",
        )
        shown = [
            f"{plain(caption)}:\n\n![{plain(caption)}]({mlflow_pages.picture(run_id, path)})"
            for caption, path in pictures
        ]
        told = self.tell_scores(scores) or "no held-out chips, so nobody knows how real they are"
        return "\n\n".join([f"Training: {told}.", " · ".join(links), *shown])

    def version_tags(self, evaluation: Mapping[str, Any]) -> dict[str, Any]:
        """Scores of the test ground."""
        test = evaluation.get("test") or {}
        return {
            f"test_{name}": test.get(name) for name in ("spectrum_db", "histogram", "diversity")
        }

    def judge(self, version: str, job: Mapping[str, Any], evaluation: Mapping[str, Any]) -> None:
        """Nobody is champion of chips: what they are good for is told by what they are used in."""


# Score, what it is, format, and the same of real training chips.
_ROWS = (
    ("spectrum_db", "spectrum, dB", ".2f", "real_spectrum_db"),
    ("histogram", "histogram, spreads", ".3f", "real_histogram"),
    ("diversity", "diversity, held-out chips = 1", ".2f", "real_diversity"),
    ("nearest", "distance to the nearest training chip, spreads", ".2f", "real_nearest"),
    ("largest_step", "largest step of a walk, its mean = 1", ".2f", None),
    ("elbo", "ELBO, nats a value", ".3f", None),
)


def _card(job: Mapping[str, Any], evaluation: Mapping[str, Any]) -> Iterator[str]:
    from flows.model_card import escape_markdown

    config, data = job["config"], job.get("data", {})
    task, category = config["task"], config["chips"]["category"]
    bands = ", ".join(escape_markdown(band) for band in data.get("bands", ())) or "unknown"
    side = min(config["patch_lr"], data["lr_size"]) * data["scale"]
    sha = evaluation.get("training", {}).get("weights_sha256", "")
    of = "all categories" if category is None else f"category {escape_markdown(category)}"
    yield f"# Skyscale chips, {task}"
    yield ""
    yield (
        f"{evaluation['parameters']:,} parameters. MLflow run `{job['run_id']}`; SHA-256 of the "
        f"weights `{sha[:16] or 'unknown'}`. Draws chips of {side} x {side} HR px of nothing "
        f"but noise: bands {bands}, in DN of which {data.get('data_range', 0):g} mean reflectance "
        f"1, like the HR chips of {of} of {escape_markdown(job['store'])}, version "
        f"{job['store_version']}."
    )
    yield ""
    yield "No chip shows a place. They are for study, and for trying them as training pairs: "
    yield "whether that helps is to be measured, never assumed."
    yield ""
    for split, name in (("val", "Validation ground"), ("test", "Test ground")):
        scores = evaluation.get(split)
        if not scores:
            yield f"{name}: there is none."
            yield ""
            continue
        yield f"{name}, {scores['pairs']} chips:"
        yield ""
        yield "| distance from its chips | drawn chips | real training chips |"
        yield "|---|---|---|"
        for key, label, form, of_real in _ROWS:
            if (value := scores.get(key)) is not None:
                beside = scores.get(of_real) if of_real else None
                told = "" if beside is None else format(beside, form)
                yield f"| {label} | {format(value, form)} | {told} |"
        yield ""
    yield "Nearest: of held-out chips in the right column; far less in the left one would be "
    yield "training chips learned by heart. All settings: `chips.json`."
