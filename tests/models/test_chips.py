"""Chips of noise: networks, likelihood by hand, scores as sets, what travels as files."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.batch_norm import BatchNorm
from models.chip_networks import Autoencoder, ChipEncoder, ChipGenerator
from models.chip_scores import (
    compare_chips,
    histogram_distance,
    largest_step,
    mean_distance,
    nearest_distances,
    spectrum_distance,
)
from models.chips import Chips, ChipsCard, build_chips, load_chips, read_chips, save_chips
from models.config_chips import ChipsConfig, halvings_of, sides
from models.data import ListedPairs, Pair, PairSpec
from models.elbo import gaussian_nats, kl_nats
from models.ema import EMA
from models.errors import ConfigError, DataError, ExportError
from models.latents import fixed_latents, slerp, walk_latents

SMALL = ChipsConfig(latent=5, channels=4)


@pytest.mark.parametrize(
    ("side", "halvings"), [(8, 1), (14, 1), (16, 2), (28, 2), (32, 3), (64, 4), (96, 4), (224, 5)]
)
def test_planes_of_four_to_seven_pixels_double_to_the_side(side: int, halvings: int) -> None:
    assert halvings_of(side) == halvings
    assert 4 <= side / 2**halvings <= 7
    assert side in set(sides(side))
    image = ChipGenerator(bands=2, side=side, config=SMALL)(torch.randn(3, 5))
    assert image.shape == (3, 2, side, side)
    mean, log_variance = ChipEncoder(bands=2, side=side, config=SMALL)(image)
    assert mean.shape == log_variance.shape == (3, 5)


@pytest.mark.parametrize(
    ("side", "near"), [(36, "32 or 40"), (4, "8 or 10"), (100, "96 or 112"), (33, "28 or 32")]
)
def test_other_sides_are_refused_with_the_nearest_that_can_be(side: int, near: str) -> None:
    with pytest.raises(ConfigError, match=f"chips of {side} HR pixels .* {near}"):
        ChipGenerator(bands=2, side=side, config=SMALL)


def test_planes_halve_up_to_the_width_of_an_eighth() -> None:
    widths = [
        layer.in_channels
        for layer in ChipGenerator(bands=3, side=128, config=SMALL).layers
        if isinstance(layer, torch.nn.ConvTranspose2d)
    ]
    assert widths == [32, 32, 32, 16, 8][: len(widths)]


@pytest.mark.parametrize(
    "changes", [{"latent": 0}, {"channels": 0}, {"walk": 1}, {"kl": 0.0}, {"category": " "}]
)
def test_settings_that_cannot_be(changes: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="chips"):
        ChipsConfig(**changes)  # type: ignore[arg-type]


def test_batch_norm_is_torchs_and_then_of_the_running_mean() -> None:
    torch.manual_seed(0)
    mine, theirs = BatchNorm(3), torch.nn.BatchNorm2d(3)
    first, second = torch.randn(4, 3, 5, 5) + 2, 3 * torch.randn(4, 3, 5, 5)
    torch.testing.assert_close(mine(first), theirs(first))
    ema = EMA(mine, decay=0.9)
    mine(second)
    ema.update(mine)  # an eleventh of what was there remains, see `EMA`
    mean = second.mean(dim=(0, 2, 3))
    torch.testing.assert_close(mine.mean, mean)
    kept = 1 / 11
    expected = kept * first.mean(dim=(0, 2, 3)) + (1 - kept) * mean
    torch.testing.assert_close(ema.network.mean, expected)
    image = torch.randn(1, 3, 2, 2)
    by_hand = (image - ema.network.mean[:, None, None]) / torch.sqrt(
        ema.network.variance[:, None, None] + 1e-5
    )
    torch.testing.assert_close(ema.network(image), by_hand)


def test_kl_by_hand() -> None:
    """1/2 (m^2 + v - 1 - ln v), summed."""
    mean, variance = torch.tensor([[1.0, 0.0], [0.0, 0.0]]), torch.tensor([[1.0, math.e], [1, 1]])
    expected = torch.tensor([0.5 + 0.5 * (math.e - 2), 0.0])
    torch.testing.assert_close(kl_nats(mean, variance.log()), expected)


def test_kl_is_what_drawing_says() -> None:
    torch.manual_seed(0)
    mean, log_variance = torch.tensor([[0.7, -1.2]]), torch.tensor([[0.4, -0.9]])
    there = torch.distributions.Normal(mean, (log_variance / 2).exp())
    drawn = there.sample((200_000,))
    prior = torch.distributions.Normal(0.0, 1.0)
    monte_carlo = (there.log_prob(drawn) - prior.log_prob(drawn)).sum(dim=-1).mean()
    assert float(kl_nats(mean, log_variance)) == pytest.approx(float(monte_carlo), rel=0.01)


def test_likelihood_by_hand_counts_valid_values_alone() -> None:
    image, decoded = torch.zeros(1, 2, 1, 2), torch.tensor([[[[1.0, 7.0]], [[3.0, 7.0]]]])
    valid = torch.tensor([[[[1.0, 0.0]]]])
    log_variance = torch.tensor(math.log(4.0))
    expected = 2 * 0.5 * math.log(2 * math.pi * 4) + 0.5 * (1 + 9) / 4
    assert float(gaussian_nats(image, decoded, log_variance, valid)) == pytest.approx(expected)


def test_the_bound_of_held_out_chips_by_hand() -> None:
    """Of an autoencoder that says nothing: N(0, 1) of the noise, the mean of each pixel."""
    network = Autoencoder(bands=1, side=8, config=SMALL)
    for parameter in network.parameters():
        parameter.data.zero_()
    for part in (network.encoder, network.decoder):
        part.standardise.set(torch.tensor([0.5]), 0.25)
    chips = Chips(network.eval(), data_range=1000.0)
    real = np.full((3, 1, 8, 8), 750.0, np.float32)  # one spread from the mean
    found = chips.likelihood(real, np.ones((3, 1, 8, 8), np.bool_))
    assert found is not None
    assert found["elbo"] == pytest.approx(-0.5 * (math.log(2 * math.pi) + 1), rel=1e-5)
    assert found["kl"] == 0
    assert chips.likelihood(real, np.ones((3, 1, 8, 8), np.bool_)) == found
    assert Chips(network.decoder, data_range=1000.0).likelihood(real, np.ones(1)) is None


def test_halfway_between_two_draws_is_as_far_out_as_they_are() -> None:
    a, b = torch.tensor([3.0, 0, 0]), torch.tensor([0, 3.0, 0])
    torch.testing.assert_close(slerp(a, b, 0.5), torch.tensor([1.0, 1.0, 0]) * 3 / math.sqrt(2))
    torch.testing.assert_close(slerp(a, b, 0.0), a)
    torch.testing.assert_close(slerp(a, b, 1.0), b)
    torch.testing.assert_close(slerp(a, 2 * a, 0.5), 1.5 * a)
    walk = walk_latents(64, legs=2, frames=4, seed=3)
    assert walk.shape == (9, 64)
    stops = fixed_latents(3, 64, 3)
    for at, stop in ((0, 0), (4, 1), (8, 2)):
        torch.testing.assert_close(walk[at], stops[stop])
    norms = walk.norm(dim=1)
    assert norms.min() > 0.95 * stops.norm(dim=1).min()


@pytest.mark.parametrize("task", ["dcgan", "vae"])
def test_a_walk_is_smooth(task: str) -> None:
    """Twice the frames, half the step: nothing jumps between two draws."""
    torch.manual_seed(0)
    network = build_chips(task, bands=2, side=16, config=SMALL)
    for parameter in network.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    chips = Chips(network.eval(), data_range=1.0)
    steps = {}
    for frames in (16, 32):
        walk = chips.walk(frames)
        assert len(walk) == 3 * frames + 1
        assert largest_step(walk) < 3
        steps[frames] = np.sqrt(np.square(np.diff(walk, axis=0)).mean(axis=(1, 2, 3))).max()
    assert steps[32] == pytest.approx(steps[16] / 2, rel=0.1)
    assert steps[16] < mean_distance(chips.draw(16)) / 2


def test_the_same_seed_draws_the_same_chips() -> None:
    chips = Chips(ChipGenerator(bands=2, side=16, config=SMALL).eval(), data_range=100.0)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = chips.draw(3, seed=5)
    assert torch.equal(torch.get_rng_state(), state), "training's own numbers are left alone"
    assert np.array_equal(first, chips.draw(3, seed=5))
    assert not np.array_equal(first, chips.draw(3, seed=6))


def noise(count: int, seed: int = 0, side: int = 32) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, (count, 2, side, side)).astype(np.float32)


def test_distances_of_sets_that_are_known() -> None:
    chips = noise(64)
    assert spectrum_distance(chips, chips) == 0
    assert histogram_distance(chips, chips) == 0
    # White noise ten times as strong has twenty dB more at every frequency; the quantiles of a
    # normal distribution shifted by three are three further.
    assert spectrum_distance(10 * chips, chips) == pytest.approx(20)
    assert histogram_distance(chips + 3, chips) == pytest.approx(3, rel=1e-5)
    assert spectrum_distance(noise(64, 1), chips) < 0.5
    assert mean_distance(chips) == pytest.approx(math.sqrt(2), rel=0.01)
    found = compare_chips(np.repeat(chips[:1], 8, axis=0), chips, spread=2.0)
    assert found["diversity"] == pytest.approx(0, abs=1e-6)
    assert compare_chips(chips + 3, chips, spread=2.0)["histogram"] == pytest.approx(1.5, rel=1e-5)
    assert "diversity" not in compare_chips(chips[:1], chips, 1.0)


def test_a_jump_in_a_walk_is_seen() -> None:
    even = np.arange(5, dtype=np.float32)[:, None, None, None] * np.ones((1, 2, 4, 4), np.float32)
    assert largest_step(even) == pytest.approx(1)
    even[3:] += 4
    assert largest_step(even) == pytest.approx(5 / 2)


def test_what_is_learned_by_heart_is_seen_however_it_is_turned() -> None:
    known, other = noise(6, 0, side=16), noise(4, 1, side=16)
    for turned in (known, np.rot90(known, 1, (2, 3)), known[..., ::-1]):
        assert nearest_distances(turned, known, 2.0).max() < 1e-3
    far = nearest_distances(other, known, 2.0)
    assert far.min() > 0.5
    np.testing.assert_allclose(nearest_distances(other, known, 1.0), 2 * far)


def test_the_middle_of_a_chip_is_read_with_the_mean_where_it_is_not_valid() -> None:
    spec = PairSpec(scale=2, bands=("a", "b"), data_range=100.0)
    hr = np.arange(2 * 12 * 12).reshape(2, 12, 12).astype(np.float32)
    valid = np.ones((12, 12), np.bool_)
    valid[2, 2] = False
    hr[:, 9, 9] = np.nan
    pairs = ListedPairs([Pair(lr=np.zeros((2, 6, 6)), hr=hr, valid=valid)])
    mean = np.array([7, 8], np.float32)
    chips, masks = read_chips(pairs, spec, side=8, mean=mean)
    assert chips.shape == (1, 2, 8, 8)
    assert masks.sum() == 62
    assert chips[0, :, 0, 0].tolist() == [7, 8]
    assert chips[0, :, 7, 7].tolist() == [7, 8]
    assert np.array_equal(chips[0, :, 0, 1:], hr[:, 2, 3:10])
    with pytest.raises(DataError, match="smaller than what is drawn, 16 x 16"):
        read_chips(pairs, spec, side=16, mean=mean)


@pytest.mark.parametrize("task", ["dcgan", "vae"])
def test_what_was_saved_draws_the_same(task: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = build_chips(task, bands=2, side=16, config=SMALL).eval()
    card = ChipsCard(task=task, architecture=SMALL, side=16, bands=("a", "b"), data_range=50.0)
    saved = save_chips(tmp_path, network, card)
    assert {file.name for file in tmp_path.iterdir()} == {"chips.json", "chips.safetensors"}
    assert len(saved.weights_sha256) == 64
    before = Chips(network, data_range=50.0).draw(2)
    assert np.array_equal(load_chips(tmp_path).draw(2), before)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"side": 24}, "does not fit the architecture|has shape"),
        ({"side": 36}, "no usable chips"),
        ({"task": "paired"}, "does not describe chips"),
        ({"format": 2}, "chips format 2, this version reads 1"),
        ({"weights_sha256": "0"}, "digest differs"),
        ({"architecture": {"latents": 3}}, "does not describe chips"),
    ],
)
def test_a_card_that_does_not_fit_is_refused(
    changes: dict[str, object], words: str, tmp_path: Path
) -> None:
    network = ChipGenerator(bands=2, side=16, config=SMALL)
    card = ChipsCard(task="dcgan", architecture=SMALL, side=16, bands=("a", "b"), data_range=50.0)
    save_chips(tmp_path, network, card)
    path = tmp_path / "chips.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(ExportError, match=words):
        load_chips(tmp_path)


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"holds no chips: there is no chips\.json"):
        load_chips(tmp_path)
    with pytest.raises(ConfigError, match="task must be one of dcgan, vae"):
        replace(
            ChipsCard(task="vae", architecture=SMALL, side=16, bands=("a",), data_range=1.0),
            task="paired",
        )
