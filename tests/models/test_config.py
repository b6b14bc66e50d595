from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import config as config_module
from models.config import DiscriminatorConfig, GeneratorConfig, TrainConfig
from models.content_losses import CONTENT_LOSSES
from models.discriminators.registry import BUILDERS as DISCRIMINATORS
from models.errors import ConfigError
from models.generators.registry import BUILDERS as GENERATORS
from models.objectives import OBJECTIVES

configs = st.builds(
    TrainConfig,
    generator=st.builds(
        GeneratorConfig,
        name=st.sampled_from(config_module.GENERATORS),
        channels=st.integers(1, 512),
        blocks=st.integers(1, 64),
    ),
    discriminator=st.builds(DiscriminatorConfig, channels=st.integers(1, 512)),
    seed=st.integers(0, 2**32),
    batch_size=st.integers(1, 1024),
    balance=st.floats(0, 1),
    objective=st.sampled_from(config_module.OBJECTIVES),
    content_loss=st.sampled_from(config_module.CONTENT_LOSSES),
    adversarial_weight=st.floats(0, 10),
    lr_content=st.floats(1e-6, 1),
    max_minutes=st.none() | st.floats(0.01, 1e4),
)


@given(config=configs)
def test_survives_the_round_trip_through_json(config: TrainConfig) -> None:
    assert TrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_the_names_are_those_that_can_be_built() -> None:
    assert set(config_module.GENERATORS) == set(GENERATORS)
    assert set(config_module.DISCRIMINATORS) == set(DISCRIMINATORS)
    assert set(config_module.CONTENT_LOSSES) == set(CONTENT_LOSSES)
    assert set(config_module.OBJECTIVES) == set(OBJECTIVES)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"lerning_rate": 1}, r"unknown key lerning_rate; known are adversarial_ramp, .*warmup"),
        ({"generator": {"depth": 3}}, r"unknown key generator.depth; known are blocks, channels"),
        ({"generator": {"name": "unet"}}, r"one of edsr, srresnet, got 'unet'"),
        ({"batch_size": 0}, r"batch_size must be 1 or more, got 0"),
        ({"batch_size": "16"}, r"batch_size must be int, got '16'"),
        ({"batch_size": True}, r"batch_size must be int, got True"),
        ({"max_minutes": "3"}, r"max_minutes must be float or none, got '3'"),
        ({"max_minutes": -1}, r"max_minutes must be more than 0"),
        ({"lr_content": float("nan")}, r"lr_content must be more than 0"),
        ({"ema_decay": 1.0}, r"ema_decay must be at least 0 and less than 1"),
        ({"content_time_share": 0.0}, r"content_time_share must be more than 0"),
        ({"content_steps": 0, "adversarial_steps": 0}, r"nothing would be trained"),
        ({"adversarial_weight": -1}, r"adversarial_weight must be 0 or more"),
        ({"balance": 1.1}, r"balance must be 0 to 1, got 1.1"),
        ({"balance": float("nan")}, r"balance must be 0 to 1"),
        ({"discriminator": {"stages": 9}}, r"stages must be 1 to 5"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(values: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        TrainConfig.from_dict(values)


def test_an_int_is_a_float() -> None:
    assert TrainConfig.from_dict({"max_minutes": 3}).max_minutes == 3.0


def test_a_configuration_does_not_load_torch() -> None:
    code = "import sys, models.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
