"""What is tried again, and what never is. Errors are those of real sockets and real servers."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from flows.errors import FlowError, UsageError
from flows.transient import is_transient
from flows.web import ask
from geo.catalog.http import HttpClient, HttpRules
from geo.errors import CatalogError
from tests.servers.stac_server import Faults, StacServer


def error_of(work: Callable[[], Any]) -> Exception:
    with pytest.raises(Exception, match=r".") as caught:
        work()
    assert isinstance(caught.value, Exception)
    return caught.value


@pytest.fixture
def nobody() -> str:
    """An address where nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture
def busy(tmp_path: Path) -> Any:
    with StacServer(tmp_path, faults=Faults(share=1.0, most=1, kinds=("unavailable",))) as server:
        yield server


def test_a_server_that_is_not_there_may_come_back(nobody: str) -> None:
    assert is_transient(error_of(lambda: requests.get(nobody, timeout=1)))
    assert is_transient(error_of(lambda: ask(nobody)))
    client = HttpClient(HttpRules(attempts=1))
    assert is_transient(error_of(lambda: client.get(nobody)))


def test_a_busy_server_may_have_time_later(busy: StacServer) -> None:
    def get(path: str) -> None:
        requests.get(f"{busy.url}/{path}", timeout=5).raise_for_status()

    assert is_transient(error_of(lambda: get("api/a")))
    assert is_transient(error_of(lambda: ask(f"{busy.url}/api/b")))


def test_what_a_server_refuses_it_refuses_again(tmp_path: Path) -> None:
    with StacServer(tmp_path) as server:
        nothing = f"{server.url}/nothing"
        assert not is_transient(
            error_of(lambda: requests.get(nothing, timeout=5).raise_for_status())
        )
        assert not is_transient(error_of(lambda: ask(nothing)))
        client = HttpClient(HttpRules(attempts=1))
        assert not is_transient(error_of(lambda: client.get(nothing)))


def test_a_cause_tells_what_an_error_hides(nobody: str) -> None:
    def wrapped(kind: type[Exception]) -> None:
        try:
            requests.get(nobody, timeout=1)
        except requests.RequestException as error:
            raise kind("MLflow cannot be reached") from error

    assert is_transient(error_of(lambda: wrapped(FlowError)))
    assert not is_transient(error_of(lambda: wrapped(UsageError)))


@pytest.mark.parametrize(
    "error",
    [
        UsageError("dates_per_chip is 0; wanted 1 or more"),
        FlowError("3 damages"),
        CatalogError("no such file", cause="missing"),
        FileNotFoundError("a.tif"),
        ValueError("lr_size"),
        MemoryError(),
    ],
)
def test_wrong_input_is_never_tried_again(error: Exception) -> None:
    assert not is_transient(error)
