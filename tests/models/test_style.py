"""The look of another campaign: each term by hand, gradients where they belong, runs that go on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.batches import Batch
from models.campaigns import Campaigns
from models.config import TrainConfig
from models.config_networks import GeneratorConfig, LossConfig
from models.config_style import AugmentConfig, StyleConfig
from models.content_losses import gram
from models.data import ListedPairs, Pair
from models.distributed import Ranks
from models.errors import ConfigError, DataError
from models.features import load_features
from models.predict import Predictor
from models.strategy import build_strategy
from models.style import StyleLearner
from models.style_losses import (
    RunningMoments,
    band_moments,
    colour,
    gram_moments,
    layout,
    mean_and_spread,
    own_units,
    texture,
    views,
)
from models.style_scores import match_linearly, quantile_distance, score_looks
from models.tensors import Tensors
from tests.models.training import SPEC, TINY, Recorder, make_pairs, run, same, stop_after, weights

CPU = torch.device("cpu")
ALONE = Ranks(rank=0, world=1, device=CPU)
ON_ONE_GRID = replace(SPEC, scale=1)
STYLE = replace(
    TINY,
    task="style",
    style=StyleConfig(source="a*", target="b*"),
    losses=LossConfig(features="random"),
    generator=GeneratorConfig(channels=4, blocks=1),
    patch_lr=16,
    adversarial_steps=0,
)
GAIN, OFFSET = np.array([1.3, 0.7])[:, None, None], np.array([500.0, -300.0])[:, None, None]


def campaigns(count: int = 6) -> Campaigns:
    """Of shapes, and of other shapes in other colours."""
    pairs = list(make_pairs(2 * count)._pairs)
    for place in range(count, 2 * count):
        p = pairs[place]
        other = (p.hr * GAIN + OFFSET).astype(np.uint16)
        pairs[place] = Pair(lr=p.lr, hr=other, valid=p.valid)
    return Campaigns(ListedPairs(pairs), range(count), range(count, 2 * count))


def train(config: TrainConfig, folder: Path, **options: Any) -> Any:
    pairs = campaigns()
    own = {"train_pairs": pairs, "val_pairs": pairs, "spec": ON_ONE_GRID, "score": no_score}
    return run(config, folder, **{**own, **options})


def no_score(*images: Any) -> dict[str, float]:
    return {}


def learner(config: TrainConfig = STYLE, *, trained: bool = False) -> StyleLearner:
    torch.manual_seed(0)
    statistics = np.array([0.3, 0.3], np.float32), 0.1
    one = build_strategy(config, ON_ONE_GRID, statistics, ALONE, torch.float32)
    assert isinstance(one, StyleLearner)
    if trained:
        for parameter in one.generator.parameters():
            parameter.data.add_(0.05 * torch.randn_like(parameter))
    return one


def batch(*, holes: bool = False, count: int = 4) -> Tensors:
    random = np.random.default_rng(0)
    valid = random.random((2, count, 1, 16, 16)) > (0.1 if holes else -1)
    images = 0.3 + 0.1 * random.standard_normal((2, count, 2, 16, 16)).astype(np.float32)
    stored = Batch(
        lr=images[0],
        hr=(0.2 + 1.5 * images[1]) * valid[1],
        valid=valid[1],
        data_range=1.0,
        swapped=False,
        shift=(3, 5),
        lr_valid=valid[0],
    )
    return Tensors.of(stored, CPU)


def test_a_gram_matrix_is_the_mean_product_of_planes() -> None:
    layer = torch.tensor([[[[1.0, 2.0]], [[3.0, -1.0]]]])  # [1, 2, 1, 2]
    assert gram(layer).tolist() == [[[(1 + 4) / 2, (3 - 2) / 2], [(3 - 2) / 2, (9 + 1) / 2]]]


def test_colours_differ_by_squares_of_mean_and_spread_of_valid_pixels() -> None:
    one = torch.tensor([[[[1.0, 3.0, 99.0]], [[0.0, 2.0, 99.0]]]])  # means 2, 1; spreads 1, 1
    other = torch.tensor([[[[4.0, 8.0, 0.0]], [[1.0, 1.0, 0.0]]]])  # 6, 1; 2, none
    valid = torch.tensor([[[[1.0, 1.0, 0.0]]]])
    looks = [band_moments(image, valid) for image in (one, other)]
    mean, spread = mean_and_spread(looks[0])
    torch.testing.assert_close(mean, torch.tensor([2.0, 1.0]))
    torch.testing.assert_close(spread, torch.tensor([1.0, 1.0]))
    flat = 0.05  # what counts as no contrast
    expected = ((2 - 6) ** 2 + 0) / 2 + ((1 - 2) ** 2 + (1 - flat) ** 2) / 2
    torch.testing.assert_close(colour(*looks), torch.tensor(expected))


def test_textures_differ_in_parts_of_what_is_wanted() -> None:
    share, none = torch.tensor([0.5]), torch.zeros(1, 1, 1)
    one, other = [share, none + 1.0], [share, none + 2.0]  # of half of the pixels: 2 and 4
    torch.testing.assert_close(texture(one, other), torch.tensor((2.0 - 4) ** 2 / 4**2))


def test_all_bands_are_looked_at_the_first_three_as_colours() -> None:
    for bands, shown in ((1, 1), (2, 2), (3, 1), (5, 3)):
        image = torch.rand(2, bands, 4, 4)
        seen = views(image)
        assert seen.shape == (2 * shown, 3, 4, 4)
        grey = image[:, -1:].expand(-1, 3, -1, -1)
        torch.testing.assert_close(seen[-2:], image if bands == 3 else grey)


def test_gain_and_offset_of_a_band_are_no_change_of_layout() -> None:
    network = load_features("random", bands=3)
    image, valid = torch.randn(2, 4, 16, 16), torch.ones(2, 1, 16, 16)
    gains, offsets = torch.tensor([2.0, 0.5, 3.0, 1.0]), torch.tensor([1.0, -5.0, 0.0, 2.0])
    recoloured = image * gains[:, None, None] + offsets[:, None, None]
    torch.testing.assert_close(
        own_units(recoloured, valid), own_units(image, valid), atol=0.01, rtol=0.01
    )
    assert layout(recoloured, image, valid, network) < 0.01
    assert layout(image.roll(1, dims=3), image, valid, network) > 0.2


def test_what_is_not_valid_is_no_part_of_a_look() -> None:
    network = load_features("random", bands=3)
    image, valid = torch.randn(2, 3, 16, 16), (torch.rand(2, 1, 16, 16) > 0.2).float()
    other = torch.where(valid > 0, image, 7.0)
    for a, b in (
        (band_moments(image, valid), band_moments(other, valid)),
        (gram_moments(image, valid, network), gram_moments(other, valid, network)),
    ):
        for x, y in zip(a, b, strict=True):
            torch.testing.assert_close(x, y)


def test_moments_of_halves_are_those_of_the_whole_and_so_are_their_gradients() -> None:
    network = load_features("random", bands=3)
    known = RunningMoments(0.9)
    known.update([band_moments(torch.randn(4, 3, 8, 8), torch.ones(4, 1, 8, 8))], ALONE)
    goal = band_moments(1 + 2 * torch.randn(4, 3, 8, 8), torch.ones(4, 1, 8, 8))
    image, valid = torch.randn(4, 3, 8, 8), (torch.rand(4, 1, 8, 8) > 0.2).float()

    def gradient(parts: int) -> Tensor:
        x = image.clone().requires_grad_()
        for part, there in zip(x.chunk(parts), valid.chunk(parts), strict=True):
            loss = colour(known.through(band_moments(part, there)), goal) / parts
            loss.backward()  # type: ignore[no-untyped-call]
        assert x.grad is not None
        return x.grad

    torch.testing.assert_close(gradient(2), gradient(1))
    whole, halves = RunningMoments(0.9), RunningMoments(0.9)
    whole.update([gram_moments(image, valid, network)], ALONE)
    pieces = zip(image.chunk(2), valid.chunk(2), strict=True)
    halves.update([gram_moments(x, v, network) for x, v in pieces], ALONE)
    for a, b in zip(whole.values, halves.values, strict=True):
        torch.testing.assert_close(a, b)


def test_moments_that_are_not_finite_are_left_out() -> None:
    known = RunningMoments(0.5)
    known.update([[torch.tensor([2.0])]], ALONE)
    known.update([[torch.tensor([torch.nan])]], ALONE)
    known.update([[torch.tensor([5.0])]], ALONE)
    assert known.values[0].item() == pytest.approx(2 + 0.5 * 3)


def test_an_untrained_restyler_changes_nothing(tmp_path: Path) -> None:
    image = batch().lr
    assert torch.equal(learner().generator(image), image)
    result = train(replace(STYLE, lr_content=1e-12, content_steps=1), tmp_path)
    chip = np.random.default_rng(0).uniform(0, 9000, (2, 40, 30)).astype(np.float32)
    np.testing.assert_allclose(Predictor(result.exported)(chip), chip, rtol=1e-4, atol=0.1)


def test_gradients_reach_only_the_generator() -> None:
    one, tensors = learner(trained=True), batch(holes=True)
    fixed = [parameter.clone() for parameter in one.features.parameters()]
    before = [parameter.clone() for parameter in one.generator.parameters()]
    tensors.lr.requires_grad_()
    told = one.content_step(tensors)
    assert all(p.grad is None for p in one.features.parameters())
    assert all(map(torch.equal, fixed, one.features.parameters()))
    moved = [not torch.equal(a, b) for a, b in zip(before, one.generator.parameters(), strict=True)]
    assert all(moved)
    assert {"loss_layout", "loss_style", "loss_colour", "content_loss"} <= told.keys()
    assert not any(isinstance(m, nn.Module) and m is one.features for m in one.networks)


@pytest.mark.parametrize("name", ["layout", "style", "colour"])
def test_losses_add_up_by_their_weights(name: str) -> None:
    weights = {"layout": 2.0, "style": 3.0, "colour": 5.0}
    one = learner(replace(STYLE, style=StyleConfig(source="a", target="b", **weights)))
    told = one.content_step(batch(holes=True))
    parts = sum(weight * told[f"loss_{part}"] for part, weight in weights.items())
    torch.testing.assert_close(told["content_loss"], torch.as_tensor(parts))
    assert told["loss_layout"] == 0, "nothing is changed yet"


def test_health_knows_what_leaving_images_as_they_are_costs() -> None:
    one, tensors = learner(), batch()
    told = one.content_step(tensors)
    torch.testing.assert_close(one.check_up(tensors)["bicubic_loss"], told["content_loss"])


def test_pieces_of_a_mini_batch_teach_what_the_whole_does() -> None:
    learned = []
    for pieces in (1, 2):
        one = learner(replace(STYLE, accumulate=pieces), trained=True)
        for _ in range(3):
            one.content_step(batch(holes=True))
        learned.append(one)
    for a, b in zip(*(one.generator.parameters() for one in learned), strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3)


@pytest.mark.usefixtures("one_thread")
def test_colours_come_nearer_and_nothing_moves(tmp_path: Path) -> None:
    recorder = Recorder()
    config = replace(STYLE, content_steps=60, batch_size=6, val_every=60, lr_content=4e-3)
    train(
        replace(config, generator=GeneratorConfig(channels=8, blocks=1)),
        tmp_path,
        listener=recorder,
    )
    scores = recorder.validations[-1][1].scores
    assert scores["colours"] < 0.6 * scores["source_colours"]
    assert scores["linear_colours"] < 0.3 * scores["source_colours"], "a gain and an offset it is"
    assert scores["source_layout"] == 0
    assert scores["layout"] < 0.3
    for name in ("loss_layout", "loss_style", "loss_colour", "bicubic_loss"):
        assert np.isfinite(recorder.series(f"train/{name}")).all()


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("at", [2, 5])
def test_a_stopped_run_goes_on_as_if_nothing_had_been(tmp_path: Path, at: int) -> None:
    whole = train(STYLE, tmp_path / "whole")
    assert train(STYLE, tmp_path / "cut", stop=stop_after(at)).stopped_by == "request"
    assert same(weights(train(STYLE, tmp_path / "cut", resume=True)), weights(whole))


def test_each_campaign_is_shown_with_the_others_beside_it() -> None:
    pairs = [
        Pair(
            lr=np.zeros((1, 2, 2), np.uint16),
            hr=np.full((1, 4, 4), number, np.uint16),
            valid=np.full((4, 4), number != 1),
        )
        for number in range(5)
    ]
    both = Campaigns(ListedPairs(pairs), [4, 0, 1], [2, 3])
    assert len(both) == len(both.groups) == 3
    shown = both.read([0, 1, 2])
    assert [(p.lr[0, 0, 0], p.hr[0, 0, 0]) for p in shown] == [(4, 2), (0, 3), (1, 2)]
    assert [bool(p.valid.all()) for p in shown] == [True, True, False]
    assert both.read([0], [(1, 2, 2)])[0].hr.shape == (1, 2, 2)
    with pytest.raises(DataError, match="no images of the target campaign"):
        Campaigns(ListedPairs(pairs), [0], [])


def test_linear_matching_is_what_it_says() -> None:
    random = np.random.default_rng(0)
    source = random.standard_normal((3, 2, 16, 16)).astype(np.float32)
    valid = random.random((3, 16, 16)) > 0.2
    target = (source * GAIN + OFFSET).astype(np.float32)
    gain, offset = match_linearly(source, target, valid)
    np.testing.assert_allclose(gain, GAIN, rtol=1e-3)
    np.testing.assert_allclose(offset, OFFSET, atol=0.01)
    assert quantile_distance(source, source + 0.25, valid) == pytest.approx(0.25, rel=1e-4)
    scores = score_looks(source, target, target, valid, load_features("random", bands=3))
    assert scores["colours"] == 0
    assert scores["texture"] < 1e-6
    assert scores["linear_colours"] < 1e-3 * scores["source_colours"]
    assert score_looks(source, target, target, np.zeros_like(valid), None) == {}  # type: ignore[arg-type]  # never looked at


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"style": StyleConfig(target="b")}, "needs style source"),
        ({"style": StyleConfig(source="a")}, "needs style target"),
        ({"losses": LossConfig()}, 'needs losses features.*"random"'),
        ({"adversarial_steps": 10}, "adversarial_steps is 10, .* there is no game"),
        ({"balance": 0.5}, "balance is 0.5"),
        ({"losses": LossConfig(features="random", style=1.0)}, "losses style is 1.0"),
        ({"augment": AugmentConfig(style="folder")}, "the task is style"),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(STYLE, **changes)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"source": "a*", "target": "a*"}, "both 'a"),
        ({"style": 0.0, "colour": 0.0}, "no look would be moved"),
        ({"layout": 0.0}, "layout must be more than 0"),
        ({"memory": 1.0}, "memory"),
    ],
)
def test_looks_that_cannot_be_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        StyleConfig(**values)
