"""The sizing page is arithmetic on numbers that stand in docs/benchmarks.md."""

from __future__ import annotations

import re

import pytest

from tests.benchmarks.sizing import MEASURED, pairs_table, quoted, table
from tests.docs.shell import ROOT

PAGE = (ROOT / "docs/guides/sizing.md").read_text()
BENCHMARKS = (ROOT / "docs/benchmarks.md").read_text()


@pytest.mark.parametrize("lines", [table(), pairs_table()], ids=["areas", "pairs"])
def test_its_tables_are_as_computed(lines: list[str]) -> None:
    """``python -m tests.benchmarks.sizing`` prints them."""
    assert "\n".join(lines) in PAGE


@pytest.mark.parametrize("name", quoted())
def test_each_rate_stands_in_the_section_that_it_is_of(name: str) -> None:
    section, value = quoted()[name]
    (text,) = re.findall(rf"^## {section}\n(.*?)(?=^## |\Z)", BENCHMARKS, re.MULTILINE | re.DOTALL)
    numbers = {float(n) for n in re.findall(r"(?<![\w.])\d+(?:\.\d+)?", text.replace(",", " "))}
    assert value in numbers, f"{name}: {value} is not in {section}"


def test_a_core_more_never_makes_it_slower_and_the_disk_bounds_it() -> None:
    seconds = [MEASURED.wall_s(10_000, cores, 60)[0] for cores in (1, 2, 4, 16, 64)]
    assert seconds == sorted(seconds, reverse=True)
    assert MEASURED.wall_s(10_000, 64, 60) == (
        2 * 60_000 / MEASURED.disk_mb_s + MEASURED.start_s,
        "disk",
    )
