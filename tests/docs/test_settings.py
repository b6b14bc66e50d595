"""The files of settings that the guide of training shows."""

from __future__ import annotations

import tomllib

import pytest

from models.config import TrainConfig
from tests.docs.shell import toml_files_of

FILES = toml_files_of("docs/guides/training.md")


@pytest.mark.parametrize("name", FILES)
def test_can_be_trained_with(name: str) -> None:
    assert TrainConfig.from_dict(tomllib.loads(FILES[name])).steps > 0


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("without-partners.toml", "unpaired"),
        ("degrade.toml", "degrade"),
        ("style.toml", "style"),
        ("dcgan.toml", "dcgan"),
        ("vae.toml", "vae"),
        ("segment.toml", "segment"),
    ],
)
def test_there_is_one_for_each_task(name: str, task: str) -> None:
    assert TrainConfig.from_dict(tomllib.loads(FILES[name])).task == task
