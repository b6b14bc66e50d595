"""Which scenes of a source are wanted."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import shapely

from geo.catalog.scene import Scene


@dataclass(frozen=True, kw_only=True)
class SceneQuery:
    """Time and place that scenes must touch. STAC APIs are asked for no others.

    Parameters
    ----------
    start, end : datetime, optional
        Both included; naive times are UTC.
    bbox : tuple of float, optional
        West, south, east, north in degrees; west beyond east crosses the antimeridian.
    intersects : shapely geometry, optional
        Lon/lat; instead of `bbox`.
    since : datetime, optional
        Only what its publisher has added or changed since; where it does not say, everything.
    """

    start: datetime | None = None
    end: datetime | None = None
    bbox: tuple[float, float, float, float] | None = None
    intersects: shapely.Geometry | None = None
    since: datetime | None = None

    def __post_init__(self) -> None:
        for name in ("start", "end", "since"):
            time = getattr(self, name)
            if time is not None:
                aware = time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
                object.__setattr__(self, name, aware)
        if self.start and self.end and self.start > self.end:
            raise ValueError(f"start {self.start} lies after end {self.end}")
        if self.bbox is not None:
            if self.intersects is not None:
                raise ValueError("bbox and intersects are both given; wanted one of them")
            west, south, east, north = self.bbox
            if not (-180 <= west <= 180 and -180 <= east <= 180 and -90 <= south < north <= 90):
                raise ValueError(f"bbox is {self.bbox}; wanted west, south, east, north in degrees")

    @property
    def area(self) -> shapely.Geometry | None:
        """The place as a lon/lat geometry."""
        if self.bbox is None:
            return self.intersects
        west, south, east, north = self.bbox
        if west <= east:
            return shapely.box(west, south, east, north)
        return shapely.union(
            shapely.box(west, south, 180, north), shapely.box(-180, south, east, north)
        )

    @property
    def interval(self) -> str | None:
        """The time as STAC APIs take it, for example ``2023-08-01T00:00:00Z/..``."""
        if self.start is None and self.end is None:
            return None
        return f"{text_of(self.start) or '..'}/{text_of(self.end) or '..'}"

    def keeps(self, scene: Scene) -> bool:
        """Whether a scene is wanted."""
        if (self.start and scene.time < self.start) or (self.end and scene.time > self.end):
            return False
        if self.since:
            changed = updated_of(scene.properties)
            if changed is not None and changed < self.since:
                return False
        area = self.area
        return area is None or bool(shapely.intersects(area, scene.footprint))


def updated_of(properties: dict[str, object]) -> datetime | None:
    """When a publisher changed an item last, or else added it."""
    for key in ("updated", "created"):
        time = parse_time(properties.get(key))
        if time is not None:
            return time
    return None


def parse_time(value: object) -> datetime | None:
    """A time of STAC (RFC 3339) in UTC; None for anything else."""
    if isinstance(value, datetime):
        time = value
    else:
        try:
            time = datetime.fromisoformat(str(value))
        except ValueError:
            return None
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)


def text_of(time: datetime | None) -> str | None:
    """A time as STAC writes it."""
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z") if time else None
