"""What a satellite makes of finer ground, learned: terms by hand, travel as data, use on arrays."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn.functional import avg_pool2d

from models.batches import Batch
from models.config import TrainConfig
from models.config_networks import DiscriminatorConfig, LossConfig
from models.config_unpaired import CycleConfig
from models.cycle_losses import distance, whole_cells
from models.data import ListedPairs, Pair, PairSpec
from models.degrade import DegraderCard, DegraderModel, load_degrader, save_degrader
from models.degrade_step import DegradeLearner
from models.degrader import Degrader
from models.degrading import TurnedRound
from models.distributed import Ranks
from models.errors import ConfigError, DataError, ExportError
from models.strategy import build_strategy
from models.tensors import Tensors
from tests.models.training import SPEC, TINY, Recorder, make_pairs, psnr_score, run, stop_after

RANGE = 10_000.0
DEGRADE = replace(TINY, task="degrade", cycle=CycleConfig(channels=8, blocks=1))
ONE_BAND = PairSpec(scale=2, bands=("red",), data_range=1.0)


def busy_degrader(*, scale: int = 4, blocks: int = 2, bands: int = 2) -> Degrader:
    torch.manual_seed(0)
    degrader = Degrader(bands=bands, scale=scale, channels=8, blocks=blocks)
    degrader.standardise.set(torch.full((bands,), 0.3), 0.1)
    for parameter in degrader.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.1)
    return degrader.eval().requires_grad_(False)


def export(folder: Path, **changes: Any) -> DegraderCard:
    degrader = busy_degrader()
    card = DegraderCard(
        channels=8, blocks=2, scale=4, bands=("red", "nir"), data_range=RANGE, halo=degrader.halo
    )
    return save_degrader(folder, degrader, replace(card, **changes))


def archive(count: int = 3, side: int = 32) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 8000, (count, 2, side, side)).astype(np.uint16)


# --- as data --------------------------------------------------------------------------------------


def test_it_comes_back_as_it_went(tmp_path: Path) -> None:
    card = export(tmp_path)
    degrader, found = load_degrader(tmp_path)
    assert found == card
    assert found.name == f"degrader-8x2-x4@{card.weights_sha256[:12]}"
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "degrader.json",
        "degrader.safetensors",
    ]
    for name, tensor in busy_degrader().state_dict().items():
        assert torch.equal(degrader.state_dict()[name], tensor)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"format": 9}, "has degrader format 9, this version reads 1"),
        ({"scale": 2}, "has shape"),
        ({"blocks": 1}, "unexpected"),
        ({"halo": 3}, "says a halo of 3, its blocks have 6"),
        ({"bands": "red"}, "does not describe a degrader: bands must be a list"),
        ({"weights_sha256": "0"}, "copy both files again"),
    ],
)
def test_a_card_that_does_not_fit_is_refused(
    tmp_path: Path, changes: dict[str, Any], complaint: str
) -> None:
    export(tmp_path)
    path = tmp_path / "degrader.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(ExportError, match=complaint):
        DegraderModel(tmp_path)


def test_a_folder_without_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"holds no degrader: there is no degrader\.json"):
        DegraderModel(tmp_path)


# --- on arrays ------------------------------------------------------------------------------------


def test_dn_in_dn_out(tmp_path: Path) -> None:
    export(tmp_path)
    model = DegraderModel(tmp_path, device="cpu")
    assert (model.scale, model.bands, model.data_range) == (4, ("red", "nir"), RANGE)
    hr = archive()
    lr = model(hr, 5)
    assert (lr.shape, lr.dtype) == ((3, 2, 8, 8), np.float32)
    x = torch.from_numpy(hr[:1] / np.float32(RANGE))
    noise = torch.randn((1, 1, 8, 8), generator=torch.Generator().manual_seed(5))
    np.testing.assert_allclose(lr[:1], busy_degrader()(x, noise) * RANGE, rtol=1e-5)


def test_an_image_and_its_seed_have_one_outcome_in_any_company(tmp_path: Path) -> None:
    export(tmp_path)
    model, hr = DegraderModel(tmp_path, device="cpu"), archive()
    together = model(hr, 7)
    assert np.array_equal(together, model(hr, 7))
    assert np.array_equal(together, model(hr, [7, 8, 9]))
    for number in range(3):
        assert np.array_equal(model(hr[number : number + 1], 7 + number)[0], together[number])
    assert not np.allclose(model(hr, 8), together)


def test_what_lies_beyond_the_halo_changes_nothing_and_what_lies_at_it_does() -> None:
    degrader = busy_degrader(scale=2, blocks=1, bands=1).double()
    assert degrader.halo == 4
    image = torch.rand(1, 1, 22, 22, dtype=torch.float64)
    noise = torch.randn(1, 1, 11, 11, dtype=torch.float64)
    changed = image.clone()
    changed[..., 10:12, 10:12] += 1  # LR pixel (5, 5)
    differs = (degrader(changed, noise) != degrader(image, noise))[0, 0]
    reach = np.abs(np.argwhere(differs.numpy()) - 5).max()
    assert reach == 4


def test_margins_of_the_halo_make_a_chip_what_it_is_within_a_scene(tmp_path: Path) -> None:
    export(tmp_path)
    degrader, card = load_degrader(tmp_path)
    scene = torch.rand(1, 2, 120, 120)
    noise = torch.zeros(1, 1, 30, 30)
    whole = degrader(scene, noise)
    halo, s = card.halo, card.scale
    cut = np.s_[..., (12 - halo) * s : (18 + halo) * s, (12 - halo) * s : (18 + halo) * s]
    side = 6 + 2 * halo
    part = degrader(scene[cut], torch.zeros(1, 1, side, side))
    torch.testing.assert_close(part[..., halo:-halo, halo:-halo], whole[..., 12:18, 12:18])


@pytest.mark.parametrize("shape", [(2, 32, 32), (1, 3, 32, 32), (1, 2, 30, 32), (0, 2, 32, 32)])
def test_images_that_do_not_fit_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    export(tmp_path)
    with pytest.raises(DataError, match=r"takes \[N, 2, 4\*h, 4\*w\] \(red, nir\), got"):
        DegraderModel(tmp_path)(np.zeros(shape, np.float32), 0)


def test_seeds_are_one_for_each_image(tmp_path: Path) -> None:
    export(tmp_path)
    with pytest.raises(DataError, match="got 2 seeds for 3 images"):
        DegraderModel(tmp_path)(archive(), [1, 2])


# --- the step -------------------------------------------------------------------------------------


def learner(config: TrainConfig = DEGRADE) -> DegradeLearner:
    torch.manual_seed(0)
    statistics = np.array([0.4], np.float32), 0.25
    here = Ranks(rank=0, world=1, device=torch.device("cpu"))
    one = build_strategy(config, ONE_BAND, statistics, here, torch.float32)
    assert isinstance(one, DegradeLearner)
    return one


def batch() -> Tensors:
    random = np.random.default_rng(0)
    valid = random.random((4, 1, 32, 32)) > 0.02
    stored = Batch(
        lr=random.random((4, 1, 16, 16), np.float32),
        hr=random.random((4, 1, 32, 32), np.float32) * valid,
        valid=valid,
        data_range=1.0,
        swapped=False,
        shift=(3, 5),
    )
    return Tensors.of(stored, torch.device("cpu"))


def test_an_untrained_one_has_the_loss_of_the_mean_and_weights_add_up() -> None:
    tensors = batch()
    one = learner()
    for parameter in one.networks[1].parameters():
        parameter.data.zero_()
    filled = torch.where(tensors.valid > 0, tensors.hr, torch.tensor(0.4))
    mean = avg_pool2d(filled, 2)
    by_hand = distance(mean, tensors.lr, whole_cells(tensors.valid, 2), torch.tensor([0.25]))
    torch.testing.assert_close(one.check_up(tensors)["mean_loss"], by_hand)
    told = one.generator_step(tensors, 0.7)
    torch.testing.assert_close(told["content_loss"], by_hand)
    # Who says nothing has logits of 0: softplus(0).
    torch.testing.assert_close(told["adversarial_loss"], torch.tensor(2.0).log())


def test_noise_that_is_symmetric_costs_nothing_in_the_content_loss() -> None:
    """A degrader whose only deed is to add its noise, by hand."""
    one, tensors = learner(), batch()
    body, noise = one.degrader.body, one.degrader.noise
    for parameter in (*one.degrader.head.parameters(), *body[1].parameters()):
        parameter.data.zero_()
    noise.weight.data.zero_()
    noise.bias.data.zero_()
    noise.weight.data[0, 0, 1, 1], noise.weight.data[1, 0, 1, 1] = 1.0, -1.0
    body[-1].weight.data.zero_()
    body[-1].weight.data[0, 0, 1, 1], body[-1].weight.data[0, 1, 1, 1] = 0.5, -0.5
    hr = tensors.hr
    z = one.degrader.noise_for(hr)
    added = one.degrader(hr, z) - avg_pool2d(hr, 2)
    # relu(z) - relu(-z) is z; a residual of residual blocks that do nothing is twice its input.
    torch.testing.assert_close(added, 2 * 0.5 * z * 0.25, atol=1e-6, rtol=1e-4)
    told = one.content_step(tensors)
    torch.testing.assert_close(told["content_loss"], one_mean_loss(tensors))


def one_mean_loss(tensors: Tensors) -> torch.Tensor:
    return learner().check_up(tensors)["mean_loss"]


@pytest.mark.parametrize(
    ("step", "moved"),
    [
        (lambda one, b: one.content_step(b), (True, False)),
        (lambda one, b: one.discriminator_step(b), (False, True)),
        (lambda one, b: one.generator_step(b, 0.5), (True, False)),
    ],
)
@pytest.mark.parametrize("conditional", [False, True])
def test_gradients_reach_only_whom_they_should(
    step: Any, moved: tuple[bool, bool], conditional: bool
) -> None:
    judge = DiscriminatorConfig(channels=4, conditional=conditional)
    one = learner(replace(DEGRADE, discriminator=judge))
    step(one, batch())
    for network, expected in zip(one.networks, moved, strict=True):
        grads = any(p.grad is not None and bool(p.grad.any()) for p in network.parameters())
        assert grads == expected


def test_what_is_not_valid_changes_nothing() -> None:
    tensors = batch()
    holes = whole_cells(tensors.valid, 2)
    assert 0 < (holes == 0).sum() < holes.numel()
    # Beside a hole the degrader sees it filled; within it, whatever the LR image says is free.
    other = replace(tensors, lr=torch.where(holes > 0, tensors.lr, 9 * torch.rand_like(holes)))
    told = []
    for one_batch in (tensors, other):
        one = learner()
        torch.manual_seed(1)
        told.append({**one.generator_step(one_batch, 0.5), **one.discriminator_step(one_batch)})
    for name in told[0]:
        torch.testing.assert_close(told[0][name], told[1][name])


# --- a run ----------------------------------------------------------------------------------------


def test_a_run_exports_a_degrader_and_validates_against_true_lr_images(tmp_path: Path) -> None:
    recorder = Recorder()
    result = run(DEGRADE, tmp_path, listener=recorder, score=turned_score)
    assert result.exported == tmp_path / "degrader"
    assert not (tmp_path / "generator").exists()
    model = DegraderModel(result.exported)
    assert (model.scale, model.bands) == (SPEC.scale, SPEC.bands)
    assert model.card.training["config"]["task"] == "degrade"
    for name in ("content_loss", "mean_loss", "adversarial_loss", "discriminator_loss"):
        assert np.isfinite(recorder.series(f"train/{name}")).all()
    sample = recorder.validations[-1][1].samples[0]
    assert (sample.lr.shape, sample.sr.shape, sample.hr.shape) == (
        (2, 64, 64),
        (2, 16, 16),
        (2, 16, 16),
    )


def turned_score(seen: Any, lr: Any, hr: Any, valid: Any) -> Any:
    assert seen.shape == lr.shape
    assert valid.shape == lr.shape[1:]
    return psnr_score(seen, lr, hr, valid)


def test_it_learns_the_sensor(tmp_path: Path) -> None:
    """From a few pairs of a satellite that blurs and is darker: nearer than the mean by far."""
    pairs = make_pairs(6)
    darker = ListedPairs(
        [
            Pair(lr=(0.8 * p.lr).astype(np.uint16), hr=p.hr, valid=p.valid)
            for p in pairs.read(range(6))
        ]
    )
    config = replace(DEGRADE, content_steps=60, adversarial_steps=0, lr_content=3e-3)
    result = run(config, tmp_path, train_pairs=darker, val_pairs=darker, score=turned_score)
    chips = darker.read(range(6))
    made = DegraderModel(result.exported)(np.stack([c.hr for c in chips]), 0)
    true = np.stack([c.lr for c in chips]).astype(float)
    mean = np.stack([c.hr for c in chips]).reshape(6, 2, 16, 4, 16, 4).mean(axis=(3, 5))
    assert np.square(made - true).mean() < 0.2 * np.square(mean - true).mean()


@pytest.mark.usefixtures("one_thread")
def test_a_stopped_run_goes_on_as_if_nothing_had_been(tmp_path: Path) -> None:
    whole = run(DEGRADE, tmp_path / "whole", score=turned_score)
    cut = {"score": turned_score}
    assert run(DEGRADE, tmp_path / "cut", stop=stop_after(8), **cut).stopped_by == "request"
    again = run(DEGRADE, tmp_path / "cut", resume=True, **cut)
    first, second = (load_file(r.exported / "degrader.safetensors") for r in (whole, again))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_training_without_partners_exports_both(tmp_path: Path) -> None:
    config = replace(
        DEGRADE, task="unpaired", objective="least_squares", losses=LossConfig(lattice=0.0)
    )
    result = run(config, tmp_path)
    assert result.exported == tmp_path / "generator"
    assert DegraderModel(tmp_path / "degrader").scale == SPEC.scale


@pytest.mark.parametrize(
    "changes", [{"losses": LossConfig(feature_matching=1.0)}, {"growing_share": 0.5}]
)
def test_what_means_nothing_is_refused(changes: dict[str, Any]) -> None:
    if "growing_share" in changes:
        changes = {**changes, "generator": replace(DEGRADE.generator, name="srresnet")}
    with pytest.raises(ConfigError, match="have no meaning for the task degrade"):
        replace(DEGRADE, **changes)


def test_a_generator_is_nothing_to_begin_with() -> None:
    one = learner()
    with pytest.raises(ConfigError, match="leave the generator to start from out"):
        one.start_as(None)  # type: ignore[arg-type]  # whatever it is


def test_pairs_turned_round_are_valid_where_all_hr_pixels_are() -> None:
    (pair,) = make_pairs(1).read([0])
    valid = pair.valid.copy()
    valid[5, 9] = False
    holed = ListedPairs([Pair(lr=pair.lr, hr=pair.hr, valid=valid)])
    (turned,) = TurnedRound(holed, 4).read([0])
    assert turned.lr is pair.hr
    assert turned.hr is pair.lr
    assert np.argwhere(~turned.valid).tolist() == [[1, 2]]
