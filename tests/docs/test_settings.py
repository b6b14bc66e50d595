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


def test_there_is_one_for_training_without_partners() -> None:
    assert TrainConfig.from_dict(tomllib.loads(FILES["without-partners.toml"])).task == "unpaired"
    assert TrainConfig.from_dict(tomllib.loads(FILES["degrade.toml"])).task == "degrade"
