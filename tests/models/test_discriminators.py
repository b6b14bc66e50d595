from __future__ import annotations

import copy
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import avg_pool2d

from models.config_networks import DISCRIMINATORS, DiscriminatorConfig
from models.discriminators.base import Discriminator
from models.discriminators.registry import build_discriminator
from models.errors import ConfigError
from models.objectives import OBJECTIVES

names = pytest.mark.parametrize("name", DISCRIMINATORS)


def build(name: str, bands: int = 3, **settings: Any) -> Discriminator:
    torch.manual_seed(0)
    config = DiscriminatorConfig(name=name, **{"channels": 8, **settings})
    return build_discriminator(config, bands=bands)


@names
@pytest.mark.parametrize("side", [32, 50, 67, 96])
@pytest.mark.parametrize("resolutions", [1, 3])
def test_patches_of_any_size_are_judged(name: str, side: int, resolutions: int) -> None:
    judge = build(name, bands=4, stages=3, resolutions=resolutions)
    logits = judge(torch.rand(2, 4, side, side + 1))
    assert len(logits) == resolutions
    for number, values in enumerate(logits):
        high, wide = side >> number, (side + 1) >> number
        assert (
            values.shape
            == {
                "srgan": (2,),
                "patchgan": (2, 1, high >> 3, wide >> 3),
                "unet": (2, 1, high, wide),
            }[name]
        )
        assert values.dtype == torch.float32
        assert values.isfinite().all()


@names
@pytest.mark.parametrize(("stages", "resolutions"), [(1, 1), (3, 1), (5, 1), (2, 3)])
def test_the_smallest_patch_can_be_judged_and_a_smaller_one_is_refused(
    name: str, stages: int, resolutions: int
) -> None:
    config = DiscriminatorConfig(name=name, channels=2, stages=stages, resolutions=resolutions)
    judge = build_discriminator(config, bands=1)
    side = config.smallest_patch
    assert all(x.numel() > 0 for x in judge(torch.rand(1, 1, side, side)))
    with pytest.raises(ConfigError, match=f"patches of {side} HR pixels and more"):
        judge(torch.rand(1, 1, side - 1, side))


@names
def test_radiometry_is_standardised_away(name: str) -> None:
    judge = build(name).eval()
    x = torch.rand(1, 3, 32, 32)
    before = judge(x)[0]
    judge.standardise.set(torch.tensor([10.0, 20, 30]), 7.0)
    shifted = x * 7 + torch.tensor([10.0, 20, 30]).reshape(1, 3, 1, 1)
    torch.testing.assert_close(judge(shifted)[0], before, atol=1e-4, rtol=1e-3)


@names
def test_each_image_is_judged_for_itself(name: str) -> None:
    judge = build(name, resolutions=2).eval()
    x = torch.rand(3, 3, 32, 32)
    for whole, alone in zip(judge(x), judge(x[1:2]), strict=True):
        torch.testing.assert_close(whole[1:2], alone, atol=1e-5, rtol=1e-4)


@names
def test_there_is_no_batch_normalisation(name: str) -> None:
    kinds = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm)
    assert not any(isinstance(module, kinds) for module in build(name).modules())


@names
def test_the_coarse_judge_sees_means_over_pixels(name: str) -> None:
    two = build(name, resolutions=2).eval()
    x = torch.rand(1, 3, 32, 32)
    coarse, _ = two.judges[1](two.standardise(avg_pool2d(x, 2)))
    torch.testing.assert_close(two(x)[1], coarse, atol=1e-5, rtol=1e-4)


@names
def test_the_generator_learns_from_every_resolution(name: str) -> None:
    judge = build(name, stages=2, resolutions=3)
    x = torch.rand(1, 3, 32, 32, requires_grad=True)
    for values in judge(x):
        (gradient,) = torch.autograd.grad(values.sum(), x, retain_graph=True)
        assert gradient.abs().sum() > 0


# --- conditional --------------------------------------------------------------------------------


