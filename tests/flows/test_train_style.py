"""A restyler from a store to its place in the registry, and pairs that are shown with its look."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from flows import registry, tracking
from flows.errors import FlowError, UsageError
from flows.settings import worker_environment
from flows.train_job import TrainFlowConfig, settle_job
from flows.train_kinds import kind_of
from flows.train_publish import closing, publish_run
from geo.pairstore.store import PairStore
from models.config import TrainConfig
from models.data import PairSpec
from tests.flows.test_train_job import SMALL
from tests.flows.training_store import make_store

STYLE: dict[str, Any] = {
    "task": "style",
    "adversarial_steps": 0,
    "content_steps": 4,
    "batch_size": 4,
    "patch_lr": 32,
    "device": "cpu",
    "style": {"source": "*_2012", "target": "*_2020"},
    "losses": {"features": "random"},
    "generator": {"channels": 4, "blocks": 1},
    "log_every": 2,
}
AERIAL = ("m_2012", "m_2020")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("store") / "store", 48, aerial=AERIAL)


@pytest.fixture
def tracker(
    new_tracker: Callable[[Path], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A folder with a database of runs, and nothing in it."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", new_tracker(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def train(store: Path, settings: dict[str, Any]) -> dict[str, Any]:
    job = settle_job(TrainFlowConfig(store=str(store), settings=settings))
    rank = [sys.executable, "-m", "flows.train_worker", f"{job['folder']}/job.json"]
    subprocess.run(rank, check=True, env=worker_environment(threads=1), timeout=240)
    return job


def test_each_side_has_the_chips_of_its_campaign(store: Path) -> None:
    config = TrainConfig.from_dict(STYLE)
    kind, opened = kind_of(config), PairStore.open(str(store))
    version = opened.tags.resolve(None)
    pairs = kind.pairs(opened, "train", version, config)
    assert len(pairs) == 16  # of 32, half each
    spec = kind.spec(opened.config)
    assert spec == PairSpec(scale=1, bands=("red", "green"), data_range=opened.config.data_range)
    shown = pairs.read(range(16))
    assert {p.lr.shape for p in shown} == {p.hr.shape for p in shown} == {(2, 64, 64)}
    source, target = (np.mean([getattr(p, side) for p in shown]) for side in ("lr", "hr"))
    assert source == pytest.approx(2000, rel=0.02)
    assert target == pytest.approx(1.3 * 2000 + 500, rel=0.02)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"style": {"source": "*_2012", "target": "*_1999"}}, ("target '*_1999'", "m_2020")),
        ({"style": {"source": "m_*", "target": "*_2020"}}, ("both fit m_2020", "overlap")),
        ({"style": {"source": "m_2020, x", "target": "*_2020"}}, ("both fit m_2020",)),
        ({"style": {"source": "*_2012"}}, ("needs style target",)),
        ({"losses": {}}, ("needs losses features", "random")),
        ({"losses": {"features": "nix.safetensors"}}, ("nix.safetensors: no such file",)),
        ({"patch_lr": 2}, ("patches of 4",)),
        ({"adversarial_steps": 5}, ("adversarial_steps is 5", "no game")),
    ],
)
def test_what_cannot_be_is_refused_before_a_run_is_opened(
    store: Path, tracker: Path, changes: dict[str, Any], words: tuple[str, ...]
) -> None:
    with pytest.raises((UsageError, FlowError)) as caught:
        settle_job(TrainFlowConfig(store=str(store), settings={**STYLE, **changes}))
    for word in words:
        assert word in str(caught.value)
    assert not (tracker / "runs").exists()


@pytest.mark.slow
def test_from_two_campaigns_to_pairs_with_another_look(store: Path, tracker: Path) -> None:
    job = train(store, STYLE)
    folder = Path(job["folder"])
    result = publish_run(job)
    assert result["model_uri"] == "models:/skyscale-style/1"
    assert result["style"] == str(folder / "style")
    assert "linear matching" in closing(result)
    evaluation = json.loads((folder / "evaluation.json").read_text())
    assert evaluation["test"]["pairs"] == 4
    assert evaluation["test"]["shift_px"] < 0.1
    assert evaluation["test"]["linear_colours"] < 0.2 * evaluation["test"]["source_colours"]
    card = (folder / "style" / "README.md").read_text()
    assert "linear matching" in card
    assert "no image of any date" in card

    client = tracking.mlflow_client()
    run = client.get_run(job["run_id"])
    assert {"train/loss_layout", "train/loss_style", "train/loss_colour"} <= run.data.metrics.keys()
    assert {"val/texture", "val/source_texture", "test/colours"} <= run.data.metrics.keys()
    assert "source, redrawn, target campaign" in run.data.tags["mlflow.note.content"]
    version = client.get_model_version("skyscale-style", "1")
    assert version.tags["style_target"] == "*_2020"
    assert registry.champion_version() is None
    strips = client.list_artifacts(job["run_id"], "samples/place0")
    strip = client.download_artifacts(job["run_id"], strips[0].path, str(tracker))
    with Image.open(strip) as picture:
        assert picture.size == (3 * 64 + 2 * 4, 64)

    look = {**SMALL, "augment": {"style": result["model_uri"], "share": 0.5}}
    again = train(store, look)
    assert again["restyler"]["name"] == "skyscale-style/1"
    kept = Path(again["folder"]) / "restyler" / "generator.safetensors"
    assert kept.read_bytes() == (folder / "style" / "generator.safetensors").read_bytes()
    assert (Path(again["folder"]) / "generator" / "generator.json").exists()
    with pytest.raises(UsageError, match="scale 4, wanted 1"):
        settle_job(
            TrainFlowConfig(
                store=str(store),
                settings={**SMALL, "augment": {"style": f"{again['folder']}/generator"}},
            )
        )
