from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geo.ensemble import TURNS, EnsembleUpsampler, Turn
from geo.errors import UpscaleError
from geo.upsampler import BuiltinUpsampler, Upsampler, UpsamplerFacts
from tests.geo.upsamplers import Broken, Crooked, in_blocks, reach, whole

seeds = st.integers(0, 2**32 - 1)
sides = st.integers(1, 14)
turns = st.sampled_from(TURNS)
equivariant = st.sampled_from(
    [BuiltinUpsampler(method, scale) for method in ("nearest", "bicubic") for scale in (2, 3)]
)

ROUNDING = 0.01  # DN: a few units in the last place of float32 at 10,000


def image(seed: int, height: int, width: int, bands: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 10_000, (bands, height, width)).astype(np.float32)


def drawn(count: int) -> tuple[Crooked, ...]:
    """Networks of one kind with other weights."""
    return tuple(Crooked(seed=number, name=f"crooked+draw{number}") for number in range(count))


# --- the group ------------------------------------------------------------------------------------


def test_there_are_eight_turns_and_the_first_does_nothing() -> None:
    square = image(0, 3, 3)
    seen = {turn.apply(square).tobytes() for turn in TURNS}
    assert len(seen) == len(TURNS) == 8
    np.testing.assert_array_equal(TURNS[0].apply(square), square)


@given(seed=seeds, height=sides, width=sides, turn=turns)
def test_a_turn_is_undone(seed: int, height: int, width: int, turn: Turn) -> None:
    lr = image(seed, height, width)
    np.testing.assert_array_equal(turn.undo(turn.apply(lr)), lr)


@given(first=turns, second=turns)
def test_two_turns_are_one_of_them(first: Turn, second: Turn) -> None:
    square = image(0, 4, 4)
    both = second.apply(first.apply(square))
    assert sum(np.array_equal(turn.apply(square), both) for turn in TURNS) == 1


# --- mean and spread ------------------------------------------------------------------------------


@given(seed=seeds, height=sides, width=sides)
def test_mean_and_spread_are_those_of_the_eight_answers(seed: int, height: int, width: int) -> None:
    network = Crooked()
    lr = image(seed, height, width, bands=3)
    answers = np.array([turn.undo(network(turn.apply(lr))) for turn in TURNS], np.float64)
    out = EnsembleUpsampler(network)(lr)
    np.testing.assert_allclose(out[:-1], answers.mean(axis=0), atol=ROUNDING)
    spread = np.sqrt(answers.var(axis=0).mean(axis=0))
    np.testing.assert_allclose(out[-1], spread, atol=ROUNDING)


@given(seed=seeds, height=sides, width=sides, turned=st.booleans(), count=st.integers(2, 4))
def test_draws_and_turns_are_pooled(
    seed: int, height: int, width: int, turned: bool, count: int
) -> None:
    lr = image(seed, height, width)
    ensemble = EnsembleUpsampler(Crooked(), drawn(count), turned=turned)
    asked = TURNS if turned else TURNS[:1]
    answers = np.array(
        [turn.undo(draw(turn.apply(lr))) for turn in asked for draw in ensemble.draws], np.float64
    )
    assert len(answers) == ensemble.answers == count * (8 if turned else 1)
    out = ensemble(lr)
    np.testing.assert_allclose(out[:-1], answers.mean(axis=0), atol=ROUNDING)
    spread = np.sqrt(answers.var(axis=0).mean(axis=0))
    np.testing.assert_allclose(out[-1], spread, atol=ROUNDING)


@given(seed=seeds, height=sides, width=sides, upsampler=equivariant)
def test_what_treats_all_directions_alike_is_left_as_it_is(
    seed: int, height: int, width: int, upsampler: Upsampler
) -> None:
    lr = image(seed, height, width)
    out = EnsembleUpsampler(upsampler)(lr)
    np.testing.assert_allclose(out[:-1], upsampler(lr), atol=ROUNDING)
    np.testing.assert_allclose(out[-1], 0, atol=ROUNDING)