@names
def test_a_conditional_judge_sees_whether_patch_and_input_belong_together(name: str) -> None:
    judge = build(name, conditional=True).eval()
    x, lr_up = torch.rand(2, 2, 3, 32, 32)
    here, elsewhere = judge(x, lr_up)[0], judge(x, lr_up.flip(0))[0]
    assert not torch.equal(here, elsewhere)


@names
def test_the_input_must_be_there_exactly_where_it_is_wanted(name: str) -> None:
    x = torch.rand(1, 3, 32, 32)
    with pytest.raises(ConfigError, match="needs the upsampled LR image"):
        build(name, conditional=True)(x)
    with pytest.raises(ConfigError, match="takes no LR image"):
        build(name)(x, x)
    with pytest.raises(ConfigError, match=r"\(1, 3, 16, 16\)"):
        build(name, conditional=True)(x, x[..., :16, :16])


def test_no_bands_are_refused() -> None:
    with pytest.raises(ConfigError, match="bands must be 1 or more"):
        build_discriminator(DiscriminatorConfig(), bands=0)


# --- what each kind promises --------------------------------------------------------------------


@pytest.mark.parametrize("stages", [1, 2, 3])
def test_a_patchgan_value_judges_exactly_its_square(stages: int) -> None:
    discriminator = build("patchgan", bands=1, stages=stages)
    side = discriminator.judges[0].judged_px
    assert side == {1: 12, 2: 26, 3: 54}[stages]
    x = torch.rand(1, 1, 3 * 64, 3 * 64, requires_grad=True)
    values = discriminator(x)[0]
    middle = values.shape[-1] // 2
    (gradient,) = torch.autograd.grad(values[0, 0, middle, middle], x)
    rows, columns = (gradient[0, 0].abs().sum(dim=d).nonzero().flatten() for d in (1, 0))
    assert rows[-1] - rows[0] + 1 == side
    assert columns[-1] - columns[0] + 1 == side


def test_a_unet_judges_each_pixel_and_knows_what_is_far_from_it() -> None:
    judge = build("unet", bands=1, stages=3)
    x = torch.rand(1, 1, 64, 64, requires_grad=True)
    (gradient,) = torch.autograd.grad(judge(x)[0][0, 0, 32, 32], x)
    near, far = gradient[0, 0, 31:34, 31:34].abs().mean(), gradient[0, 0, 32, 8].abs()
    assert near > 10 * far > 0


def convolutions(judge: Discriminator) -> list[nn.Conv2d]:
    return [module for module in judge.modules() if isinstance(module, nn.Conv2d)]


def test_every_convolution_of_a_unet_has_largest_singular_value_one() -> None:
    judge = build("unet")
    for layer in convolutions(judge):
        with torch.no_grad():
            layer.parametrizations.weight.original.mul_(5)
    for _ in range(30):  # power iterations
        judge(torch.rand(1, 3, 16, 16))
    for layer in convolutions(judge.eval()):
        largest = torch.linalg.matrix_norm(layer.weight.detach().flatten(1), ord=2)
        assert float(largest) == pytest.approx(1, abs=0.03)


def test_autocast_does_not_touch_spectral_normalisation() -> None:
    judge = build("unet").eval()
    seen: list[Tensor] = []
    for layer in convolutions(judge):
        layer.parametrizations.weight.register_forward_hook(lambda *call: seen.append(call[2]))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        judge(torch.rand(1, 3, 16, 16))
    assert len(seen) == len(convolutions(judge))
    for layer, weight in zip(convolutions(judge), list(seen), strict=True):
        assert torch.equal(weight, layer.weight)


def test_only_forwards_in_training_mode_move_the_singular_vectors() -> None:
    judge = build("unet")
    x = torch.rand(1, 3, 16, 16)
    before = copy.deepcopy(judge.state_dict())
    judge.eval()(x)
    assert all(torch.equal(before[k], v) for k, v in judge.state_dict().items())
    judge.train()(x)
    changed = {k for k, v in judge.state_dict().items() if not torch.equal(before[k], v)}
    assert changed
    assert all(name.endswith(("_u", "_v")) for name in changed)


