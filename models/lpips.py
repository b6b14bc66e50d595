"""LPIPS: how different two images look to a network that has learned to see.

Zhang et al., "The unreasonable effectiveness of deep features as a perceptual metric", 2018,
version 0.1. Weights are not part of this project and nothing is downloaded: they come from one
file that holds the network (AlexNet or VGG-16) and the linear heads that belong to it.
"""

from __future__ import annotations

import math
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from models.errors import ConfigError

SMALLEST_PX = 32
_CONVOLUTION = re.compile(r"(?:net\.)?(?:slice\d+|features)\.(\d+)\.(weight|bias)")
_HEAD = re.compile(r"(?:lin|lins\.)(\d)\.model\.\d\.weight")
_HOW_TO = (
    "make the file once, where the lpips package is: "
    'torch.save(lpips.LPIPS(net="alex").state_dict(), "lpips.pth")'
)
# Of pixels in -1 to 1; from the published code.
_SHIFT = (-0.030, -0.088, -0.188)
_SPREAD = (0.458, 0.448, 0.450)
_EPS = 1e-10


@dataclass(frozen=True)
class _Trunk:
    """A network by torchvision's numbers: its convolutions in stages, pools between some."""

    name: str
    stages: tuple[tuple[int, ...], ...]
    planes: tuple[int, ...]  # of each stage
    kernels: tuple[int, ...]  # of each stage, px
    pool: tuple[int, int]  # side and step
    pooled: int  # so many stages after the first begin with a pool
    first: tuple[int, int]  # step and margin of the first convolution


_ALEX = _Trunk(
    name="AlexNet",
    stages=((0,), (3,), (6,), (8,), (10,)),
    planes=(64, 192, 384, 256, 256),
    kernels=(11, 5, 3, 3, 3),
    pool=(3, 2),
    pooled=2,
    first=(4, 2),
)
_VGG = _Trunk(
    name="VGG-16",
    stages=((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28)),
    planes=(64, 128, 256, 512, 512),
    kernels=(3, 3, 3, 3, 3),
    pool=(2, 2),
    pooled=4,
    first=(1, 1),
)


@dataclass(frozen=True)
class Lpips:
    """LPIPS of two images, by the weights of a file.

    Small to send to other processes: each reads the file once, when it is first asked.

    Parameters
    ----------
    path : str
        A safetensors file, or one of torch.save, which is read as tensors alone. It has the names
        of the lpips package (``net.slice1.0.weight`` ..., ``lin0.model.1.weight`` ...) or
        torchvision's for the network (``features.0.weight`` ...).
    data_range : float
        The DN that means 1.0.
    """

    path: str
    data_range: float

    def __call__(
        self,
        image: npt.NDArray[Any],
        hr: npt.NDArray[Any],
        valid: npt.NDArray[np.bool_] | None = None,
    ) -> float:
        """Distance of two images in DN, [C, H, W]; 0 for equal ones.

        The first three bands are taken as red, green and blue; of fewer, the first as grey.

        Parameters
        ----------
        valid : array of bool, [H, W], optional
            Pixels that are not are grey in both, and a place of a layer counts as much as of its
            pixels are valid.

        Returns
        -------
        float
            NaN for images under 32 px a side, or without valid pixels.
        """
        if min(hr.shape[-2:]) < SMALLEST_PX:
            return math.nan
        good = torch.ones(1, 1, *hr.shape[-2:])
        if valid is not None:
            good = torch.from_numpy(np.asarray(valid, np.float32))[None, None]
        if not good.any():
            return math.nan
        both = torch.cat([self._shown(image), self._shown(hr)])
        both = torch.where(good > 0, both, 0.0)
        with torch.inference_mode():
            return _distance(_read(self.path), both, good)

    def check(self) -> None:
        """Read the file now.

        Raises
        ------
        ConfigError
            When it is missing, is neither kind of file, or holds something else.
        """
        _read(self.path)

    def _shown(self, image: npt.NDArray[Any]) -> Tensor:
        bands = image[:3] if len(image) >= 3 else np.repeat(image[:1], 3, axis=0)
        share = np.asarray(bands, np.float32) / np.float32(self.data_range)
        return torch.from_numpy(share)[None] * 2 - 1


