"""Where a store lies: a folder of this machine, or a prefix of an S3 bucket.

S3 is told by the usual variables of the environment: ``AWS_ACCESS_KEY_ID``,
``AWS_SECRET_ACCESS_KEY``, ``AWS_SESSION_TOKEN``, ``AWS_REGION``, ``AWS_ENDPOINT_URL`` (for servers
other than Amazon's), ``AWS_SKIP_SIGNATURE`` for public buckets. Credentials are never stored.
"""

from __future__ import annotations

import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from geo.errors import StoreError
from geo.pairstore.forks import start_threads_of

_S3 = "s3://"
_DEFAULT_REGION = "us-east-1"  # what other servers than Amazon's usually call themselves


@dataclass(frozen=True)
class Entry:
    """A file, or an object: its key within the place, bytes, and seconds since 1970."""

    key: str
    size: int
    time: float


class Place(ABC):
    """A tree of files that can be listed, read, written once, and deleted.

    Attributes
    ----------
    url : str
        Absolute path, or ``s3://bucket/prefix``.
    """

    url: str

    @property
    def name(self) -> str:
        """Last part of the url."""
        return self.url.rstrip("/").rsplit("/", 1)[-1]

    @abstractmethod
    def read(self, key: str) -> bytes | None:
        """Content of a file; None where there is none."""

    @abstractmethod
    def write_once(self, key: str, content: bytes) -> bool:
        """Write a file whole or not at all; False where there was one already, which stays."""

    @abstractmethod
    def entries(self, under: str = "") -> Iterator[Entry]:
        """All files under a key, at any depth."""

    @abstractmethod
    def children(self, under: str = "") -> set[str]:
        """Names right under a key."""

    @abstractmethod
    def delete(self, keys: Sequence[str]) -> None:
        """Remove files and folders; what is gone already is no error."""

    @abstractmethod
    def kvstore(self, key: str) -> dict[str, Any]:
        """How tensorstore opens what lies under a key."""

    @abstractmethod
    def force(self, key: str) -> None:
        """Return when all under a key will survive a loss of power."""

    def delta_options(self) -> dict[str, str]:
        """What delta-rs has to be told beside the environment."""
        return {}


def place_of(text: str | Path) -> Place:
    """The place that a user named.

    Raises
    ------
    StoreError
        If the URL is none of S3, or lacks a bucket.
    """
    if is_remote(text):
        return S3Place(str(text))
    if "://" in str(text):
        raise StoreError(f"{text}: wanted a folder or s3://BUCKET/PREFIX")
    return LocalPlace(Path(text))


def is_remote(text: str | Path) -> bool:
    """Whether it names something beyond this machine's file system."""
    return str(text).startswith(_S3)


