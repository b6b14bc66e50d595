"""A folded generator at work on a device: arrays of DN in, strips of DN out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.folded import FoldedGenerator, lay_out
from models.generators.base import Generator
from models.rowstream import RowStream

# What the widest layer may hold at a time. On a processor a good part of its cache, and far below
# the 32 MiB from which glibc asks the system for fresh pages again and again; see
# docs/experiments.md.
_CPU_BYTES = 4 << 20
_CPU_ROWS = (4, 32)  # fewer pay for calls, more leave the cache
_GPU_BYTES = 1 << 30


class Engine:
    """Upsamples arrays of DN.

    Parameters
    ----------
    generator : Generator
        Left as it is.
    data_range : float
        The DN that means reflectance one.
    device : torch.device
    dtype : torch.dtype
        Of the detail; see `FoldedGenerator`.
    """

    def __init__(
        self,
        generator: Generator,
        *,
        data_range: float,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        network = FoldedGenerator(generator, data_range, dtype)
        self._network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # stubs forget this overload
        self._stream = RowStream(self._network)
        self._device = device
        self._budget = _CPU_BYTES if device.type == "cpu" else _GPU_BYTES
        self._pixel_bytes = self._stream.widest * dtype.itemsize

    def images_together(self, height: int, width: int) -> int:
        """How many images of that size are best upsampled at once."""
        return max(1, self._budget // (height * width * self._pixel_bytes))

    def upsample(self, lr: npt.NDArray[Any], into: npt.NDArray[np.float32]) -> None:
        """DN [N, C, h, w] into float32 [N, C, s*h, s*w]."""
        for rows, phases in self._run(lr, 0):
            self._store(phases, into[:, :, rows])

    def strips(
        self, lr: npt.NDArray[Any], margin: int = 0
    ) -> Iterator[tuple[slice, npt.NDArray[np.float32]]]:
        """DN [N, C, h, w] to HR rows and their pixels, float32 [N, C, rows, s*(w - 2*margin)].

        `margin` LR pixels on each side are only looked at, and rows count from below them. The
        next strip takes the memory of the one before.
        """
        n, bands, height, width = lr.shape
        scale, inner = self._network.scale, width - 2 * margin
        most = min(self._rows(n, width), height - 2 * margin)
        memory = np.empty((n, bands, most * scale, inner * scale), np.float32)
        for rows, phases in self._run(lr, margin):
            strip = memory[:, :, : rows.stop - rows.start]
            self._store(phases, strip)
            yield rows, strip

    @torch.inference_mode()
    def _run(self, lr: npt.NDArray[Any], margin: int) -> Iterator[tuple[slice, Tensor]]:
        """HR rows below the margin, and the phases of their pixels beside it."""
        n, _, height, width = lr.shape
        scale = self._network.scale
        edge = margin * scale // self._network.factor
        image = self._load(lr)
        rows = self._rows(n, width)
        for first, stop, phases in self._stream(image, rows, margin, height - margin):
            place = slice((first - margin) * scale, (stop - margin) * scale)
            yield place, phases[..., edge : phases.shape[3] - edge]

    def _load(self, lr: npt.NDArray[Any]) -> Tensor:
        """The image where it is, if it can be taken so: the stream lays out a strip at a time."""
        return torch.from_numpy(np.ascontiguousarray(lr, np.float32)).to(self._device)

    @torch.inference_mode()
    def _store(self, phases: Tensor, strip: npt.NDArray[np.float32]) -> None:
        room = torch.from_numpy(strip)
        if self._device.type == "cpu":
            lay_out(phases, self._network.factor, room)
            return
        there = torch.empty(room.shape, device=self._device)
        lay_out(phases, self._network.factor, there)
        room.copy_(there)

    def _rows(self, images: int, width: int) -> int:
        rows = self._budget // (images * width * self._pixel_bytes)
        least, most = _CPU_ROWS if self._device.type == "cpu" else (1, rows)
        return max(least, min(rows, most))
