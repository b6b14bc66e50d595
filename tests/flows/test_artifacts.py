"""Pages in Prefect's UI are told to a server that may be away for a moment."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import httpx
import pytest

from flows import artifacts


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> str:
    """An address where nothing listens."""
    monkeypatch.setattr(artifacts, "_PATIENCE_S", 0.3)
    monkeypatch.setattr(artifacts, "_PAUSE_S", 0.05)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def test_a_server_that_is_started_again_is_waited_for(
    nobody: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: Iterator[int] = iter(range(3))

    def publish(**table: object) -> None:
        if next(tries) < 2:
            httpx.get(nobody)

    monkeypatch.setattr(artifacts, "create_table_artifact", publish)
    artifacts.publish_result("train", {"gain_db": 1.0}, "Training")
    assert next(tries, None) is None


def test_a_run_does_not_fail_for_want_of_a_page(
    nobody: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artifacts, "create_progress_artifact", lambda **bar: httpx.get(nobody))
    tell = artifacts.progress_teller("progress", title="Blocks")
    tell(1.0)


def test_what_is_wrong_with_a_page_itself_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**page: object) -> None:
        raise ValueError("no such key")

    monkeypatch.setattr(artifacts, "create_markdown_artifact", refuse)
    with pytest.raises(ValueError, match="no such key"):
        artifacts.publish_markdown("Card", "text", title="Model card")
