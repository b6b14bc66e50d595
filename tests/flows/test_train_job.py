"""What cannot be trained is refused in one sentence, before any run is opened."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows import tracking
from flows.errors import FlowError, UsageError
from flows.train_folder import RunFolder
from flows.train_job import TrainFlowConfig, read_settings, settle_job
from tests.flows.training_store import make_store

SMALL: dict[str, Any] = {
    "batch_size": 8,
    "patch_lr": 16,
    "content_steps": 4,
    "adversarial_steps": 4,
    "device": "cpu",
    "generator": {"channels": 8, "blocks": 1},
    "discriminator": {"channels": 4, "stages": 3},
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("store") / "store")


@pytest.fixture
def tracker(
    new_tracker: Callable[[Path], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A folder with a database of runs, and nothing in it."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", new_tracker(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def config(store: Path, **settings: Any) -> TrainFlowConfig:
    return TrainFlowConfig(store=str(store), settings={**SMALL, **settings})


def runs() -> list[str]:
    client = tracking.mlflow_client()
    experiment = client.get_experiment_by_name(tracking.EXPERIMENT)
    return (
        [run.info.run_id for run in client.search_runs([experiment.experiment_id])]
        if experiment
        else []
    )


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"learning_rate": 1e-3}, ("learning_rate", "lr_content")),
        ({"objective": "wasserstein"}, ("objective", "wasserstein", "hinge")),
        ({"content_steps": 0, "adversarial_steps": 0}, ("nothing would be trained",)),
        ({"generator": {"name": "unet3"}}, ("unet3", "edsr")),
        ({"growing_share": 0.5}, ("edsr cannot grow", "srresnet")),
        ({"objective": "hinge", "label_smoothing": 0.1}, ("label_smoothing", "hinge")),
        ({"losses": {"perceptual": 1.0}}, ("features",)),
        ({"losses": {"perceptual": 1.0, "features": "nix.safetensors"}}, ("nix.safetensors",)),
        ({"batch_size": 64}, ("32 training pairs", "64", "batch_size")),
        ({"accumulate": 3}, ("batch_size 8", "accumulate")),
        ({"device": "gpu"}, ("device", "gpu")),
        ({"discriminator": {"name": "srgan", "stages": 12}}, ("stages",)),
    ],
)
def test_impossible_settings(
    store: Path, tracker: Path, settings: dict[str, Any], words: tuple[str, ...]
) -> None:
    with pytest.raises((UsageError, FlowError)) as caught:
        settle_job(config(store, **settings))
    text = str(caught.value)
    assert "\n" not in text
    for word in words:
        assert word in text
    assert not runs()
    assert not (tracker / "runs").exists()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"nproc": 0}, ("nproc", "1 or more")),
        ({"nproc": 3}, ("batch_size 8", "3 ranks", "multiple of 3")),
        ({"nnodes": 2}, ("--rendezvous",)),
        ({"nnodes": 2, "rendezvous": "head:29500"}, ("--prepare", "--resume")),
        ({"store_version": "spring"}, ("spring",)),
        ({"config": "nix.toml"}, ("nix.toml",)),
        ({"resume": "0" * 32}, ("no such run", "--out")),
    ],
)
def test_impossible_runs(
    store: Path, tracker: Path, given: dict[str, Any], words: tuple[str, ...]
) -> None:
    from geo.errors import StoreError

    with pytest.raises((UsageError, FlowError, StoreError)) as caught:
        settle_job(TrainFlowConfig(store=str(store), settings=SMALL, **given))
    for word in words:
        assert word in str(caught.value)
    assert not runs()


@pytest.mark.parametrize("missing", ["train", "val"])
def test_a_store_without_a_split_is_refused(tracker: Path, missing: str) -> None:
    splits = tuple(s for s in ("train", "val", "test") if s != missing)
    with pytest.raises(FlowError, match="--split-block"):
        settle_job(config(make_store(tracker / "store", 12, splits=splits)))
    assert not runs()


def test_a_run_goes_on_only_with_its_own_pairs(store: Path, tracker: Path) -> None:
    job = settle_job(config(store))
    going_on = {"settings": {}, "resume": job["run_id"]}
    for name, change, words in (
        ("scale", {"scale": 2}, ("scale 2", "scale 4", "new run")),
        ("bands", {"bands": ("red", "nir")}, ("bands red,nir", "red,green")),
        ("pairs", {"pairs": 36}, ("other pairs", "new run")),
    ):
        other = make_store(tracker / name, **{"pairs": 48, **change})  # type: ignore[arg-type]
        with pytest.raises(FlowError) as caught:
            settle_job(TrainFlowConfig(store=str(other), **going_on))  # type: ignore[arg-type]
        for word in words:
            assert word in str(caught.value)
    assert runs() == [job["run_id"]]
    again = settle_job(TrainFlowConfig(store=str(store), **going_on))  # type: ignore[arg-type]
    assert again["config"] == job["config"]


def test_settings_given_at_resumption_replace_those_of_the_run(store: Path, tracker: Path) -> None:
    job = settle_job(config(store))
    again = settle_job(
        TrainFlowConfig(
            store=str(store), resume=job["run_id"], settings={"losses": {"lattice": 2.0}}
        )
    )
    assert again["config"]["losses"] == job["config"]["losses"] | {"lattice": 2.0}
    kept = json.loads(RunFolder(Path(job["folder"])).job.read_text())
    assert kept["config"] == again["config"]
    run = tracking.mlflow_client().get_run(job["run_id"])
    assert json.loads(run.data.tags["settings_changed"])["losses"]["lattice"] == 2.0


def test_a_run_says_what_it_is_made_of(store: Path, tracker: Path) -> None:
    job = settle_job(config(store))
    run = tracking.mlflow_client().get_run(job["run_id"])
    assert run.data.params["generator.channels"] == "8"
    assert run.data.params["store_digest"] == job["store_digest"]
    assert run.data.params["pairs.train"] == "32"
    assert run.data.tags["skyscale_version"] == job["code"]["skyscale_version"]
    assert run.inputs.dataset_inputs[0].dataset.digest == job["store_digest"][:36]


def test_few_pairs_bound_the_phases_unless_somebody_says_how_long(store: Path) -> None:
    given = {k: v for k, v in SMALL.items() if not k.endswith("_steps")}
    plain = read_settings(
        TrainFlowConfig(store=str(store), settings=given), {"splits": {"train": 32}}
    )
    assert (plain.content_steps, plain.adversarial_steps) == (120 * 4, 40 * 4)
    told = read_settings(config(store), {"splits": {"train": 32}})
    assert (told.content_steps, told.adversarial_steps) == (4, 4)


UNPAIRED: dict[str, Any] = {"task": "unpaired", "objective": "least_squares"}


@pytest.fixture(scope="module")
def chips_alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 chips, half of either side, and no pair."""
    return make_store(tmp_path_factory.mktemp("chips") / "store", pairs=0, chips=40)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("mixed") / "store", pairs=12, chips=40)