class LocalPlace(Place):
    """A folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()  # other processes may stand elsewhere
        self.url = str(self.folder)

    def read(self, key: str) -> bytes | None:
        """See `Place.read`."""
        try:
            return (self.folder / key).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise StoreError(f"{self.folder / key}: cannot be read ({error})") from error

    def write_once(self, key: str, content: bytes) -> bool:
        """See `Place.write_once`."""
        file = self.folder / key
        hidden = file.with_name(f".{file.name}.{os.getpid()}")
        with _saying(f"{file}: cannot be written", OSError):
            file.parent.mkdir(parents=True, exist_ok=True)
            try:
                with hidden.open("wb") as handle:
                    handle.write(content)
                    handle.flush()
                    os.fsync(handle.fileno())
                return _link(hidden, file)
            finally:
                hidden.unlink(missing_ok=True)

    def entries(self, under: str = "") -> Iterator[Entry]:
        """See `Place.entries`."""
        for path in (self.folder / under).rglob("*"):
            try:
                if path.is_file():
                    found = path.stat()
                    yield Entry(
                        path.relative_to(self.folder).as_posix(), found.st_size, found.st_mtime
                    )
            except FileNotFoundError:
                continue  # somebody removed it at this moment

    def children(self, under: str = "") -> set[str]:
        """See `Place.children`."""
        folder = self.folder / under
        return {path.name for path in folder.iterdir()} if folder.is_dir() else set()

    def delete(self, keys: Sequence[str]) -> None:
        """See `Place.delete`."""
        for key in keys:
            path = self.folder / key
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    def kvstore(self, key: str) -> dict[str, Any]:
        """See `Place.kvstore`."""
        return {"driver": "file", "path": f"{self.folder / key}/"}

    def force(self, key: str) -> None:
        """See `Place.force`."""
        top = self.folder / key
        for path in (*top.rglob("*"), top, top.parent):
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


def _link(hidden: Path, file: Path) -> bool:
    """Give a file its name if nobody else has it."""
    try:
        os.link(hidden, file)
    except FileExistsError:
        return False
    except OSError:  # no hard links on this file system
        if file.exists():
            return False
        hidden.replace(file)
    return True


class S3Place(Place):
    """A prefix of a bucket, on Amazon's S3 or a server that speaks its protocol."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._bucket, self._prefix = parts.netloc, parts.path.strip("/")
        if not self._bucket:
            raise StoreError(f"{url}: wanted s3://BUCKET/PREFIX")
        self.url = f"{_S3}{self._bucket}/{self._prefix}".rstrip("/")

    @property
    def _endpoint(self) -> str | None:
        return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")

    @property
    def _region(self) -> str | None:
        told = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        return told or (_DEFAULT_REGION if self._endpoint else None)

    @property
    def _anonymous(self) -> bool:
        return os.environ.get("AWS_SKIP_SIGNATURE", "").lower() in ("1", "true", "yes")

    @property
    def _objects(self) -> Any:
        start_threads_of("obstore", self.url)
        return self._client

    @cached_property
    def _client(self) -> Any:
        from obstore.store import S3Store

        more: dict[str, Any] = {"skip_signature": True} if self._anonymous else {}
        if self._endpoint:
            more["endpoint"] = self._endpoint
        if self._region:
            more["region"] = self._region
        return S3Store(
            self._bucket,
            prefix=self._prefix or None,
            client_options={"allow_http": self._is_plain},
            **more,
        )

    @property
    def _is_plain(self) -> bool:
        return (self._endpoint or "").startswith("http://")

    def read(self, key: str) -> bytes | None:
        """See `Place.read`."""
        import obstore
        from obstore.exceptions import NotFoundError

        with _saying(f"{self.url}/{key}: cannot be read", *_remote_errors()):
            try:
                return bytes(obstore.get(self._objects, key).bytes())
            except (FileNotFoundError, NotFoundError):
                return None

    def write_once(self, key: str, content: bytes) -> bool:
        """See `Place.write_once`."""
        import obstore
        from obstore.exceptions import AlreadyExistsError

        with _saying(f"{self.url}/{key}: cannot be written", *_remote_errors()):
            try:
                obstore.put(self._objects, key, content, mode="create")
            except AlreadyExistsError:
                return False
        return True

    def entries(self, under: str = "") -> Iterator[Entry]:
        """See `Place.entries`."""
        import obstore

        with _saying(f"{self.url}/{under}: cannot be listed", *_remote_errors()):
            for batch in obstore.list(self._objects, prefix=under or None):
                for meta in batch:
                    yield Entry(meta["path"], meta["size"], meta["last_modified"].timestamp())

    def children(self, under: str = "") -> set[str]:
        """See `Place.children`."""
        import obstore

        with _saying(f"{self.url}/{under}: cannot be listed", *_remote_errors()):
            found = obstore.list_with_delimiter(self._objects, prefix=under or None)
        keys = [*found["common_prefixes"], *(meta["path"] for meta in found["objects"])]
        return {key.rstrip("/").rsplit("/", 1)[-1] for key in keys}

    def delete(self, keys: Sequence[str]) -> None:
        """See `Place.delete`."""
        import obstore

        every = [entry.key for key in keys for entry in self.entries(key)] or list(keys)
        with _saying(f"{self.url}: cannot be cleaned", *_remote_errors()):
            for start in range(0, len(every), 500):
                obstore.delete(self._objects, every[start : start + 500])

    def kvstore(self, key: str) -> dict[str, Any]:
        """See `Place.kvstore`."""
        path = "/".join(part for part in (self._prefix, key.strip("/")) if part)
        spec: dict[str, Any] = {"driver": "s3", "bucket": self._bucket, "path": f"{path}/"}
        if self._endpoint:
            spec["endpoint"] = self._endpoint.rstrip("/")
        if self._region:
            spec["aws_region"] = self._region
        if self._anonymous:
            spec["aws_credentials"] = {"type": "anonymous"}
        elif "AWS_ACCESS_KEY_ID" in os.environ:  # told at once, without asking other sources
            spec["aws_credentials"] = {"type": "environment"}
        return spec

    def force(self, key: str) -> None:
        """Nothing to do: an object that was put is safe."""

    def delta_options(self) -> dict[str, str]:
        """See `Place.delta_options`."""
        options = {"aws_endpoint": self._endpoint, "aws_region": self._region}
        told = {name: value for name, value in options.items() if value}
        return told | ({"allow_http": "true"} if self._is_plain else {})

    def gdal_options(self) -> dict[str, str]:
        """What GDAL has to be told beside the environment."""
        options = {"AWS_NO_SIGN_REQUEST": "YES"} if self._anonymous else {}
        if self._endpoint:
            server = urlsplit(self._endpoint)
            options |= {
                "AWS_S3_ENDPOINT": server.netloc + server.path.rstrip("/"),
                "AWS_HTTPS": "NO" if self._is_plain else "YES",
                "AWS_VIRTUAL_HOSTING": "FALSE",
            }
        return options


@contextmanager
def _saying(what: str, *kinds: type[Exception]) -> Iterator[None]:
    """Errors of the disk or the network as those of the store."""
    try:
        yield
    except kinds as error:
        raise StoreError(f"{what} ({error})") from error


def _remote_errors() -> tuple[type[Exception], ...]:
    from obstore.exceptions import BaseError

    return OSError, BaseError
