"""A run is a function of its seed and settings, however often it is stopped and resumed."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from models.checkpoint import list_checkpoints, load_checkpoint
from models.config import BalanceConfig
from models.config_networks import (
    DISCRIMINATORS,
    DiscriminatorConfig,
    GeneratorConfig,
    LossConfig,
)
from models.errors import CheckpointError
from models.export import load_card
from models.selection import Selection
from tests.models.training import (
    TINY,
    run,
    same,
    stop_after,
    weights,
)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("at", [3, 6, 8])
def test_stopping_and_resuming_changes_no_bit(tmp_path: Path, at: int) -> None:
    straight = run(TINY, tmp_path / "straight")
    first = run(TINY, tmp_path / "halves", stop=stop_after(at))
    assert first.stopped_by == "request"
    assert first.clock.step == at if at < 6 else first.clock.step in (at, at - 1)
    second = run(TINY, tmp_path / "halves", resume=True)
    assert (straight.stopped_by, second.stopped_by) == ("steps", "steps")
    assert same(weights(straight), weights(second))
    assert straight.validation == second.validation
    ends = [
        load_checkpoint(list_checkpoints(tmp_path / name / "checkpoints")[0])
        for name in ("straight", "halves")
    ]
    for part in ("generator", "discriminator", "ema", "rng"):
        assert same(ends[0][part], ends[1][part]), part
    for part in ("generator_optimiser", "discriminator_optimiser"):
        assert same(ends[0][part]["state"], ends[1][part]["state"]), part
    assert ends[0]["clock"]["batches"] == ends[1]["clock"]["batches"] == 6 + 4 * 3


GROUPS = ["farm"] * 7 + ["port"] * 2 + [None]


@pytest.mark.usefixtures("one_thread")
def test_a_balanced_run_resumes_exactly_and_shows_other_pairs(tmp_path: Path) -> None:
    config = dataclasses.replace(TINY, balance=0.8)
    straight = run(config, tmp_path / "straight", groups=GROUPS)
    run(config, tmp_path / "halves", groups=GROUPS, stop=stop_after(4))  # sample 16 of epochs of 10
    second = run(config, tmp_path / "halves", groups=GROUPS, resume=True)
    assert same(weights(straight), weights(second))
    plain = run(TINY, tmp_path / "plain", groups=GROUPS)
    assert not same(weights(straight), weights(plain))
    with pytest.raises(CheckpointError, match=r"balance was 0.8, is 0.0"):
        run(TINY, tmp_path / "halves", resume=True)


@pytest.mark.usefixtures("one_thread")
def test_without_balance_categories_change_nothing(tmp_path: Path) -> None:
    runs = [run(TINY, tmp_path / "with", groups=GROUPS), run(TINY, tmp_path / "without")]
    assert same(*map(weights, runs))


def test_a_run_from_before_there_was_balance_goes_on(tmp_path: Path) -> None:
    run(TINY, tmp_path, stop=stop_after(3))
    path = list_checkpoints(tmp_path / "checkpoints")[0]
    state = load_checkpoint(path)
    del state["config"]["balance"]
    torch.save(state, path)
    with pytest.raises(CheckpointError, match=r"balance was 0.0, is 0.5"):
        run(dataclasses.replace(TINY, balance=0.5), tmp_path, groups=GROUPS, resume=True)
    assert run(TINY, tmp_path, resume=True).clock.step == 10


@pytest.mark.usefixtures("one_thread")
def test_a_run_is_the_same_whether_pairs_are_kept_or_read_by_windows(tmp_path: Path) -> None:
    kept = run(TINY, tmp_path / "kept")
    windows = run(dataclasses.replace(TINY, cache_mb=0), tmp_path / "windows")
    assert same(weights(kept), weights(windows))


@pytest.mark.usefixtures("one_thread")
def test_a_run_is_a_function_of_its_seed(tmp_path: Path) -> None:
    results = [
        weights(run(dataclasses.replace(TINY, seed=seed), tmp_path / str(n)))
        for n, seed in enumerate((1, 1, 2))
    ]
    assert same(results[0], results[1])
    assert not same(results[0], results[2])


def test_a_finished_run_can_be_given_more_steps(tmp_path: Path) -> None:
    run(TINY, tmp_path)
    longer = dataclasses.replace(TINY, adversarial_steps=6)
    assert run(longer, tmp_path, resume=True).clock.adversarial_steps == 6


def test_a_finished_run_is_exported_at_another_price_without_training(tmp_path: Path) -> None:
    steps = run(TINY, tmp_path).clock.step
    for cost in (0.0, 0.01, 100.0):
        again = run(dataclasses.replace(TINY, psnr_cost_db=cost), tmp_path, resume=True)
        assert again.clock.step == steps
        selection = Selection(tmp_path / "checkpoints")
        selection.load()
        share = load_card(again.exported).training["sharp_share"]
        assert same(weights(again), selection.blend(share))
        assert selection.faithful is not None
        assert again.validation["psnr_db"] >= selection.faithful.scores["psnr_db"] - cost
    assert share == 1


@pytest.mark.usefixtures("one_thread")
def test_pieces_of_a_mini_batch_give_the_gradient_of_the_whole(tmp_path: Path) -> None:
    config = dataclasses.replace(
        TINY,
        adversarial_steps=2,
        objective="non_saturating",
        losses=LossConfig(lattice=0.0),  # whose sign Adam follows, however small it is
        grad_clip=1e9,
    )
    whole = weights(run(config, tmp_path / "whole"))
    pieces = weights(run(dataclasses.replace(config, accumulate=2), tmp_path / "pieces"))
    for name, value in whole.items():
        torch.testing.assert_close(pieces[name], value, atol=2e-5, rtol=2e-3)


@pytest.mark.usefixtures("one_thread")
def test_a_generator_grows_up(tmp_path: Path) -> None:
    config = dataclasses.replace(
        TINY,
        generator=GeneratorConfig(name="srresnet", channels=8, blocks=1),
        content_steps=12,
        growing_share=0.7,
        val_every=12,
    )
    straight = run(config, tmp_path / "straight")
    run(config, tmp_path / "halves", stop=stop_after(5))
    assert same(weights(straight), weights(run(config, tmp_path / "halves", resume=True)))
    plain = run(dataclasses.replace(config, growing_share=0.0), tmp_path / "plain")
    assert weights(straight).keys() == weights(plain).keys()


@pytest.mark.parametrize("discriminator", DISCRIMINATORS)
@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.usefixtures("one_thread")
def test_every_setting_of_the_game_resumes_exactly(
    tmp_path: Path, discriminator: str, conditional: bool
) -> None:
    config = dataclasses.replace(
        TINY,
        discriminator=DiscriminatorConfig(
            name=discriminator, channels=4, stages=2, conditional=conditional, resolutions=2
        ),
        objective="relativistic_paired",
        losses=LossConfig(l1=1, ssim=0.1, frequency=0.1, consistency=0.5, feature_matching=0.1),
        adversarial_steps=8,
        r1=1.0,
        r2=0.5,
        penalty_every=3,
        unroll_steps=1,
        balance_networks=BalanceConfig(accuracy_low=0.0, accuracy_high=0.1, skip_below=0.01),
    )
    straight = run(config, tmp_path / "straight")
    run(config, tmp_path / "halves", stop=stop_after(11))
    second = run(config, tmp_path / "halves", resume=True)
    assert same(weights(straight), weights(second))
    newest = load_checkpoint(list_checkpoints(tmp_path / "halves" / "checkpoints")[0])
    assert newest["balance"]["factor"] < 1