class TestChipsWithoutPartners:
    def test_pairs_are_asked_for_where_they_are_wanted(
        self, chips_alone: Path, tracker: Path
    ) -> None:
        with pytest.raises(FlowError) as caught:
            settle_job(config(chips_alone))
        for word in ("no training pairs", "20 LR and 20 HR chips", 'task = "unpaired"'):
            assert word in str(caught.value)
        assert not runs()

    def test_a_side_too_few_is_named(
        self, chips_alone: Path, tracker: Path, tmp_path: Path
    ) -> None:
        with pytest.raises(FlowError, match=r"20 LR images to train on are fewer than .* 32"):
            settle_job(config(chips_alone, **UNPAIRED, batch_size=32))
        from geo.pairstore.store import PairStore

        store = PairStore.open(make_store(tmp_path / "one", pairs=0, chips=6))
        store.withdraw("alone", "test")
        with pytest.raises(FlowError, match=r"no LR images.*--unpaired --satellite"):
            settle_job(config(tmp_path / "one", **UNPAIRED))

    def test_images_are_counted_with_those_of_pairs(
        self, mixed: Path, tracker: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        job = settle_job(config(mixed, **UNPAIRED, batch_size=28))  # 8 pairs and 20 chips a side
        assert job["data"]["chips"] == {"lr": {"train": 20}, "hr": {"train": 20}}
        assert "20 LR and 20 HR training chips without partners" in caplog.text
        run = tracking.mlflow_client().get_run(job["run_id"])
        assert run.data.params["chips_alone.hr.train"] == "20"
        profile = json.loads(run.inputs.dataset_inputs[0].dataset.profile)
        assert profile["chips"]["lr"] == {"train": 20}

    def test_pairs_are_all_that_a_task_on_pairs_sees(self, mixed: Path, tracker: Path) -> None:
        with pytest.raises(FlowError, match="8 training pairs are fewer"):
            settle_job(config(mixed, batch_size=16))

    def test_a_run_goes_on_with_its_own_chips_alone(
        self, chips_alone: Path, mixed: Path, tracker: Path, tmp_path: Path
    ) -> None:
        job = settle_job(config(chips_alone, **UNPAIRED))
        other = make_store(tmp_path / "other", pairs=0, chips=38)
        again = TrainFlowConfig(store=str(other), resume=job["run_id"])
        with pytest.raises(FlowError, match="holds other pairs"):
            settle_job(again)
        assert settle_job(TrainFlowConfig(store=str(chips_alone), resume=job["run_id"]))
