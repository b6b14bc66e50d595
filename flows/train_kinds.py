"""What can be trained, as the flow deals with it: data, scores, card and registry of each kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from models.config_unpaired import PRODUCTS

if TYPE_CHECKING:
    from geo.pairstore.config import StoreConfig
    from geo.pairstore.store import PairStore
    from models.config import TrainConfig
    from models.data import GroupedPairs, PairSpec
    from models.evaluate import Evaluation, Score
    from models.trainer import TrainResult


class Kind(Protocol):
    """A kind of network, from its pairs to its place in the registry.

    What needs torch or a store is imported by the methods that do: who publishes has neither.
    """

    @property
    def product(self) -> str:
        """Folder of what is made, in the run's folder and among its artifacts."""

    @property
    def model_name(self) -> str:
        """Registered model of which each is a version."""

    @property
    def next_step(self) -> str:
        """Command that uses it, with ``{model}`` for its name, ``{folder}`` for where it lies."""

    @property
    def pictured(self) -> str:
        """What its pictures show, from left to right."""

    def beside(self) -> dict[str, Any]:
        """What it learns from beside the store, as plain values that tell it from other such.

        A run goes on with the same alone. Nothing, for most.
        """
        return {}

    def spec(self, store: StoreConfig) -> PairSpec:
        """What the network sees of a store's pairs."""

    def splits(self, summary: Mapping[str, Any], config: TrainConfig) -> dict[str, int]:
        """Pairs of each split that it is shown, of those that `PairStore.summary` counts.

        Raises
        ------
        UsageError
            When it asks for some that are not there.
        """
        return dict(summary["splits"])

    def pairs(
        self, store: PairStore, split: str, version: int, config: TrainConfig
    ) -> GroupedPairs:
        """Pairs of a split."""

    def check(self, store: PairStore, version: int, config: TrainConfig) -> None:
        """Refuse settings that do not fit a store, before a run is opened; none by default."""

    def score(self, spec: PairSpec) -> Score:
        """Scores of one drawn image."""

    def pictures(self, evaluation: Evaluation, bands: tuple[str, ...]) -> Mapping[str, bytes]:
        """PNG of each sample, by its name."""

    def tell_scores(self, scores: Mapping[str, float]) -> str | None:
        """The scores of a split in a phrase, if there are any."""

    def evaluate(
        self,
        job: Mapping[str, Any],
        store: PairStore,
        score: Score,
        result: TrainResult,
        tell: Callable[[str], None],
    ) -> dict[str, Any]:
        """Score what was made on held-out ground, and write ``evaluation.json``."""

    def write_card(self, job: Mapping[str, Any], evaluation: Mapping[str, Any]) -> str:
        """Markdown of the card."""

    def section(
        self,
        job: Mapping[str, Any],
        evaluation: Mapping[str, Any],
        *,
        experiment_id: str,
        version: str,
        pictures: Sequence[tuple[str, str]],
    ) -> str:
        """What reviewers read first of run and version; see `flows.run_notes`."""

    def version_tags(self, evaluation: Mapping[str, Any]) -> dict[str, Any]:
        """What the registered version says of its scores."""

    def judge(self, version: str, job: Mapping[str, Any], evaluation: Mapping[str, Any]) -> None:
        """Make the version champion, or write down why not."""


def kind_of(config: Mapping[str, Any] | TrainConfig) -> Kind:
    """The kind of network that training settings make."""
    from flows.train_kind_chips import ChipsKind
    from flows.train_kind_degrader import DegraderKind
    from flows.train_kind_generator import GeneratorKind
    from flows.train_kind_segmenter import SegmenterKind
    from flows.train_kind_style import StyleKind

    values = config if isinstance(config, Mapping) else config.to_dict()
    kinds: dict[str, Callable[[], Kind]] = {
        "generator": GeneratorKind,
        "degrader": DegraderKind,
        "style": StyleKind,
        "chips": ChipsKind,
        "segmenter": lambda: SegmenterKind(values["segment"]["labels"]),
    }
    return kinds[PRODUCTS[values.get("task", "paired")]]()  # older jobs know of no other
