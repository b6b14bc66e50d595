from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.clock import Clock, cosine, settings_at
from models.config import TrainConfig

CONFIG = TrainConfig(content_steps=100, adversarial_steps=50, warmup_steps=0, adversarial_ramp=0.2)


def play(config: TrainConfig, *, content_step_s: float, adversarial_step_s: float) -> Clock:
    """A run with steps of known duration."""
    clock = Clock()
    while clock.phase != "done":
        if clock.position(config) >= 1:
            clock.end_phase()
        elif clock.phase == "content":
            clock.content_steps += 1
            clock.add_seconds(content_step_s)
        else:
            clock.adversarial_steps += 1
            clock.add_seconds(adversarial_step_s)
    return clock


def test_without_a_limit_time_means_nothing() -> None:
    clock = play(CONFIG, content_step_s=1e6, adversarial_step_s=1e6)
    assert (clock.content_steps, clock.adversarial_steps) == (100, 50)
    assert clock.stopped_by(CONFIG) == "steps"


@given(
    minutes=st.floats(0.5, 2),
    share=st.floats(0.1, 0.9),
    content_step_s=st.floats(0.05, 0.5),
    adversarial_step_s=st.floats(0.05, 0.5),
)
@settings(max_examples=25, deadline=None)
def test_with_a_limit_both_phases_fit_into_it(
    minutes: float, share: float, content_step_s: float, adversarial_step_s: float
) -> None:
    config = dataclasses.replace(
        CONFIG,
        content_steps=10**9,
        adversarial_steps=10**9,
        max_minutes=minutes,
        content_time_share=share,
    )
    clock = play(config, content_step_s=content_step_s, adversarial_step_s=adversarial_step_s)
    assert clock.elapsed_s == pytest.approx(60 * minutes, abs=1.1)
    assert clock.content_s == pytest.approx(60 * minutes * share, abs=0.6)
    assert clock.stopped_by(config) == "time"


def test_without_adversarial_steps_the_content_phase_has_all_the_time() -> None:
    config = dataclasses.replace(CONFIG, content_steps=10**9, adversarial_steps=0, max_minutes=1.0)
    clock = play(config, content_step_s=0.5, adversarial_step_s=1.0)
    assert (clock.content_steps, clock.adversarial_steps) == (120, 0)


def test_rates_decay_within_each_phase() -> None:
    clock = Clock()
    rates = [settings_at(CONFIG, clock, p / 10).lr_generator for p in range(11)]
    assert rates[0] == pytest.approx(CONFIG.lr_content)
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx(0.02 * CONFIG.lr_content)
    assert settings_at(CONFIG, clock, 0.3).lr_discriminator == 0
    clock.end_phase()
    start = settings_at(CONFIG, clock, 0.0)
    assert start.lr_generator == pytest.approx(CONFIG.lr_generator)
    assert start.lr_discriminator == pytest.approx(CONFIG.lr_discriminator)


def test_the_adversarial_weight_rises_on_the_clock_of_its_phase() -> None:
    clock = Clock(content_ended=True)
    weights = [settings_at(CONFIG, clock, p).adversarial_weight for p in (0, 0.1, 0.2, 0.9)]
    assert weights == pytest.approx([0, 0.5 * 0.7, 0.7, 0.7])


def test_rates_warm_up_by_steps() -> None:
    config = dataclasses.replace(CONFIG, warmup_steps=9)
    rates = [settings_at(config, Clock(content_steps=n), 0.0).lr_generator for n in (0, 4, 9, 20)]
    assert rates == pytest.approx([config.lr_content * f for f in (0.1, 0.5, 1, 1)])


def test_cosine_is_half_way_in_the_middle() -> None:
    assert cosine(0.5) == pytest.approx((1 + 0.02) / 2)


def test_the_time_left_is_what_the_steps_left_will_take() -> None:
    clock = Clock(content_steps=50, content_s=5.0)
    # 50 content steps of 0.1 s, 50 adversarial ones of two updates each
    assert clock.eta_s(CONFIG) == pytest.approx(50 * 0.1 + 50 * 0.2)
    limited = dataclasses.replace(CONFIG, max_minutes=0.1)
    assert clock.eta_s(limited) == pytest.approx(1.0)
    assert Clock().eta_s(CONFIG) is None


@given(
    clock=st.builds(
        Clock,
        content_steps=st.integers(0, 10**9),
        adversarial_s=st.floats(0, 1e9),
        ended=st.booleans(),
    )
)
def test_a_clock_survives_the_round_trip(clock: Clock) -> None:
    assert Clock.from_dict(clock.to_dict()) == clock
