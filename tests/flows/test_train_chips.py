"""Chips of noise as the flow deals with them: what is refused, shown, written, registered."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from flows import tracking
from flows.errors import FlowError, UsageError
from flows.learning_curves import _panels
from flows.train_job import TrainFlowConfig, read_settings, settle_job
from flows.train_kind_chips import ChipsKind
from flows.train_kinds import kind_of
from geo.pairstore.store import PairStore
from models.config import TrainConfig
from models.evaluate import Evaluation
from tests.flows.training_store import make_store

DCGAN: dict[str, Any] = {
    **{"task": "dcgan", "objective": "non_saturating", "batch_size": 4, "patch_lr": 8},
    **{"content_steps": 0, "adversarial_steps": 4, "val_every": 2, "log_every": 2},
    **{"device": "cpu", "discriminator": {"channels": 4, "stages": 3}},
    "chips": {"channels": 4, "latent": 6, "walk": 2},
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both categories on all sides: 12 of each to train on, 4 to validate and to test with."""
    splits = ("train", "train", "train", "val", "test")
    return make_store(tmp_path_factory.mktemp("store") / "store", 40, splits=splits)


@pytest.fixture
def tracker(
    new_tracker: Callable[[Path], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A folder with a database of runs, and nothing in it."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", new_tracker(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def config(store: Path, **settings: Any) -> TrainFlowConfig:
    return TrainFlowConfig(store=str(store), settings={**DCGAN, **settings})


@pytest.mark.parametrize("task", ["dcgan", "vae"])
def test_both_tasks_make_chips(task: str) -> None:
    kind = kind_of({"task": task})
    assert (kind.product, kind.model_name) == ("chips", "skyscale-chips")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"chips": {"category": "harbour"}}, ("'harbour'", "farm, port|<b>")),
        ({"content_steps": 5}, ("no content phase", "content_steps to 0")),
        ({"patch_lr": 9}, ("chips of 36 HR pixels", "32 or 40")),
        ({"objective": "relativistic_paired"}, ("non_saturating",)),
        ({"generator": {"name": "edsr", "channels": 8}}, ("generator has no meaning", "[chips]")),
        ({"batch_size": 20, "chips": {"category": "farm"}}, ("12 training pairs", "20")),
        ({"chips": {"size": 3}}, ("size", "latent")),
    ],
)
def test_impossible_settings(
    store: Path, tracker: Path, settings: dict[str, Any], words: tuple[str, ...]
) -> None:
    with pytest.raises((UsageError, FlowError)) as caught:
        settle_job(config(store, **settings))
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tracker / "runs").exists()


def test_nothing_to_start_from(store: Path) -> None:
    class Found:
        class source:  # noqa: N801  # stands for an attribute
            uri = "models:/some@champion"

    with pytest.raises(UsageError, match="from scratch: leave it out"):
        read_settings(config(store), 8, Found())  # type: ignore[arg-type]


def test_only_the_category_is_shown(store: Path) -> None:
    opened, kind = PairStore.open(store), ChipsKind()
    version = opened.version
    one = TrainConfig.from_dict({**DCGAN, "chips": {"category": "farm"}})
    assert set(kind.pairs(opened, "train", version, one).groups) == {"farm"}
    every = TrainConfig.from_dict(DCGAN)
    assert set(kind.pairs(opened, "train", version, every).groups) == {"farm", "port|<b>"}
    summary = opened.summary(version)
    counts = kind.splits(summary, one)
    assert counts["train"] == len(kind.pairs(opened, "train", version, one))
    assert kind.splits(summary, every) == summary["splits"]


def test_sheets_show_drawn_and_real_chips_in_the_same_colours() -> None:
    random = np.random.default_rng(0)
    real = random.uniform(100, 200, (3, 2, 8, 8)).astype(np.float32)
    sheets = {"real": real, "drawn": np.full((9, 2, 8, 8), 100, np.float32)}
    evaluation = Evaluation(scores={}, pairs=3, not_finite={}, sheets=sheets)
    pictures = ChipsKind().pictures(evaluation, ("red", "nir"))
    with Image.open(io.BytesIO(pictures["drawn"])) as sheet:
        shown = np.asarray(sheet)
    assert shown.shape == (8 + 4 + 8, 8 * 8 + 7 * 4, 3)  # two rows of eight, with gaps
    assert shown[:8, :8].max() < 8, "the darkest of what is real"
    assert shown[-1, -1].tolist() == [255, 255, 255], "no ninth column"
    assert ChipsKind().pictures(Evaluation(scores={}, pairs=3, not_finite={}), ("red",)) == {}


def test_curves_of_chips_are_those_that_chips_have() -> None:
    shown = [title for title, _ in _panels({"val/spectrum_db": [(1, 2.0)], "val/elbo": [(1, 2)]})]
    assert shown[:2] == [
        "Distance of drawn chips from held-out ones",
        "Likelihood of held-out chips, nats a value",
    ]
    assert len(shown) == 4
    assert [title for title, _ in _panels({"train/diversity": [(1, 1.0)]})][3].startswith("Power")


def test_a_category_without_held_out_ground_is_refused(tracker: Path) -> None:
    store = make_store(tracker / "store", 12)  # every fifth of six is even: farm has none
    with pytest.raises(FlowError, match="no validation pairs of category 'farm'"):
        settle_job(config(store, chips={"category": "farm"}))


@pytest.mark.slow
def test_from_store_to_registry_without_a_champion(
    store: Path, tracker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole flow; then the same run with more steps."""
    from flows.train import train
    from models.chips import load_chips

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    chips = {**DCGAN["chips"], "category": "farm"}
    result = train(config(store, chips=chips))
    assert result["model_uri"] == "models:/skyscale-chips/1"
    assert result["published"]
    folder = Path(result["chips"])
    assert load_chips(folder).draw(3).shape == (3, 2, 32, 32)
    card = (folder / "README.md").read_text()
    for words in (
        "# Skyscale chips, dcgan",
        "category farm",
        "32 x 32 HR px",
        "| spectrum, dB",
    ):
        assert words in card
    test = json.loads((folder.parent / "evaluation.json").read_text())["test"]
    assert {"spectrum_db", "real_spectrum_db", "nearest", "real_nearest", "pairs"} <= set(test)
    client = tracking.mlflow_client()
    version = client.get_model_version("skyscale-chips", "1")
    assert "test_spectrum_db" in version.tags
    assert "promotion" not in version.tags
    assert list(client.get_registered_model("skyscale-chips").aliases) == ["challenger"]
    assert not client.search_registered_models("name = 'skyscale-generator'")
    assert "dB of spectrum" in version.description
    pictures = client.list_artifacts(result["run_id"], "samples")
    assert {Path(found.path).name for found in pictures} == {"drawn", "real", "walk"}
    assert client.list_artifacts(result["run_id"], "chips")
    assert "val/spectrum_db" in client.get_run(result["run_id"]).data.metrics
    again = TrainFlowConfig(
        store=str(store), resume=result["run_id"], settings={"adversarial_steps": 6}
    )
    assert train(again)["model_uri"] == "models:/skyscale-chips/2"
