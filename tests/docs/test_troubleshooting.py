"""The troubleshooting page tells what the code says: each message and each reason is in it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.docs.shell import ROOT

PAGE = (ROOT / "docs/guides/troubleshooting.md").read_text()
_GAP = "\0"


def texts_of(source: str) -> Iterator[str]:
    """Texts of code, with a gap where something is put in."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            parts = (p.value if isinstance(p, ast.Constant) else _GAP for p in node.values)
            yield "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


TEXTS = [
    text
    for package in ("geo", "models", "flows")
    for path in sorted((ROOT / package).rglob("*.py"))
    for text in texts_of(path.read_text())
]
# What libraries say, and what is put together.
_NOT_OURS = {"No module named 'onnx'", "no val pairs", "no test pairs"}


def first_cells() -> list[str]:
    """What stands in backticks in the first column of a table."""
    rows = re.findall(r"^\| (`.*?`) \|", PAGE, re.MULTILINE)
    return [told for row in rows for told in re.findall(r"`([^`]+)`", row)]


def is_told(symptom: str) -> bool:
    parts = [re.escape(part.strip()) for part in symptom.split("...")]
    pattern = re.compile(f"[ (]?{_GAP}[ )]?|[ (]+.*?[ )]*".join(parts), re.DOTALL)
    return any(pattern.search(text) for text in TEXTS)


def test_every_symptom_is_something_that_the_code_says() -> None:
    symptoms = first_cells()
    assert len(symptoms) > 60
    assert [s for s in symptoms if s not in _NOT_OURS and not is_told(s)] == []


def test_a_message_that_nobody_says_would_be_seen() -> None:
    assert not is_told("the moon is full")


def test_every_reason_for_a_refusal_is_explained() -> None:
    section = PAGE.partition("## Refusals")[2].partition("\n## ")[0]
    told = set(re.findall(r"`([a-z_]+)`", section))
    assert reasons() - told == set()


# Errors of a command, not refusals of scenes; or both and told under another name.
_NO_REFUSALS = {"disk", "outside_raster"}


def reasons() -> set[str]:
    """Reasons and causes that `geo` gives by name."""
    found = set()
    for path in (ROOT / "geo").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.keyword)
                and node.arg in ("reason", "cause")
                and isinstance(node.value, ast.Constant)
                and isinstance(node.value.value, str)
            ):
                found.add(node.value.value)
    return found - _NO_REFUSALS
