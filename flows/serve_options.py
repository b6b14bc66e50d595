"""What `skyscale up` is told, checked before anything is started, as environments of servers."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from flows.errors import UsageError
from flows.settings import read_server_secrets, read_surroundings

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
# MLflow's own rule.
_LEAST_PASSWORD = 12
_ALLOWED_HOSTS = "MLFLOW_SERVER_ALLOWED_HOSTS"
# A missing package would end a server with a traceback in its log.
_PACKAGES = {"flask_wtf": "SKYSCALE_AUTH", "psycopg2": "PostgreSQL", "boto3": "S3"}


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """What the servers are told.

    Parameters
    ----------
    folder : Path
        Their data and logs.
    host : str
        Address to listen on; this machine only by default.
    prefect_port, mlflow_port : int
    prefect_db, mlflow_db : str, optional
        URLs of PostgreSQL, without passwords; SQLite in the folder by default.
    artifacts : str, optional
        URL or folder of what MLflow keeps as files; in the folder by default.
    gpu_slots : int, optional
        Flow runs of the queue ``gpu`` side by side; by default as many as there are GPUs, or one.
    """

    folder: Path
    host: str = "127.0.0.1"
    prefect_port: int = 4200
    mlflow_port: int = 5000
    prefect_db: str | None = None
    mlflow_db: str | None = None
    artifacts: str | None = None
    gpu_slots: int | None = None

    @property
    def prefect_url(self) -> str:
        """Where the Prefect server answers, seen from this machine."""
        return f"http://{self._near}:{self.prefect_port}"

    @property
    def mlflow_url(self) -> str:
        """Where the MLflow server answers, seen from this machine."""
        return f"http://{self._near}:{self.mlflow_port}"

    @property
    def _near(self) -> str:
        return "127.0.0.1" if self.host in ("0.0.0.0", *_LOOPBACK) else self.host

    def count_slots(self) -> int:
        """GPUs that may be used at a time; one slot without any, for training takes all cores."""
        return self.gpu_slots or len(list(Path("/dev").glob("nvidia[0-9]*"))) or 1


def check_options(options: ServeOptions) -> str | None:
    """Refuse what cannot work or would not be safe.

    Returns
    -------
    str or None
        ``USER:PASSWORD`` of both servers.

    Raises
    ------
    UsageError
    """
    auth = read_surroundings().auth
    if auth is not None:
        user, colon, password = auth.partition(":")
        if not (user and colon and len(password) >= _LEAST_PASSWORD):
            raise UsageError(
                f"SKYSCALE_AUTH: wanted USER:PASSWORD with {_LEAST_PASSWORD} characters of "
                f"password or more, got {len(password)}"
            )
        _insist_on("flask_wtf")
    elif options.host not in _LOOPBACK:
        raise UsageError(
            f"--host {options.host} lets the network in: set SKYSCALE_AUTH=USER:PASSWORD first"
        )
    if options.gpu_slots is not None and options.gpu_slots < 1:
        raise UsageError(f"--gpu-slots is {options.gpu_slots}; wanted 1 or more")
    for option in ("prefect-db", "mlflow-db", "artifacts"):
        _check_no_password(option, getattr(options, option.replace("-", "_")))
    for url in _databases(options):
        if url is not None:
            if urlsplit(url).scheme != "postgresql":
                raise UsageError(
                    f"{_without_password(url)}: wanted postgresql://USER@HOST/DATABASE, or "
                    "nothing for SQLite in the folder"
                )
            _insist_on("psycopg2")
    if (_artifacts(options) or "").startswith("s3://"):
        _insist_on("boto3")
    return auth


def check_ports(options: ServeOptions) -> None:
    """Refuse ports that something else listens on.

    Raises
    ------
    UsageError
    """
    _insist_on_free_port(options.host, options.prefect_port, "--prefect-port")
    _insist_on_free_port(options.host, options.mlflow_port, "--mlflow-port")


def _check_no_password(option: str, url: str | None) -> None:
    if url is not None and urlsplit(url).password:
        name = f"SKYSCALE_{option.replace('-', '_').upper()}"
        raise UsageError(
            f"--{option}: a password in an option is seen in the list of processes; give the URL "
            f"by {name}, or leave the password to PGPASSFILE"
        )


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return url.replace(f":{parts.password}@", ":***@") if parts.password else url


def _insist_on(package: str) -> None:
    if find_spec(package) is None:
        raise UsageError(
            f"{_PACKAGES[package]} wants the package {package}: pip install 'skyscale[servers]'"
        )


def _insist_on_free_port(host: str, port: int, option: str) -> None:
    """Refuse to mistake another server for ours."""
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1" if host == "0.0.0.0" else host, port)) == 0:
            raise UsageError(f"port {port} is in use on this machine; choose another by {option}")


def _databases(options: ServeOptions) -> tuple[str | None, str | None]:
    told = read_server_secrets()
    return options.prefect_db or told.prefect_db, options.mlflow_db or told.mlflow_db


def _artifacts(options: ServeOptions) -> str | None:
    return options.artifacts or read_server_secrets().artifacts


def prefect_environment(
    base: Mapping[str, str], options: ServeOptions, auth: str | None
) -> dict[str, str]:
    """Environment of the Prefect server."""
    environment = dict(base)
    # Who holds a place of those that run side by side: kept in memory, a server that is started
    # again has forgotten it, and cancels the run that begins meanwhile.
    environment.setdefault(
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE",
        "prefect.server.concurrency.lease_storage.filesystem",
    )
    database, _ = _databases(options)
    if database is not None:
        environment["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = database.replace(
            "postgresql://", "postgresql+asyncpg://", 1
        )
    if auth is not None:
        environment["PREFECT_SERVER_API_AUTH_STRING"] = auth
    return environment


def mlflow_environment(
    base: Mapping[str, str], options: ServeOptions, auth: str | None
) -> dict[str, str]:
    """Environment of the MLflow server; what its options would show is told here."""
    folder = options.folder
    _, database = _databases(options)
    environment = {
        **base,
        "MLFLOW_BACKEND_STORE_URI": database or f"sqlite:///{folder / 'mlflow.db'}",
        "MLFLOW_ARTIFACTS_DESTINATION": _artifacts(options) or str(folder / "mlartifacts"),
    }
    # The server is no client of itself.
    environment.pop("MLFLOW_TRACKING_URI")
    if hosts := base.get(_ALLOWED_HOSTS):
        # They stand instead of MLflow's own, by which runs on this machine reach it.
        near = f"{options.mlflow_url.removeprefix('http://')},localhost:{options.mlflow_port}"
        environment[_ALLOWED_HOSTS] = f"{hosts},{near}"
    if auth is not None:
        user, _, password = auth.partition(":")
        accounts = folder / "mlflow_auth.ini"
        accounts.write_text(
            "[mlflow]\ndefault_permission = READ\n"
            f"database_uri = sqlite:///{folder / 'mlflow_auth.db'}\n"
        )
        environment |= {
            "MLFLOW_AUTH_CONFIG_PATH": str(accounts),
            "MLFLOW_AUTH_ADMIN_USERNAME": user,
            "MLFLOW_AUTH_ADMIN_PASSWORD": password,
            # Signs sessions of browsers, which end with the server.
            "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(32),
        }
    return environment
