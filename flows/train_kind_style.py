"""Restylers: trained on two campaigns of a store, scored beside linear colour matching."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from flows.errors import UsageError
from flows.train_kinds import Kind

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from geo.pairstore.config import StoreConfig
    from geo.pairstore.store import PairStore
    from models.campaigns import Campaigns
    from models.config import TrainConfig
    from models.data import PairSpec
    from models.evaluate import Evaluation, Score
    from models.trainer import TrainResult

    _Image = npt.NDArray[Any]

_NAMED = 3  # scene ids that a refusal names
_COMPARED = (
    ("texture", "texture"),
    ("colours", "colours, in spreads"),
    ("layout", "layout, to the source"),
)


class StyleKind(Kind):
    """See `flows.train_kinds.Kind`."""

    product = "style"
    model_name = "skyscale-style"
    next_step = '[augment] style = "{model}" in the settings of skyscale train'
    pictured = "source, redrawn, target campaign"

    def spec(self, store: StoreConfig) -> PairSpec:
        """HR images on their own grid."""
        import dataclasses

        from flows.train_start import pair_spec

        return dataclasses.replace(pair_spec(store), scale=1)

    def pairs(self, store: PairStore, split: str, version: int, config: TrainConfig) -> Campaigns:
        """HR images of both campaigns in a split.

        Raises
        ------
        UsageError
            When a pattern fits no aerial scene of the split, or both fit the same.
        """
        from models.campaigns import Campaigns

        reader = store.reader(split, version=version)
        rows = store.rows(kind="pair", split=split, version=version, columns=("aerial_id",))
        scenes = rows["aerial_id"].to_pylist()
        places = {
            side: [n for n, scene in enumerate(scenes) if _fits(scene, getattr(config.style, side))]
            for side in ("source", "target")
        }
        for side, found in places.items():
            if not found:
                there = sorted({str(scene) for scene in scenes})
                raise UsageError(
                    f"style {side} {getattr(config.style, side)!r} fits no aerial scene of the "
                    f"{split} pairs; there are {_some(there)}"
                )
        if both := sorted({str(scenes[n]) for n in {*places["source"]} & {*places["target"]}}):
            raise UsageError(
                f"style source and target both fit {_some(both)}: a campaign has its own look "
                "already, so the patterns must not overlap"
            )
        return Campaigns(reader, places["source"], places["target"])

    def check(self, store: PairStore, version: int, config: TrainConfig) -> None:
        """Refuse patterns that fit nothing, in training or in validation, or the same."""
        for split in ("train", "val"):
            self.pairs(store, split, version, config)

    def score(self, spec: PairSpec) -> Score:
        """What stays of the layout."""
        return _score_layout

    def pictures(self, evaluation: Evaluation, bands: tuple[str, ...]) -> Mapping[str, bytes]:
        """Source, redrawn, and an image of the target campaign, of other ground."""
        from geo.pictures import images_strip

        return {
            f"place{number}": images_strip((s.lr, s.sr, s.hr), s.valid, bands=bands)
            for number, s in enumerate(evaluation.samples)
        }

    def tell_scores(self, scores: Mapping[str, float]) -> str | None:
        """Distances to the target's look, beside those of the source and of plain matching."""
        if "texture" not in scores:
            return None
        parts = [
            f"{name} {scores[name]:.3f} from the target's (before {scores[f'source_{name}']:.3f}, "
            f"linear matching {scores[f'linear_{name}']:.3f})"
            for name in ("texture", "colours")
        ]
        if "edges" in scores:
            parts.append(f"edges {scores['edges']:.0%} as they were")
        return ", ".join(parts)

    def evaluate(
        self,
        job: Mapping[str, Any],
        store: PairStore,
        score: Score,
        result: TrainResult,
        tell: Callable[[str], None],
    ) -> dict[str, Any]:
        """Score held-out images of both campaigns; there is no champion of looks."""
        from flows.log_lines import finite
        from flows.train_evaluate import training_of
        from flows.train_folder import folder_of, write_text_whole
        from models.config import TrainConfig
        from models.export import load_generator
        from models.features import load_features
        from models.predict import Predictor
        from models.restyling import score_restyled, units_of

        config = TrainConfig.from_dict(job["config"])
        assert config.losses.features is not None, "the configuration checks itself"
        network, card = load_generator(result.exported)
        found: dict[str, Any] = {
            "parameters": result.parameters,
            "config": job["config"],
            "training": training_of(result.exported, "generator"),
            "champion": None,
        }
        for split in ("val", "test"):
            found[split] = None
            try:
                pairs = self.pairs(store, split, job["store_version"], config)
            except UsageError as error:
                tell(f"{split}: no scores, {error}")
                continue
            evaluation = score_restyled(
                Predictor(result.exported),
                pairs,
                score,
                features=load_features(config.losses.features, bands=3),
                units=units_of(network.standardise, card.data_range),
            )
            found[split] = {**evaluation.scores, "pairs": evaluation.pairs}
            tell(f"{split}: {self.tell_scores(found[split]) or 'nothing to compare'}")
        write_text_whole(folder_of(job).evaluation, json.dumps(finite(found), indent=2))
        return found

    def write_card(self, job: Mapping[str, Any], evaluation: Mapping[str, Any]) -> str:
        """What it redraws, how near that comes, what it is not for."""
        from flows.model_card import escape_markdown

        style, data = job["config"]["style"], job.get("data", {})
        features = escape_markdown(job["config"]["losses"]["features"])
        source, target = (escape_markdown(style[side]) for side in ("source", "target"))
        sha = evaluation["training"].get("weights_sha256", "")
        lines = [
            f"# Skyscale restyler {source} to {target}",
            "",
            f"{evaluation['parameters']:,} parameters. MLflow run `{job['run_id']}`; SHA-256 of "
            f"the weights `{sha[:16] or 'unknown'}`.",
            "",
            "## Intended use",
            "",
            f"Redraws HR images of the aerial scenes {source} with the colours and textures of "
            f"{target}, pixel for pixel, as augmentation of training (`[augment] style`): bands "
            f"{', '.join(map(escape_markdown, data.get('bands', ())))}, in raw DN. What it draws "
            "is no image of any date: not for maps, measuring, or as evidence.",
            "",
            "## Data and training",
            "",
            f"Pair store {escape_markdown(job['store'])}, version {job['store_version']}, digest "
            f"`{job['store_digest']}`. Features of `{features}`; weights layout "
            f"{style['layout']:g}, style {style['style']:g}, colour {style['colour']:g}.",
            "",
            "## Scores",
            "",
            "On held-out images. Linear matching gives each band the mean and the spread of the "
            "target's, fitted on the very images that it is scored on.",
        ]
        for split, name in (("val", "Validation"), ("test", "Test")):
            scores = evaluation.get(split) or {}
            if not self.tell_scores(scores):
                lines += ["", f"{name} ground: none of both campaigns."]
                continue
            lines += ["", f"{name} ground, {scores['pairs']} images:", "", *_table(scores)]
        lines += [
            "",
            "## Limits",
            "",
            "- **Ground.** Where the campaigns show other land cover, that difference is taken for "
            "a difference of looks.",
            "- **Objects.** It knows no objects: crops that one season has and another has not are "
            "coloured by what they look like, field by field it may be wrong.",
            "",
            "## Licence",
            "",
            "The code is Apache-2.0. Weights carry what the licences of the imagery, and of the "
            "feature network, ask for.",
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
        """Distances, and pictures."""
        from flows.run_notes import made_section

        scores = evaluation.get("test") or evaluation.get("val") or {}
        return made_section(
            job,
            evaluation,
            told=f"{self.tell_scores(scores) or 'no held-out images of both campaigns'}.",
            card=f"{self.product}/README.md",
            table=[],
            experiment_id=experiment_id,
            version=version,
            pictures=pictures,
        )

    def version_tags(self, evaluation: Mapping[str, Any]) -> dict[str, Any]:
        """Scores of held-out images, and whose look it is."""
        scores = evaluation.get("test") or evaluation.get("val") or {}
        style = evaluation["config"]["style"]
        return {
            "style_source": style["source"],
            "style_target": style["target"],
            **{f"test_{name}": scores.get(name) for name in ("texture", "colours", "edges")},
        }

    def judge(self, version: str, job: Mapping[str, Any], evaluation: Mapping[str, Any]) -> None:
        """Nobody is champion: each look is for a purpose of its own."""


def _fits(scene: object, patterns: str) -> bool:
    return any(fnmatchcase(str(scene), pattern.strip()) for pattern in patterns.split(","))


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")


def _score_layout(
    drawn: _Image, target: _Image, source: _Image, valid: npt.NDArray[np.bool_]
) -> dict[str, float]:
    """How far edges are where and as strong as they were, and how far all has moved."""
    from geo.scores.layout import edge_likeness, shift_px

    return {
        "edges": edge_likeness(drawn, source, valid),
        "shift_px": shift_px(drawn, source, valid),
    }


def _table(scores: Mapping[str, Any]) -> list[str]:
    lines = ["| distance | redrawn | as it was | linear matching |", "|---|---|---|---|"]
    for name, label in _COMPARED:
        cells = (f"{scores[f'{of}{name}']:.4f}" for of in ("", "source_", "linear_"))
        lines.append(f"| {label} | {' | '.join(cells)} |")
    labels = {"edges": "Correlation of edges with the source's", "shift_px": "Moved by, pixels"}
    told = [f"{label}: {scores[name]:.3f}." for name, label in labels.items() if name in scores]
    return [*lines, "", " ".join(told)]