@given(seed=seeds, height=sides, width=sides, turn=turns)
def test_a_turned_region_gets_the_turned_answer(
    seed: int, height: int, width: int, turn: Turn
) -> None:
    lr = image(seed, height, width)
    ensemble = EnsembleUpsampler(Crooked())
    np.testing.assert_allclose(ensemble(turn.apply(lr)), turn.apply(ensemble(lr)), atol=ROUNDING)


def test_small_spread_on_large_dn_keeps_its_digits() -> None:
    class Tilted(Crooked):
        """Answers 60,000 DN, and a little more in the upper half of what it is shown."""

        def __call__(self, lr: np.ndarray, /) -> np.ndarray:
            out = np.full((len(lr), 3 * lr.shape[1], 3 * lr.shape[2]), 60_000, np.float32)
            out[:, : out.shape[1] // 2] += 0.125
            return out

    # Every pixel lies in the upper half of four of its eight views.
    out = EnsembleUpsampler(Tilted())(image(0, 4, 4))
    np.testing.assert_allclose(out[:-1], 60_000.0625, atol=0.004)
    np.testing.assert_allclose(out[-1], 0.0625, atol=0.004)


# --- as an upsampler among others -----------------------------------------------------------------


@settings(deadline=None, max_examples=30)
@given(seed=seeds, height=sides, width=sides, block=st.integers(1, 9))
def test_blocks_are_the_whole(seed: int, height: int, width: int, block: int) -> None:
    ensemble = EnsembleUpsampler(Crooked())
    lr = image(seed, height, width)
    np.testing.assert_allclose(in_blocks(ensemble, lr, block), whole(ensemble, lr), atol=ROUNDING)


@pytest.mark.parametrize("network", [Crooked(), BuiltinUpsampler("bicubic", 2)])
def test_its_halo_is_the_inner_one(network: Upsampler) -> None:
    ensemble = EnsembleUpsampler(network)
    assert reach(ensemble) == ensemble.halo == network.halo


def test_its_facts() -> None:
    network = Crooked(bands=("red", "nir"))
    facts = UpsamplerFacts.of(EnsembleUpsampler(network))
    assert facts == UpsamplerFacts(
        name="crooked+ensemble", scale=3, halo=2, bands=("red", "nir"), extras=("uncertainty",)
    )


def test_its_name_says_how_many_were_asked() -> None:
    assert EnsembleUpsampler(Crooked(), drawn(2)).name == "crooked+draws2+ensemble"
    facts = UpsamplerFacts.of(EnsembleUpsampler(Crooked(), drawn(3), turned=False))
    assert (facts.name, facts.halo, facts.extras) == ("crooked+draws3", 2, ("uncertainty",))


def test_it_travels() -> None:
    ensemble = EnsembleUpsampler(BuiltinUpsampler("bicubic", 2))
    assert pickle.loads(pickle.dumps(ensemble)) == ensemble


def test_what_it_cannot_wrap() -> None:
    ensemble = EnsembleUpsampler(Crooked())
    with pytest.raises(ValueError, match="makes uncertainty beside its bands"):
        EnsembleUpsampler(ensemble)
    with pytest.raises(ValueError, match="one answer of crooked has no spread"):
        EnsembleUpsampler(Crooked(), turned=False)
    with pytest.raises(ValueError, match="one answer of crooked has no spread"):
        EnsembleUpsampler(Crooked(), drawn(1), turned=False)
    with pytest.raises(ValueError, match=r"bicubic has scale 2, .*wanted those of crooked: 3, 2"):
        EnsembleUpsampler(Crooked(), (BuiltinUpsampler("bicubic", 2),))
    with pytest.raises(UpscaleError, match=r"broken made shape \(1, 8, 10\) of \(2, 4, 5\)"):
        EnsembleUpsampler(Broken())(image(0, 4, 5))
