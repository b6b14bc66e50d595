"""There and back without partners: each term by hand, each gradient where it belongs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from models.batches import Batch, BatchMaker
from models.config import TrainConfig
from models.config_networks import DiscriminatorConfig, GeneratorConfig, LossConfig
from models.config_unpaired import CycleConfig
from models.cycle_losses import distance, whole_cells
from models.data import ListedPairs, PairSpec, Side, band_statistics, places_of
from models.degrader import Degrader
from models.distributed import Ranks
from models.errors import ConfigError, DataError
from models.image_pool import ImagePool
from models.sampler import Order
from models.strategy import build_strategy
from models.tensors import Tensors
from models.unpaired import UnpairedLearner
from tests.models.training import SPEC, TINY, Recorder, make_pairs, run, same, stop_after, weights

CPU = torch.device("cpu")
CONFIG = TrainConfig(
    task="unpaired",
    cycle=CycleConfig(cycle=3.0, identity=2.0, identity_lr=0.5, pool=2, channels=4, blocks=1),
    objective="least_squares",
    generator=GeneratorConfig(channels=4, blocks=1),
    discriminator=DiscriminatorConfig(channels=4, stages=3),
    losses=LossConfig(lattice=0.0),
    r1=0.0,
    r2=0.0,
)
ONE_BAND = PairSpec(scale=2, bands=("red",), data_range=1.0)
UNPAIRED = replace(
    TINY, task="unpaired", objective="least_squares", cycle=CycleConfig(channels=4, blocks=1)
)


def learner(config: TrainConfig = CONFIG, *, trained: bool = False) -> UnpairedLearner:
    torch.manual_seed(0)
    statistics = np.array([0.4], np.float32), 0.25
    here = Ranks(rank=0, world=1, device=CPU)
    one = build_strategy(config, ONE_BAND, statistics, here, torch.float32)
    assert isinstance(one, UnpairedLearner)
    if trained:  # so that nothing is bicubic, nor the mean
        for network in one.networks:
            for parameter in network.parameters():
                parameter.data.add_(0.05 * torch.randn_like(parameter))
    return one


def batch(*, holes: bool = True) -> Tensors:
    random = np.random.default_rng(0)
    valid = random.random((2, 1, 32, 32)) > (0.1 if holes else -1)
    stored = Batch(
        lr=random.random((2, 1, 16, 16), np.float32),
        hr=random.random((2, 1, 32, 32), np.float32) * valid,
        valid=valid,
        data_range=1.0,
        swapped=False,
        shift=(3, 5),
        lr_valid=random.random((2, 1, 16, 16)) > (0.1 if holes else -1),
    )
    return Tensors.of(stored, CPU)


def grads(network: nn.Module) -> bool:
    return any(p.grad is not None and bool(p.grad.any()) for p in network.parameters())


def test_a_distance_is_of_valid_pixels_over_all_in_units_of_the_spread() -> None:
    image = torch.tensor([[[[1.0, 5.0], [2.0, 2.0]]]])
    wanted = torch.tensor([[[[0.0, 1.0], [2.0, 9.0]]]])
    valid = torch.tensor([[[[1.0, 1.0], [1.0, 0.0]]]])
    assert distance(image, wanted, valid, torch.tensor([2.0])) == (1 + 4 + 0) / 4 / 2


def test_an_lr_pixel_is_whole_when_all_of_its_hr_pixels_are_valid() -> None:
    valid = torch.ones(1, 1, 4, 4)
    valid[0, 0, 0, 3] = 0
    assert whole_cells(valid, 2).tolist() == [[[[1, 0], [1, 1]]]]


def test_an_untrained_degrader_is_the_mean_and_noise_is_what_it_learns_to_use() -> None:
    torch.manual_seed(0)
    degrader = Degrader(bands=2, scale=4, channels=4, blocks=1)
    image = torch.rand(1, 2, 16, 16)
    noises = [degrader.noise_for(image) for _ in range(2)]
    assert noises[0].shape == (1, 1, 4, 4)
    cells = image.reshape(1, 2, 4, 4, 4, 4).mean(dim=(3, 5))
    for noise in noises:
        torch.testing.assert_close(degrader(image, noise), cells)
    for parameter in degrader.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    assert not torch.allclose(*(degrader(image, noise) for noise in noises))


def test_untrained_networks_have_the_losses_of_bicubic_and_mean() -> None:
    """All terms of the game, by hand, with discriminators that say nothing."""
    one, tensors = learner(), batch()
    for network in one.networks[2:]:
        for parameter in network.parameters():
            parameter.data.zero_()
    told = one.generator_step(tensors, 0.7)
    bicubic, spread = one.generator.base, 0.25
    lr, hr, valid, lr_valid = tensors.lr, tensors.hr, tensors.valid, tensors.lr_valid
    assert lr_valid is not None
    filled = hr * valid + 0.4 * (1 - valid)
    mean = filled.reshape(2, 1, 16, 2, 16, 2).mean(dim=(3, 5))
    again = bicubic(lr).reshape(2, 1, 16, 2, 16, 2).mean(dim=(3, 5))
    expected = {
        "content_loss": ((bicubic(mean) - hr).abs() * valid).mean() / spread,
        "loss_identity_lr": ((again - lr).abs() * lr_valid).mean() / spread,
        "loss_cycle_lr": ((again - lr).abs() * lr_valid).mean() / spread,
        "loss_cycle_hr": ((bicubic(mean) - hr).abs() * valid).mean() / spread,
        "adversarial_loss": torch.tensor(0.5),  # 1/2 (0 - 1)^2
        "adversarial_of_lr_loss": torch.tensor(0.5),
    }
    for name, value in expected.items():
        torch.testing.assert_close(told[name], value, msg=name)


def test_losses_add_up_by_their_weights() -> None:
    one = learner(trained=True)
    torch.manual_seed(1)
    loss, told = one._both_losses(batch(), 0.7)
    parts = (
        2.0 * told["content_loss"]
        + 0.5 * told["loss_identity_lr"]
        + 0.7 * (told["adversarial_loss"] + told["adversarial_of_lr_loss"])
        + 3.0 * (told["loss_cycle_lr"] + told["loss_cycle_hr"])
    )
    torch.testing.assert_close(loss.detach(), parts)


@pytest.mark.parametrize(
    ("step", "moves"),
    [
        ("content", (True, True, False, False)),
        ("discriminator", (False, False, True, True)),
        ("generator", (True, True, False, False)),
    ],
)
def test_gradients_reach_only_whom_they_should(step: str, moves: tuple[bool, ...]) -> None:
    one, tensors = learner(trained=True), batch()
    before = [[p.detach().clone() for p in network.parameters()] for network in one.networks]
    if step == "content":
        one.content_step(tensors)
    elif step == "discriminator":
        one.discriminator_step(tensors)
    else:
        one.generator_step(tensors, 0.5)
    for network, was, moved in zip(one.networks, before, moves, strict=True):
        changed = any(not torch.equal(a, b) for a, b in zip(was, network.parameters(), strict=True))
        assert changed is moved
        assert grads(network) is moved
        assert all(p.requires_grad for p in network.parameters())


@pytest.mark.parametrize(
    ("weight", "cycle", "identity", "identity_lr", "reached"),
    [
        (1.0, 0.0, 0.0, 0.0, (True, True)),
        (0.0, 1.0, 0.0, 0.0, (True, True)),
        (0.0, 0.0, 1.0, 0.0, (True, False)),
        (0.0, 0.0, 0.0, 1.0, (False, True)),
    ],
)
def test_each_term_alone_teaches_whom_it_is_about(
    weight: float, cycle: float, identity: float, identity_lr: float, reached: tuple[bool, bool]
) -> None:
    changed = replace(CONFIG.cycle, identity=identity, identity_lr=identity_lr)
    object.__setattr__(changed, "cycle", cycle)  # a user's is more than 0
    one = learner(replace(CONFIG, cycle=changed), trained=True)
    loss, _ = one._both_losses(batch(), weight)
    loss.backward()  # type: ignore[no-untyped-call]
    assert (grads(one.generator), grads(one.degrader)) == reached


def test_what_is_not_valid_on_either_side_changes_nothing() -> None:
    one, tensors = learner(trained=True), batch()
    assert tensors.lr_valid is not None
    other = replace(
        tensors,
        hr=torch.where(tensors.valid > 0, tensors.hr, 0.9) * tensors.valid,
    )
    torch.manual_seed(1)
    first = one._both_losses(tensors, 0.5)[0]
    torch.manual_seed(1)
    assert torch.equal(first, one._both_losses(other, 0.5)[0])


def test_both_running_means_follow_their_networks() -> None:
    one = learner(trained=True)
    before = [
        [p.clone() for p in mean.network.parameters()] for mean in (one.ema, one.degrader_ema)
    ]
    one.generator_step(batch(), 0.5)
    for mean, was in zip((one.ema, one.degrader_ema), before, strict=True):
        now = list(mean.network.parameters())
        assert any(not torch.equal(a, b) for a, b in zip(was, now, strict=True))
        assert mean.updates == 1


def test_a_pool_gives_back_what_it_was_given_half_of_the_time() -> None:
    torch.manual_seed(0)
    pool = ImagePool(3)
    images = torch.arange(400.0)[:, None, None, None].expand(-1, 1, 2, 2)
    shown = torch.cat([pool.mixed(images[n : n + 4]) for n in range(0, 400, 4)])[:, 0, 0, 0]
    assert shown[:3].tolist() == [0, 1, 2], "at first it is filled"
    past = shown != torch.arange(400.0)
    assert 0.4 < past[3:].float().mean() < 0.6
    assert (shown <= torch.arange(400.0)).all(), "never one that is still to come"
    again = ImagePool(3)
    again.load_state_dict(pool.state_dict(), CPU)
    torch.manual_seed(5)
    one = pool.mixed(images[:50])
    torch.manual_seed(5)
    assert torch.equal(one, again.mixed(images[:50]))
    assert torch.equal(ImagePool(0).mixed(images), images)


def test_images_come_apart_each_side_as_often_as_the_other() -> None:
    """A pair's number is in all of its pixels."""
    pairs = []
    for number, pair in enumerate(make_pairs(12)._pairs):
        pairs.append(
            replace(pair, lr=np.full_like(pair.lr, number), hr=np.full_like(pair.hr, number))  # type: ignore[type-var]  # a dataclass
        )
    pairs[3] = replace(pairs[3], valid=np.zeros_like(pairs[3].valid))
    maker = BatchMaker(
        ListedPairs(pairs),
        SPEC,
        batch_size=4,
        chip_lr=(16, 16),
        patch_lr=8,
        seed=1,
        apart=(Side(places=np.arange(12)),) * 2,
    )
    batches = [maker(number) for number in range(3)]  # an epoch
    lr, hr = (
        np.concatenate([getattr(b, side)[:, 0, 0, 0] for b in batches]) for side in ("lr", "hr")
    )
    assert sorted(lr) == list(range(12))
    assert sorted(hr[hr > 0]) == [n for n in range(1, 12) if n != 3]
    assert (lr == hr).sum() < 4
    for b in batches:
        assert b.lr_valid is not None
        assert (b.lr_valid.all(axis=(1, 2, 3)) == (b.lr[:, 0, 0, 0] != 3)).all()
        assert (b.valid.any(axis=(1, 2, 3)) == (b.hr[:, 0, 0, 0] > 0)).sum() >= 3
    assert np.array_equal(maker(1).lr, batches[1].lr), "a function of its number"


