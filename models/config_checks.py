"""Reading settings from plain values, and refusing those that cannot be in one sentence."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, TypeVar, get_type_hints

from models.errors import ConfigError

_T = TypeVar("_T")


def from_dict(cls: type[_T], values: Mapping[str, Any], *, where: str = "") -> _T:
    """Build a configuration from nested mappings, refusing unknown keys by name."""
    hints = get_type_hints(cls)
    known = {item.name for item in dataclasses.fields(cls)}  # type: ignore[arg-type]  # of a class variable
    unknown = sorted(set(values) - known)
    if unknown:
        named = ", ".join(where + key for key in unknown)
        raise ConfigError(
            f"unknown key{'s' if len(unknown) > 1 else ''} {named}; "
            f"known are {', '.join(sorted(known))}",
            unknown=unknown,
            known=sorted(known),
        )
    arguments: dict[str, Any] = {}
    for key, value in values.items():
        kind = hints[key]
        if isinstance(kind, type) and dataclasses.is_dataclass(kind) and isinstance(value, Mapping):
            value = from_dict(kind, value, where=f"{where}{key}.")
        arguments[key] = _checked(where + key, value, kind)
    return cls(**arguments)


def _checked(name: str, value: Any, kind: Any) -> Any:
    """Value as the annotation wants it; an int is a float, a bool is not an int."""
    wanted = tuple(getattr(kind, "__args__", (kind,)))
    if float in wanted and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
        names = " or ".join(getattr(item, "__name__", str(item)) for item in wanted)
        raise ConfigError(
            f"{name} must be {names.replace('NoneType', 'none')}, got {value!r}",
            name=name,
            value=value,
        )
    return value


def one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Refuse a name that is not among the choices."""
    if value not in choices:
        raise ConfigError(
            f"{name} must be one of {', '.join(choices)}, got {value!r}", name=name, value=value
        )


def whole(name: str, value: object) -> None:
    """Refuse what is not an integer, which JSON and TOML may hold where one is wanted."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise ConfigError(f"{name} must be a whole number, got {value!r}", name=name, value=value)


def at_least(name: str, value: int, least: int) -> None:
    """Refuse a number below the least."""
    if value < least:
        raise ConfigError(f"{name} must be {least} or more, got {value}", name=name, value=value)


def positive(name: str, value: float) -> None:
    """Refuse what is not a finite number above 0."""
    if not (math.isfinite(value) and value > 0):
        raise ConfigError(f"{name} must be more than 0, got {value}", name=name, value=value)


def share(name: str, value: float, *, closed_below: bool = False) -> None:
    """Refuse what is not a share of one."""
    if not (0 <= value < 1) or (value == 0 and not closed_below):
        raise ConfigError(
            f"{name} must be {'at least' if closed_below else 'more than'} 0 and less than 1, "
            f"got {value}",
            name=name,
            value=value,
        )


def not_negative(name: str, value: float) -> None:
    """Refuse what is not a finite number from 0 up."""
    if not (math.isfinite(value) and value >= 0):
        raise ConfigError(f"{name} must be 0 or more, got {value}", name=name, value=value)
