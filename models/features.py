"""Features of a network that has learned to see: a VGG read from a file of named tensors.

Weights are not part of this project. Any file with torchvision's names will do, whole or cut off
after some convolution; what is kept of it are the layers that the file has. Who has none takes
`RANDOM`: filters that have learned nothing still tell textures apart.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn import functional

from models.errors import ConfigError

_NAME = re.compile(r"features\.(\d+)\.(weight|bias)")
_RGB = 3

RANDOM = "random"
"""In the place of a file: random filters, always the same.

They tell textures apart (Ustyuzhaninov et al., "Texture synthesis using shallow convolutional
networks with random filters", 2016), but know no objects.
"""
_RANDOM_STAGES = ((16,), (32,), (64,))  # planes of the convolutions of each stage
_CONVERT = (
    'convert it once: safetensors.torch.save_file({k: v for k, v in torch.load("vgg.pth", '
    'weights_only=True).items() if k.startswith("features.")}, "vgg.safetensors")'
)


class FeatureNetwork(nn.Module):
    """3x3 convolutions with ReLU in stages, each after the first on half the pixels.

    Simonyan and Zisserman, "Very deep convolutional networks for large-scale image recognition",
    2015. The weights are fixed. Each stage is measured by what it answers to noise of the
    spectrum of natural images (amplitude 1/f; Field, 1987), so that all stages count alike.

    Parameters
    ----------
    stages : sequence of sequence of (Tensor, Tensor)
        Weight [c, inputs, 3, 3] and bias [c] of the convolutions of each stage.
    bands : int
        Of the images: the first three are taken as red, green and blue; of fewer, the first is
        shown as grey.
    """

    answer: Tensor

    def __init__(self, stages: Sequence[Sequence[tuple[Tensor, Tensor]]], *, bands: int) -> None:
        super().__init__()
        self._rgb = bands >= _RGB
        self.stages = nn.ModuleList(_stage(convolutions) for convolutions in stages)
        self.requires_grad_(False)
        self.register_buffer("answer", torch.ones(len(stages)), persistent=False)
        with torch.no_grad():
            noise = _natural_noise(max(32, 2 * self.smallest_patch))
            self.answer.copy_(torch.stack([x.abs().mean() for x in self(noise)]))
        if not bool((self.answer > 0).all()):
            raise ConfigError("the network of losses features answers nothing: its weights are 0")

    @property
    def smallest_patch(self) -> int:
        """Least side of an image in pixels."""
        return 1 << (len(self.stages) - 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Images [N, C, H, W] of zero mean and unit spread to what each stage ends with.

        Raises
        ------
        ConfigError
            For images too small for the last stage.
        """
        if min(x.shape[-2:]) < self.smallest_patch:
            raise ConfigError(
                f"losses perceptual and style need patches of {self.smallest_patch} HR pixels "
                f"and more, got {tuple(x.shape[-2:])}"
            )
        x = x[:, :_RGB] if self._rgb else x[:, :1].expand(-1, _RGB, -1, -1)
        found = []
        for number, stage in enumerate(self.stages):
            x = stage(functional.max_pool2d(x, 2) if number else x)
            found.append(x / self.answer[number])
        return found


def load_features(path: str | Path, *, bands: int) -> FeatureNetwork:
    """Read a VGG network, on the CPU; nothing in the file is executed.

    Parameters
    ----------
    path : str or Path
        A safetensors file with ``features.N.weight`` and ``features.N.bias`` as torchvision names
        them; other tensors are not read. Or `RANDOM`.
    bands : int
        Of the images it will look at.

    Raises
    ------
    ConfigError
        When the file is missing, is no safetensors file, or holds another network.
    """
    if path == RANDOM:
        return FeatureNetwork(_random_stages(), bands=bands)
    tensors = _read(Path(path))
    numbers = sorted({number for number, _ in tensors})
    stages: list[list[tuple[Tensor, Tensor]]] = [[]]
    inputs = _RGB
    for before, number in pairwise([-2, *numbers]):
        # The numbers between two convolutions are a ReLU, or a ReLU and a pool.
        if number - before not in (2, 3) or numbers[0] != 0:
            raise _other_network(path, f"features.{number} follows features.{before}")
        if number - before == 3:
            stages.append([])
        weight, bias = (tensors.get((number, part)) for part in ("weight", "bias"))
        if weight is None or bias is None:
            raise _other_network(path, f"features.{number} lacks its weight or its bias")
        if weight.shape[1:] != (inputs, 3, 3) or bias.shape != weight.shape[:1]:
            raise _other_network(
                path,
                f"features.{number} has weights {tuple(weight.shape)} and biases "
                f"{tuple(bias.shape)}, wanted (c, {inputs}, 3, 3) and (c)",
            )
        stages[-1].append((weight, bias))
        inputs = len(weight)
    return FeatureNetwork(stages, bands=bands)


def _random_stages() -> list[list[tuple[Tensor, Tensor]]]:
    """Without biases: answers to twice the contrast are twice as large."""
    random = torch.Generator().manual_seed(0)
    stages, inputs = [], _RGB
    for planes in _RANDOM_STAGES:
        stage = []
        for outputs in planes:
            # He et al., "Delving deep into rectifiers", 2015: keeps the size of what passes.
            weight = (
                torch.randn(outputs, inputs, 3, 3, generator=random) * (2 / (9 * inputs)) ** 0.5
            )
            stage.append((weight, torch.zeros(outputs)))
            inputs = outputs
        stages.append(stage)
    return stages


def _read(path: Path) -> dict[tuple[int, str], Tensor]:
    """Tensors of `path` by number and part, float32."""
    _refuse_pickles(path)
    try:
        with safe_open(path, framework="pt") as file:
            names = {name: match for name in file.keys() if (match := _NAME.fullmatch(name))}  # noqa: SIM118  # not a mapping
            tensors = {
                (int(match[1]), match[2]): file.get_tensor(name).float()
                for name, match in names.items()
            }
    except (OSError, SafetensorError) as error:
        raise ConfigError(
            f"losses features: {path} is no safetensors file: {error}", path=str(path)
        ) from error
    if not tensors:
        raise _other_network(path, "there is no features.0.weight")
    for (number, part), tensor in tensors.items():
        if not bool(tensor.isfinite().all()):
            raise _other_network(path, f"features.{number}.{part} holds values not finite")
    return tensors


def _refuse_pickles(path: Path) -> None:
    try:
        with open(path, "rb") as file:
            start = file.read(9)
    except OSError as error:
        raise ConfigError(
            f"losses features: {path} cannot be read: {error}", path=str(path)
        ) from error
    # A safetensors file begins with a length of eight bytes, which may be any, and its JSON.
    if start[8:] != b"{" and (start[:2] == b"PK" or start[:1] == b"\x80"):
        raise ConfigError(
            f"losses features: {path} is a pickle of torch.save, which can run code when it is "
            f"read; {_CONVERT}",
            path=str(path),
        )


def _other_network(path: str | Path, found: str) -> ConfigError:
    return ConfigError(
        f"losses features: {path} holds no plain VGG (3x3 convolutions, ReLU, 2x2 pools, no batch "
        f"normalisation) by torchvision's names: {found}",
        path=str(path),
    )


def _stage(convolutions: Sequence[tuple[Tensor, Tensor]]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for weight, bias in convolutions:
        # Without weights of its own: a run's random numbers are for the networks it trains.
        conv = nn.utils.skip_init(  # type: ignore[no-untyped-call]  # torch leaves it untyped
            nn.Conv2d, weight.shape[1], len(weight), 3, padding=1
        )
        conv.load_state_dict({"weight": weight, "bias": bias})
        layers += [conv, nn.ReLU()]
    return nn.Sequential(*layers)


def _natural_noise(side: int) -> Tensor:
    """Images [2, 3, side, side] of zero mean and unit spread whose amplitudes fall as 1/f."""
    white = torch.randn(2, 1, side, side, generator=torch.Generator().manual_seed(0))
    y, x = torch.fft.fftfreq(side)[:, None], torch.fft.rfftfreq(side)
    radius = torch.hypot(y, x)
    radius[0, 0] = torch.inf
    noise: Tensor = torch.fft.irfft2(torch.fft.rfft2(white) / radius, s=(side, side))
    return (noise / noise.std()).expand(-1, _RGB, -1, -1)
