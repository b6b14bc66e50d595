"""A client of HTTP retries what may pass, one request at a time, and says what does not."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from geo.catalog.http import HttpClient, HttpRules
from geo.errors import CatalogError
from tests.servers.stac_server import StacServer

# As patient as the defaults, but quick.
QUICK = HttpRules(first_wait_s=0.01, longest_wait_s=1.0, read_timeout_s=0.15, attempts=5)


@pytest.fixture
def scripted() -> Iterator[Any]:
    script: list[tuple[int, dict[str, str], bytes]] = []
    times: list[float] = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            times.append(time.monotonic())
            status, headers, body = script.pop(0) if script else (200, {}, b"{}")
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/", script, times
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("as_date", [False, True])
def test_retry_after_is_honoured(scripted: Any, as_date: bool) -> None:
    url, script, times = scripted
    until = datetime.now(UTC) + timedelta(seconds=2)
    wait = format_datetime(until, usegmt=True) if as_date else "0.6"
    script.append((429, {"Retry-After": wait}, b""))
    assert HttpClient(HttpRules(first_wait_s=0.01)).get(url).json() == {}
    assert times[1] - times[0] > 0.55


def test_waits_grow_and_vary(scripted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    url, script, times = scripted
    script += [(503, {}, b"")] * 3
    asked: list[float] = []
    sleep = time.sleep

    def count_and_sleep(seconds: float) -> None:
        asked.append(seconds)
        sleep(seconds)

    # As asked for, and as waited: how late a busy machine wakes up is not the client's choice.
    monkeypatch.setattr("geo.catalog.http.time.sleep", count_and_sleep)
    HttpClient(HttpRules(first_wait_s=0.1)).get(url)
    for wait, gap, most in zip(asked, np.diff(times), (0.1, 0.2, 0.4), strict=True):
        assert most / 2 <= wait <= most
        assert gap >= wait


def test_a_wait_beyond_the_bound_is_given_up(scripted: Any) -> None:
    url, script, times = scripted
    script.append((429, {"Retry-After": "86400"}, b""))
    told = r"answers 429 \(to be asked again in 86400 s; wanted 1 s at most\)"
    with pytest.raises(CatalogError, match=told) as caught:
        HttpClient(QUICK).get(url)
    assert caught.value.facts["cause"] == "unreachable"
    assert len(times) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_a_refusal_is_not_asked_again(scripted: Any, status: int) -> None:
    url, script, times = scripted
    script.append((status, {}, b"<html>no</html>"))
    with pytest.raises(CatalogError, match=f"the server answers {status}$") as caught:
        HttpClient(QUICK).get(url)
    assert caught.value.facts["status"] == status
    assert len(times) == 1


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"code": "Bad", "description": "no such\\ncollection"}', "no such collection"),
        (b'{"detail": [{"loc": ["limit"]}]}', "[{'loc': ['limit']}]"),
        (b'{"message": "%s"}' % (b"a" * 5000), "a" * 200),
    ],
)
def test_what_a_server_says_to_a_refusal_is_passed_on(
    scripted: Any, body: bytes, words: str
) -> None:
    url, script, _ = scripted
    script.append((400, {}, body))
    with pytest.raises(CatalogError) as caught:
        HttpClient(QUICK).get(url)
    assert caught.value.message == f"{url}: the server answers 400 ({words})"


def test_nobody_there() -> None:
    with pytest.raises(CatalogError, match=r"no connection.* \(asked 2 times\)") as caught:
        HttpClient(HttpRules(attempts=2, first_wait_s=0.01)).get("http://127.0.0.1:9/")
    assert caught.value.facts["cause"] == "unreachable"


def test_a_document_without_end_is_given_up(tmp_path: Path) -> None:
    (tmp_path / "big.json").write_bytes(b" " * 100_000)
    with (
        StacServer(tmp_path) as server,
        pytest.raises(CatalogError, match="more than 50000 bytes"),
    ):
        HttpClient(HttpRules(max_bytes=50_000)).get(f"{server.files}/big.json")


def test_a_small_answer_that_unpacks_to_a_huge_one_is_given_up(scripted: Any) -> None:
    url, script, _ = scripted
    bomb = gzip.compress(bytes(64 * 2**20))
    assert len(bomb) < 2**17
    script.append((200, {"Content-Encoding": "gzip"}, bomb))
    with pytest.raises(CatalogError) as caught:
        HttpClient(HttpRules(max_bytes=2**20)).get(url)
    assert caught.value.facts["cause"] == "too_large"
