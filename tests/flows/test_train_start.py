"""Going on from a generator: found, checked before a run is opened, kept beside the run."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows import registry, tracking
from flows.errors import FlowError, UsageError
from flows.model_card import write_card
from flows.run_notes import training_section
from flows.train_folder import folder_of
from flows.train_job import TrainFlowConfig, settle_job
from flows.train_start import CHAMPION, find_start
from models.config import TrainConfig
from models.export import CARD, WEIGHTS, load_card
from tests.flows.test_champion import save
from tests.flows.test_model_card import EVALUATION
from tests.flows.test_train_job import SMALL, runs
from tests.flows.training_store import make_store

NAME = registry.MODEL_NAME
UNSAID = {k: v for k, v in SMALL.items() if k not in ("generator", "content_steps")}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("store") / "store")


@pytest.fixture(autouse=True)
def tracker(
    new_tracker: Callable[[Path], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A folder of runs, and a registry with nothing in it."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", new_tracker(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def register(folder: Path) -> str:
    """Make a generator champion; the run that it is said to come from."""
    save(folder)
    run_id = tracking.start_run("train", {}, {})
    tracking.log_files(run_id, {"generator": folder})
    registry.promote(registry.register(run_id, {}), "by hand")
    return run_id


def going_on(store: Path, uri: str, **settings: Any) -> TrainFlowConfig:
    return TrainFlowConfig(store=str(store), start_from=uri, settings={**UNSAID, **settings})


def test_a_run_keeps_what_it_begins_as_and_says_so_wherever_people_look(
    store: Path, tracker: Path
) -> None:
    run_id = register(tracker / "generator")
    sha = load_card(tracker / "generator").weights_sha256
    for uri in (CHAMPION, f"models:/{NAME}/1"):
        job = settle_job(going_on(store, uri))
        assert job["start"] == {
            **{"name": f"{NAME}/1", "uri": uri, "version": f"{NAME}/1", "run_id": run_id},
            "weights_sha256": sha,
        }
    folder = folder_of(job)
    for name in (WEIGHTS, CARD):
        assert (folder.start / name).read_bytes() == (tracker / "generator" / name).read_bytes()
    run = tracking.mlflow_client().get_run(job["run_id"])
    assert run.data.tags["start_from"] == run.data.params["start_from"] == f"{NAME}/1"
    assert run.data.params["start_from_weights_sha256"] == sha
    assert (
        f"| trained further from | skyscale-generator/1, SHA-256 of its weights `{sha[:16]}`"
        in (write_card(job, EVALUATION))
    )
    told = training_section(job, EVALUATION, experiment_id="1", version=f"{NAME}/2")
    assert f"trained further from [{NAME}/1](" in told


@pytest.mark.parametrize("of", ["folder", "run"])
def test_a_folder_or_a_run_will_do_as_well(store: Path, tracker: Path, of: str) -> None:
    run_id = register(tracker / "generator")
    uri = str(tracker / "generator") if of == "folder" else f"runs:/{run_id}/generator"
    start = settle_job(going_on(store, uri))["start"]
    assert (start["name"], start["version"]) == (uri, None)
    assert start["run_id"] == (run_id if of == "run" else None)


def test_what_nobody_says_fits_what_is_trained_already(store: Path, tracker: Path) -> None:
    save(tracker / "generator")
    job = settle_job(going_on(store, str(tracker / "generator")))
    settings, plain = TrainConfig.from_dict(job["config"]), TrainConfig()
    assert (settings.generator.channels, settings.generator.blocks) == (8, 1)
    assert settings.content_steps == 30 * 32 // 8  # passes over the pairs; a quarter of the usual
    assert settings.lr_content < plain.lr_content
    assert settings.discriminator.channels == SMALL["discriminator"]["channels"]

    said = {"content_steps": 7, "lr_content": 0.5, "generator": {"channels": 8}}
    told = TrainConfig.from_dict(
        settle_job(going_on(store, str(tracker / "generator"), **said))["config"]
    )
    assert (told.content_steps, told.lr_content, told.generator.blocks) == (7, 0.5, 1)


def test_a_folded_generator_goes_on_in_the_form_in_which_it_is_trained(tracker: Path) -> None:
    from models.config_networks import GeneratorConfig, exported_form
    from models.export import GeneratorCard, save_generator
    from models.generators.registry import build_generator

    kind = GeneratorConfig(name="span", channels=8, blocks=1)
    network = build_generator(kind, bands=1, scale=4).for_export()
    card = GeneratorCard(
        architecture=exported_form(kind), scale=4, bands=("a",), data_range=1, halo=network.halo
    )
    save_generator(tracker / "span", network, card)
    start = find_start(str(tracker / "span"))
    assert start is not None
    assert TrainConfig.from_dict(start.fill({})).generator == kind


@pytest.mark.parametrize(
    ("made", "settings", "words"),
    [
        ({"bands": ("red", "nir")}, {}, ("bands red,nir where the pairs have red,green",)),
        ({"scale": 2}, {}, ("scale 2 where the pairs have 4",)),
        ({}, {"generator": {"channels": 16}}, ("channels 8, not 16", "leave")),
        ({}, {"generator": {"name": "rrdb"}}, ("name edsr, not rrdb",)),
        ({}, {"generator": {"name": "srresnet"}, "growing_share": 0.5}, ("name edsr",)),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence_before_a_run_is_opened(
    store: Path, tracker: Path, made: dict[str, Any], settings: dict[str, Any], words: tuple[str]
) -> None:
    save(tracker / "generator", **made)
    with pytest.raises(UsageError) as caught:
        settle_job(going_on(store, str(tracker / "generator"), **settings))
    for word in ("--start-from", *words):
        assert word in str(caught.value)
    assert not runs()


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("bicubic", "it has no weights"),
        ("models:/another@champion", "no such model"),
        (f"models:/{NAME}/7", "no such model"),
        ("nowhere", "wanted models:/NAME@ALIAS"),
    ],
)
def test_what_cannot_be_had_is_refused(store: Path, uri: str, words: str) -> None:
    with pytest.raises((UsageError, FlowError), match=words):
        settle_job(going_on(store, uri))
    assert not runs()


def test_a_damaged_generator_is_refused(store: Path, tracker: Path) -> None:
    save(tracker / "generator")
    (tracker / "generator" / WEIGHTS).write_bytes(b"nothing")
    with pytest.raises(FlowError, match="its digest differs"):
        settle_job(going_on(store, str(tracker / "generator")))
    assert not runs()


def test_the_first_night_begins_from_scratch(store: Path) -> None:
    job = settle_job(going_on(store, CHAMPION))
    assert job["start"] is None
    assert job["config"]["generator"]["channels"] == TrainConfig().generator.channels
    run = tracking.mlflow_client().get_run(job["run_id"])
    assert run.data.params["start_from"] == "scratch"


def test_a_resumed_run_asks_no_registry_and_begins_as_nothing_else(
    store: Path, tracker: Path
) -> None:
    register(tracker / "generator")
    job = settle_job(going_on(store, CHAMPION))
    tracking.mlflow_client().delete_registered_model(NAME)
    shutil.rmtree(tracker / "generator")
    again = settle_job(TrainFlowConfig(store=str(store), resume=job["run_id"]))
    assert again["start"] == job["start"]
    assert again["config"] == job["config"]
    assert json.loads(folder_of(job).job.read_text())["start"] == job["start"]
    other = going_on(store, CHAMPION)
    with pytest.raises(UsageError, match="leave --start-from out"):
        settle_job(dataclasses.replace(other, resume=job["run_id"]))
