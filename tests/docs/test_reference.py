"""The reference says what the code says: its pages are made from it and are not stale."""

from __future__ import annotations

import pytest

from tests.docs.__main__ import FOLDER
from tests.docs.commands_page import commands_page
from tests.docs.configuration_page import configuration_page
from tests.docs.docstrings import parameters_of, summary_of

PAGES = {"commands.md": commands_page, "configuration.md": configuration_page}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_what_the_code_says_now(name: str) -> None:
    assert (FOLDER / name).read_text() == PAGES[name](), "stale: run `make docs`"


@pytest.mark.parametrize("name", PAGES)
def test_everything_that_can_be_set_is_explained(name: str) -> None:
    page = (FOLDER / name).read_text()
    tables = [part for part in page.split("\n\n") if "| meaning |" in part]
    assert len(tables) > 10
    assert [row for rows in tables for row in rows.splitlines() if row.endswith("| |")] == []


class Documented:
    """Two lines
    of summary.

    Parameters
    ----------
    a, b : int
        Together,
        on two lines.
    c : str
        Alone.

    Notes
    -----
    x : no parameter
    """


def test_names_that_share_a_docstring_share_its_meaning() -> None:
    together = "Together, on two lines."
    assert parameters_of(Documented) == {"a": together, "b": together, "c": "Alone."}
    assert summary_of(Documented) == "Two lines of summary."
