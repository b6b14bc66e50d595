"""``SKYSCALE_LOG_FORMAT=json``: each line of the story is an object for programs."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from datetime import datetime
from typing import Any

import pytest
from typer.testing import CliRunner

from flows.cli import app
from flows.console import LOGGER, say, tell_people


@pytest.fixture(autouse=True)
def as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKYSCALE_LOG_FORMAT", "json")
    monkeypatch.setattr(LOGGER, "handlers", [])
    monkeypatch.setattr(LOGGER, "propagate", False)


def told(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_line_has_time_level_stage_message_and_its_numbers(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tell_people()
    say("upscale: 3 of 8 blocks\n  of a 'region'", done=3, total=8, rate=1.5, eta_s=math.inf)
    (line,) = told(capsys)
    assert datetime.fromisoformat(line.pop("time")).tzinfo is not None
    assert line == {
        "level": "info",
        "flow": None,
        "run": None,
        "stage": "upscale",
        "message": "upscale: 3 of 8 blocks\n  of a 'region'",
        **{"done": 3, "total": 8, "rate": 1.5, "eta_s": None},
    }


def test_numbers_never_stand_in_for_what_every_line_has(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tell_people()
    say("report: begun", run="mine", level="high")
    (line,) = told(capsys)
    assert (line["run"], line["level"]) == (None, "info")


def test_secrets_are_masked_in_all_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    tell_people()
    say('asking "https://me:hunter2@host/x"', url="https://host/a?sig=hunter2")
    try:
        raise ValueError("https://host/a?token=hunter2")
    except ValueError:
        LOGGER.warning("ingest: unexpected", exc_info=True)
    first, second = told(capsys)
    assert first["message"] == 'asking "https://***@host/x"'
    assert first["url"] == "https://host/a?sig=***"
    assert second["level"] == "warning"
    assert second["traceback"].endswith("ValueError: https://host/a?token=***")


def test_the_reason_why_a_command_ends_is_such_a_line_too() -> None:
    done = CliRunner().invoke(app, ["coregister", "no-such.tif", "no-such.tif"])
    assert done.exit_code == 1
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert lines[-1]["level"] == "error"
    assert lines[-1]["message"].startswith("skyscale: no-such.tif")


def test_other_formats_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKYSCALE_LOG_FORMAT", "xml")
    done = CliRunner().invoke(app, ["status"])
    assert done.exit_code == 2
    assert "wanted text or json" in done.stderr


def test_a_flow_runs_own_process_prints_nothing_else() -> None:
    """What Prefect's engine says in it, and libraries, too."""
    code = (
        "import logging, prefect\n"
        "from flows.console import say, tell_worker\n"
        "tell_worker(); tell_worker()\n"
        "say('report: 1 of 2 tiles', done=1)\n"
        "logging.getLogger('prefect.engine').error('engine')\n"
        "logging.getLogger('somebody').warning('library https://me:hunter2@host/x')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={
            **os.environ,
            "PREFECT__FLOW_RUN_ID": "00000000-0000-0000-0000-000000000001",
            "PREFECT_LOGGING_LEVEL": "INFO",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["message"] for line in lines] == [
        *("report: 1 of 2 tiles", "engine", "library https://***@host/x")
    ]
    assert lines[0]["done"] == 1
