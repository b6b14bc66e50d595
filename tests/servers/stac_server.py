"""A STAC server on this machine, over real HTTP, that misbehaves as real ones do.

It serves a folder (static catalogues, COGs with range requests) below ``/files/`` and a STAC API
with paging below ``/api``. With `Faults`, requests meet 429 (Retry-After), 503, stalls beyond any
time-out, connections closed before the answer and connections closed in the middle of it. Which
request meets what depends on a seed and the request alone, so a run can be repeated.

    with StacServer(folder, {"sentinel-2": items}, faults=Faults(seed=1)) as server:
        read_scenes(f"stac-api:{server.api}#sentinel-2")
        read_scenes(f"{server.files}/collection.json")
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

KINDS = ("busy", "unavailable", "stall", "refuse", "cut")


@dataclass(frozen=True, kw_only=True)
class Faults:
    """What requests meet before they are answered.

    Parameters
    ----------
    seed : int
    share : float
        Of different requests that meet any fault.
    most : int
        Faults in a row for one request, before it is answered.
    kinds : tuple of str
        Of `KINDS`: 429 with Retry-After 0, 503, silence, closed before, closed in the middle.
    stall_s : float
        How long silence lasts.
    """

    seed: int = 0
    share: float = 0.6
    most: int = 2
    kinds: tuple[str, ...] = KINDS
    stall_s: float = 1.0

    def of(self, key: str, attempt: int) -> str | None:
        """Fault of a request's n-th attempt, from 0; None: answer it."""
        digest = hashlib.sha256(f"{self.seed} {key}".encode()).digest()
        chance = random.Random(digest)
        if chance.random() >= self.share:
            return None
        plan = [chance.choice(self.kinds) for _ in range(chance.randint(1, self.most))]
        return plan[attempt] if attempt < len(plan) else None


