from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import config as config_module
from models import config_networks as networks
from models.config import TrainConfig
from models.config_networks import DiscriminatorConfig, GeneratorConfig, LossConfig
from models.discriminators.registry import BUILDERS as DISCRIMINATORS
from models.errors import ConfigError
from models.generators.registry import BUILDERS as GENERATORS
from models.objectives import OBJECTIVES

configs = st.builds(
    TrainConfig,
    generator=st.builds(
        GeneratorConfig,
        name=st.sampled_from(networks.GENERATORS),
        channels=st.integers(1, 512),
        blocks=st.integers(1, 4),
    ),
    discriminator=st.builds(DiscriminatorConfig, channels=st.integers(1, 512)),
    seed=st.integers(0, 2**32),
    batch_size=st.integers(1, 1024),
    balance=st.floats(0, 1),
    objective=st.sampled_from(config_module.OBJECTIVES),
    losses=st.builds(LossConfig, l1=st.floats(0.1, 10), ssim=st.floats(0, 1)),
    adversarial_weight=st.floats(0, 10),
    lr_content=st.floats(1e-6, 1),
    max_minutes=st.none() | st.floats(0.01, 1e4),
)


@given(config=configs)
def test_survives_the_round_trip_through_json(config: TrainConfig) -> None:
    assert TrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_the_names_are_those_that_can_be_built() -> None:
    assert set(networks.GENERATORS) == set(GENERATORS)
    assert set(networks.DISCRIMINATORS) == set(DISCRIMINATORS)
    assert set(config_module.OBJECTIVES) == set(OBJECTIVES)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"lerning_rate": 1}, r"unknown key lerning_rate; known are accumulate, .*warmup"),
        (
            {"generator": {"depth": 3}},
            r"unknown key generator.depth; known are blocks, channels, dropout",
        ),
        ({"generator": {"name": "gan"}}, r"one of edsr, srresnet, rrdb, span, unet, got 'gan'"),
        ({"generator": {"growth": 3}}, r"growth is a setting of rrdb, not of edsr"),
        ({"generator": {"name": "unet", "blocks": 9}}, r"at most 4 blocks"),
        ({"generator": {"name": "span", "fused": True}}, r"fused generator cannot be trained"),
        ({"losses": {"l1": 0.0, "style": 1.0}}, r"needs l1, charbonnier, mse or ssim"),
        ({"losses": {"perceptual": 1.0}}, r"need features: the weights file"),
        ({"losses": {"l1": -1.0}}, r"losses l1 must be 0 or more"),
        ({"batch_size": 6, "accumulate": 4}, r"cannot be cut into 4 equal pieces"),
        ({"objective": "hinge", "label_smoothing": 0.1}, r"no meaning for the objective hinge"),
        ({"growing_share": 0.3}, r"edsr cannot grow; srresnet can"),
        (
            {
                "growing_share": 0.3,
                "generator": {"name": "srresnet"},
                "losses": {"consistency": 1.0},
            },
            r"set it or growing_share to 0",
        ),
        ({"balance_networks": {"accuracy_low": 0.9}}, r"low < high"),
        ({"health": {"loss_factor": 0.5}}, r"loss_factor must be more than 1"),
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
