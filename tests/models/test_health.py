from __future__ import annotations

import math
from typing import Any

import pytest

from models.config import HealthConfig
from models.health import Watch

WELL = {
    "content_loss": 0.8,
    "bicubic_loss": 1.0,
    "d_accuracy": 0.7,
    "d_real": 0.6,
    "d_fake": 0.4,
    "diversity": 0.9,
    "generator_skipped": 0.0,
}
SIGNS: dict[str, dict[str, float]] = {
    "not_finite": {"content_loss": math.nan},
    "diverged": {"content_loss": 1.7},
    "overpowered": {"d_accuracy": 0.999, "d_real": 0.995, "d_fake": 0.001},
    "collapsed": {"diversity": 0.01},
}


@pytest.mark.parametrize("name", SIGNS)
def test_a_sign_counts_once_it_has_lasted(name: str) -> None:
    watch = Watch(HealthConfig(patience=3))
    ill = {**WELL, **SIGNS[name]}
    assert watch.read(WELL, "adversarial") is None
    assert watch.well
    for _ in range(2):
        assert watch.read(ill, "adversarial") is None
        assert not watch.well
    sickness = watch.read(ill, "adversarial")
    assert sickness is not None
    assert sickness.name == name
    assert any(character.isdigit() for character in sickness.text)


@pytest.mark.parametrize("name", SIGNS)
def test_a_sign_that_passes_is_forgotten(name: str) -> None:
    watch = Watch(HealthConfig(patience=2))
    ill = {**WELL, **SIGNS[name]}
    for _ in range(5):
        assert watch.read(ill, "adversarial") is None
        assert watch.read(WELL, "adversarial") is None
    assert watch.well


@pytest.mark.parametrize("name", ["overpowered", "collapsed"])
def test_the_content_phase_has_no_game_to_lose(name: str) -> None:
    watch = Watch(HealthConfig(patience=1))
    assert watch.read({**WELL, **SIGNS[name]}, "content") is None


@pytest.mark.parametrize(
    ("metrics", "ill"),
    [
        ({"generator_skipped": 0.4}, False),  # single bad mini-batches are left out, that is all
        ({"generator_skipped": 0.6}, True),
        ({"discriminator_skipped": 1.0}, True),
        # All the detail of reality, all of it wrong: twice the squared error, 1.41 the error.
        ({"content_loss": 1.42}, False),
        ({"d_accuracy": 1.0}, False),  # always right, but not sure of it: that still teaches
    ],
)
def test_where_the_lines_are(metrics: dict[str, Any], ill: bool) -> None:
    watch = Watch(HealthConfig(patience=1))
    assert (watch.read({**WELL, **metrics}, "adversarial") is not None) is ill


def test_missing_metrics_are_not_looked_at() -> None:
    assert Watch(HealthConfig(patience=1)).read({}, "adversarial") is None
