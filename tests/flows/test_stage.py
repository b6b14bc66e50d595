"""What all flows and tasks have in common: a last line, errors that show no secret."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from flows import stage as module
from flows.errors import FlowError
from flows.report_work import closing
from flows.stage import masked, stage
from flows.transient import is_transient
from geo.errors import SourceError

URL = "https://me:hunter2@host/a.tif?sig=hunter2"
HIDDEN = "https://***@host/a.tif?sig=***"


def test_the_last_line_says_what_and_how_long(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(module, "say", lambda message, **facts: said.append(message))

    @stage("report", lambda result: f"{result['tiles']} tiles, {result['refused']} refused")
    def report(tiles: int) -> dict[str, Any]:
        return {"tiles": tiles, "refused": 2}

    assert report(7) == {"tiles": 7, "refused": 2}
    assert said == ["report: done in 0 s: 7 tiles, 2 refused"]


def raised(work: Callable[[], Any]) -> Exception:
    try:
        masked(work)()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize(
    "error",
    [
        ValueError(f"{URL} is odd"),
        requests.ConnectionError(f"{URL} is odd", request=None),
        SourceError(f"{URL} is odd", href="a.tif"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_keep_their_type_and_lose_their_secrets(error: Exception) -> None:
    def work() -> None:
        raise error

    seen = raised(work)
    assert seen is error
    assert str(seen) == f"{HIDDEN} is odd"


def test_a_missing_file_of_an_address_is_masked() -> None:
    seen = raised(Path(URL).read_bytes)
    assert isinstance(seen, FileNotFoundError)
    assert str(seen) == f"[Errno 2] No such file or directory: '{HIDDEN.replace('//', '/')}'"


def test_what_led_to_an_error_is_masked_too() -> None:
    def work() -> None:
        try:
            raise ConnectionError(f"no answer from {URL}")
        except ConnectionError as error:
            raise RuntimeError("no scenes") from error

    seen = raised(work)
    assert str(seen.__cause__) == f"no answer from {HIDDEN}"
    assert is_transient(seen), "trying again is as worth while as before"


class StubbornError(Exception):
    """Its words cannot be changed."""

    def __str__(self) -> str:
        return f"{URL} is odd"


def test_an_error_that_cannot_be_masked_gives_way_to_one_that_can() -> None:
    def work() -> None:
        raise StubbornError

    seen = raised(work)
    assert isinstance(seen, FlowError)
    assert str(seen) == f"StubbornError: {HIDDEN} is odd"
    assert isinstance(seen.__cause__, StubbornError)


def test_tracebacks_that_prefect_logs_are_masked(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of any library, on the loggers by which its pages are told."""
    for name in ("prefect.flow_runs", "prefect.task_runs", "prefect.engine"):
        logger = logging.getLogger(name)
        # However quiet an earlier run in this process has made Prefect.
        monkeypatch.setattr(logger, "disabled", False)
        logger.addHandler(caplog.handler)
        with caplog.at_level(logging.ERROR, logger=name):
            try:
                raise StubbornError
            except StubbornError:
                logger.error("Encountered an exception", exc_info=True)
        logger.removeHandler(caplog.handler)
    assert caplog.text.count(HIDDEN) >= 3
    assert "hunter2" not in caplog.text


def test_a_report_ends_with_how_many_tiles_its_figures_are_of() -> None:
    """Held-out ones where there are some: the others have a reference as well."""
    result = {"tiles_all": 961, "tiles": 31, "gain_db": 1.67, "tiles_unread": 0}
    assert closing({**result, "references_refused": []}) == (
        "961 tiles, 31 in the figures, gain +1.67 dB; refused: 0 references, 0 unreadable tiles"
    )
