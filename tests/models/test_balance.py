from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.balance import Balance
from models.config import BalanceConfig

CONFIG = BalanceConfig(accuracy_low=0.6, accuracy_high=0.8, speed=0.1, least_rate=0.05)


@given(
    readings=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 10)), max_size=200),
)
def test_the_rate_stays_within_its_bounds(readings: list[tuple[float, float]]) -> None:
    balance = Balance()
    for accuracy, loss in readings:
        balance.read(CONFIG, accuracy=accuracy, loss=loss)
        assert CONFIG.least_rate <= balance.factor <= CONFIG.most_rate


def test_within_the_band_nothing_happens() -> None:
    balance = Balance()
    for _ in range(20):
        balance.read(CONFIG, accuracy=0.7, loss=1.0)
    assert balance.factor == 1


def test_it_slows_the_strong_and_helps_the_weak() -> None:
    strong, weak = Balance(), Balance()
    strong.read(CONFIG, accuracy=0.95, loss=0.1)
    weak.read(CONFIG, accuracy=0.5, loss=1.4)
    assert strong.factor == pytest.approx(0.9)
    assert weak.factor == pytest.approx(1 / 0.9)


def test_one_odd_reading_moves_little() -> None:
    balance = Balance(accuracy=0.7)
    balance.read(CONFIG, accuracy=0.9, loss=1.0)
    assert balance.factor == 1


def test_a_discriminator_far_ahead_rests_until_it_is_caught_up_with() -> None:
    config = BalanceConfig(skip_below=0.3)
    balance = Balance()
    assert not balance.rests(config)
    balance.read(config, accuracy=0.9, loss=0.1)
    assert balance.rests(config)
    while balance.rests(config):
        balance.read(config, accuracy=0.7, loss=1.0)
    assert balance.loss is not None
    assert balance.loss >= 0.3


def test_a_controller_holds_a_made_game_in_its_band() -> None:
    """A discriminator gains accuracy with its rate, a generator takes a little back each time."""
    balance, accuracy = Balance(), 0.99
    seen = []
    for _ in range(300):
        accuracy = min(1.0, max(0.5, accuracy + 0.03 * balance.factor - 0.015))
        balance.read(CONFIG, accuracy=accuracy, loss=1.0)
        seen.append(accuracy)
    last = seen[-100:]
    assert CONFIG.accuracy_low - 0.05 < sum(last) / len(last) < CONFIG.accuracy_high + 0.05


def test_it_survives_a_checkpoint() -> None:
    balance = Balance()
    balance.read(CONFIG, accuracy=0.95, loss=0.1)
    assert Balance.from_dict(balance.to_dict()) == balance