def test_a_run_tells_all_six_losses_and_exports_a_generator(tmp_path: Path) -> None:
    recorder = Recorder()
    result = run(UNPAIRED, tmp_path, listener=recorder)
    for name in (
        *("discriminator_loss", "discriminator_of_lr_loss"),
        *("adversarial_loss", "adversarial_of_lr_loss", "loss_cycle_lr", "loss_cycle_hr"),
        *("content_loss", "loss_identity_lr", "diversity", "d_accuracy", "d_of_lr_accuracy"),
    ):
        values = recorder.series(f"train/{name}")
        assert values, name
        assert np.isfinite(values).all(), name
    assert result.stopped_by == "steps"
    assert weights(result)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("at", [3, 8])
def test_a_stopped_run_goes_on_as_if_nothing_had_been(tmp_path: Path, at: int) -> None:
    config = replace(UNPAIRED, cycle=replace(UNPAIRED.cycle, pool=3))
    whole = run(config, tmp_path / "whole")
    assert run(config, tmp_path / "cut", stop=stop_after(at)).stopped_by == "request"
    assert same(weights(run(config, tmp_path / "cut", resume=True)), weights(whole))


@pytest.mark.parametrize(
    "changes",
    [
        {"objective": "relativistic_paired"},
        {"discriminator": DiscriminatorConfig(conditional=True)},
        {"losses": LossConfig(feature_matching=1.0)},
        {"generator": GeneratorConfig(name="srresnet"), "growing_share": 0.5},
    ],
)
def test_what_needs_a_partner_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="of the same ground, which the task unpaired has not"):
        replace(UNPAIRED, **changes)


