"""A training that begins as a trained generator and goes on from there."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from models.checkpoint import list_checkpoints, load_checkpoint
from models.config import TrainConfig
from models.config_networks import GENERATORS, GeneratorConfig, exported_form
from models.data import PairSpec
from models.errors import ConfigError, ExportError
from models.evaluate import evaluate
from models.export import WEIGHTS, GeneratorCard, load_card, save_generator
from models.generators.base import Generator
from models.generators.registry import build_generator
from models.predict import Predictor
from models.start import Start, check_start
from tests.models.training import SPEC, TINY, Recorder, make_pairs, psnr_score, run, stop_after

GOES_ON = dataclasses.replace(TINY, content_steps=4, adversarial_steps=0, seed=5)


def trained(config: GeneratorConfig, *, scale: int = 4) -> Generator:
    """A generator that has learned something, if only noise."""
    torch.manual_seed(1)
    generator = build_generator(config, bands=2, scale=scale)
    generator.standardise.set(torch.tensor([0.1, 0.3]), 0.07)
    for parameter in generator.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.05)
    return generator.eval()


def save(folder: Path, config: GeneratorConfig, **other: Any) -> Path:
    exported = trained(config, scale=other.get("scale", 4)).for_export()
    card: dict[str, Any] = {
        "architecture": exported_form(config),
        "scale": 4,
        "bands": SPEC.bands,
        "data_range": SPEC.data_range,
        "halo": exported.halo,
    }
    save_generator(folder, exported, GeneratorCard(**card | other))
    return folder


@pytest.mark.parametrize("name", GENERATORS)
def test_every_kind_of_generator_begins_as_what_was_exported_and_can_learn(name: str) -> None:
    config = GeneratorConfig(name=name, channels=8, blocks=2)
    exported = trained(config).for_export()
    torch.manual_seed(2)
    network = build_generator(config, bands=2, scale=4)
    network.start_as(exported)
    x = torch.rand(1, 2, 9, 8)
    torch.testing.assert_close(network.eval()(x), exported(x), atol=2e-6, rtol=0)
    torch.testing.assert_close(network.for_export()(x), exported(x), atol=2e-6, rtol=0)
    network.train()(x).square().mean().backward()
    idle = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert not idle


@pytest.fixture(scope="module")
def champion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that has ended."""
    folder = tmp_path_factory.mktemp("champion")
    run(TINY, folder)
    return folder


def test_a_run_begins_with_weights_mean_constants_and_score_of_its_start(
    champion: Path, tmp_path: Path
) -> None:
    listener = Recorder()
    start = champion / "generator"
    run(GOES_ON, tmp_path, start_from=Start(folder=start), listener=listener, stop=stop_after(0))
    state = load_checkpoint(list_checkpoints(tmp_path / "checkpoints")[0])
    begun = load_file(start / WEIGHTS)
    for name, tensor in begun.items():
        assert torch.equal(state["generator"][name], tensor), name
        assert torch.equal(state["ema"]["network"][name], tensor), name
    for name in ("mean", "spread"):
        key = f"standardise.{name}"
        assert torch.equal(state["discriminator"][key], begun[key])
    step, first = listener.validations[0]
    theirs = evaluate(Predictor(start), make_pairs(5, seed=1), psnr_score, limit=TINY.val_pairs)
    assert step == 0
    assert first.scores["psnr_db"] == pytest.approx(theirs.scores["psnr_db"], abs=1e-4)


def test_the_mean_of_the_weights_does_not_forget_what_it_began_with(
    champion: Path, tmp_path: Path
) -> None:
    """A mean of nothing forgets nine tenths with its first update."""
    run(GOES_ON, tmp_path, start_from=Start(folder=champion / "generator"))
    state = load_checkpoint(list_checkpoints(tmp_path / "checkpoints")[0])
    begun = load_file(champion / "generator" / WEIGHTS)
    name = "detail.0.weight"
    moved, mean = (
        (of[name] - begun[name]).norm() for of in (state["generator"], state["ema"]["network"])
    )
    assert 0 < mean < 0.05 * moved


def test_a_run_that_makes_it_worse_exports_what_it_began_with(
    champion: Path, tmp_path: Path
) -> None:
    wild = dataclasses.replace(GOES_ON, lr_content=1.0, ema_decay=0.1, warmup_steps=0)
    result = run(wild, tmp_path, start_from=Start(folder=champion / "generator"))
    mine, theirs = load_card(result.exported), load_card(champion / "generator")
    assert mine.weights_sha256 == theirs.weights_sha256
    assert mine.training["selected_step"] == 0


def test_a_resumed_run_needs_its_start_no_more(champion: Path, tmp_path: Path) -> None:
    whole = run(GOES_ON, tmp_path / "whole", start_from=Start(folder=champion / "generator"))
    cut = tmp_path / "cut"
    run(GOES_ON, cut, start_from=Start(folder=champion / "generator"), stop=stop_after(2))
    resumed = run(GOES_ON, cut, start_from=Start(folder=tmp_path / "gone"), resume=True)
    assert load_card(resumed.exported).weights_sha256 == (load_card(whole.exported).weights_sha256)


def test_a_damaged_start_or_another_one_is_refused_before_anything_begins(
    champion: Path, tmp_path: Path
) -> None:
    start = save(tmp_path / "start", TINY.generator)
    with (start / WEIGHTS).open("r+b") as file:
        file.seek(-4, 2)
        file.write(b"\0\0\0\1")
    with pytest.raises(ExportError, match="its digest differs"):
        run(GOES_ON, tmp_path / "run", start_from=Start(folder=start))
    other = Start(folder=champion / "generator", weights_sha256="0" * 64)
    with pytest.raises(ExportError, match="this training began with 000000000000: put that one"):
        run(GOES_ON, tmp_path / "run", start_from=other)
    assert not list_checkpoints(tmp_path / "run" / "checkpoints")


SMALL = GeneratorConfig(channels=8, blocks=1)


@pytest.mark.parametrize(
    ("start", "config", "words"),
    [
        ({"bands": ("red", "green")}, {}, ("bands red,green where the pairs have red,nir",)),
        ({"scale": 2}, {}, ("scale 2 where the pairs have 4", "from scratch")),
        ({"data_range": 255.0}, {}, ("data_range 255",)),
        ({}, {"generator": GeneratorConfig(channels=16, blocks=1)}, ("channels 8, not 16",)),
        ({}, {"generator": GeneratorConfig(name="span", channels=8, blocks=1)}, ("name edsr",)),
    ],
)
def test_a_start_that_does_not_fit_is_refused_in_a_sentence(
    tmp_path: Path, start: dict[str, Any], config: dict[str, Any], words: tuple[str, ...]
) -> None:
    folder = save(tmp_path / "start", SMALL, **start)
    with pytest.raises(ConfigError) as caught:
        run(
            dataclasses.replace(GOES_ON, **config),
            tmp_path / "run",
            start_from=Start(folder=folder),
        )
    for word in words:
        assert word in str(caught.value)


def test_a_generator_that_has_grown_up_does_not_grow_again(tmp_path: Path) -> None:
    grown = GeneratorConfig(name="srresnet", channels=8, blocks=1)
    card = GeneratorCard(architecture=grown, scale=4, bands=("a",), data_range=1.0, halo=1)
    config = TrainConfig(generator=grown, growing_share=0.5)
    with pytest.raises(ConfigError, match=r"growing_share is 0\.5"):
        check_start(card, config, PairSpec(scale=4, bands=("a",), data_range=1.0))
