"""Training as a whole: what it learns, tells, obeys and hands over."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from models.config import OBJECTIVES, BalanceConfig, TrainConfig
from models.config_networks import (
    GeneratorConfig,
)
from models.data import ListedPairs
from models.errors import ConfigError, DataError, TrainingError
from models.evaluate import evaluate
from models.layers import KeysBicubic
from models.predict import Predictor
from tests.models.training import (
    SPEC,
    TINY,
    Recorder,
    make_pairs,
    psnr_score,
    run,
)


def test_balance_needs_the_category_of_each_pair(tmp_path: Path) -> None:
    config = dataclasses.replace(TINY, balance=0.5)
    with pytest.raises(ConfigError, match=r"balance is 0.5, but the categories .* not known"):
        run(config, tmp_path)
    with pytest.raises(DataError, match="9 categories for 10 training pairs"):
        run(config, tmp_path, groups=[None] * 9)
    assert not any(tmp_path.iterdir())


def test_the_listener_hears_everything(tmp_path: Path) -> None:
    recorder = Recorder()
    before = torch.get_rng_state()
    result = run(TINY, tmp_path, listener=recorder)
    assert torch.equal(torch.get_rng_state(), before)
    assert [told["step"] for told in recorder.progress] == [2, 4, 6, 8, 10]
    assert [told["phase"] for told in recorder.progress] == ["content"] * 3 + ["adversarial"] * 2
    assert [told["images"] for told in recorder.progress] == [8, 16, 24, 48, 72]
    assert [step for step, _ in recorder.validations] == [4, 6, 8, 10]
    assert recorder.checkpoints == [0, 5, 6, 10, 10]
    assert len(recorder.validations[0][1].samples) == 3
    last = recorder.progress[-1]["metrics"]
    assert set(last) == {
        "train/content_loss",
        "train/loss_lattice",
        "train/adversarial_loss",
        "train/adversarial_weight",
        "train/discriminator_loss",
        "train/d_real",
        "train/d_fake",
        "train/d_accuracy",
        "train/generator_grad_norm",
        "train/discriminator_grad_norm",
        "train/generator_skipped",
        "train/discriminator_skipped",
        "train/bicubic_loss",
        "train/r1",
        "train/r2",
        "train/diversity",
        "train/lr_generator",
        "train/lr_discriminator",
        "train/images_per_s",
        "train/data_wait_share",
    }
    assert all(math.isfinite(value) for value in last.values())
    assert all(0 <= last[f"train/{name}"] <= 1 for name in ("d_real", "d_fake", "d_accuracy"))
    assert recorder.progress[-1]["eta_s"] == 0
    assert result.validation in [evaluation.scores for _, evaluation in recorder.validations]
    assert recorder.events == []
    assert (result.clock.content_steps, result.clock.adversarial_steps) == (6, 4)


def test_training_beats_bicubic_and_the_export_is_what_was_validated(tmp_path: Path) -> None:
    config = dataclasses.replace(
        TINY,
        generator=GeneratorConfig(channels=16, blocks=2),
        batch_size=8,
        patch_lr=16,
        content_steps=150,
        adversarial_steps=20,
        warmup_steps=10,
        val_every=1000,
        checkpoint_every=1000,
        val_pairs=100,
    )
    val = make_pairs(8, seed=1)
    recorder = Recorder()
    result = run(config, tmp_path, train_pairs=make_pairs(40), val_pairs=val, listener=recorder)
    layer = KeysBicubic(bands=2, scale=4)
    bicubic = evaluate(
        lambda lr: layer(torch.from_numpy(lr)[None])[0].numpy(), val, psnr_score
    ).scores["psnr_db"]
    assert result.validation["psnr_db"] > bicubic + 1.0
    again = evaluate(Predictor.load(result.exported), val, psnr_score).scores["psnr_db"]
    assert again == pytest.approx(result.validation["psnr_db"], abs=1e-4)
    content = recorder.series("train/content_loss")
    assert content[-1] < 0.7 * content[0]


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_stays_finite_and_the_discriminator_learns(
    tmp_path: Path, objective: str
) -> None:
    config = dataclasses.replace(
        TINY,
        objective=objective,
        content_steps=0,
        adversarial_steps=40,
        lr_discriminator=2e-3,
        log_every=10,
        val_every=1000,
    )
    recorder = Recorder()
    run(config, tmp_path, listener=recorder)
    losses = recorder.series("train/discriminator_loss")
    assert all(
        math.isfinite(value) for told in recorder.progress for value in told["metrics"].values()
    )
    assert losses[-1] < losses[0]
    assert recorder.series("train/d_accuracy")[-1] > 0.6
    assert recorder.series("train/d_real")[-1] > recorder.series("train/d_fake")[-1]


def test_bfloat16_trains(tmp_path: Path) -> None:
    recorder = Recorder()
    run(dataclasses.replace(TINY, precision="bfloat16"), tmp_path, listener=recorder)
    assert math.isfinite(recorder.series("train/content_loss")[-1])


def test_the_schedules_that_are_told_are_those_configured(tmp_path: Path) -> None:
    recorder = Recorder()
    free = BalanceConfig(accuracy_low=0.0, accuracy_high=1.0)
    config = dataclasses.replace(
        TINY, adversarial_steps=10, adversarial_ramp=0.4, log_every=1, balance_networks=free
    )
    run(config, tmp_path, listener=recorder)

    def rates(peak: float, steps: int) -> list[float]:
        """Two steps of warm-up, half a cosine down to a fiftieth; on updates of the generator."""
        decay = [0.02 + 0.49 * (1 + math.cos(math.pi * n / steps)) for n in range(steps)]
        return [peak * min(1, (n + 1) / 3) * d for n, d in enumerate(decay)]

    content, adversarial = config.content_steps, config.adversarial_steps
    assert recorder.series("train/lr_generator") == pytest.approx(
        rates(config.lr_content, content) + rates(config.lr_generator, adversarial), rel=1e-5
    )
    assert recorder.series("train/lr_discriminator") == pytest.approx(
        rates(config.lr_discriminator, adversarial), rel=1e-5
    )
    assert recorder.series("train/adversarial_weight") == pytest.approx(
        [config.adversarial_weight * min(1, n / 4) for n in range(adversarial)], rel=1e-5
    )
    # Updates of the discriminator beside them do not move the clock; images count all the same.
    per_step = [config.batch_size] * content + [3 * config.batch_size] * adversarial
    assert [told["images"] for told in recorder.progress] == np.cumsum(per_step).tolist()


def test_a_time_limit_ends_both_phases(tmp_path: Path) -> None:
    config = dataclasses.replace(
        TINY,
        content_steps=10**6,
        adversarial_steps=10**6,
        max_minutes=2 / 60,
        val_every=10**6,
        checkpoint_every=10**6,
        content_time_share=0.5,
    )
    recorder = Recorder()
    result = run(config, tmp_path, listener=recorder)
    assert result.stopped_by == "time"
    assert result.clock.content_steps > 0
    assert result.clock.adversarial_steps > 0
    assert result.clock.elapsed_s == pytest.approx(2, abs=0.9)
    assert [step for step, _ in recorder.validations] == [
        result.clock.content_steps,
        result.clock.step,
    ]
    # The limit is on the run, not on the sitting: nothing is left to be done.
    again = run(config, tmp_path, resume=True)
    assert again.clock == result.clock
    assert again.validation == pytest.approx(result.validation)


def test_span_is_exported_in_its_folded_form(tmp_path: Path) -> None:
    config = dataclasses.replace(
        TINY, generator=GeneratorConfig(name="span", channels=8, blocks=1), adversarial_steps=0
    )
    recorder = Recorder()
    result = run(config, tmp_path, listener=recorder)
    predictor = Predictor.load(result.exported)
    assert predictor.card.architecture.fused
    again = evaluate(predictor, make_pairs(5, seed=1), psnr_score, limit=3).scores["psnr_db"]
    assert again == pytest.approx(result.validation["psnr_db"], abs=1e-3)


def test_a_folder_with_a_run_is_not_overwritten(tmp_path: Path) -> None:
    run(TINY, tmp_path)
    with pytest.raises(TrainingError, match="holds a run already: resume it or choose another"):
        run(TINY, tmp_path)


def test_unfit_pairs_are_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no training pairs"):
        run(TINY, tmp_path, train_pairs=ListedPairs([]))
    with pytest.raises(DataError, match="with 2 bands at scale 4"):
        run(TINY, tmp_path, val_pairs=make_pairs(1, scale=2))
    assert not any(tmp_path.iterdir())


def test_the_card_is_honest_about_the_run(tmp_path: Path) -> None:
    result = run(TINY, tmp_path, store_version="3", store_digest="d1")
    card = Predictor(result.exported).card
    assert (card.store_version, card.store_digest, card.bands) == ("3", "d1", SPEC.bands)
    assert card.training["stopped_by"] == "steps"
    assert card.training["clock"]["content_steps"] == 6
    assert card.training["validation"] == pytest.approx(result.validation)
    assert TrainConfig.from_dict(card.training["config"]) == TINY
