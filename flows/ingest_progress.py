"""How far an ingest is."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from flows.console import say

if TYPE_CHECKING:
    from geo.match import Candidate


class Progress:
    """How far the whole run is, by ground: chips of scenes not yet looked at are unknown."""

    def __init__(self, candidates: Sequence[Candidate], known: Sequence[bool]) -> None:
        self._ground = [
            0.0 if skip else _ground_size(c) for c, skip in zip(candidates, known, strict=True)
        ]
        self._done = [0.0] * len(candidates)
        self._total = sum(self._ground) or 1.0
        self._scenes, self._chips = sum(known), 0
        self._start = self._last = time.monotonic()

    def blocks_done(self, index: int, share: float, chips: int) -> None:
        """Note the share of a scene pair's blocks that are there, and how many chips it has."""
        self._done[index] = self._ground[index] * share
        self._tell(round(chips * share))

    def scenes_done(self, index: int, chips: int) -> None:
        """Note that a scene pair is finished."""
        self._done[index] = self._ground[index]
        self._scenes += 1
        self._chips += chips
        self._tell(0)

    def _tell(self, chips: int, every_s: float = 5.0) -> None:
        now = time.monotonic()
        if now - self._last < every_s:
            return
        self._last = now
        share, seconds = sum(self._done) / self._total, now - self._start
        chips += self._chips
        left = "" if share < 0.01 else f", about {_duration(seconds * (1 / share - 1))} to go"
        say(
            f"ingest: {share:.0%} of the ground, {self._scenes} of {len(self._ground)} scene "
            f"pairs, {chips} chips, {chips / seconds:.0f} a second{left}"
        )


def _ground_size(candidate: Candidate) -> float:
    """Square degrees at the equator."""
    south, north = candidate.ground.bounds[1::2]
    return float(candidate.ground.area) * max(0.01, math.cos(math.radians((south + north) / 2)))


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
