"""Documents over HTTP, from servers that are busy, break or hang up."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import requests

from geo.errors import CatalogError, first_line
from geo.hrefs import is_web
from geo.secrets import holds_user

_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
# Of what a server says to a refusal, so much is read and so much is passed on.
_MOST_WORDS_BYTES, _MOST_WORDS = 2**16, 200


@dataclass(frozen=True, kw_only=True)
class HttpRules:
    """How patient to be.

    Parameters
    ----------
    connect_timeout_s, read_timeout_s : float
        Until connected; between two pieces of an answer.
    whole_timeout_s : float
        For one whole answer, however steadily it drips.
    attempts : int
        Of one request, the first included.
    first_wait_s, longest_wait_s : float
        Waits double from one attempt to the next, shortened at random by up to half, so that
        many clients do not return together. A server's Retry-After makes them longer; one beyond
        the longest wait is given up at once.
    max_bytes : int
        Of one document.
    threads : int
        Documents of a static catalogue asked for at once.
    """

    connect_timeout_s: float = 10.0
    read_timeout_s: float = 30.0
    whole_timeout_s: float = 300.0
    attempts: int = 6
    first_wait_s: float = 0.5
    longest_wait_s: float = 120.0
    max_bytes: int = 512 * 2**20
    threads: int = 8

    def __post_init__(self) -> None:
        for name in ("attempts", "threads", "max_bytes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; wanted at least 1")


@dataclass(frozen=True)
class Answer:
    """A server's answer: status, headers (names in lower case) and body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def stamp(self) -> str:
        """Changes when the document changes; empty where the server does not say."""
        for name in ("etag", "last-modified"):
            if value := self.headers.get(name):
                return f"{name}: {value}"
        return ""

    def json(self) -> Any:
        """The body as JSON; raises ValueError."""
        return json.loads(self.body)


class _PassingError(Exception):
    """A failure that may pass; `wait_s` is the least that the server asks for."""

    def __init__(self, message: str, wait_s: float = 0.0) -> None:
        super().__init__(message)
        self.wait_s = wait_s


@dataclass
class HttpClient:
    """Fetches documents; used by many threads at once."""

    rules: HttpRules = field(default_factory=HttpRules)
    _local: threading.local = field(default_factory=threading.local, repr=False)

    def request(
        self,
        method: str,
        url: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Ask until answered, at most `HttpRules.attempts` times.

        Raises
        ------
        CatalogError
            With cause ``unreachable`` when it did not pass, ``refused`` (and ``status``) when the
            server refuses, ``too_large``, or ``forbidden_href`` when the URL is not of HTTP.
        """
        if not is_web(url):
            raise CatalogError(
                f"{url}: wanted a URL of http or https", href=url, cause="forbidden_href"
            )
        if holds_user(url):
            raise CatalogError(
                f"{url}: a name or password in it would be told to stores and reports; put it into "
                "~/.netrc",
                href=url,
                cause="forbidden_href",
            )
        rules = self.rules
        wait_s = rules.first_wait_s
        for attempt in range(1, rules.attempts + 1):
            try:
                return self._once(method, url, params, body, headers)
            except _PassingError as failure:
                too_long = failure.wait_s > rules.longest_wait_s
                if too_long or attempt == rules.attempts:
                    told = f"asked {attempt} times" if attempt > 1 else "asked once"
                    if too_long:
                        told = (
                            f"to be asked again in {failure.wait_s:.0f} s; "
                            f"wanted {rules.longest_wait_s:g} s at most"
                        )
                    raise CatalogError(
                        f"{url}: {failure} ({told})", href=url, cause="unreachable"
                    ) from failure
                backoff = min(wait_s, rules.longest_wait_s) * random.uniform(0.5, 1.0)
                time.sleep(max(backoff, failure.wait_s))
                wait_s *= 2
        raise AssertionError("unreachable")

    def get(self, url: str, stamp: str = "") -> Answer:
        """A document; status 304 where it still has the stamp of an earlier answer."""
        name, _, value = stamp.partition(": ")
        condition = {"etag": "If-None-Match", "last-modified": "If-Modified-Since"}.get(name)
        return self.request("GET", url, headers={condition: value} if condition else None)

    def _once(
        self,
        method: str,
        url: str,
        params: Mapping[str, Any] | None,
        body: Any,
        headers: Mapping[str, str] | None,
    ) -> Answer:
        rules = self.rules
        try:
            with self._session().request(
                method,
                url,
                params=params,
                json=body,
                headers=dict(headers or {}),
                timeout=(rules.connect_timeout_s, rules.read_timeout_s),
                stream=True,
            ) as response:
                status = response.status_code
                if status in _PASSING:
                    asked = _seconds(response.headers.get("Retry-After", ""))
                    raise _PassingError(f"the server answers {status}", asked)
                if not (200 <= status < 300 or status == 304):
                    raise CatalogError(
                        f"{url}: the server answers {status}{_words(response)}",
                        href=url,
                        cause="refused",
                        status=status,
                    )
                content = self._read(response, url)
        except (
            requests.ConnectionError,
            requests.Timeout,
            requests.exceptions.ChunkedEncodingError,
            requests.exceptions.ContentDecodingError,
        ) as error:
            raise _PassingError(_plain(error)) from error
        except requests.RequestException as error:
            # For example a redirection to a file, which this client does not follow.
            raise CatalogError(
                f"{url}: {first_line(error)}", href=url, cause="forbidden_href"
            ) from error
        return Answer(status, {k.lower(): v for k, v in response.headers.items()}, content)

    def _read(self, response: requests.Response, url: str) -> bytes:
        pieces, size = [], 0
        end = time.monotonic() + self.rules.whole_timeout_s
        for piece in response.iter_content(2**16):
            pieces.append(piece)
            size += len(piece)
            if size > self.rules.max_bytes:
                raise CatalogError(
                    f"{url}: more than {self.rules.max_bytes} bytes; wanted a smaller document",
                    href=url,
                    cause="too_large",
                    limit=self.rules.max_bytes,
                )
            if time.monotonic() > end:
                raise _PassingError(f"no whole answer in {self.rules.whole_timeout_s:g} s")
        return b"".join(pieces)

    def _session(self) -> requests.Session:
        if not hasattr(self._local, "session"):
            self._local.session = requests.Session()
        session: requests.Session = self._local.session
        return session


def _words(response: requests.Response) -> str:
    """What a server says to a refusal itself, as APIs do in JSON; nothing of pages for the eye."""
    try:
        told = json.loads(next(response.iter_content(_MOST_WORDS_BYTES), b""))
    except (ValueError, RecursionError, requests.RequestException):
        return ""
    fields = (
        [told.get(n) for n in ("description", "detail", "message")]
        if isinstance(told, dict)
        else []
    )
    said = next((str(text) for text in fields if text), "")
    plain = " ".join("".join(c if c.isprintable() else " " for c in said).split())
    return f" ({plain[:_MOST_WORDS]})" if plain else ""


def _seconds(retry_after: str) -> float:
    """Seconds of a Retry-After header, given as a number or as a date (RFC 9110, 10.2.3)."""
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        pass
    try:
        date = parsedate_to_datetime(retry_after)
    except ValueError:
        return 0.0
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max(0.0, (date - datetime.now(UTC)).total_seconds())


def _plain(error: BaseException) -> str:
    """What went wrong in a few words; requests repeats the whole request in its messages."""
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the answer broke off"
    return "no connection, or it was closed"