@dataclass(frozen=True)
class _Network:
    trunk: _Trunk
    convolutions: Mapping[int, tuple[Tensor, Tensor]]
    heads: tuple[Tensor, ...]  # [1, c, 1, 1]


def _distance(network: _Network, pair: Tensor, good: Tensor) -> float:
    """Sum over stages of the mean weighted distance of unit vectors; `pair` is [2, 3, H, W]."""
    shift, spread = (torch.tensor(v).reshape(1, 3, 1, 1) for v in (_SHIFT, _SPREAD))
    x = (pair - shift) / spread
    trunk, total = network.trunk, 0.0
    for place, numbers in enumerate(trunk.stages):
        if 0 < place <= trunk.pooled:
            x = functional.max_pool2d(x, *trunk.pool)
        for number in numbers:
            weight, bias = network.convolutions[number]
            step, margin = trunk.first if number == 0 else (1, weight.shape[-1] // 2)
            x = functional.conv2d(x, weight, bias, stride=step, padding=margin).relu()
        unit = x / (x.square().sum(dim=1, keepdim=True).sqrt() + _EPS)
        apart = functional.conv2d((unit[:1] - unit[1:]).square(), network.heads[place])
        height, width = apart.shape[-2:]
        share = functional.adaptive_avg_pool2d(good, (height, width))
        total += float((apart * share).sum() / share.sum())
    return total


@lru_cache(maxsize=2)
def _read(path: str) -> _Network:
    tensors = _tensors(Path(path))
    found: dict[int, dict[str, Tensor]] = {}
    heads: dict[int, Tensor] = {}
    for name, tensor in tensors.items():
        if match := _CONVOLUTION.fullmatch(name):
            found.setdefault(int(match[1]), {})[match[2]] = tensor.float()
        elif match := _HEAD.fullmatch(name):
            heads[int(match[1])] = tensor.float()
    first = found.get(0, {}).get("weight")
    if first is None:
        raise _unfit(path, "there is no net.slice1.0.weight, nor features.0.weight")
    trunk = _ALEX if first.shape[-1] == _ALEX.kernels[0] else _VGG
    convolutions, inputs = {}, 3
    for numbers, planes, side in zip(trunk.stages, trunk.planes, trunk.kernels, strict=True):
        for number in numbers:
            weight, bias = (found.get(number, {}).get(part) for part in ("weight", "bias"))
            name = f"features.{number} of {trunk.name}"
            convolutions[number] = (
                _checked(path, f"{name}, weight", weight, (planes, inputs, side, side)),
                _checked(path, f"{name}, bias", bias, (planes,)),
            )
            inputs = planes
    linear = tuple(
        _checked(path, f"lin{place} of {trunk.name}", heads.get(place), (1, planes, 1, 1))
        for place, planes in enumerate(trunk.planes)
    )
    return _Network(trunk, convolutions, linear)


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        with open(path, "rb") as file:
            start = file.read(9)
            # A safetensors file begins with a length of eight bytes, which may be any, and JSON.
            if start[8:] == b"{":
                return load_file(path)
            file.seek(0)  # the open file: torch would go by the ending of its name
            found = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        told = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise _unfit(path, f"it cannot be read as tensors ({told})") from error
    named = found.items() if isinstance(found, Mapping) else ()
    tensors = {str(name): value for name, value in named if isinstance(value, Tensor)}
    if not tensors:
        raise _unfit(path, f"it holds no named tensors but a {type(found).__name__}")
    return tensors


def _checked(path: str, name: str, tensor: Tensor | None, shape: tuple[int, ...]) -> Tensor:
    if tensor is None:
        raise _unfit(path, f"{name}, is missing")
    if tensor.shape != shape:
        raise _unfit(path, f"{name}, has shape {tuple(tensor.shape)}, wanted {shape}")
    if not bool(tensor.isfinite().all()):
        raise _unfit(path, f"{name}, holds values that are not finite")
    return tensor


def _unfit(path: str | Path, found: str) -> ConfigError:
    return ConfigError(
        f"{path} is no weights file for LPIPS: {found}; wanted AlexNet or VGG-16 together with "
        f"their linear heads; {_HOW_TO}",
        path=str(path),
    )
