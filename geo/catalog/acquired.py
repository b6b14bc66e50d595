"""When a raster that nobody catalogued was taken."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from geo.catalog.query import parse_time
from geo.errors import CatalogError, SourceError

# A day anywhere in a name (2023-08-15, 20230815), and a time right behind it (T095031).
DEFAULT_PATTERN = re.compile(
    r"(?<!\d)(?P<year>(?:19|20)\d\d)[-_]?(?P<month>0[1-9]|1[0-2])[-_]?(?P<day>0[1-9]|[12]\d|3[01])"
    r"(?:T(?P<hour>[01]\d|2[0-3]):?(?P<minute>[0-5]\d):?(?P<second>[0-5]\d)?(?!\d))?(?!\d)"
)
_TAGS = ("ACQUISITIONDATETIME", "SKYSCALE_TIME", "TIFFTAG_DATETIME")
_TAG_FORMATS = ("%Y:%m:%d %H:%M:%S", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d")
_SIDECAR_KEYS = (
    "datetime",
    "acquired",
    "acquisition-date",
    "acquisition_date",
    "acquisitionDate",
    "acquisition_time",
    "sensing_time",
    "date",
    "time",
    "timestamp",
)
_SIDECAR_BYTES = 4 * 2**20
_NOON = timedelta(hours=12)


def compile_pattern(text: str | None) -> re.Pattern[str] | None:
    """A user's pattern for the time in a path below the folder.

    Parameters
    ----------
    text : str or None
        Regular expression with the named groups ``year`` and ``month`` and ``day``, or ``year``
        and ``doy`` (day of the year), and perhaps ``hour``, ``minute``, ``second``.

    Raises
    ------
    CatalogError
        If it is no regular expression or a group is missing.
    """
    if text is None:
        return None
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise CatalogError(
            f"time pattern {text!r} is no regular expression ({error}); "
            "wanted one like (?P<year>\\d{4})(?P<month>\\d\\d)(?P<day>\\d\\d)"
        ) from error
    groups = set(pattern.groupindex)
    if not ({"year", "month", "day"} <= groups or {"year", "doy"} <= groups):
        raise CatalogError(
            f"time pattern {text!r} has the groups {', '.join(sorted(groups)) or 'none'}; "
            "wanted (?P<year>...), (?P<month>...) and (?P<day>...), or year and doy"
        )
    return pattern


def time_of_raster(
    path: Path,
    inside: str,
    tags: Mapping[str, str],
    sidecar: Mapping[str, Any],
    pattern: re.Pattern[str] | None,
) -> datetime:
    """Time of a raster; in this order: the user's pattern, sidecar, tags, name, folder's name.

    Parameters
    ----------
    path : Path
    inside : str
        The path below the folder that is read, which the user's pattern is matched with.
    tags, sidecar : dict
    pattern : re.Pattern, optional

    Raises
    ------
    SourceError
        With cause ``no_time``.
    """
    if pattern is not None:
        match = pattern.search(inside)
        time = _time_of_match(match)
        found = f"finds {match.group()!r}, which is no day" if match else "finds nothing"
        wanted = f"one that the time pattern tells: {pattern.pattern!r} {found}, in {inside!r}"
    else:
        time = (
            _time_of_sidecar(sidecar)
            or _time_of_tags(tags)
            or _time_of_name(path.stem)
            or _time_of_name(path.parent.name)
        )
        wanted = "a date in its name (like 20230815), a TIFF date tag or a sidecar with a datetime"
    if time is None:
        raise SourceError(f"{path}: no time; wanted {wanted}", href=str(path), cause="no_time")
    return time


def read_sidecar(path: Path) -> dict[str, Any]:
    """What a file beside a raster says of it; empty where there is none that can be read.

    Read are JSON (``a.json`` or ``a.tif.json`` beside ``a.tif``: a STAC item or plain keys such
    as ``datetime``) and FGDC metadata (``a.xml``).
    """
    for beside in sidecars(path):
        try:
            if beside.stat().st_size > _SIDECAR_BYTES:
                continue
            text = beside.read_text("utf-8", errors="replace")
            found = _of_fgdc(text) if beside.suffix == ".xml" else json.loads(text)
        except (OSError, ValueError, RecursionError, ElementTree.ParseError):
            continue
        if isinstance(found, dict) and found:
            return found
    return {}


def sidecars(path: Path) -> list[Path]:
    """Files beside a raster that may describe it."""
    names = (f"{path.stem}.json", f"{path.name}.json", f"{path.stem}.xml", f"{path.name}.xml")
    return [p for p in dict.fromkeys(path.with_name(name) for name in names) if p.is_file()]


def _time_of_match(match: re.Match[str] | None) -> datetime | None:
    """Time from named groups; noon where there is no hour."""
    if match is None:
        return None
    found = {name: int(text) for name, text in match.groupdict().items() if text and text.isdigit()}
    year = found.get("year", 0)
    year += 2000 if 0 < year < 100 else 0
    try:
        if "doy" in found:
            day = datetime(year, 1, 1, tzinfo=UTC) + timedelta(days=found["doy"] - 1)
        else:
            day = datetime(year, found["month"], found["day"], tzinfo=UTC)
        if "hour" not in found:
            return day + _NOON
        return day.replace(
            hour=found["hour"], minute=found.get("minute", 0), second=found.get("second", 0)
        )
    except (KeyError, ValueError, OverflowError):
        return None


def _time_of_name(text: str) -> datetime | None:
    return next(
        (t for t in map(_time_of_match, DEFAULT_PATTERN.finditer(text)) if t is not None), None
    )


def _time_of_tags(tags: Mapping[str, str]) -> datetime | None:
    for name in _TAGS:
        stamp = tags.get(name, "").strip()
        for pattern in _TAG_FORMATS if stamp else ():
            try:
                time = datetime.strptime(stamp, pattern).replace(tzinfo=UTC)
            except ValueError:
                continue
            return time + _NOON if pattern == "%Y-%m-%d" else time
        if stamp and (time_or_none := parse_time(stamp)):
            return time_or_none
    return None


def _time_of_sidecar(sidecar: Mapping[str, Any]) -> datetime | None:
    properties = sidecar.get("properties")
    places = [properties, sidecar] if isinstance(properties, dict) else [sidecar]
    for place in places:
        for key in _SIDECAR_KEYS:
            value = place.get(key)
            if isinstance(value, str) and (time := parse_time(value)):
                return time + _NOON if len(value.strip()) <= 10 else time
        start, end = (parse_time(place.get(f"{k}_datetime")) for k in ("start", "end"))
        if start and end:
            return start + (end - start) / 2
    return None


def _of_fgdc(text: str) -> dict[str, Any]:
    """Time of FGDC metadata (CSDGM, section 1.3); documents with entities are not parsed."""
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        return {}
    period = ElementTree.fromstring(text).find(".//timeperd/timeinfo")
    if period is None:
        return {}
    if (day := period.findtext(".//caldate")) is not None:
        clock = (period.findtext(".//time") or "").rstrip("Z")
        if time := _time_of_name(f"{day}T{clock}" if clock.isdigit() else day):
            return {"datetime": time.isoformat()}
    days = [_time_of_name(period.findtext(f".//{k}") or "") for k in ("begdate", "enddate")]
    if days[0] and days[1]:
        return {"start_datetime": days[0].isoformat(), "end_datetime": days[1].isoformat()}
    return {}