@names
def test_a_resumed_discriminator_learns_on_bit_by_bit(name: str) -> None:
    def learn(judge: Discriminator, steps: range) -> None:
        for step in steps:
            x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(step))
            loss = judge(x)[0].square().mean()
            gradients = torch.autograd.grad(loss, list(judge.parameters()))
            with torch.no_grad():
                for parameter, gradient in zip(judge.parameters(), gradients, strict=True):
                    parameter -= 0.1 * gradient

    straight = build(name)
    learn(straight, range(2))
    torch.manual_seed(99)
    resumed = build_discriminator(DiscriminatorConfig(name=name, channels=8), bands=3)
    resumed.load_state_dict(copy.deepcopy(straight.state_dict()))
    learn(straight, range(2, 4))
    learn(resumed, range(2, 4))
    state = resumed.state_dict()
    assert all(torch.equal(state[key], value) for key, value in straight.state_dict().items())


@names
def test_the_generator_can_learn_through_updates_of_the_discriminator(name: str) -> None:
    """What unrolling needs: logits as a function of weights that depend on the drawn patches."""
    judge = build(name, stages=2).eval()
    weights = dict(judge.named_parameters())
    drawn = torch.rand(2, 3, 16, 16, requires_grad=True)
    loss = functional_call(judge, weights, (drawn,))[0].square().mean()
    gradients = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
    later = {
        key: weight - gradient
        for (key, weight), gradient in zip(weights.items(), gradients, strict=True)
    }
    elsewhere = torch.rand(1, 3, 16, 16)  # so that the drawn patches act through weights alone
    (through,) = torch.autograd.grad(functional_call(judge, later, (elsewhere,))[0].sum(), drawn)
    assert through.isfinite().all()
    assert through.any()


# --- features -----------------------------------------------------------------------------------


@names
def test_features_come_with_the_same_logits(name: str) -> None:
    judge = build(name, resolutions=2).eval()
    x = torch.rand(2, 3, 32, 32)
    logits, features = judge.judge(x)
    for a, b in zip(logits, judge(x), strict=True):
        assert torch.equal(a, b)
    assert len(features) >= 2 * 3
    assert all(values.dim() == 4 and len(values) == 2 for values in features)
    sizes = [values.shape[-1] for values in features[: len(features) // 2]]
    if name != "unet":
        assert all(a >= b for a, b in pairwise(sizes))


# --- in the precision of training ---------------------------------------------------------------


@names
@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("conditional", [False, True])
def test_every_game_can_be_played_in_bfloat16(name: str, objective: str, conditional: bool) -> None:
    discriminator = build(name, conditional=conditional, resolutions=2)
    discriminator = discriminator.to(memory_format=torch.channels_last)
    game = OBJECTIVES[objective]
    real, fake, lr_up = torch.rand(3, 2, 3, 32, 32)
    fake.requires_grad_(True)
    beside = lr_up if conditional else None
    with torch.autocast("cpu", dtype=torch.bfloat16):
        pairs = list(zip(discriminator(real, beside), discriminator(fake, beside), strict=True))
    assert all(x.dtype == torch.float32 for pair in pairs for x in pair)
    sum(game.discriminator(r, f) for r, f in pairs).backward(retain_graph=True)
    gradients = [parameter.grad for parameter in discriminator.parameters()]
    assert all(g is not None and g.isfinite().all() for g in gradients)
    (at_fake,) = torch.autograd.grad(sum(game.generator(f, r.detach()) for r, f in pairs), fake)
    assert at_fake.isfinite().all()
    assert at_fake.abs().sum() > 0


@names
def test_bfloat16_judges_about_as_float32(name: str) -> None:
    judge = build(name).eval()
    x = torch.rand(4, 3, 32, 32)
    with torch.no_grad():
        full = judge(x)[0]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = judge(x)[0]
    assert float((half - full).abs().mean()) < 0.05 * float(full.square().mean().sqrt())
