from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from models.errors import ConfigError
from models.features import load_features


def vgg(layers: Sequence[int | str], inputs: int = 3) -> dict[str, Tensor]:
    """Weights by torchvision's names of convolutions with so many planes and pools."""
    generator = torch.Generator().manual_seed(0)
    tensors: dict[str, Tensor] = {}
    number = 0
    for layer in layers:
        if isinstance(layer, str):
            number += 1
            continue
        weight = torch.randn(layer, inputs, 3, 3, generator=generator) / (3 * inputs**0.5)
        tensors[f"features.{number}.weight"] = weight
        tensors[f"features.{number}.bias"] = torch.randn(layer, generator=generator) * 0.1
        number, inputs = number + 2, layer
    return tensors


def saved(folder: Path, tensors: dict[str, Tensor]) -> Path:
    path = folder / "vgg.safetensors"
    save_file(tensors, path)
    return path


def by_hand(tensors: dict[str, Tensor], layers: Sequence[int | str]) -> nn.Sequential:
    """The network as torchvision would build it."""
    modules: list[nn.Module] = []
    inputs = 3
    for layer in layers:
        if isinstance(layer, str):
            modules.append(nn.MaxPool2d(2, 2))
        else:
            modules += [nn.Conv2d(inputs, layer, 3, padding=1), nn.ReLU()]
            inputs = layer
    network = nn.Sequential(*modules)
    network.load_state_dict({name.removeprefix("features."): t for name, t in tensors.items()})
    return network


LAYERS: list[int | str] = [4, 4, "pool", 6, "pool", 8, 8]


def test_layers_follow_from_the_names(tmp_path: Path) -> None:
    tensors = vgg(LAYERS)
    network = load_features(saved(tmp_path, tensors), bands=3)
    x = torch.rand(2, 3, 16, 16)
    reference = by_hand(tensors, LAYERS)
    expected = [reference[:4](x), reference[:7](x), reference(x)]
    found = network(x)
    assert [f.shape for f in found] == [e.shape for e in expected]
    for f, e, answer in zip(found, expected, network.answer, strict=True):
        torch.testing.assert_close(f * answer, e, atol=1e-5, rtol=1e-4)


def test_all_stages_count_alike_for_natural_images(tmp_path: Path) -> None:
    tensors = vgg(LAYERS)
    tensors["features.5.weight"] *= 1000
    network = load_features(saved(tmp_path, tensors), bands=3)
    smooth = torch.nn.functional.avg_pool2d(torch.randn(8, 1, 68, 68), 5, stride=1) * 5
    for layer in network(smooth.expand(-1, 3, -1, -1)):
        assert 0.2 < float(layer.abs().mean()) < 5


def test_other_tensors_and_other_precisions_do_no_harm(tmp_path: Path) -> None:
    tensors = vgg([4, "pool", 4])
    x = torch.rand(1, 3, 8, 8)
    plain = load_features(saved(tmp_path, tensors), bands=3)(x)
    more = {name: t.half() for name, t in tensors.items()}
    more["classifier.0.weight"] = torch.rand(2, 2)
    other = load_features(saved(tmp_path, more), bands=3)(x)
    for a, b in zip(plain, other, strict=True):
        torch.testing.assert_close(a, b, atol=1e-2, rtol=1e-2)
        assert b.dtype == torch.float32


@pytest.mark.parametrize(("bands", "seen"), [(1, [0, 0, 0]), (3, [0, 1, 2]), (5, [0, 1, 2])])
def test_three_bands_are_looked_at(tmp_path: Path, bands: int, seen: list[int]) -> None:
    path = saved(tmp_path, vgg([4]))
    x = torch.rand(1, bands, 8, 8)
    (expected,) = load_features(path, bands=3)(x[:, seen])
    assert torch.equal(load_features(path, bands=bands)(x)[0], expected)


def test_the_weights_are_fixed_and_the_image_is_not(tmp_path: Path) -> None:
    network = load_features(saved(tmp_path, vgg([4])), bands=3)
    assert not any(p.requires_grad for p in network.parameters())
    x = torch.rand(1, 3, 8, 8, requires_grad=True)
    (gradient,) = torch.autograd.grad(network(x)[0].sum(), x)
    assert gradient.any()


def test_reading_takes_none_of_the_runs_random_numbers(tmp_path: Path) -> None:
    path = saved(tmp_path, vgg(LAYERS))
    before = torch.get_rng_state()
    load_features(path, bands=3)
    assert torch.equal(torch.get_rng_state(), before)


def test_images_too_small_for_the_pools_are_refused(tmp_path: Path) -> None:
    network = load_features(saved(tmp_path, vgg(LAYERS)), bands=3)
    network(torch.rand(1, 3, 4, 4))
    with pytest.raises(ConfigError, match="4 HR pixels and more"):
        network(torch.rand(1, 3, 3, 4))


# --- wrong files --------------------------------------------------------------------------------


@pytest.mark.parametrize("legacy", [False, True])
def test_pickles_are_not_opened_and_the_way_out_is_told(tmp_path: Path, legacy: bool) -> None:
    path = tmp_path / "vgg.pth"
    torch.save(vgg([4]), path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(ConfigError, match=r"pickle.*can run code.*save_file") as caught:
        load_features(path, bands=3)
    assert caught.value.facts["path"] == str(path)


def test_the_way_out_works(tmp_path: Path) -> None:
    torch.save({**vgg([4]), "classifier.0.weight": torch.rand(2)}, tmp_path / "vgg.pth")
    tensors = torch.load(tmp_path / "vgg.pth", weights_only=True)
    path = saved(tmp_path, {k: v for k, v in tensors.items() if k.startswith("features.")})
    assert len(load_features(path, bands=3).stages) == 1


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_features(tmp_path / "none.safetensors", bands=3)


@pytest.mark.parametrize("content", [b"", b"half a file", b"\x10" + bytes(7) + b"{}" * 4])
def test_a_damaged_file_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "vgg.safetensors"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="is no safetensors file"):
        load_features(path, bands=3)


def wrong(**changes: Tensor | None) -> dict[str, Tensor]:
    tensors = vgg([4, 4, "pool", 4]) | {
        name.replace("_", "."): t for name, t in changes.items() if t is not None
    }
    gone = {name.replace("_", ".") for name, t in changes.items() if t is None}
    return {name: t for name, t in tensors.items() if name not in gone}


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"conv1.weight": torch.rand(4, 3, 3, 3)}, "there is no features.0.weight"),
        (wrong(features_0_weight=torch.rand(4, 1, 3, 3)), r"\(4, 1, 3, 3\)"),
        (wrong(features_2_weight=torch.rand(4, 4, 5, 5)), r"\(4, 4, 5, 5\)"),
        (wrong(features_2_bias=None), "lacks its weight or its bias"),
        (wrong(features_0_bias=None, features_0_weight=None), "features.2 follows"),
        (wrong(features_1_weight=torch.rand(4), features_1_bias=torch.rand(4)), "features.1 foll"),
        (wrong(features_9_weight=torch.rand(4, 4, 3, 3)), "features.9 follows features.5"),
        (wrong(features_2_bias=torch.full((4,), torch.nan)), "not finite"),
    ],
)
def test_another_network_is_told_apart(
    tmp_path: Path, tensors: dict[str, Tensor], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        load_features(saved(tmp_path, tensors), bands=3)


def test_a_dead_network_is_refused(tmp_path: Path) -> None:
    dead = {name: torch.zeros_like(t) for name, t in vgg([4]).items()}
    with pytest.raises(ConfigError, match="answers nothing"):
        load_features(saved(tmp_path, dead), bands=3)
