"""Incremental life: a champion, pairs that arrive, a training that goes on. All of it real."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import torch

from flows import registry, tracking
from flows.train import TrainFlowConfig, train
from flows.train_evaluate import PairScore, score_pairs
from flows.train_folder import RunFolder
from flows.train_job import settle_job
from flows.train_start import CHAMPION
from geo.pairstore.store import PairStore
from geo.reporting.scored import read_scored
from models.checkpoint import load_checkpoint
from models.export import load_card, load_generator, save_generator
from models.predict import Predictor
from tests.flows.test_champion import save
from tests.flows.test_train_job import SMALL, config, runs
from tests.flows.training_store import make_store

pytestmark = pytest.mark.slow

NAME = registry.MODEL_NAME
# So few that the checkpoint of the very beginning is still there at the end, and in a hurry.
STEPS = {"content_steps": 20, "adversarial_steps": 0, "val_pairs": 64, "precision": "float32"}
HURRY = {"lr_content": 0.01, "warmup_steps": 0, "ema_decay": 0.5}


class Nights:
    """A store that grows, and the training that is started every night."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = make_store(folder / "store")
        self.champion = folder / "champion"
        self._make_champion()

    def _make_champion(self) -> None:
        """As a training on the store of the first day leaves it, and not good at it."""
        run_id = settle_job(config(self.store))["run_id"]
        save(self.champion)
        network, card = load_generator(self.champion)
        network.detail[-2].bias += 0.05 * torch.randn(32)  # type: ignore[index, operator]
        save_generator(self.champion, network, card)
        tracking.log_files(run_id, {"generator": self.champion})
        registry.promote(registry.register(run_id, {}), "by hand")

    def train(self, min_new_pairs: int) -> dict[str, Any]:
        return train(
            TrainFlowConfig(
                store=str(self.store),
                start_from=CHAMPION,
                min_new_pairs=min_new_pairs,
                out=str(self.folder / "runs"),
                settings=SMALL | STEPS | HURRY,
            )
        )

    def score_champion(self, split: str) -> dict[str, Any]:
        """On pairs of the newest version."""
        store = PairStore.open(self.store)
        score = PairScore(scale=4, data_range=store.config.data_range)
        scored = score_pairs(Predictor(self.champion), store, store.version, split, score)
        assert scored is not None
        return scored.summary


@pytest.fixture(scope="module")
def nights(services: Path) -> Nights:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(services)
        return Nights(services)


@pytest.fixture(scope="module")
def quiet_night(nights: Nights) -> tuple[dict[str, Any], list[str]]:
    """A night in which nothing has arrived: result, and runs after it."""
    return nights.train(1), runs()


@pytest.fixture(scope="module")
def renewed(nights: Nights, quiet_night: object) -> dict[str, Any]:
    """A night after 16 training, 4 validation and 4 test pairs have arrived."""
    make_store(nights.store, 72)
    return nights.train(16)


def test_with_too_little_that_is_new_nothing_is_trained(
    quiet_night: tuple[dict[str, Any], list[str]],
) -> None:
    result, there = quiet_night
    assert (result["run_id"], result["model_uri"]) == (None, f"models:/{NAME}/1")
    assert result["reason"] == (
        "0 new pairs since champion v1 (trained on store@1), 1 wanted: nothing to train"
    )
    assert len(there) == 1, "the champion's own"


def test_with_enough_it_begins_with_weights_and_score_of_the_champion(
    nights: Nights, renewed: dict[str, Any]
) -> None:
    folder = RunFolder(nights.folder / "runs" / renewed["run_id"])
    champion, card = load_generator(nights.champion)
    begun = load_checkpoint(folder.path / "checkpoints" / "checkpoint-00000000.pt")
    for name, tensor in champion.state_dict().items():
        assert torch.equal(begun["generator"][name], tensor)
        assert torch.equal(begun["ema"]["network"][name], tensor)
    scores = tracking.mlflow_client().get_metric_history(renewed["run_id"], "val/psnr_db")
    at_start = next(metric.value for metric in scores if metric.step == 0)
    assert at_start == pytest.approx(nights.score_champion("val")["psnr_db"], abs=1e-3)
    assert renewed["val"]["psnr_db"] > at_start
    assert load_card(folder.product).weights_sha256 != card.weights_sha256
    run = tracking.mlflow_client().get_run(renewed["run_id"])
    assert run.data.tags["start_from"] == f"{NAME}/1"
    assert f"trained further from | {NAME}/1" in folder.card.read_text()


def test_both_are_judged_on_the_test_pairs_of_the_grown_store(
    nights: Nights, renewed: dict[str, Any]
) -> None:
    folder = RunFolder(nights.folder / "runs" / renewed["run_id"])
    theirs = read_scored(folder.champion)
    assert len(theirs) == len(read_scored(folder.test)) == renewed["test"]["pairs"] == 12
    now = nights.score_champion("test")
    assert theirs.columns["psnr_db"].mean() == pytest.approx(now["psnr_db"], abs=1e-3)
    version = tracking.mlflow_client().get_model_version(NAME, "2")
    assert version.tags["start_from"] == f"{NAME}/1"
    told = version.tags["promotion"]
    assert told.startswith("promoted: ")
    assert "against champion version 1 on the same test pairs" in told
    champion = registry.champion_version()
    assert champion is not None
    assert str(champion.version) == "2"


def test_what_it_was_trained_on_is_not_new_the_next_night_which_costs_next_to_nothing(
    nights: Nights, renewed: dict[str, Any]
) -> None:
    begun = time.process_time()
    reason = nights.train(1)["reason"]
    assert time.process_time() - begun < 5
    assert reason.startswith("0 new pairs since champion v2 (trained on store@2)")
