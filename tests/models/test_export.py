from __future__ import annotations

import hashlib
import json
import os
import pickle
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from models.config_networks import GENERATORS, GeneratorConfig
from models.errors import ExportError
from models.export import CARD, WEIGHTS, GeneratorCard, load_card, load_generator, save_generator
from models.generators.base import Generator
from models.generators.registry import build_generator


def make(name: str = "edsr", *, scale: int = 4) -> tuple[Generator, GeneratorCard]:
    config = GeneratorConfig(name=name, channels=8, blocks=2)
    generator = build_generator(config, bands=2, scale=scale)
    generator.standardise.set(torch.tensor([0.1, 0.3]), 0.07)
    for parameter in generator.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.05)
    card = GeneratorCard(
        architecture=config,
        scale=scale,
        bands=("red", "nir"),
        data_range=10_000.0,
        halo=generator.halo,
        store_version="7",
        store_digest="abc",
        training={"steps": 12},
    )
    return generator.eval(), card


@pytest.mark.parametrize("name", GENERATORS)
@pytest.mark.parametrize("scale", [2, 4, 8])
def test_what_is_read_is_what_was_written(tmp_path: Path, name: str, scale: int) -> None:
    generator, card = make(name, scale=scale)
    saved = save_generator(tmp_path, generator, card)
    back, read = load_generator(tmp_path)
    assert read == saved == load_card(tmp_path)
    assert read.name.startswith(f"{name}-8x2-x{scale}@")
    x = torch.rand(1, 2, 6, 7)
    assert torch.equal(back(x), generator(x))


def test_only_the_two_files_remain(tmp_path: Path) -> None:
    for _ in range(2):
        save_generator(tmp_path, *make())
    assert sorted(path.name for path in tmp_path.iterdir()) == [CARD, WEIGHTS]


def test_the_card_says_what_a_user_needs(tmp_path: Path) -> None:
    save_generator(tmp_path, *make())
    values = json.loads((tmp_path / CARD).read_text())
    assert values["architecture"] == {
        "name": "edsr",
        "channels": 8,
        "blocks": 2,
        "growth": None,
        "dropout": None,
        "fused": False,
    }
    assert (values["scale"], values["bands"], values["data_range"]) == (4, ["red", "nir"], 10_000)
    assert (values["store_version"], values["store_digest"]) == ("7", "abc")
    assert values["halo"] == 7
    assert values["format"] == 1


def edit(folder: Path, **changes: Any) -> None:
    values = json.loads((folder / CARD).read_text())
    for key, value in changes.items():
        if value is None:
            del values[key]
        else:
            values[key] = value
    (folder / CARD).write_text(json.dumps(values))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"format": 99}, "generator format 99, this version reads 1"),
        ({"architecture": {"name": "diffusion"}}, "one of edsr, .*, unet, got 'diffusion'"),
        ({"architecture": {"name": "edsr", "depth": 1}}, "unknown key depth"),
        ({"scale": None}, "does not describe a generator"),
        ({"scale": 3}, "scale must be one of"),
        ({"scale": 4.0}, "scale must be a whole number, got 4.0"),
        ({"scale": "4"}, "scale must be a whole number, got '4'"),
        ({"scale": 2}, r"has shape \(32.* want \(8.*take both files as they were written"),
        ({"data_range": 0}, "data_range must be more than 0, got 0"),
        ({"data_range": float("nan")}, "data_range must be more than 0, got nan"),
        ({"bands": "rn"}, "bands must be a list of names, got 'rn'"),
        ({"architecture": {"name": "edsr", "channels": 9, "blocks": 2}}, r"has shape \(8"),
        ({"architecture": {"name": "edsr", "channels": 8, "blocks": 3}}, "missing detail"),
        ({"bands": ["red"]}, "has shape"),
        ({"halo": 3}, "a halo of 3, its architecture has 7"),
        ({"weights_sha256": "0"}, "digest differs"),
    ],
)
def test_a_card_that_does_not_fit_is_refused(
    tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    save_generator(tmp_path, *make())
    edit(tmp_path, **changes)
    with pytest.raises(ExportError, match=says):
        load_generator(tmp_path)


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"holds no generator: there is no generator.json"):
        load_generator(tmp_path)
    save_generator(tmp_path, *make())
    weights = (tmp_path / WEIGHTS).read_bytes()
    (tmp_path / WEIGHTS).write_bytes(weights[: len(weights) // 2])
    with pytest.raises(ExportError, match="digest differs"):
        load_generator(tmp_path)
    (tmp_path / WEIGHTS).unlink()
    with pytest.raises(ExportError, match="cannot be read"):
        load_generator(tmp_path)
    (tmp_path / CARD).write_text("{")
    with pytest.raises(ExportError, match="cannot be read"):
        load_generator(tmp_path)


def test_weights_that_are_not_finite_or_not_tensors_are_refused(tmp_path: Path) -> None:
    save_generator(tmp_path, *make())
    tensors = load_file(tmp_path / WEIGHTS)
    tensors["detail.0.weight"][0] = torch.nan
    save_file(tensors, tmp_path / WEIGHTS)
    edit(tmp_path, weights_sha256=hashlib.sha256((tmp_path / WEIGHTS).read_bytes()).hexdigest())
    with pytest.raises(ExportError, match=r"detail.0.weight holds values that are not finite"):
        load_generator(tmp_path)
    (tmp_path / WEIGHTS).write_bytes(b"import os")
    edit(tmp_path, weights_sha256=hashlib.sha256(b"import os").hexdigest())
    with pytest.raises(ExportError, match="no usable generator"):
        load_generator(tmp_path)


class Trap:
    def __reduce__(self) -> tuple[object, ...]:
        return (os.mkdir, ("sprung",))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_in_place_of_the_weights_is_refused_and_not_executed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zipped: bool
) -> None:
    """Even where the card vouches for it by its digest, as that of an attacker would."""
    monkeypatch.chdir(tmp_path)
    save_generator(tmp_path, *make())
    if zipped:
        torch.save({"detail.0.weight": Trap()}, tmp_path / WEIGHTS)
    else:
        (tmp_path / WEIGHTS).write_bytes(pickle.dumps(Trap()))
    edit(tmp_path, weights_sha256=hashlib.sha256((tmp_path / WEIGHTS).read_bytes()).hexdigest())
    with pytest.raises(ExportError, match="no usable generator"):
        load_generator(tmp_path)
    assert not (tmp_path / "sprung").exists()
    unpickle = partial(torch.load, weights_only=False) if zipped else pickle.load
    with open(tmp_path / WEIGHTS, "rb") as file:
        unpickle(file)
    assert (tmp_path / "sprung").exists(), "the trap works where it is unpickled"
