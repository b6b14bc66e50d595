"""Watches the working folder of a region for when its blocks are finished."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path


class BlockWatch:
    """Looks into the working folder beside an output until the run is over.

    Parameters
    ----------
    folder : Path
        ``OUT.tif.skyscale``.
    every_s : float
        Between two looks; a mark keeps its time, so the last one has to come before the folder is
        taken down, no more.
    """

    def __init__(self, folder: Path, every_s: float = 0.1) -> None:
        self.finished: dict[str, float] = {}  # block to time
        self._begun = float("nan")
        self._folder = folder
        self._every_s = every_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._go)

    @property
    def seconds(self) -> float:
        """From the beginning to the last block's mark."""
        return max(self.finished.values()) - self._begun

    def __enter__(self) -> BlockWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _go(self) -> None:
        while not self._over.wait(self._every_s):
            # Nothing is there yet, or no more.
            with contextlib.suppress(FileNotFoundError):
                self._look()

    def _look(self) -> None:
        self._begun = (self._folder / "plan.json").stat().st_mtime
        for mark in (self._folder / "done").glob("*[0-9]"):
            if mark.name not in self.finished:
                self.finished[mark.name] = mark.stat().st_mtime
