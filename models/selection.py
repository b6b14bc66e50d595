"""Which state of a run is exported."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from models.checkpoint import write_whole
from models.quality import quality


class Selection:
    """Keeps the best validated state of a run on disk; see `models.quality`.

    Parameters
    ----------
    folder : Path
        Gets ``best.pt``.
    detail_worth_db : float
    """

    def __init__(self, folder: Path, *, detail_worth_db: float) -> None:
        self._path = folder / "best.pt"
        self._worth = detail_worth_db
        self.step: int | None = None
        """Of the best state; None before the first."""
        self.scores: Mapping[str, float] = {}
        """Of the best state."""

    def offer(self, step: int, scores: Mapping[str, float], network: nn.Module) -> bool:
        """Take a validated state, if it is the best so far.

        Without any PSNR to judge by, the last one counts.
        """
        found = quality(scores, self._worth)
        better = self.step is None or math.isnan(found) or found > quality(self.scores, self._worth)
        if better:
            self.step, self.scores = step, dict(scores)
            state = {"step": step, "scores": dict(scores), "weights": network.state_dict()}
            write_whole(self._path, state)
        return better

    def load(self) -> None:
        """Go on from what is on disk, if anything is."""
        state = self._read()
        if state is not None:
            self.step, self.scores = state["step"], state["scores"]

    def weights(self) -> dict[str, Any] | None:
        """Weights of the best state, or None when there is none."""
        state = self._read() if self.step is not None else None
        return dict(state["weights"]) if state else None

    def _read(self) -> dict[str, Any] | None:
        if not self._path.is_file():
            return None
        state: dict[str, Any] = torch.load(self._path, map_location="cpu", weights_only=True)
        return state
