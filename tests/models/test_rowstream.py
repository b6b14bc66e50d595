from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from models.config_networks import GENERATORS, GeneratorConfig, exported_form
from models.errors import ConfigError
from models.folded import FoldedGenerator, lay_out
from models.generators.base import Generator
from models.generators.registry import build_generator
from models.rowstream import RowStream

RANGE = 10_000.0
names = pytest.mark.parametrize("name", GENERATORS)


def busy(name: str, scale: int = 4, bands: int = 2) -> Generator:
    torch.manual_seed(0)
    config = exported_form(GeneratorConfig(name=name, channels=8, blocks=2))
    generator = build_generator(config, bands=bands, scale=scale).eval().requires_grad_(False)
    generator.standardise.set(torch.linspace(0.1, 0.3, bands), 0.05)
    for parameter in generator.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.05)
    return generator


def image(h: int, w: int, n: int = 1) -> Tensor:
    lr = torch.rand(n, 2, h, w, generator=torch.Generator().manual_seed(h * w)) * 4000
    return lr.contiguous(memory_format=torch.channels_last)


@names
@pytest.mark.parametrize("scale", [1, 2, 4, 8])
def test_folded_is_the_same_function_of_dn(name: str, scale: int) -> None:
    generator = busy(name, scale)
    folded = FoldedGenerator(generator, RANGE)
    lr = image(9, 14, 3)
    wanted = generator(lr / RANGE) * RANGE
    drawn = torch.empty_like(wanted)
    lay_out(folded(lr), folded.factor, drawn)
    torch.testing.assert_close(drawn, wanted, atol=1e-6 * RANGE, rtol=0)


def test_folding_leaves_the_generator_as_it_was() -> None:
    generator, lr = busy("edsr"), image(6, 7)
    before = generator(lr)
    FoldedGenerator(generator, RANGE, torch.bfloat16)
    assert torch.equal(generator(lr), before)


def test_what_ends_otherwise_is_not_folded() -> None:
    odd = Generator(nn.Sequential(nn.Conv2d(2, 2, 1), nn.ReLU()), bands=2, scale=2)
    with pytest.raises(ConfigError, match="must end with a convolution"):
        FoldedGenerator(odd, RANGE)


@names
@given(
    height=st.integers(1, 30),
    rows=st.integers(1, 12),
    scale=st.sampled_from([2, 4]),
    part=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
@settings(max_examples=15, deadline=None)
@torch.inference_mode()
def test_strips_are_the_whole(
    name: str, height: int, rows: int, scale: int, part: tuple[float, float]
) -> None:
    network = FoldedGenerator(busy(name, scale), RANGE)
    lr = image(height, 11)
    whole = network(lr)
    rate = whole.shape[2] // height
    first, last = sorted(int(share * (height - 1)) for share in part)
    after = first
    for start, stop, strip in RowStream(network)(lr, rows, first, last + 1):
        assert (start, stop) == (after, min(after + rows, last + 1))
        wanted = whole[:, :, start * rate : stop * rate]
        torch.testing.assert_close(strip, wanted, atol=1e-6 * RANGE, rtol=0)
        after = stop
    assert after == last + 1


@names
@torch.inference_mode()
def test_no_row_is_computed_twice(name: str) -> None:
    network = FoldedGenerator(busy(name), RANGE)
    lr = image(41, 16)
    with FlopCounterMode(display=False) as whole:
        network(lr)
    with FlopCounterMode(display=False) as strips:
        for _ in RowStream(network)(lr, 6):
            pass
    assert strips.get_total_flops() == whole.get_total_flops()


class _Largest(TorchDispatchMode):
    """Sees how large the largest result is."""

    values = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        # A view is as large as what it looks into, which may be the image itself.
        if isinstance(made, Tensor) and not made._is_view():
            self.values = max(self.values, made.numel())
        return made


@names
def test_memory_does_not_depend_on_the_height(name: str) -> None:
    stream = RowStream(FoldedGenerator(busy(name), RANGE))
    largest = []
    for height in (80, 320):
        lr = image(height, 16)
        with _Largest() as seen:
            for _ in stream(lr, 4):
                pass
        largest.append(seen.values)
    assert largest[0] == largest[1]


class _Sorted(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sort(x, dim=2)[0]


@pytest.mark.parametrize(
    ("network", "says"),
    [
        (nn.Sequential(nn.Conv2d(2, 2, 3, padding=1, stride=2)), "changes the size"),
        (nn.Sequential(nn.Conv2d(2, 2, 3)), "changes the size"),
        (nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), nn.BatchNorm2d(2)), "BatchNorm2d cannot"),
        (_Sorted(), "sort.* cannot be run by rows"),
    ],
)
def test_what_cannot_be_run_by_rows_is_refused(network: nn.Module, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        RowStream(network)