class TestImagesWithoutPartners:
    """Places have one image each, or both; a place's number is in all of its pixels."""

    SIDES = (None, "lr", "hr", "lr", None, "hr", "hr", "lr", "lr", "hr", None, "hr")

    @pytest.fixture
    def images(self) -> ListedPairs:
        made = []
        for number, (pair, side) in enumerate(
            zip(make_pairs(12)._pairs, self.SIDES, strict=True), 1
        ):
            lr, hr = (
                np.full_like(getattr(pair, name), number * (side in (None, name)))
                for name in ("lr", "hr")
            )
            made.append(replace(pair, lr=lr, hr=hr))  # type: ignore[type-var]  # a dataclass
        return ListedPairs(made)

    def maker(self, images: ListedPairs, **weights: Any) -> BatchMaker:
        apart = [
            Side(places=places_of(side, self.SIDES, 12), weights=weights.get(side))
            for side in ("lr", "hr")
        ]
        return BatchMaker(
            images,
            SPEC,
            batch_size=2,
            chip_lr=(16, 16),
            patch_lr=8,
            seed=1,
            apart=(apart[0], apart[1]),
        )

    def test_each_order_runs_over_the_places_that_have_its_side(self, images: ListedPairs) -> None:
        maker = self.maker(images)
        batches = [maker(number) for number in range(4 * 7)]  # epochs of 7 LR and 8 HR images
        lr, hr = (
            np.concatenate([getattr(b, side)[:, 0, 0, 0] for b in batches]) for side in ("lr", "hr")
        )
        of_lr, of_hr = ({n for n, s in enumerate(self.SIDES, 1) if s != no} for no in ("hr", "lr"))
        for epoch in range(8):
            assert set(lr[7 * epoch : 7 * epoch + 7]) == of_lr
        for epoch in range(7):
            assert set(hr[8 * epoch : 8 * epoch + 8]) == of_hr

    def test_each_side_has_weights_of_its_own(self, images: ListedPairs) -> None:
        rare = np.where(places_of("hr", self.SIDES, 12) == 2, 4.0, 4 / 7)  # half of all showings
        maker = self.maker(images, hr=rare)
        shown = np.concatenate([maker(number).hr[:, 0, 0, 0] for number in range(40)])
        assert (shown == 3).mean() == pytest.approx(0.5, abs=0.05)

    def test_statistics_are_of_lr_images_that_are_there(self, images: ListedPairs) -> None:
        mean, _ = band_statistics(images, SPEC, places=places_of("lr", self.SIDES, 12))
        numbers = [n for n, side in enumerate(self.SIDES, 1) if side != "hr"]
        np.testing.assert_allclose(mean, np.mean(numbers) / SPEC.data_range)

    def test_where_all_are_pairs_nothing_has_changed(self) -> None:
        """The order of one source, and of the same source as two sides."""
        assert places_of("lr", None, 3).tolist() == [0, 1, 2]
        weights = np.arange(1.0, 13.0)
        side = Side(places=places_of("hr", [None] * 12, 12), weights=weights)
        plain, apart = Order(5, 12, weights), side.order(5)
        assert [plain(n) for n in range(60)] == [apart(n) for n in range(60)]


