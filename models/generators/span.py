"""Trained with several branches a layer, used with one: small and quick when it draws."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from models.generators.base import Generator, zero_
from models.layers import conv3x3

_GAIN = 2  # planes within a branch over those outside


class BranchedConv(nn.Module):
    """A 3x3 convolution in the form of two branches, 1x1-3x3-1x1 and 1x1, added.

    The image is padded before the first 1x1, so that its bias reaches beyond the edge too and the
    sum is one 3x3 convolution everywhere.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        wide_in, wide_out = _GAIN * inputs, _GAIN * outputs
        self.expand = nn.Conv2d(inputs, wide_in, 1)
        self.middle = nn.Conv2d(wide_in, wide_out, 3)
        self.reduce = nn.Conv2d(wide_out, outputs, 1)
        self.skip = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, h, w] to [N, outputs, h, w]."""
        out: Tensor = self.reduce(self.middle(self.expand(pad(x, (1, 1, 1, 1))))) + self.skip(x)
        return out

    def input_radius(self, radius: int) -> int:
        """See `models.layers.Reaching`."""
        return radius + 1

    @torch.no_grad()
    def folded(self) -> nn.Conv2d:
        """The same as one convolution; products in double precision."""
        first, second, third, skip = (
            (conv.weight.double(), conv.bias.double())  # type: ignore[union-attr]  # all have one
            for conv in (self.expand, self.middle, self.reduce, self.skip)
        )
        # A 1x1 before is a product over inputs, a 1x1 after one over outputs.
        weight = torch.einsum(
            "ab,bckl,cd->adkl", third[0][..., 0, 0], second[0], first[0][..., 0, 0]
        )
        inner = second[1] + torch.einsum("bckl,c->b", second[0], first[1])
        bias = third[1] + third[0][..., 0, 0] @ inner + skip[1]
        weight[:, :, 1, 1] += skip[0][..., 0, 0]
        conv = conv3x3(weight.shape[1], weight.shape[0]).to(self.skip.weight)
        conv.weight.copy_(weight)
        conv.bias.copy_(bias)  # type: ignore[union-attr]
        return conv

    @torch.no_grad()
    def unfold(self, conv: nn.Conv2d) -> None:
        """Take the form of a single convolution: `folded` gives it back, but for rounding.

        Of all middle convolutions that do it, the one nearest to the present random weights, so
        that the branches differ as they do at the start of a training.
        """
        missing = conv.weight.double() - self.folded().weight.double()
        # Products with what comes before and after are undone by their pseudo-inverses, for they
        # have more planes inside than outside.
        before = torch.linalg.pinv(self.expand.weight[..., 0, 0].double())  # [inputs, wide_in]
        after = torch.linalg.pinv(self.reduce.weight[..., 0, 0].double())  # [wide_out, outputs]
        change = torch.einsum("ba,adkl,dc->bckl", after, missing, before)
        self.middle.weight += change.to(self.middle.weight)
        self.reduce.bias += conv.bias - self.folded().bias  # type: ignore[operator]  # all have one


class AttentionBlock(nn.Module):
    """Three convolutions; what they find also tells where it matters, without further weights."""

    def __init__(self, channels: int, *, fused: bool) -> None:
        super().__init__()
        self.convs = nn.ModuleList(_conv(channels, channels, fused=fused) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, h, w] to [N, C, h, w]."""
        first, second, third = self.convs
        found: Tensor = third(nn.functional.silu(second(nn.functional.silu(first(x)))))
        return (found + x) * (torch.sigmoid(found) - 0.5)

    def input_radius(self, radius: int) -> int:
        """See `models.layers.Reaching`."""
        return radius + len(self.convs)


class AttentionBody(nn.Module):
    """Blocks one after the other; the last layer sees the first, the last and what came in."""

    def __init__(self, channels: int, blocks: int, *, fused: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(AttentionBlock(channels, fused=fused) for _ in range(blocks))
        self.after = _conv(channels, channels, fused=fused)
        self.join = nn.Conv2d(3 * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, h, w] to [N, C, h, w]."""
        first = last = self.blocks[0](x)
        for block in self.blocks[1:]:
            last = block(last)
        out: Tensor = self.join(torch.cat([x, first, self.after(last)], dim=1))
        return out

    def input_radius(self, radius: int) -> int:
        """See `models.layers.Reaching`."""
        for block in self.blocks:
            radius = block.input_radius(radius)  # type: ignore[operator]  # of AttentionBlock
        return radius + 1


class SPAN(Generator):
    """Swift parameter-free attention network, in its training or its folded form.

    Wan et al., "Swift parameter-free attention network for efficient super-resolution", 2024;
    branches after Ding et al., RepVGG, 2021.
    """

    def __init__(self, *, bands: int, scale: int, channels: int, blocks: int, fused: bool) -> None:
        detail = nn.Sequential(
            _conv(bands, channels, fused=fused),
            AttentionBody(channels, blocks, fused=fused),
            zero_(conv3x3(channels, bands * scale * scale)),
            nn.PixelShuffle(scale),
        )
        super().__init__(detail, bands=bands, scale=scale)
        self._shape = {"channels": channels, "blocks": blocks}

    def for_export(self) -> Generator:
        """The same with one convolution for each layer."""
        fused = SPAN(bands=self.bands, scale=self.scale, **self._shape, fused=True)
        state = {
            name: value for name, value in self.state_dict().items() if name in fused.state_dict()
        }
        for name, module in self.named_modules():
            if isinstance(module, BranchedConv):
                state |= {f"{name}.{k}": v for k, v in module.folded().state_dict().items()}
        fused.load_state_dict(state)
        return fused.to(self.standardise.spread.device).eval().requires_grad_(False)

    def start_as(self, exported: Generator) -> None:
        """See `Generator.start_as`; branches are made that come to the same."""
        state = exported.state_dict()
        branched = {n: m for n, m in self.named_modules() if isinstance(m, BranchedConv)}
        for name, module in branched.items():
            module.unfold(exported.get_submodule(name))  # type: ignore[arg-type]  # folded there
        ours = self.state_dict()
        self.load_state_dict({name: state.get(name, value) for name, value in ours.items()})


def _conv(inputs: int, outputs: int, *, fused: bool) -> nn.Module:
    return conv3x3(inputs, outputs) if fused else BranchedConv(inputs, outputs)
