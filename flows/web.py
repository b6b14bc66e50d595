"""Small requests to the servers beside us: JSON in, JSON out, and nothing of Prefect imported."""

from __future__ import annotations

import base64
import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from flows.errors import FlowError


class ServiceError(FlowError):
    """A server did not answer, or refused.

    Parameters
    ----------
    message : str
    status : int or None
        Of HTTP; None where there was no answer.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


def ask(
    url: str,
    body: Any = None,
    *,
    method: str | None = None,
    auth: str | None = None,
    timeout_s: float = 10.0,
    attempts: int = 1,
) -> Any:
    """Ask a server; what it answers, as JSON where it is JSON, else as text.

    Parameters
    ----------
    body : optional
        Sent as JSON, by POST where no other method is given.
    auth : str, optional
        ``USER:PASSWORD``.
    attempts : int
        Where it answers 503, as Prefect does while its SQLite is locked.

    Raises
    ------
    ServiceError
    """
    headers: Mapping[str, str] = {"Content-Type": "application/json"}
    if auth is not None:
        headers = {**headers, "Authorization": f"Basic {base64.b64encode(auth.encode()).decode()}"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, dict(headers), method=method)
    try:
        with _opener(url).open(request, timeout=timeout_s) as answer:
            text = answer.read().decode()
    except urllib.error.HTTPError as error:
        if error.code == 503 and attempts > 1:
            time.sleep(0.3)
            return ask(
                url, body, method=method, auth=auth, timeout_s=timeout_s, attempts=attempts - 1
            )
        told = error.read(300).decode(errors="replace")
        wanted = "; set SKYSCALE_AUTH=USER:PASSWORD" if error.code in (401, 403) else ""
        raise ServiceError(f"{url} answered {error.code}: {told}{wanted}", error.code) from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise ServiceError(f"{url} does not answer ({reason})") from error
    try:
        return json.loads(text)
    except ValueError:
        return text


def _opener(url: str) -> urllib.request.OpenerDirector:
    """Straight to servers on this machine, which a proxy for the web does not know."""
    near = urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")
    return urllib.request.build_opener(*([urllib.request.ProxyHandler({})] if near else []))
