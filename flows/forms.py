"""Forms of the Prefect UI: what a parameter means, taken from where it is written down already."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar

_T = TypeVar("_T")

_HEAD = re.compile(r"^(?P<names>\w+(?:, \w+)*)(?: : (?P<kind>.+))?$")
_CHOICES = re.compile(r"^\{(?P<choices>.+)\}")
# What people read for words that only programs know.
_WORDS = {
    **{name: name.upper() for name in ("aoi", "crs", "id", "lpips", "lr", "mb", "sr")},
    **{"dir": "folder", "dtype": "data type", "nnodes": "machines", "nproc": "processes"},
}


def form(cls: type[_T]) -> type[_T]:
    """Class decorator: give the schema of a dataclass the words and choices of its docstring.

    Notes
    -----
    Prefect makes forms of pydantic's schemas, which know the fields of a dataclass but not its
    numpydoc. Several names in one entry share its description. What may be left out is an empty
    field of its type, for the UI would make a choice between that type and "None" of it; None
    itself is still taken from programs.
    """
    words, choices = read_docstring(cls)
    unknown = set(words) - {f.name for f in fields(cls)}  # type: ignore[arg-type]  # a dataclass
    assert not unknown, f"{cls.__name__} describes {unknown}, which it does not have"

    def describe(_: type[_T], core_schema: Any, handler: Callable[[Any], Any]) -> Any:
        schema = handler(core_schema)
        found = handler.resolve_ref_schema(schema)  # type: ignore[attr-defined]  # of pydantic
        found["description"] = (inspect.getdoc(cls) or "").splitlines()[0]
        for name, prop in found["properties"].items():
            prop["title"] = _title(name)
            _leave_empty(prop)
            if name in words:
                prop["description"] = words[name]
            if name in choices:
                prop["enum"] = choices[name]
        return schema

    cls.__get_pydantic_json_schema__ = classmethod(describe)  # type: ignore[attr-defined]  # read by pydantic
    return cls


def _title(name: str) -> str:
    title = " ".join(_WORDS.get(word, word) for word in name.split("_"))
    return title[0].upper() + title[1:]


def _leave_empty(prop: dict[str, Any]) -> None:
    """Have the schema of ``X | None = None`` be that of an ``X`` without a default.

    Prefect's validator takes null for what is neither required nor has a default.
    """
    kinds = [kind for kind in prop.get("anyOf", ()) if kind != {"type": "null"}]
    if len(kinds) == 1 and "default" in prop and prop["default"] is None:
        del prop["anyOf"], prop["default"]
        prop.update(kinds[0])


def read_docstring(cls: type[Any]) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Descriptions and choices, such as ``{"linear", "histogram"}``, of a numpydoc docstring."""
    text = inspect.getdoc(cls) or ""
    _, _, section = text.partition("Parameters\n----------\n")
    section = re.split(r"\n\n?\w[\w ]*\n-{3,}\n", section)[0]
    words: dict[str, str] = {}
    choices: dict[str, list[str]] = {}
    names: list[str] = []
    for line in section.splitlines():
        if (head := _HEAD.match(line)) is not None:
            names = head["names"].split(", ")
            chosen = _CHOICES.match(head["kind"] or "")
            if chosen is not None:
                told = [c.strip().strip("\"'") for c in chosen["choices"].split(",")]
                choices |= dict.fromkeys(names, told)
        elif line.strip():
            for name in names:
                words[name] = f"{words.get(name, '')} {line.strip()}".strip().replace("`", "")
    return words, choices
