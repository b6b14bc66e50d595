"""Processes of `skyscale up`, whoever has started it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from flows.serve_processes import Server

# Prefect's worker does so with the SIGTERM that it gets.
TURNS_IT_INTO_SIGINT = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
print("ready", flush=True)
time.sleep(60)
"""


def test_a_server_that_is_started_by_nohup_heeds_a_stop(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # what a script's background has
    try:
        command = ("python", "-c", TURNS_IT_INTO_SIGINT)
        server = Server(name="server", command=command, folder=tmp_path, environment=os.environ)
        server.start()
    finally:
        signal.signal(signal.SIGINT, before)
    while "ready" not in server.log.read_text():
        assert server.status is None
    server.stop()
    assert server.status == -signal.SIGINT, "it was killed only when its time was over"
    assert "KeyboardInterrupt" in server.log.read_text()