@dataclass
class StacServer:
    """The server; a context manager.

    Parameters
    ----------
    folder : Path
        Served below ``/files/``.
    collections : dict of str to list of items
        Served by the API.
    faults : Faults, optional
        None: an undisturbed server.
    page : int
        Items on a page at most.
    paging : {"token", "body"}
        Next links are URLs with a token, or POST with the token in a body to merge.
    methods : tuple of str
        By which the search can be asked.
    can_query : bool
        The API filters by properties (query extension).
    redirects : dict of str to str
        Paths answered with a redirection.
    login : str, optional
        ``name:password`` without which nothing is answered.
    """

    folder: Path
    collections: Mapping[str, Sequence[dict[str, Any]]] = field(default_factory=dict)
    faults: Faults | None = None
    page: int = 7
    paging: str = "token"
    methods: tuple[str, ...] = ("GET", "POST")
    can_query: bool = True
    redirects: Mapping[str, str] = field(default_factory=dict)
    login: str | None = None
    log: list[tuple[str, str, str]] = field(default_factory=list)  # method, path, what it met
    searches: list[dict[str, Any]] = field(default_factory=list)

    def __enter__(self) -> StacServer:
        handler = type("Handler", (_Handler,), {"owner": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._attempts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        """Root of the server."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def files(self) -> str:
        """Where the folder is served."""
        return f"{self.url}/files"

    @property
    def api(self) -> str:
        """Landing page of the API."""
        return f"{self.url}/api"

    def met(self) -> Counter[str]:
        """How many requests met what."""
        return Counter(what for _, _, what in self.log)

    def fault_of(self, method: str, path: str, key: str) -> str | None:
        """What the next attempt of a request meets."""
        with self._lock:
            attempt = self._attempts[key]
            self._attempts[key] += 1
            fault = self.faults.of(key, attempt) if self.faults else None
            self.log.append((method, path, fault or "answer"))
        return fault


class _Server(ThreadingHTTPServer):
    request_queue_size = 64

    def handle_error(self, *_: object) -> None:
        """Clients that hang up are as usual as servers that do."""


class _Handler(BaseHTTPRequestHandler):
    owner: StacServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._serve(b"")

    def do_GET(self) -> None:
        self._serve(b"")

    def do_POST(self) -> None:
        self._serve(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

    def _is_let_in(self) -> bool:
        if self.owner.login is None:
            return True
        wanted = base64.b64encode(self.owner.login.encode()).decode()
        return self.headers.get("Authorization") == f"Basic {wanted}"

    def _serve(self, body: bytes) -> None:
        owner = self.owner
        if not self._is_let_in():
            return self._answer(401, b"who are you", {})
        asked = f"{self.command} {self.path} {self.headers.get('Range')} "
        fault = owner.fault_of(self.command, self.path, asked + body.decode())
        if fault == "busy":
            return self._answer(429, b"busy", {"Retry-After": "0"})
        if fault == "unavailable":
            return self._answer(503, b"<html>come back later</html>", {})
        if fault == "stall":
            assert owner.faults
            time.sleep(owner.faults.stall_s)
        if fault in ("stall", "refuse"):
            return self._hang_up()
        url = urlsplit(self.path)
        path = unquote(url.path)
        try:
            if path in owner.redirects:
                self._answer(302, b"", {"Location": owner.redirects[path]})
            elif path.startswith("/files/"):
                self._file(owner.folder / path.removeprefix("/files/"), cut=fault == "cut")
            elif path.startswith("/api"):
                answer = self._api(path, {k: v[0] for k, v in parse_qs(url.query).items()}, body)
                status = 404 if answer is None else answer.pop("status", 200)
                self._answer(status, json.dumps(answer).encode(), {}, cut=fault == "cut")
            else:
                self._answer(404, b"not here", {})
        except (BrokenPipeError, ConnectionResetError):
            pass

    def _answer(
        self, status: int, body: bytes, headers: dict[str, str], *, cut: bool = False
    ) -> None:
        self.send_response(status)
        headers = {"Content-Type": "application/json"} | headers
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if cut else body)
        if cut:
            self.wfile.flush()
            self._hang_up()

    def _hang_up(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    # --- files --------------------------------------------------------------------------------

    def _file(self, path: Path, *, cut: bool) -> None:
        if not path.is_file():
            return self._answer(404, b"not here", {})
        stat = path.stat()
        tag = f'"{stat.st_size:x}-{stat.st_mtime_ns:x}"'
        headers = {
            "ETag": tag,
            "Last-Modified": formatdate(stat.st_mtime, usegmt=True),
            "Accept-Ranges": "bytes",
            "Content-Type": "application/json" if path.suffix == ".json" else "image/tiff",
        }
        if self.headers.get("If-None-Match") == tag:
            return self._answer(304, b"", headers)
        body = path.read_bytes()
        wanted = self.headers.get("Range")
        if not wanted:
            return self._answer(200, body, headers, cut=cut)
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        start, stop = int(first), min(int(last) + 1 if last else len(body), len(body))
        if start >= len(body):
            return self._answer(416, b"", {"Content-Range": f"bytes */{len(body)}"})
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(body)}"
        return self._answer(206, body[start:stop], headers, cut=cut)

    # --- the API ------------------------------------------------------------------------------

    def _api(self, path: str, query: dict[str, str], body: bytes) -> dict[str, Any] | None:
        owner = self.owner
        if path == "/api":
            return self._landing()
        if path == "/api/collections":
            return {"collections": [self._collection(c) for c in owner.collections], "links": []}
        if path.startswith("/api/collections/"):
            name = path.removeprefix("/api/collections/")
            return self._collection(name) if name in owner.collections else None
        if path == "/api/search":
            if self.command not in owner.methods:
                return {"status": 405, "code": "MethodNotAllowed"}
            return self._search(json.loads(body) if self.command == "POST" else _asked(query))
        return None

    def _landing(self) -> dict[str, Any]:
        api = self.owner.api
        classes = ["v1.0.0/core", "v1.0.0/collections", "v1.0.0/item-search"]
        if self.owner.can_query:
            classes.append("v1.0.0/item-search#query")
        search = [
            {"rel": "search", "href": f"{api}/search", "method": m, "type": "application/geo+json"}
            for m in self.owner.methods
        ]
        return {
            "type": "Catalog",
            "id": "test",
            "stac_version": "1.0.0",
            "description": "A server that misbehaves",
            "conformsTo": [f"https://api.stacspec.org/{c}" for c in classes],
            "links": [
                {"rel": "self", "href": api, "type": "application/json"},
                {"rel": "root", "href": api, "type": "application/json"},
                {"rel": "data", "href": f"{api}/collections", "type": "application/json"},
                *search,
            ],
        }

    def _collection(self, name: str) -> dict[str, Any]:
        return {
            "type": "Collection",
            "id": name,
            "stac_version": "1.0.0",
            "description": name,
            "license": "other",
            "extent": {
                "spatial": {"bbox": [[-180, -90, 180, 90]]},
                "temporal": {"interval": [[None, None]]},
            },
            "links": [{"rel": "self", "href": f"{self.owner.api}/collections/{name}"}],
        }

    def _search(self, asked: dict[str, Any]) -> dict[str, Any]:
        owner = self.owner
        owner.searches.append(asked)
        found = [
            item
            for name in asked.get("collections") or owner.collections
            for item in owner.collections.get(name, ())
            if _fits(item, asked)
        ]
        start = int(asked.get("token") or 0)
        size = min(owner.page, int(asked.get("limit") or owner.page))
        links = []
        if start + size < len(found):
            token = str(start + size)
            link: dict[str, Any] = {"rel": "next", "type": "application/geo+json"}
            if self.command == "POST" and owner.paging == "body":
                link |= {
                    "href": f"{owner.api}/search",
                    "method": "POST",
                    "merge": True,
                    "body": {"token": token},
                }
            elif self.command == "POST":
                link |= {
                    "href": f"{owner.api}/search",
                    "method": "POST",
                    "body": asked | {"token": token},
                }
            else:
                query = parse_qs(urlsplit(self.path).query) | {"token": [token]}
                link |= {
                    "href": f"{owner.api}/search?{urlencode(query, doseq=True)}",
                    "method": "GET",
                }
            links.append(link)
        return {
            "type": "FeatureCollection",
            "features": found[start : start + size],
            "links": links,
        }


def _asked(query: dict[str, str]) -> dict[str, Any]:
    """Parameters of a GET in the form of a POST's body."""
    asked: dict[str, Any] = dict(query)
    if "collections" in query:
        asked["collections"] = query["collections"].split(",")
    if "bbox" in query:
        asked["bbox"] = [float(v) for v in query["bbox"].split(",")]
    for name in ("query", "intersects"):
        if name in query:
            asked[name] = json.loads(query[name])
    return asked


def _fits(item: dict[str, Any], asked: dict[str, Any]) -> bool:
    """Datetime and bbox as STAC API has them, and ``gte`` of the query extension; dates as text."""
    properties = item["properties"]
    if span := asked.get("datetime"):
        start, _, end = span.partition("/")
        time = properties["datetime"][:19]
        if (start not in ("", "..") and time < start[:19]) or (
            end not in ("", "..") and time > end[:19]
        ):
            return False
    if box := asked.get("bbox"):
        west, south, east, north = item["bbox"]
        if west > box[2] or east < box[0] or south > box[3] or north < box[1]:
            return False
    return all(
        str(properties.get(name, "")) >= str(rule["gte"])
        for name, rule in (asked.get("query") or {}).items()
    )
