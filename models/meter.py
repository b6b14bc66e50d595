"""What a run measures of itself between two reports."""

from __future__ import annotations

import time

import torch
from torch import Tensor

from models.distributed import Ranks
from models.player import Metrics


class Meter:
    """Means of metrics since the last reading, kept on the device until then."""

    def __init__(self, here: Ranks) -> None:
        self._here = here
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self._notes: dict[str, float] = {}
        self._images = 0
        self._images_read: int | None = None
        self._read_at = time.perf_counter()
        self._waited_s = 0.0

    def add(self, metrics: Metrics) -> None:
        """Values of one update."""
        for name, value in metrics.items():
            known = self._sums.get(name)
            self._sums[name] = value.clone() if known is None else known.add_(value)
            self._counts[name] = self._counts.get(name, 0) + 1

    def note(self, name: str, value: float) -> None:
        """A setting, of which the last value counts."""
        self._notes[name] = value

    def count(self, images: int) -> None:
        """Images seen so far."""
        self._images = images

    def read(self, waited_s: float) -> dict[str, float]:
        """Means over updates and ranks, speed, and share of time spent waiting for data."""
        names = sorted(self._sums)
        means = torch.stack([self._sums[name].float() / self._counts[name] for name in names])
        values = dict(zip(names, self._here.mean(means).tolist(), strict=True))
        now = time.perf_counter()
        seconds = max(now - self._read_at, 1e-9)
        if self._images_read is not None:
            values["images_per_s"] = (self._images - self._images_read) / seconds
        values["data_wait_share"] = min(1.0, (waited_s - self._waited_s) / seconds)
        values.update(self._notes)
        self._sums, self._counts, self._notes = {}, {}, {}
        self._images_read, self._read_at, self._waited_s = self._images, now, waited_s
        return values
