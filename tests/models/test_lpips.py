"""LPIPS from a file: the published distances, holes, and files that do not fit."""

from __future__ import annotations

import math
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from models.errors import ConfigError
from models.lpips import Lpips

RANGE = 10000.0
ALEX = ((0, 64, 3, 11), (3, 192, 64, 5), (6, 384, 192, 3), (8, 256, 384, 3), (10, 256, 256, 3))
VGG = (
    *((0, 64, 3, 3), (2, 64, 64, 3), (5, 128, 64, 3), (7, 128, 128, 3), (10, 256, 128, 3)),
    *((12, 256, 256, 3), (14, 256, 256, 3), (17, 512, 256, 3), (19, 512, 512, 3)),
    *((21, 512, 512, 3), (24, 512, 512, 3), (26, 512, 512, 3), (28, 512, 512, 3)),
)
HEADS = {"alex": (64, 192, 384, 256, 256), "vgg": (64, 128, 256, 512, 512)}
# What lpips 0.1.4 (version 0.1, torch 2.13.0) says of `images` with the weights of `made`.
PUBLISHED = {"alex": 0.09005878120660782, "vgg": 0.09042511880397797}


def made(network: str) -> dict[str, Tensor]:
    """Weights by torchvision's names, and heads by those of lpips."""
    random = np.random.default_rng(0)
    tensors = {}
    for number, planes, inputs, side in {"alex": ALEX, "vgg": VGG}[network]:
        spread = (2 / (inputs * side * side)) ** 0.5
        weight = random.normal(0, spread, (planes, inputs, side, side))
        tensors[f"features.{number}.weight"] = weight
        tensors[f"features.{number}.bias"] = random.normal(0, 0.1, planes)
    for number, planes in enumerate(HEADS[network]):
        tensors[f"lin{number}.model.1.weight"] = random.random((1, planes, 1, 1))
    return {name: torch.from_numpy(value.astype(np.float32)) for name, value in tensors.items()}


def images() -> tuple[np.ndarray, np.ndarray]:
    """Two images in DN, [3, 64, 80], and how one differs from the other."""
    random = np.random.default_rng(1)
    one = random.random((3, 64, 80)).astype(np.float32)
    other = (one + random.normal(0, 0.1, one.shape)).clip(0, 1).astype(np.float32)
    return one * RANGE, other * RANGE


@pytest.fixture(scope="module")
def alex(tmp_path_factory: pytest.TempPathFactory) -> Lpips:
    path = tmp_path_factory.mktemp("weights") / "alex.safetensors"
    save_file(made("alex"), path)
    return Lpips(str(path), RANGE)


@pytest.mark.parametrize("network", ["alex", "vgg"])
def test_distances_are_those_of_the_published_code(network: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(made(network), path)
    assert Lpips(str(path), RANGE)(*images()) == pytest.approx(PUBLISHED[network], abs=1e-6)


def test_a_state_dict_of_the_lpips_package_will_do_as_it_is(tmp_path: Path) -> None:
    stage = {0: 1, 3: 2, 6: 3, 8: 4, 10: 5}
    named = {"scaling_layer.shift": torch.zeros(1, 3, 1, 1)}
    for name, tensor in made("alex").items():
        if name.startswith("features."):
            number = name.split(".")[1]
            named[name.replace("features", f"net.slice{stage[int(number)]}")] = tensor
        else:
            named |= {name: tensor, name.replace("lin", "lins.", 1): tensor}
    path = tmp_path / "lpips.pth"
    torch.save(named, path)
    assert Lpips(str(path), RANGE)(*images()) == pytest.approx(PUBLISHED["alex"], abs=1e-6)


def test_equal_images_have_no_distance_and_further_bands_are_not_looked_at(alex: Lpips) -> None:
    one, other = images()
    assert alex(one, one) == 0
    more = [np.concatenate([image, image[:1] * 3]) for image in (one, other)]
    assert alex(*more) == alex(one, other)
    grey = [np.repeat(image[:1], 3, axis=0) for image in (one, other)]
    assert alex(one[:1], other[:1]) == alex(*grey)


def test_what_stands_in_holes_is_not_seen(alex: Lpips) -> None:
    one, other = images()
    valid = np.ones((64, 80), bool)
    assert alex(one, other, valid) == alex(one, other)
    valid[10:30, 20:50] = False
    wanted = alex(one, other, valid)
    spoiled = one.copy()
    spoiled[:, ~valid] = np.nan
    assert alex(spoiled, other, valid) == wanted
    # A hole is neither likeness nor difference.
    assert wanted == pytest.approx(alex(one, other), rel=0.1)


def test_images_too_small_or_without_pixels_have_none(alex: Lpips) -> None:
    one, other = images()
    assert math.isnan(alex(one[:, :31], other[:, :31]))
    assert math.isfinite(alex(one[:, :32, :32], other[:, :32, :32]))
    assert math.isnan(alex(one, other, np.zeros((64, 80), bool)))


def test_what_travels_between_processes_is_a_name_of_a_file(alex: Lpips) -> None:
    sent = pickle.dumps(alex)
    assert len(sent) < 1000
    assert pickle.loads(sent)(*images()) == alex(*images())


def test_a_file_that_does_not_fit_is_told_what_is_wanted(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"

    def refusal() -> str:
        with pytest.raises(ConfigError, match=r"wanted AlexNet or VGG-16 .* make the file") as told:
            Lpips(str(path), RANGE).check()
        assert told.value.facts["path"] == str(path)
        return str(told.value)

    assert "cannot be read" in refusal()
    path.write_bytes(b"weights")
    assert "cannot be read" in refusal()
    torch.save([1, 2], path)
    assert "no named tensors but a list" in refusal()
    save_file({"conv.weight": torch.zeros(3)}, path)
    assert "there is no net.slice1.0.weight" in refusal()
    weights = made("alex")
    save_file({n: t for n, t in weights.items() if not n.startswith("lin3")}, path)
    assert "lin3 of AlexNet, is missing" in refusal()
    save_file({**weights, "features.3.weight": torch.zeros(192, 64, 3, 3)}, path)
    assert "has shape (192, 64, 3, 3), wanted (192, 64, 5, 5)" in refusal()
    save_file({**weights, "features.8.bias": torch.full((256,), math.nan)}, path)
    assert "features.8 of AlexNet, bias, holds values that are not finite" in refusal()


class _Trap:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("executed",)


def test_nothing_in_a_file_is_executed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "trap.pth"
    torch.save({"features.0.weight": _Trap()}, path)
    with pytest.raises(ConfigError, match="cannot be read as tensors"):
        Lpips(str(path), RANGE).check()
    assert "executed" not in capsys.readouterr().out
