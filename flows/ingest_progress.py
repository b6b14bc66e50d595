"""How far an ingest is."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from flows.console import say
from flows.progress import EVERY_S, Pace

if TYPE_CHECKING:
    import shapely


class IngestProgress:
    """How far the whole run is, by ground: chips of scenes not yet looked at are unknown.

    Parameters
    ----------
    grounds : sequence of geometry
        Of each scene pair, or of each scene that is cut alone, lon/lat.
    known : sequence of bool
        Whether each of them is finished already.
    unit : str
        What they are.
    tell : callable, optional
        Told at each piece of work, see `flows.artifacts.progress_teller`.
    """

    def __init__(
        self,
        grounds: Sequence[shapely.Geometry],
        known: Sequence[bool],
        tell: Callable[[Pace], None] | None = None,
        *,
        unit: str = "scene pairs",
    ) -> None:
        self._unit = unit
        self._ground = [
            0.0 if skip else _size(ground) for ground, skip in zip(grounds, known, strict=True)
        ]
        self._done = [0.0] * len(grounds)
        self._total = sum(self._ground) or 1.0
        self._scenes, self._chips = sum(known), 0
        self._tell_bar = tell
        self._start = self._last = time.monotonic()
        if tell is not None and not any(self._ground):
            tell(self._pace(1.0, self._start))

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

    def _tell(self, chips: int) -> None:
        now = time.monotonic()
        chips += self._chips
        share = sum(self._done) / self._total
        pace = self._pace(share, now, chips)
        if self._tell_bar is not None:
            self._tell_bar(pace)
        if now - self._last >= EVERY_S:
            self._last = now
            say(f"ingest: {share:.0%} of the ground, {pace}, {chips} chips", **pace.facts)

    def _pace(self, share: float, now: float, chips: int = 0) -> Pace:
        seconds = max(now - self._start, 1e-9)
        return Pace(
            done=self._scenes,
            total=len(self._ground),
            unit=self._unit,
            share=share,
            rate=chips / seconds,
            rate_unit="chips",
            eta_s=None if share < 0.01 else seconds * (1 / share - 1),
        )


def _size(ground: shapely.Geometry) -> float:
    """Square degrees at the equator."""
    south, north = ground.bounds[1::2]
    return float(ground.area) * max(0.01, math.cos(math.radians((south + north) / 2)))