@pytest.fixture
def chips() -> dict[str, Any]:
    """Training images of which none has a partner, and what is told of them."""
    made = [
        replace(pair, **{name: np.zeros_like(getattr(pair, name))})  # type: ignore[type-var]  # a dataclass
        for number, pair in enumerate(make_pairs(10)._pairs)
        for name in (("hr", "lr")[number % 2],)
    ]
    sides = [("lr", "hr")[number % 2] for number in range(10)]
    return {"train_pairs": ListedPairs(made), "sides": sides}


def test_a_run_on_chips_alone_is_validated_on_pairs(chips: dict[str, Any], tmp_path: Path) -> None:
    result = run(UNPAIRED, tmp_path, **chips)
    assert result.validation["psnr_db"] > 20
    groups = ["town", "field"] * 5
    run(replace(UNPAIRED, balance=0.5), tmp_path / "balanced", groups=groups, **chips)


@pytest.mark.usefixtures("one_thread")
def test_without_any_pair_the_last_mean_is_exported(chips: dict[str, Any], tmp_path: Path) -> None:
    recorder = Recorder()
    nothing = ListedPairs([])
    whole = run(UNPAIRED, tmp_path / "whole", val_pairs=nothing, listener=recorder, **chips)
    assert recorder.validations == []
    assert whole.validation == {}
    assert whole.stopped_by == "steps"
    cut = {"val_pairs": nothing, **chips}
    assert run(UNPAIRED, tmp_path / "cut", stop=stop_after(5), **cut).stopped_by == "request"
    assert same(weights(run(UNPAIRED, tmp_path / "cut", resume=True, **cut)), weights(whole))


def test_what_cannot_be_trained_on_is_refused(chips: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="10 of 10 training pairs have no partner"):
        run(TINY, tmp_path / "a", **chips)
    with pytest.raises(DataError, match="no LR images"):
        run(UNPAIRED, tmp_path / "b", **(chips | {"sides": ["hr"] * 10}))
    with pytest.raises(DataError, match="9 sides for 10"):
        run(UNPAIRED, tmp_path / "c", **(chips | {"sides": chips["sides"][:9]}))
    with pytest.raises(DataError, match="no validation pairs"):
        run(TINY, tmp_path / "d", val_pairs=ListedPairs([]))
