"""Who hears of a run as it goes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from models.clock import Phase
from models.evaluate import Evaluation


class Listener(Protocol):
    """Hears of a run as it goes; only on rank 0."""

    def on_progress(
        self,
        *,
        step: int,
        images: int,
        phase: Phase,
        metrics: Mapping[str, float],
        eta_s: float | None,
    ) -> None:
        """Means since the last call, every `log_every` steps, named ``train/...``."""

    def on_validation(self, *, step: int, evaluation: Evaluation) -> None:
        """Scores and pictures of the averaged generator on validation pairs."""

    def on_checkpoint(self, *, step: int, path: Path) -> None:
        """The run can be continued from here."""

    def on_event(self, *, step: int, text: str) -> None:
        """Something that a person should know: a rollback, broken pairs."""


class Silent:
    """A listener that does nothing."""

    def on_progress(self, **_: Any) -> None:
        """Nothing."""

    def on_validation(self, **_: Any) -> None:
        """Nothing."""

    def on_checkpoint(self, **_: Any) -> None:
        """Nothing."""

    def on_event(self, **_: Any) -> None:
        """Nothing."""
