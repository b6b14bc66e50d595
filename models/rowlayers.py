"""A network taken apart into layers that can be run on some rows of an image."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from models.errors import ConfigError
from models.folded import BicubicPhases

Run = Callable[[list[Tensor], int, int, Tensor | None], Tensor]
"""``(rows of the sources, rows missing above, below, out)`` to rows; `out` may be left unused."""

# What looks at one pixel at a time, with the form that writes into memory that it is given.
_POINTWISE: Mapping[Any, Callable[..., Tensor] | None] = {
    operator.add: torch.add,
    operator.sub: torch.sub,
    operator.mul: torch.mul,
    operator.truediv: torch.div,
    torch.cat: torch.cat,
    torch.sigmoid: torch.sigmoid,
    functional.leaky_relu: None,
    functional.silu: None,
    "to": None,
}
_POINTWISE_MODULES = (nn.LeakyReLU, nn.PReLU, nn.Dropout2d, nn.Identity)


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A step of a network.

    Parameters
    ----------
    name : str
    sources : tuple of str
        Layers whose rows it takes, or the network's input.
    run : callable
        See `Run`.
    reach : int
        Rows above and below that it looks at.
    factor : int
        Rows that it makes of one.
    planes : int
        The most that it takes or makes, where that is known.
    """

    name: str
    sources: tuple[str, ...]
    run: Run
    reach: int = 0
    factor: int = 1
    planes: int = 1

    def first_needed(self, row: int) -> int:
        """First row of its sources for a row of its own; perhaps above the image."""
        return row // self.factor - self.reach

    def stop_needed(self, stop: int) -> int:
        """Row of its sources after the last one for rows before `stop`; perhaps below the image."""
        return -(-stop // self.factor) + self.reach


def take_apart(network: nn.Module) -> tuple[str, list[Layer]]:
    """Name of the input, and the layers in the order in which they are run; the last is the output.

    Raises
    ------
    ConfigError
        For a layer that is no convolution, pixel shuffle or function of single pixels.
    """
    modules, constants = dict(network.named_modules()), dict[str, Any]()
    layers: list[Layer] = []
    entry = ""
    for node in _Tracer().trace(network).nodes:
        if node.op == "placeholder":
            entry = node.name
        elif node.op == "get_attr":
            constants[node.name] = operator.attrgetter(node.target)(network)
        elif node.op != "output":
            sources = tuple(n.name for n in node.all_input_nodes if n.name not in constants)
            if node.op == "call_module":
                layers.append(_of_module(node.name, sources, modules[node.target]))
            else:
                layers.append(_of_function(node, sources, constants))
    return entry, layers


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, BicubicPhases) or super().is_leaf_module(m, module_qualified_name)


def _of_function(node: fx.Node, sources: tuple[str, ...], constants: Mapping[str, Any]) -> Layer:
    target = node.target
    if target not in _POINTWISE or (target is torch.cat and not _joins_planes(node)):
        raise ConfigError(f"{target} cannot be run by rows")
    into = _POINTWISE[target]

    def run(given: list[Tensor], above: int, below: int, out: Tensor | None) -> Tensor:
        rows = {**constants, **dict(zip(sources, given, strict=True))}
        args: Any = fx.map_arg(node.args, lambda n: rows[n.name])
        kwargs: Any = fx.map_arg(node.kwargs, lambda n: rows[n.name])
        if isinstance(target, str):
            return getattr(args[0], target)(*args[1:], **kwargs)  # type: ignore[no-any-return]
        if out is not None and into is not None:
            return into(*args, **kwargs, out=out)
        return target(*args, **kwargs)  # type: ignore[no-any-return]

    return Layer(name=node.name, sources=sources, run=run)


def _joins_planes(node: fx.Node) -> bool:
    return bool(node.kwargs.get("dim", node.args[-1]) == 1)


def _of_module(name: str, sources: tuple[str, ...], module: nn.Module) -> Layer:
    if isinstance(module, nn.Conv2d):
        return _of_convolution(name, sources, module)
    if isinstance(module, BicubicPhases):
        return Layer(
            name=name,
            sources=sources,
            reach=module.reach,
            run=lambda given, above, below, out: module.within(given[0], above, below),
        )
    if isinstance(module, nn.PixelShuffle):
        return Layer(
            name=name,
            sources=sources,
            factor=module.upscale_factor,
            run=lambda given, above, below, out: module(given[0]),
        )
    if isinstance(module, nn.ReLU):  # never in place: the rows may be needed as they are
        return Layer(
            name=name,
            sources=sources,
            run=lambda given, above, below, out: torch.clamp_min(given[0], 0, out=out),
        )
    if isinstance(module, _POINTWISE_MODULES):
        return Layer(
            name=name, sources=sources, run=lambda given, above, below, out: module(given[0])
        )
    raise ConfigError(f"a layer {type(module).__name__} cannot be run by rows")


def _of_convolution(name: str, sources: tuple[str, ...], conv: nn.Conv2d) -> Layer:
    same = tuple(d * (k - 1) // 2 for d, k in zip(conv.dilation, conv.kernel_size, strict=True))
    if conv.stride != (1, 1) or conv.padding != same or conv.padding_mode != "zeros":
        raise ConfigError(f"a convolution that changes the size cannot be run by rows: {conv}")
    reach, beside = same

    def run(given: list[Tensor], above: int, below: int, out: Tensor | None) -> Tensor:
        rows = functional.pad(given[0], (0, 0, above, below)) if above or below else given[0]
        return functional.conv2d(
            rows, conv.weight, conv.bias, 1, (0, beside), conv.dilation, conv.groups
        )

    planes = max(conv.in_channels, conv.out_channels)
    return Layer(name=name, sources=sources, run=run, reach=reach, planes=planes)
