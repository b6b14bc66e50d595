"""A line to an HTTP server that is cut when a certain request comes, and can be mended."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import requests

# Method, path with query, body.
Cut = Callable[[str, str, bytes], bool]
_OF_THE_HOP = ("connection", "transfer-encoding", "content-length", "content-encoding", "host")


class CutLine:
    """Passes requests on to `target` until one of them is one at which the line is to be cut.

    That one and all that follow get no answer, until `mend`.
    """

    def __init__(self, target: str) -> None:
        self.target = target
        self._cut: Cut | None = None
        self._down = False
        line = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                """Say nothing."""

            def pass_on(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if line.is_down(self.command, self.path, body):
                    self.close_connection = True
                    return
                answer = requests.request(
                    self.command,
                    line.target + self.path,
                    data=body,
                    headers=_passed(self.headers),
                    timeout=60,
                )
                self.send_response(answer.status_code)
                for name, value in _passed(answer.headers).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.content)))
                self.end_headers()
                self.wfile.write(answer.content)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = pass_on  # noqa: N815

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def cut_at(self, cut: Cut) -> None:
        """Be cut at the first request that `cut` says yes to."""
        self._cut = cut

    def mend(self) -> None:
        """Pass all requests on again."""
        self._cut, self._down = None, False

    def is_down(self, method: str, path: str, body: bytes) -> bool:
        """Whether this request gets no answer."""
        self._down = self._down or (self._cut is not None and self._cut(method, path, body))
        return self._down

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _passed(headers: Any) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in _OF_THE_HOP}
