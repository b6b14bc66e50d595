"""A PostgreSQL of the system on this machine, with databases that want a password."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

_USER, _PASSWORD = "skyscale", "opensesame-and-more"


def find_postgres() -> Path | None:
    """Folder of its programs, on the path or where Debian puts them."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    return next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)


class PostgresServer:
    """Runs while it is entered.

    Parameters
    ----------
    databases : str
        Made at the start.
    """

    password = _PASSWORD

    def __init__(self, *databases: str) -> None:
        self._databases = databases
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = int(probe.getsockname()[1])
        # It does not run as root; its folder lies where its own user may go.
        self._user = "postgres" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name

    def url(self, database: str) -> str:
        return f"postgresql://{_USER}:{_PASSWORD}@127.0.0.1:{self._port}/{database}"

    def pass_file(self, folder: Path) -> Path:
        """The password as PostgreSQL's clients look for it."""
        file = folder / "pgpass"
        file.write_text(f"127.0.0.1:{self._port}:*:{_USER}:{_PASSWORD}\n")
        file.chmod(0o600)
        return file

    def __enter__(self) -> PostgresServer:
        programs = find_postgres()
        assert programs is not None, "PostgreSQL is not installed"
        self._folder = Path(tempfile.mkdtemp(prefix="skyscale-postgres-"))
        secret = self._folder / "password"
        secret.write_text(_PASSWORD)
        for path in (self._folder, secret):
            shutil.chown(path, self._user)
        data = self._folder / "data"
        who = {"user": self._user} if os.getuid() == 0 else {}
        subprocess.run(
            [
                *(programs / "initdb", "-D", data, "-U", _USER, "--pwfile", secret),
                *("--auth=scram-sha-256", "--no-sync"),
            ],
            check=True,
            capture_output=True,
            cwd=self._folder,
            **who,
        )
        self._process = subprocess.Popen(
            [
                *(programs / "postgres", "-D", data, "-p", str(self._port)),
                *("-h", "127.0.0.1", "-k", self._folder, "-c", "fsync=off"),
            ],
            cwd=self._folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **who,
        )
        for database in self._databases:
            self._create(database)
        return self

    def _create(self, database: str) -> None:
        import psycopg2

        deadline = time.monotonic() + 30
        while True:
            try:
                connection = psycopg2.connect(self.url("postgres"))
                break
            except psycopg2.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {database}")
        connection.close()

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(20)
        shutil.rmtree(self._folder)
