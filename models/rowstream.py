"""A network over an image a strip of rows at a time, each row of each layer computed once.

A layer keeps the few rows that it will look at again, so strips cost nothing at their edges, and
what is at work fits into the processor's cache. Memory does not depend on the image's height.

Large images run whole are slow: each layer's result is tens of megabytes of fresh memory, whose
pages the operating system makes one by one (see docs/experiments.md).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from models.rowlayers import Layer, take_apart


class RowStream:
    """Runs a network strip by strip.

    Parameters
    ----------
    network : nn.Module
        One image in, one out, in evaluation; see `models.rowlayers` for what it may be made of.

    Raises
    ------
    ConfigError
        For a layer that cannot be run by rows.
    """

    def __init__(self, network: nn.Module) -> None:
        self._entry, self._layers = take_apart(network)
        self._rates = {self._entry: 1}  # rows for a row of the image
        for layer in self._layers:
            self._rates[layer.name] = self._rates[layer.sources[0]] * layer.factor
        self._users = {
            name: [layer for layer in self._layers if name in layer.sources] for name in self._rates
        }

    @property
    def widest(self) -> int:
        """Values that the widest layer holds for a pixel of the image."""
        return max(layer.planes * self._rates[layer.name] ** 2 for layer in self._layers)

    def __call__(
        self, image: Tensor, rows: int, first: int = 0, stop: int | None = None
    ) -> Iterator[tuple[int, int, Tensor]]:
        """Run it on an image [N, C, h, w].

        Parameters
        ----------
        rows : int
            Of the image, in a strip.
        first, stop : int
            Rows of the image whose output is wanted; the others are only looked at.

        Yields
        ------
        first, stop : int
            Rows of the image.
        strip : Tensor
            The output's rows of them.
        """
        stop = image.shape[2] if stop is None else stop
        run = _Run(self._entry, self._layers, self._rates, self._users, image, first)
        for start in range(first, stop, rows):
            end = min(start + rows, stop)
            yield start, end, run.advance(end)


class _Run:
    """How far every layer is in an image, and its rows that are still needed."""

    def __init__(
        self,
        entry: str,
        layers: list[Layer],
        rates: dict[str, int],
        users: dict[str, list[Layer]],
        image: Tensor,
        first: int,
    ) -> None:
        self._entry, self._layers, self._rates, self._users = entry, layers, rates, users
        self._output = layers[-1].name
        self._image = image
        self._heights = {name: image.shape[2] * rate for name, rate in rates.items()}
        self._done = {self._output: first * rates[self._output]}
        for layer in reversed(layers):
            # A pixel shuffle makes all rows of a pixel.
            self._done[layer.name] -= self._done[layer.name] % layer.factor
            above = max(layer.first_needed(self._done[layer.name]), 0)
            for source in layer.sources:
                self._done[source] = min(self._done.get(source, above), above)
        self._start = dict(self._done)
        self._held: dict[str, Tensor | None] = dict.fromkeys(self._done)

    def advance(self, stop: int) -> Tensor:
        """Run all layers as far as the output up to that row of the image needs them."""
        ends = {self._output: stop * self._rates[self._output]}
        for layer in reversed(self._layers):
            below = layer.stop_needed(ends[layer.name])
            for source in layer.sources:
                ends[source] = max(ends.get(source, 0), min(below, self._heights[source]))
        entry = self._entry
        rows = self._image[:, :, self._start[entry] : ends[entry]]
        self._held[entry] = rows.contiguous(memory_format=torch.channels_last)
        self._done[entry] = ends[entry]
        for layer in self._layers:
            end = -(-ends[layer.name] // layer.factor) * layer.factor
            if end > self._done[layer.name]:
                self._held[layer.name] = self._extended(layer, end)
                self._done[layer.name] = end
            for source in layer.sources:
                if self._users[source][-1] is layer:
                    self._forget(source)
        out = self._held[self._output]
        assert out is not None
        self._forget(self._output)
        return out

    def _extended(self, layer: Layer, end: int) -> Tensor:
        """The rows that are kept of a layer, and after them those up to `end`."""
        done, height = self._done[layer.name], self._heights[layer.sources[0]]
        low, high = layer.first_needed(done), layer.stop_needed(end)
        above, below = max(-low, 0), max(high - height, 0)
        given = [self._rows(source, low + above, high - below) for source in layer.sources]
        kept = self._held[layer.name]
        if kept is None:
            return layer.run(given, above, below, None)
        n, planes, before, width = kept.shape
        joined = torch.empty(
            (n, planes, before + end - done, width),
            dtype=kept.dtype,
            device=kept.device,
            memory_format=torch.channels_last,
        )
        joined[:, :, :before] = kept
        room = joined[:, :, before:]
        made = layer.run(given, above, below, room)
        if made is not room:
            room.copy_(made)
        return joined

    def _rows(self, name: str, first: int, stop: int) -> Tensor:
        held, start = self._held[name], self._start[name]
        assert held is not None
        return held[:, :, first - start : stop - start]

    def _forget(self, name: str) -> None:
        """Keep of a layer, whose users have all run, what the next strip looks at."""
        held, done, start = self._held[name], self._done[name], self._start[name]
        wanted = (user.first_needed(self._done[user.name]) for user in self._users[name])
        first = max(min(wanted, default=done), start)
        if held is not None:
            # A copy of the few rows lets the memory of all go, to be the next layer's while it
            # still lies in the caches. The image has its rows anyway.
            kept = held[:, :, first - start :] if first < done and name != self._entry else None
            self._held[name] = (
                None if kept is None else kept.clone(memory_format=torch.channels_last)
            )
        self._start[name] = first
