"""What lies where in the folder of a training run."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.config_unpaired import PRODUCTS


@dataclass(frozen=True)
class RunFolder:
    """Folder of a run, beside it only ``checkpoints/``, which the trainer keeps.

    Parameters
    ----------
    path : Path
    made : str
        Folder of what is made, inside.
    """

    path: Path
    made: str = "generator"

    @property
    def job(self) -> Path:
        """What the ranks are to do, as JSON."""
        return self.path / "job.json"

    @property
    def start(self) -> Path:
        """The generator that it began as, where it did not begin from scratch."""
        return self.path / "start"

    @property
    def restyler(self) -> Path:
        """What gives training pairs another look, where some are to have one."""
        return self.path / "restyler"

    @property
    def log(self) -> Path:
        """All that the ranks print."""
        return self.path / "ranks.log"

    @property
    def spool(self) -> Path:
        """Metrics and pictures, sent and not yet sent."""
        return self.path / "tracking"

    @property
    def events(self) -> Path:
        """What happened that a person should know: rollbacks, broken pairs."""
        return self.path / "events.txt"

    @property
    def evaluation(self) -> Path:
        """Scores on held-out ground, once the run has finished."""
        return self.path / "evaluation.json"

    @property
    def test(self) -> Path:
        """Scores of each test pair, as of the tiles of a report."""
        return self.path / "test"

    @property
    def champion(self) -> Path:
        """The champion's scores of the same test pairs."""
        return self.path / "champion"

    @property
    def comparison(self) -> Path:
        """How the generator compares with the champion, pair by pair."""
        return self.path / "comparison.json"

    @property
    def product(self) -> Path:
        """What was made: an exported generator, for example."""
        return self.path / self.made

    @property
    def degrader(self) -> Path:
        """The exported degrader: what was made, or what came with a generator, if any did."""
        return self.path / "degrader"

    @property
    def card(self) -> Path:
        """What it is for, how good it is, what it cannot do."""
        return self.product / "README.md"

    @property
    def curves(self) -> Path:
        """Learning curves as a picture."""
        return self.path / "curves.png"

    def read_evaluation(self) -> dict[str, Any]:
        """The evaluation, as the ranks wrote it."""
        return dict(json.loads(self.evaluation.read_text()))

    def is_finished(self, config: Mapping[str, Any]) -> bool:
        """Whether nothing is left to train with these settings."""
        return self.evaluation.exists() and self.read_evaluation().get("config") == config


def folder_of(job: Mapping[str, Any]) -> RunFolder:
    """Folder of a job."""
    task = job["config"].get("task", "paired")  # older jobs know of no other
    return RunFolder(Path(job["folder"]), PRODUCTS[task])


def write_text_whole(file: Path, text: str) -> None:
    """Write a file that is there as a whole or not at all."""
    partial = file.with_suffix(".partial")
    partial.write_text(text)
    os.replace(partial, file)
