"""Segmenters: trained on aerial chips with labels, held against labels of held-out ground."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from flows import registry
from flows.console import say
from flows.errors import FlowError
from flows.train_kinds import Kind

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from flows.labelled_pairs import LabelledPairs
    from geo.pairstore.config import StoreConfig
    from geo.pairstore.store import PairStore
    from models.config import TrainConfig
    from models.data import PairLike, PairSpec
    from models.evaluate import Evaluation, Score
    from models.trainer import TrainResult

    _Maps = npt.NDArray[np.uint8]

_LOOKED_AT = 64  # pairs of a split, before anything starts
_OF_CLASS = "iou."
_SCORES = (
    ("accuracy", "pixel accuracy"),
    ("mean_accuracy", "mean accuracy"),
    ("mean_iou", "mean IoU"),
)


class SegmenterKind(Kind):
    """See `flows.train_kinds.Kind`.

    Parameters
    ----------
    labels : str
        File of the labels.
    """

    product = "segmenter"
    model_name = "skyscale-segmenter"
    next_step = "skyscale report SR AERIAL --segmenter {model} --labels LABELS --out DIR"
    pictured = "aerial, labels, map"

    def __init__(self, labels: str) -> None:
        self._labels = labels

    def beside(self) -> dict[str, Any]:
        """The labels, by their digest."""
        from flows.labelled_pairs import describe_labels

        return describe_labels(self._labels)

    def spec(self, store: StoreConfig) -> PairSpec:
        """Pairs of the store, and the classes of the labels."""
        import dataclasses

        from flows.train_start import pair_spec
        from geo.labels import open_labels

        return dataclasses.replace(pair_spec(store), classes=open_labels(self._labels).classes)

    def pairs(
        self, store: PairStore, split: str, version: int, config: TrainConfig
    ) -> LabelledPairs:
        """Pairs with labels; their LR images are not looked at, so derived ones are as good."""
        from flows.labelled_pairs import LabelledPairs
        from geo.labels import open_labels

        labels = open_labels(self._labels)
        return LabelledPairs(store.reader(split, version=version), labels, labels.classes)

    def check(self, store: PairStore, version: int, config: TrainConfig) -> None:
        """Refuse labels that lie elsewhere, or know one class alone."""
        from geo.labels import open_labels
        from models.data import evenly_spaced

        classes = open_labels(self._labels).classes
        if len(classes) < 2:
            raise FlowError(
                f"{self._labels} labels {', '.join(classes)} alone: wanted two classes or more to "
                "tell apart"
            )
        for split, name in (("train", "training"), ("val", "validation")):
            pairs = self.pairs(store, split, version, config)
            looked_at = pairs.read(evenly_spaced(len(pairs), _LOOKED_AT))
            labels = [pair.labels for pair in looked_at if pair.labels is not None]
            share = sum(float((of > 0).mean()) for of in labels) / max(1, len(labels))
            if share == 0:
                raise FlowError(
                    f"{self._labels} labels no pixel of {len(looked_at)} {name} pairs of "
                    f"{store.url} that were looked at: wanted labels of the same ground"
                )
            if share < 0.5:
                say(f"train: {share:.0%} of the pixels of the {name} pairs are labelled")

    def score(self, spec: PairSpec) -> Score:
        """Accuracy and IoU over all pixels."""
        return partial(score_maps, classes=spec.classes)

    def pictures(self, evaluation: Evaluation, bands: tuple[str, ...]) -> Mapping[str, bytes]:
        """Image, labels and map of each sample."""
        from geo.pictures import map_strip

        sheets = evaluation.sheets
        if not sheets:
            return {}
        names = ("image", "labels", "found")
        return {
            f"place{number}": map_strip(image, (labels[0], found[0]), bands=bands)
            for number, (image, labels, found) in enumerate(
                zip(*(sheets[name] for name in names), strict=True)
            )
        }

    def tell_scores(self, scores: Mapping[str, float]) -> str | None:
        """Mean IoU and accuracy, and those of a map made of the bicubic image."""
        if scores.get("mean_iou") is None:
            return None
        told = f"mean IoU {scores['mean_iou']:.3f}, pixel accuracy {scores['accuracy']:.1%}"
        if scores.get("bicubic_mean_iou") is not None:
            told += f" (of the bicubic image {scores['bicubic_mean_iou']:.3f})"
        return told

    def evaluate(
        self,
        job: Mapping[str, Any],
        store: PairStore,
        score: Score,
        result: TrainResult,
        tell: Callable[[str], None],
    ) -> dict[str, Any]:
        """Score maps of real and of bicubic images of held-out ground, and write it down."""
        from flows.log_lines import finite
        from flows.train_evaluate import training_of
        from flows.train_folder import folder_of, write_text_whole
        from models.config import TrainConfig
        from models.segment import load_segmenter
        from models.segmenting import evaluate_maps

        config = TrainConfig.from_dict(job["config"])
        segment = load_segmenter(result.exported, config.device)
        found: dict[str, Any] = {
            "parameters": result.parameters,
            "config": job["config"],
            "training": training_of(result.exported, self.product),
        }
        for split in ("val", "test"):
            pairs = self.pairs(store, split, job["store_version"], config)
            found[split] = None
            if not len(pairs):
                continue
            real = evaluate_maps(segment, pairs, score)
            blurred = evaluate_maps(segment, pairs, score, image_of=_bicubic)
            found[split] = {
                **real.scores,
                **{f"bicubic_{name}": blurred.scores[name] for name, _ in _SCORES},
                "pairs": real.pairs,
            }
            tell(f"{split}: {self.tell_scores(found[split])}")
        write_text_whole(folder_of(job).evaluation, json.dumps(finite(found), indent=2))
        return found

    def write_card(self, job: Mapping[str, Any], evaluation: Mapping[str, Any]) -> str:
        """What it tells apart, how well, and what it is not for."""
        from flows.model_card import escape_markdown

        data, beside = job.get("data", {}), job.get("beside") or {}
        bands = ", ".join(escape_markdown(band) for band in data.get("bands", ())) or "unknown"
        classes = ", ".join(escape_markdown(name) for name in beside.get("classes", ()))
        sha = evaluation["training"].get("weights_sha256", "")
        lines = [
            "# Skyscale segmenter",
            "",
            f"{evaluation['parameters']:,} parameters. MLflow run `{job['run_id']}`; SHA-256 of "
            f"the weights `{sha[:16] or 'unknown'}`.",
            "",
            "## Intended use",
            "",
            "Tells what a map made of SR is worth, beside one made of the real image (FCN-score): "
            f"`{self.next_step}`. Tells apart {classes or 'unknown classes'}, pixel by pixel, in "
            f"aerial images with the bands {bands}, DN of which {data.get('data_range', 0):g} mean "
            "reflectance 1. It is a yardstick, not a land-cover product.",
            "",
            "## Data and training",
            "",
            f"HR chips of {escape_markdown(job['store'])}, version {job['store_version']}; labels "
            f"{escape_markdown(beside.get('labels', 'unknown'))} (SHA-256 "
            f"`{(beside.get('labels_sha256') or 'unknown')[:16]}`).",
            "",
            "## Scores",
            "",
            "Against labels, over all labelled pixels of held-out ground. Classes that do not "
            "occur there have no IoU and are in no mean.",
        ]
        for split, name in (("val", "Validation"), ("test", "Test")):
            scores = evaluation.get(split) or {}
            if not self.tell_scores(scores):
                lines += ["", f"{name} ground: none."]
                continue
            lines += ["", f"{name} ground, {scores['pairs']} chips:", "", *_table(scores)]
        lines += [
            "",
            "## Limits",
            "",
            "- **Ground.** Of other places, seasons and sensors it has learned nothing; the mean "
            "IoU on the real image, which every report tells, says whether it may be believed.",
            "- **Both are its judgement.** An image may be true and fail it, or please it and be "
            "false: read it beside PSNR, consistency and hallucination.",
        ]
        return "\n".join(lines) + "\n"

    def section(
        self,
        job: Mapping[str, Any],
        evaluation: Mapping[str, Any],
        *,
        experiment_id: str,
        version: str,
        pictures: Sequence[tuple[str, str]],
    ) -> str:
        """Scores, and pictures."""
        from flows.run_notes import made_section

        scores = evaluation.get("test") or evaluation.get("val") or {}
        told = self.tell_scores(scores) or "no held-out ground, so nobody knows how good it is"
        return made_section(
            job,
            evaluation,
            told=f"{told}.",
            card=f"{self.product}/README.md",
            table=["\n".join(_table(scores))] if scores else [],
            experiment_id=experiment_id,
            version=version,
            pictures=pictures,
        )

    def version_tags(self, evaluation: Mapping[str, Any]) -> dict[str, Any]:
        """Scores of the test ground."""
        test = evaluation.get("test") or {}
        return {f"test_{name}": test.get(name) for name, _ in _SCORES}

    def judge(self, version: str, job: Mapping[str, Any], evaluation: Mapping[str, Any]) -> None:
        """Nobody is champion: reports can be compared only if one segmenter has judged them all."""
        told = (
            "not promoted: segmenters are not judged by rule; reports that are to be compared name "
            "one version"
        )
        registry.keep_champion(version, told, self.model_name)


def score_maps(
    found: _Maps, labels: _Maps, _: _Maps, known: npt.NDArray[np.bool_], *, classes: tuple[str, ...]
) -> dict[str, float]:
    """Agreement of a map with labels, over all pixels and of each class.

    Parameters
    ----------
    found, labels : array of uint8, [1, H, W]
    known : array of bool, [H, W]
        Where there is a label.

    Returns
    -------
    dict of str to float
        ``accuracy``, ``mean_accuracy``, ``mean_iou``, and ``iou.CLASS`` of each class that occurs.
    """
    import numpy as np

    from geo.scores.agreement import Tally, confusion

    tally = Tally.of(confusion(found[0], labels[0], len(classes), known))
    of_classes = zip(classes, tally.class_iou.tolist(), strict=True)
    return {
        **tally.scores(),
        **{f"{_OF_CLASS}{name}": iou for name, iou in of_classes if not np.isnan(iou)},
    }


def _bicubic(pair: PairLike) -> npt.NDArray[Any]:
    """What a map is made of without super-resolution."""
    import numpy as np

    from geo.interpolate import upsample

    scale = pair.hr.shape[-1] // pair.lr.shape[-1]
    return upsample(np.asarray(pair.lr, np.float32), scale, "bicubic")


def _table(scores: Mapping[str, Any]) -> list[str]:
    from flows.model_card import escape_markdown

    lines = ["| score | real image | bicubic |", "|---|---|---|"]
    lines += [f"| {told} | {scores[n]:.3f} | {scores[f'bicubic_{n}']:.3f} |" for n, told in _SCORES]
    lines += [
        f"| IoU of {escape_markdown(name.removeprefix(_OF_CLASS))} | {value:.3f} | |"
        for name, value in scores.items()
        if name.startswith(_OF_CLASS) and value is not None
    ]
    return lines
