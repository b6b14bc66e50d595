"""What counts as the same place and nearly the same time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import shapely

DAY_S = 86400.0
YEAR_DAYS = 365.25


@dataclass(frozen=True, kw_only=True)
class MatchRules:
    """Which scenes go together.

    Parameters
    ----------
    max_gap_days : float
        Most days between the two acquisitions.
    max_cloud : float
        Most cloud, 0 to 1, that the catalogue may give for the satellite scene.
    min_overlap : float
        Least common ground, as a share of the smaller footprint.
    season_days : float, optional
        Scenes of other years match as well, if their days of the year differ by no more.
    max_season_years : int
        Most years between them then.
    max_solar_gap_hours : float, optional
        Most difference in local solar time: the same time of day casts the same shadows. A time
        of exactly 00:00 or 12:00 UTC stands for a date alone, as in NAIP's items, and passes.
    start, end : datetime, optional
        Window of satellite times, aware; `end` is not in it.
    aoi : shapely geometry, optional
        Area of interest in lon/lat.
    """

    max_gap_days: float = 30.0
    max_cloud: float = 0.6
    min_overlap: float = 0.01
    season_days: float | None = None
    max_season_years: int = 5
    max_solar_gap_hours: float | None = None
    start: datetime | None = None
    end: datetime | None = None
    aoi: shapely.Geometry | None = None

    def __post_init__(self) -> None:
        if self.max_gap_days < 0:
            raise ValueError(f"max_gap_days is {self.max_gap_days:g}; wanted 0 or more")
        for name in ("max_cloud", "min_overlap"):
            if not 0 <= (share := getattr(self, name)) <= 1:
                raise ValueError(f"{name} is {share:g}; wanted a share from 0 to 1")
        if self.season_days is not None and not 0 <= self.season_days <= 182:
            raise ValueError(f"season_days is {self.season_days:g}; wanted 0 to 182")
        if self.max_season_years < 1:
            raise ValueError(f"max_season_years is {self.max_season_years}; wanted 1 or more")
        if self.max_solar_gap_hours is not None and not 0 < self.max_solar_gap_hours <= 12:
            raise ValueError(
                f"max_solar_gap_hours is {self.max_solar_gap_hours:g}; wanted more than 0, at "
                "most 12"
            )
        for name, time in (("start", self.start), ("end", self.end)):
            if time is not None and time.tzinfo is None:
                raise ValueError(f"{name} is {time}; wanted a time with a zone")
        if self.start and self.end and self.start >= self.end:
            raise ValueError(
                f"the time window is empty: start {self.start:%Y-%m-%d} is not before "
                f"end {self.end:%Y-%m-%d}"
            )

    def time_windows(self) -> list[tuple[float, float]]:
        """Seconds from the satellite's time to the aerial one that may match."""
        windows = [(-self.max_gap_days, self.max_gap_days)]
        if self.season_days is not None:
            half = self.season_days + 1
            for years in range(-self.max_season_years, self.max_season_years + 1):
                windows.append((years * YEAR_DAYS - half, years * YEAR_DAYS + half))
        apart: list[tuple[float, float]] = []  # so that no pair is met twice
        for least, most in sorted(windows):
            if apart and least <= apart[-1][1]:
                apart[-1] = (apart[-1][0], max(most, apart[-1][1]))
            else:
                apart.append((least, most))
        return [(least * DAY_S, most * DAY_S) for least, most in apart]


def parse_day(text: str, name: str) -> datetime:
    """Read a day or time in ISO form; without a zone it is UTC.

    Raises
    ------
    ValueError
        If it is no such time.
    """
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{name} is {text!r}; wanted a day like 2024-06-30") from error
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
