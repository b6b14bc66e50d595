"""Training of what draws chips: who learns in which update, what is kept, what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from models.batches import Batch
from models.chip_product import judge_chips
from models.chips import load_chips
from models.config import HealthConfig, TrainConfig
from models.config_chips import ChipsConfig
from models.config_networks import DiscriminatorConfig, GeneratorConfig, LossConfig
from models.data import PairSpec
from models.dcgan import DCGANLearner
from models.distributed import Ranks
from models.errors import ConfigError, TrainingError
from models.latents import batch_latents
from models.strategy import build_strategy
from models.tensors import Tensors
from models.trainer import TrainResult
from models.vae import VAELearner
from tests.models.training import SPEC, Recorder, make_pairs, run, same, stop_after
from tests.models.training import TINY as PAIRED

CPU = torch.device("cpu")
CHIPS = ChipsConfig(latent=6, channels=4, walk=2)
TINY = replace(PAIRED, generator=GeneratorConfig())
DCGAN = replace(
    TINY,
    task="dcgan",
    chips=CHIPS,
    objective="non_saturating",
    content_steps=0,
    adversarial_steps=8,
    r1=1.0,
    r2=0.0,
)
VAE = replace(TINY, task="vae", chips=CHIPS, content_steps=8, adversarial_steps=0)
ONE_BAND = PairSpec(scale=2, bands=("red",), data_range=1.0)
STATISTICS = np.array([0.4], np.float32), 0.25


def build(config: TrainConfig, ranks: Ranks | None = None) -> Any:
    torch.manual_seed(0)
    here = ranks or Ranks(rank=0, world=1, device=CPU)
    return build_strategy(config, ONE_BAND, STATISTICS, here, torch.float32, 8)


def batch(*, holes: bool = False) -> Tensors:
    random = np.random.default_rng(0)
    valid = random.random((4, 1, 16, 16)) > (0.1 if holes else -1)
    stored = Batch(
        lr=random.random((4, 1, 8, 8), np.float32),
        hr=random.random((4, 1, 16, 16), np.float32) * valid,
        valid=valid,
        data_range=1.0,
        swapped=False,
        shift=(3, 5),
    )
    return Tensors.of(stored, CPU)


def changed(one: Any, step: Any) -> list[bool]:
    before = [[p.detach().clone() for p in network.parameters()] for network in one.networks]
    step()
    return [
        any(not torch.equal(a, b) for a, b in zip(was, network.parameters(), strict=True))
        for network, was in zip(one.networks, before, strict=True)
    ]


def grads(network: nn.Module) -> bool:
    return any(p.grad is not None and bool(p.grad.any()) for p in network.parameters())


def test_each_update_of_the_game_reaches_one_network() -> None:
    one, tensors = build(DCGAN), batch()
    assert isinstance(one, DCGANLearner)
    assert changed(one, lambda: one.discriminator_step(tensors)) == [False, True]
    assert [grads(network) for network in one.networks] == [False, True]
    one = build(DCGAN)
    assert changed(one, lambda: one.generator_step(tensors, 0.7)) == [True, False]
    assert [grads(network) for network in one.networks] == [True, False]
    assert all(p.requires_grad for network in one.networks for p in network.parameters())


def test_the_likelihood_reaches_encoder_decoder_and_the_spread_of_pixels() -> None:
    one = build(VAE)
    assert isinstance(one, VAELearner)
    told = one.content_step(batch())
    network = one.network
    assert grads(network.encoder)
    assert grads(network.decoder)
    assert network.log_variance.grad is not None
    assert bool(network.log_variance.grad != 0)
    assert float(told["content_loss"]) == pytest.approx(-float(told["elbo"]))


def test_the_loss_is_likelihood_and_weighted_divergence() -> None:
    one = build(replace(VAE, chips=replace(CHIPS, kl=3.0)))
    one.network.encoder.exit.bias.data.fill_(0.5)
    told = one.content_step(batch())
    kl, elbo = float(told["kl"]), float(told["elbo"])
    assert kl > 0
    assert float(told["content_loss"]) == pytest.approx(-elbo + 2 * kl, rel=1e-5)
    assert float(told["kl_per_image"]) == pytest.approx(256 * kl, rel=1e-5)


def test_what_is_not_valid_is_shown_to_nobody() -> None:
    tensors = batch(holes=True)
    other = replace(tensors, hr=torch.where(tensors.valid > 0, tensors.hr, 0.9))
    for config, step in ((DCGAN, "discriminator_step"), (VAE, "content_step")):
        told = [getattr(build(config), step)(seen) for seen in (tensors, other)]
        assert same(*told)


def test_networks_without_a_part_in_it_say_so() -> None:
    game, bound = build(DCGAN), build(VAE)
    for call in (
        lambda: game.content_step(batch()),
        lambda: bound.discriminator_step(batch()),
        lambda: bound.generator_step(batch(), 0.5),
        lambda: game.start_as(None),
        lambda: bound.start_as(None),
    ):
        with pytest.raises(ConfigError, match="the task"):
            call()


def test_ranks_draw_together_what_one_would() -> None:
    torch.manual_seed(4)
    whole = batch_latents(6, 3, Ranks(rank=0, world=1, device=CPU))
    parts = []
    for rank in range(3):
        torch.manual_seed(4)
        parts.append(batch_latents(2, 3, Ranks(rank=rank, world=3, device=CPU)))
    assert torch.equal(torch.cat(parts), whole)


def weights(result: TrainResult) -> dict[str, torch.Tensor]:
    return load_file(result.exported / "chips.safetensors")


@pytest.mark.parametrize("config", [DCGAN, VAE], ids=["dcgan", "vae"])
def test_a_run_tells_scores_shows_chips_and_exports_what_draws(
    config: TrainConfig, tmp_path: Path
) -> None:
    recorder = Recorder()
    result = run(config, tmp_path, listener=recorder)
    assert result.exported == tmp_path / "chips"
    assert result.stopped_by == "steps"
    _, evaluation = recorder.validations[-1]
    wanted = {"spectrum_db", "histogram", "diversity", "largest_step"}
    wanted |= {"elbo", "kl"} if config.task == "vae" else set()
    assert set(evaluation.scores) == wanted
    assert all(np.isfinite(list(evaluation.scores.values())))
    assert {name: len(of) for name, of in evaluation.sheets.items()} == {
        "drawn": 16,
        "real": 3,
        "walk": 3 * 2 + 1,
    }
    for name in ("diversity", "d_accuracy") if config.task == "dcgan" else ("elbo", "mean_loss"):
        assert np.isfinite(recorder.series(f"train/{name}")).all()
        assert recorder.series(f"train/{name}")
    chips = load_chips(result.exported)
    assert chips.draw(2).shape == (2, 2, 32, 32)
    found = judge_chips(chips, make_pairs(5, seed=1), make_pairs(10), SPEC, walk=2)
    assert set(found) >= {"nearest", "real_nearest", "real_spectrum_db", "real_histogram"}
    assert result.validation in [told.scores for _, told in recorder.validations]


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("config", [DCGAN, VAE], ids=["dcgan", "vae"])
def test_a_stopped_run_goes_on_as_if_nothing_had_been(config: TrainConfig, tmp_path: Path) -> None:
    whole = run(config, tmp_path / "whole")
    assert run(config, tmp_path / "cut", stop=stop_after(3)).stopped_by == "request"
    assert same(weights(run(config, tmp_path / "cut", resume=True)), weights(whole))


def test_an_autoencoder_learns_what_is_likely(tmp_path: Path) -> None:
    recorder = Recorder()
    config = replace(VAE, content_steps=150, lr_content=3e-3, val_every=50, ema_decay=0.9)
    run(config, tmp_path, listener=recorder)
    bounds = recorder.series("train/elbo")
    assert np.mean(bounds[-5:]) > np.mean(bounds[:5]) + 0.1


def test_an_autoencoder_exports_its_most_likely_state(tmp_path: Path) -> None:
    recorder = Recorder()
    result = run(replace(VAE, content_steps=12), tmp_path, listener=recorder)
    best = max(evaluation.scores["elbo"] for _, evaluation in recorder.validations)
    assert result.validation["elbo"] == best


def test_a_generator_that_draws_one_chip_falls_ill(tmp_path: Path) -> None:
    """It learns nothing, and untrained draws all chips nearly alike."""
    config = replace(
        DCGAN,
        adversarial_steps=40,
        lr_generator=1e-12,
        health=HealthConfig(patience=2, rollbacks=0, diversity=0.9),
    )
    with pytest.raises(TrainingError, match=r"collapsed, what is drawn varies by 0\.\d+"):
        run(config, tmp_path)


@pytest.mark.parametrize("config", [DCGAN, VAE], ids=["dcgan", "vae"])
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"generator": GeneratorConfig(channels=8)}, "generator has no meaning"),
        ({"losses": LossConfig(ssim=1.0)}, "losses has no meaning"),
        ({"discriminator": DiscriminatorConfig(conditional=True)}, "conditional has no meaning"),
        ({"accumulate": 2}, "accumulate is 2, but batch normalisation"),
        ({"content_steps": 5, "adversarial_steps": 5}, "has no (content|adversarial) phase"),
    ],
)
def test_what_makes_no_sense_without_an_input_is_refused(
    config: TrainConfig, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        replace(config, **changes)


def test_a_game_against_the_truth_of_the_same_ground_is_refused() -> None:
    with pytest.raises(ConfigError, match="with the objective non_saturating"):
        replace(DCGAN, objective="relativistic_paired")


def test_chips_of_a_side_that_cannot_be_drawn_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="chips of 36 HR pixels"):
        run(replace(DCGAN, patch_lr=9), tmp_path)
