"""How far long work is, how fast it goes and how long it will take: computed and worded here."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flows.console import say

# Least seconds between lines. Whoever watches a bar wants no more either.
EVERY_S = 5.0


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How far work is, and how fast.

    Parameters
    ----------
    done, total : int
        Pieces.
    unit : str
        What a piece is, in the plural: ``tiles``.
    share : float
        How far all of it is, 0 to 1: pieces need not be of one size.
    rate : float or None
        A second; None while nothing is known.
    rate_unit : str
        What is counted for the rate: ``Mpx``.
    eta_s : float or None
        Seconds to go.
    """

    done: int
    total: int
    unit: str
    share: float
    rate: float | None = None
    rate_unit: str
    eta_s: float | None = None

    def __str__(self) -> str:
        words = [f"{self.done} of {self.total} {self.unit}"]
        if self.rate is not None:
            words.append(f"{self.rate:.{1 if self.rate < 100 else 0}f} {self.rate_unit}/s")
        if self.eta_s is not None:
            words.append(f"{duration(self.eta_s)} to go")
        return ", ".join(words)

    @property
    def facts(self) -> dict[str, Any]:
        """The same for programs that read logs."""
        return {
            "done": self.done,
            "total": self.total,
            "unit": self.unit,
            "share": round(self.share, 4),
            "rate": self.rate,
            "rate_unit": f"{self.rate_unit}/s",
            "eta_s": self.eta_s,
        }


class Progress:
    """A line now and then about long work, and a bar in the UI where there is one.

    Parameters
    ----------
    what : str
        Begins each line, for example ``upscale``.
    total : int
        Pieces, those that an earlier run has done among them.
    unit : str
        Of pieces.
    before : int
        Pieces that an earlier run has done.
    rate_unit : str, optional
        What is counted for the rate, where it is not pieces.
    tell : callable, optional
        Told at each piece, see `flows.artifacts.progress_teller`.
    every_s : float
        Least seconds between lines.
    """

    def __init__(
        self,
        what: str,
        total: int,
        unit: str,
        *,
        before: int = 0,
        rate_unit: str | None = None,
        tell: Callable[[Pace], None] | None = None,
        every_s: float = EVERY_S,
    ) -> None:
        self._what, self._total, self._unit = what, total, unit
        self._before = self._done = before
        self._rate_unit = rate_unit or unit
        self._tell, self._every_s = tell, every_s
        self._amount = 0.0
        self._start = self._last = time.monotonic()
        if tell is not None and total == before:
            tell(self._pace(self._start))

    def add(self, count: int = 1, amount: float | None = None) -> None:
        """Count finished pieces, and how much of what the rate counts there was in them."""
        self._done += count
        self._amount += count if amount is None else amount
        now = time.monotonic()
        pace = self._pace(now)
        if self._tell is not None:
            self._tell(pace)
        if now - self._last >= self._every_s:
            self._last = now
            say(f"{self._what}: {pace}", **pace.facts)

    def _pace(self, now: float) -> Pace:
        seconds = max(now - self._start, 1e-9)
        done = self._done - self._before
        return Pace(
            done=self._done,
            total=self._total,
            unit=self._unit,
            share=self._done / self._total if self._total else 1.0,
            rate=self._amount / seconds,
            rate_unit=self._rate_unit,
            eta_s=seconds * (self._total - self._done) / done if done else None,
        )


def duration(seconds: float) -> str:
    """Seconds in words: ``40 s``, ``4 min``, ``2.5 h``, ``3 d``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 2 * 86400 else f"{seconds / 86400:.0f} d"
