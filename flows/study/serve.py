"""The server of a study."""

from __future__ import annotations

import ipaddress
import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.console import say
from flows.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class ServeConfig:
    """Where a study is served.

    Parameters
    ----------
    folder : Path
        Of the study.
    host : str
    port : int
    database : str, optional
        ``postgresql://USER@HOST/DATABASE``; SQLite in the folder by default.
    hosts : tuple of str
        Names by which raters reach it, where that is not `host`.
    behind_proxy : bool
        Take the address of a rater from ``X-Forwarded-For``, as a proxy with TLS on this machine
        gives it.
    requests, joins : str
        Most of them from one address, ``100/second`` for example.
    """

    folder: Path
    host: str = "127.0.0.1"
    port: int = 8100
    database: str | None = None
    hosts: tuple[str, ...] = ()
    behind_proxy: bool = False
    requests: str = "100/second"
    joins: str = "60/minute"


def database_of(folder: Path, database: str | None) -> str:
    """URL of the records of a study."""
    return database or f"sqlite:///{(folder / 'answers.db').resolve()}"


def serve_study(config: ServeConfig) -> dict[str, Any]:
    """Serve a study until it is told to stop.

    Raises
    ------
    UsageError
        If it would be open to a network without an invitation.
    """
    import uvicorn

    from flows.study.app import Sittings, build_app
    from flows.study.plan import read_study
    from flows.study.records import Records

    study = read_study(config.folder)
    if study.access_sha256 is None and not _is_loopback(config.host):
        raise UsageError(
            f"--host {config.host} lets a network in, and this study takes everybody: make it with "
            "--invite, which asks for a link, or leave --host out"
        )
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("skyscale.study").setLevel(logging.INFO)
    records = Records(database_of(config.folder, config.database))
    local = ("127.0.0.1", "localhost", "[::1]") if _is_loopback(config.host) else (config.host,)
    hosts = ("*",) if config.host in ("0.0.0.0", "::") and not config.hosts else ()
    app = build_app(
        Sittings(study, config.folder, records),
        hosts=hosts or (*local, *config.hosts),
        requests=config.requests,
        joins=config.joins,
    )
    where = "/" if study.access_sha256 is None else "/join/... (the link that `make` told)"
    say(f"study: http://{config.host}:{config.port}{where}; Ctrl-C stops, answers are kept")
    try:
        uvicorn.run(
            app,
            host=config.host,
            port=config.port,
            log_level="warning",
            access_log=False,  # it would hold links, and addresses of people
            server_header=False,
            proxy_headers=config.behind_proxy,
            forwarded_allow_ips="127.0.0.1" if config.behind_proxy else None,
            timeout_keep_alive=15,
            limit_concurrency=2000,
        )
    finally:
        records.close()
    return {"folder": str(config.folder)}


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
