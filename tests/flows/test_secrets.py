"""Logs, errors and results of the command show no password, signature or token."""

from __future__ import annotations

import io
import logging
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows import tracking
from flows.cli import app
from flows.console import LOGGER, say
from flows.errors import FlowError, UsageError
from flows.tracking import check_reachable, ui_command
from tests.servers.stac_server import StacServer


@pytest.mark.parametrize("kind", [FlowError, UsageError])
def test_errors_are_masked(kind: type[Exception]) -> None:
    assert str(kind("postgresql://me:hunter2@db/mlflow: gone")) == (
        "postgresql://***@db/mlflow: gone"
    )


def test_the_story_is_masked_for_every_handler() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    LOGGER.addHandler(handler)
    try:
        say("asking https://me:hunter2@host/x")
        LOGGER.warning("%s did not answer in %d s", "https://host/a?sig=hunter2", 3)
    finally:
        LOGGER.removeHandler(handler)
    assert stream.getvalue() == (
        "asking https://***@host/x\nhttps://host/a?sig=*** did not answer in 3 s\n"
    )


@pytest.mark.parametrize("how", [(), ("--debug",)])
def test_no_error_of_the_command_shows_a_signature(how: tuple[str, ...], tmp_path: Path) -> None:
    with StacServer(tmp_path) as server:
        url = f"{server.files}/a_20240618.tif?sig=hunter2"
        done = CliRunner().invoke(app, ["coregister", url, url, *how])
    assert done.exit_code == 1
    assert "sig=***" in done.stderr
    assert "hunter2" not in done.output
    assert ("Traceback" in done.stderr) == bool(how)


def test_the_address_of_the_tracker_is_told_without_its_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:hunter2@127.0.0.1:9")
    assert ui_command() == "open http://127.0.0.1:9/"
    with pytest.raises(FlowError, match=r"http://\*\*\*@127.0.0.1:9 cannot be reached"):
        check_reachable()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://me:hunter2@db/mlflow")
    monkeypatch.setattr(tracking, "_runs", lambda: "#/runs")  # there is no such database
    assert ui_command() == (
        'mlflow ui --backend-store-uri "$MLFLOW_TRACKING_URI"; then open http://127.0.0.1:5000/#/runs'
    )


def test_a_laptops_run_listens_to_this_machine_alone() -> None:
    """The embedded Dask cluster and its dashboard."""
    code = (
        "import psutil\n"
        "from flows.runtime import dask_client\n"
        "with dask_client(1) as client:\n"
        "    assert client.submit(int, 3).result() == 3\n"
        "    found = psutil.Process().net_connections('inet')\n"
        "print(sorted({c.laddr.ip for c in found if c.status == 'LISTEN'}))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() in ("[]", "['127.0.0.1']")
