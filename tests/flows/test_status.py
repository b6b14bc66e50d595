"""``skyscale status`` without servers; with them see tests/end_to_end/test_servers.py."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import app

_NAMES = ("PREFECT_API_URL", "MLFLOW_TRACKING_URI", "SKYSCALE_DASK_SCHEDULER", "SKYSCALE_AUTH")


@pytest.fixture(autouse=True)
def nothing_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in _NAMES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def nobody() -> int:
    """A port where nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_laptop_without_servers_is_well(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["status", "--folder", str(tmp_path / "servers")])
    assert done.exit_code == 0, done.output
    for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI", "SKYSCALE_DASK_SCHEDULER"):
        assert name in done.stdout
    assert "GB free" in done.stdout
    assert done.stdout.endswith("All well.\n")


def test_servers_that_are_named_and_not_there_are_trouble(
    tmp_path: Path, nobody: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{nobody}/api")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{nobody}")
    monkeypatch.setenv("SKYSCALE_DASK_SCHEDULER", f"tcp://127.0.0.1:{nobody}")
    begun = time.monotonic()
    done = CliRunner().invoke(app, ["status", "--folder", str(tmp_path), "--json"])
    assert time.monotonic() - begun < 20
    assert done.exit_code == 1
    told = json.loads(done.stdout)
    assert not told["well"]
    for name in ("prefect", "mlflow", "dask"):
        assert not told[name]["well"]
        assert any(told[name]["error"] in trouble for trouble in told["troubles"])


def test_the_folder_tells_where_its_servers_are(tmp_path: Path, nobody: int) -> None:
    addresses = {"prefect": f"http://127.0.0.1:{nobody}/api", "mlflow": None}
    (tmp_path / "addresses.json").write_text(json.dumps(addresses))
    done = CliRunner().invoke(app, ["status", "--folder", str(tmp_path)])
    assert done.exit_code == 1
    assert f"NOT WELL  {addresses['prefect']}" in done.stdout
    assert f"Trouble: {addresses['prefect']}" in done.stdout
