"""A degrader through the flow: trained on a store, scored beside the mean, registered apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows.degrader_scores import evaluate_degrader, mean_of_cells, score_seen
from flows.train_folder import RunFolder, folder_of
from flows.train_kind_degrader import DegraderKind
from flows.train_kinds import kind_of
from geo.pairstore.store import PairStore
from models.config import TrainConfig
from models.degrade import DegraderModel
from models.trainer import train
from tests.flows.training_store import make_store

CONFIG: dict[str, Any] = {
    **{"task": "degrade", "cycle": {"channels": 8, "blocks": 1}, "device": "cpu"},
    **{"content_steps": 80, "adversarial_steps": 0, "batch_size": 8, "val_every": 80},
    **{"lr_content": 3e-3, "warmup_steps": 1, "patch_lr": 16},
}


def test_psnr_is_against_the_true_lr_image_with_the_means_beside() -> None:
    hr = np.arange(16.0).reshape(1, 4, 4)
    lr = mean_of_cells(hr, np.zeros((1, 2, 2)))
    assert lr.tolist() == [[[2.5, 4.5], [10.5, 12.5]]]
    valid = np.array([[True, True], [True, False]])
    wrong = lr + 1
    wrong[0, 1, 1] = 99  # not valid
    scores = score_seen(lr + 0.1, wrong, hr, valid, data_range=10.0)
    assert scores["psnr_db"] == pytest.approx(20 * np.log10(10 / 0.9), abs=1e-4)
    assert scores["mean_psnr_db"] == pytest.approx(20.0, abs=1e-4)
    assert scores["gain_over_mean_db"] == pytest.approx(20 * np.log10(1 / 0.9), abs=1e-4)


def test_its_kind_is_not_that_of_generators() -> None:
    kind = kind_of(TrainConfig.from_dict(CONFIG))
    assert isinstance(kind, DegraderKind)
    assert (kind.product, kind.model_name) == ("degrader", "skyscale-degrader")
    assert folder_of({"folder": "run", "config": CONFIG}).product == Path("run/degrader")
    assert kind_of({"task": "unpaired"}).model_name == "skyscale-generator"


def test_from_a_store_to_a_card(tmp_path: Path) -> None:
    store = PairStore.open(make_store(tmp_path / "store", pairs=24))
    config = TrainConfig.from_dict(CONFIG)
    kind, version = kind_of(config), store.version
    spec = kind.spec(store.config)
    folder = tmp_path / "run"
    result = train(
        config,
        train_pairs=kind.pairs(store, "train", version, config),
        val_pairs=kind.pairs(store, "val", version, config),
        spec=spec,
        score=kind.score(spec),
        folder=folder,
    )
    job = {
        **{"folder": str(folder), "config": config.to_dict(), "store_version": version},
        **{"run_id": "abc", "store": "s3://bucket/<b>", "data": {"bands": ["red"], "scale": 4}},
    }
    told: list[str] = []
    found = evaluate_degrader(job, store, kind.score(spec), result, told.append, kind.tell_scores)
    assert RunFolder(folder, "degrader").read_evaluation()["test"] == found["test"]
    test = found["test"]
    # The satellite of this store blurs: the mean is too sharp, and what is learned is nearer.
    assert test["psnr_db"] > test["mean_psnr_db"] + 3
    assert test["gain_over_mean_db"] == pytest.approx(test["psnr_db"] - test["mean_psnr_db"])
    assert test["spectrum_db"] < 0.5 * test["mean_spectrum_db"]
    assert "plain mean" in told[-1]
    assert (
        found["training"]["weights_sha256"]
        == DegraderModel(folder / "degrader").card.weights_sha256
    )
    card = kind.write_card(job, found)
    assert f"{test['psnr_db']:.2f} | {test['mean_psnr_db']:.2f} |" in card
    assert "<b>" not in card.replace("\\<b\\>", "")
    section = kind.section(
        job, found, experiment_id="1", version="skyscale-degrader/1", pictures=()
    )
    assert section.startswith("Training: LR PSNR")
    assert kind.version_tags(found)["test_spectrum_db"] == test["spectrum_db"]
