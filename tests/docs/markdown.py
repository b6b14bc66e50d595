"""How generated pages write tables, types and defaults."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

GENERATED = "Made from the code by `make docs`; a test fails when it is stale."
_NAMES = {str: "text", int: "whole number", float: "number", bool: "true or false", Path: "path"}


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table, with an empty line behind it."""
    lines = [f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rows)]
    return "\n".join(re.sub(r"\|  (?=\|)", "| ", line) for line in lines) + "\n"


def cell(text: str | None) -> str:
    """Text on one line that cannot leave its cell."""
    return " ".join((text or "").replace("``", "`").split()).replace("|", "\\|")


def kind_of(hint: Any) -> str:
    """A type in words; what may be left out is told by its default."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(kind_of(a) for a in arguments if a is not type(None))
    if origin is typing.Literal:
        return " or ".join(told_default(a) for a in arguments)
    if origin in (list, tuple):
        return f"list of {kind_of(arguments[0])}"
    if origin is dict:
        return "table"
    return _NAMES.get(hint, getattr(hint, "__name__", str(hint)))


def told_default(value: Any) -> str:
    """A default as TOML and JSON write it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f'`"{value}"`' if isinstance(value, str) else f"`{value}`"
