"""What `skyscale up` refuses before it starts anything."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flows.errors import UsageError
from flows.serve import serve
from flows.serve_options import ServeOptions, check_options, prefect_environment
from flows.settings import MARK, server_environment


def check(**options: Any) -> str | None:
    free = {"prefect_port": 1, "mlflow_port": 2}
    return check_options(ServeOptions(folder=Path("servers"), **(free | options)))


def test_nothing_said_is_well() -> None:
    assert check() is None


def test_the_network_is_let_in_only_with_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="SKYSCALE_AUTH"):
        check(host="0.0.0.0")
    monkeypatch.setenv("SKYSCALE_AUTH", "surveyor:long-enough-for-all")
    assert check(host="0.0.0.0") == "surveyor:long-enough-for-all"


@pytest.mark.parametrize("auth", ["surveyor", ":password-without-user", "surveyor:short"])
def test_a_weak_account_is_refused_without_being_told(
    auth: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SKYSCALE_AUTH", auth)
    with pytest.raises(UsageError, match="wanted USER:PASSWORD") as refused:
        check()
    assert auth not in str(refused.value)


def test_passwords_do_not_come_by_options() -> None:
    with pytest.raises(UsageError, match="SKYSCALE_MLFLOW_DB") as refused:
        check(mlflow_db="postgresql://me:opensesame@db/mlflow")
    assert "opensesame" not in str(refused.value)


def test_other_databases_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKYSCALE_PREFECT_DB", "mysql://me:opensesame@db/prefect")
    with pytest.raises(UsageError, match="wanted postgresql://") as refused:
        check()
    assert "opensesame" not in str(refused.value)


def test_no_slots_at_all_is_a_mistake() -> None:
    with pytest.raises(UsageError, match="gpu-slots"):
        check(gpu_slots=0)


def test_a_port_that_a_server_of_a_killed_command_holds_is_freed_and_no_other(
    tmp_path: Path,
) -> None:
    listen = "import socket, time; s = socket.create_server(('127.0.0.1', 0)); "
    listen += "print(s.getsockname()[1], flush=True); time.sleep(60)"
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        subprocess.Popen(
            [sys.executable, "-c", listen],
            stdout=subprocess.PIPE,
            env={MARK: str(tmp_path.resolve())},
        ) as left,
    ):
        assert left.stdout is not None
        ports = {"prefect_port": int(left.stdout.readline()), "mlflow_port": other.getsockname()[1]}
        with pytest.raises(UsageError, match=f"port {ports['mlflow_port']} is in use"):
            serve(ServeOptions(folder=tmp_path, **ports))
        assert left.poll() is not None


LEASES = """
import asyncio, sys, uuid
from datetime import timedelta
from prefect.server.concurrency.lease_storage import get_concurrency_lease_storage
storage = get_concurrency_lease_storage()
if len(sys.argv) > 1:
    print(asyncio.run(storage.renew_lease(uuid.UUID(sys.argv[1]), timedelta(minutes=1))))
else:
    print(asyncio.run(storage.create_lease([uuid.uuid4()], timedelta(minutes=1))).id)
"""


def test_a_server_that_is_started_again_knows_who_holds_a_place(tmp_path: Path) -> None:
    options = ServeOptions(folder=tmp_path)
    base = server_environment(tmp_path, f"{options.prefect_url}/api", options.mlflow_url)
    environment = prefect_environment(base, options, None)

    def server(*lease: str) -> str:
        command = [sys.executable, "-c", LEASES, *lease]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    assert server(server()) == "True"
