"""What docstrings and comments say of settings, read as data."""

from __future__ import annotations

import ast
import inspect
import re
from types import ModuleType

_PARAMETER = re.compile(r"^(\w+(?:, \w+)*) : .+$")


def parameters_of(kind: type) -> dict[str, str]:
    """Meaning of each parameter in a numpydoc docstring; names that share one share its meaning."""
    text = inspect.getdoc(kind) or ""
    _, _, section = text.partition("Parameters\n----------\n")
    section = re.split(r"\n[A-Z]\w+\n-{3,}\n", section)[0]
    meanings: dict[str, str] = {}
    names: list[str] = []
    for line in section.splitlines():
        if match := _PARAMETER.match(line):
            names = match[1].split(", ")
            meanings |= dict.fromkeys(names, "")
        elif line.strip():
            for name in names:
                meanings[name] = f"{meanings[name]} {line.strip()}".strip()
    return meanings


def summary_of(kind: type) -> str:
    """The docstring's text before its sections, on one line."""
    text = (inspect.getdoc(kind) or "").partition("\n\nParameters\n")[0]
    return " ".join(text.split())


def commented_dicts(module: ModuleType) -> dict[str, dict[str, tuple[str, str]]]:
    """Dictionaries of texts at the top of a module: value and comment by key.

    A comment is of the entry that it stands above.
    """
    source = inspect.getsource(module)
    lines = source.splitlines()
    found: dict[str, dict[str, tuple[str, str]]] = {}
    for node in ast.parse(source).body:
        if not (isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict)):
            continue
        entries: dict[str, tuple[str, str]] = {}
        begun = node.lineno
        for key, value in zip(node.value.keys, node.value.values, strict=True):
            if not (isinstance(key, ast.Constant) and isinstance(value, ast.Constant)):
                break
            above = [line.strip() for line in lines[begun : key.lineno - 1]]
            said = " ".join(line.lstrip("# ") for line in above if line.startswith("#"))
            begun = value.end_lineno or key.lineno
            entries[str(key.value)] = (str(value.value), said)
        if entries:
            found[ast.unparse(node.targets[0])] = entries
    return found
