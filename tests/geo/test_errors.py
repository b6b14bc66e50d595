"""Errors: a sentence for the user, facts for the program, whole after a journey by pickle."""

from __future__ import annotations

import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

import geo.errors
from geo.errors import GeoError, SourceError, first_line

KINDS = [GeoError, *GeoError.__subclasses__()]

facts = st.dictionaries(
    st.from_regex(r"[a-z_]{1,12}", fullmatch=True).filter(lambda k: k not in {"self", "message"}),
    st.none() | st.text(max_size=20) | st.floats(allow_nan=False) | st.lists(st.integers()),
    max_size=4,
)


@pytest.mark.parametrize("kind", KINDS)
@given(message=st.text(), facts=facts)
def test_an_error_survives_pickle_and_copy(
    kind: type[GeoError], message: str, facts: dict[str, object]
) -> None:
    error = kind(message, **facts)
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(again) is kind
        assert str(again) == again.message == message
        assert again.facts == facts


def test_the_user_sees_the_message_alone() -> None:
    assert str(SourceError("a.tif: no such file", href="a.tif", cause="missing")) == (
        "a.tif: no such file"
    )


@pytest.mark.parametrize("kind", KINDS[1:])
def test_one_except_clause_catches_all_of_them(kind: type[GeoError]) -> None:
    with pytest.raises(GeoError):
        raise kind("no")


def test_the_tree_in_the_docstring_is_whole() -> None:
    assert geo.errors.__doc__ is not None
    for kind in KINDS:
        assert kind.__name__ in geo.errors.__doc__


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("no number\n  in line 3"), "no number"),
        (OSError(), "OSError"),
        (KeyError("href"), "'href' is missing"),
    ],
)
def test_what_a_library_said_is_one_line_that_tells_something(error: Exception, told: str) -> None:
    assert first_line(error) == told
