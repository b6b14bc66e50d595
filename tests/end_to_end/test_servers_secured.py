"""``skyscale up`` for a team: passwords, PostgreSQL, S3. All of it real."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from flows.web import ServiceError, ask
from tests.servers.postgres_server import PostgresServer, find_postgres
from tests.servers.s3_server import S3Server
from tests.servers.skyscale_up import SkyscaleUp

pytestmark = pytest.mark.slow

PASSWORD = "a-password-of-some-length"
AUTH = f"surveyor:{PASSWORD}"


def address_in_network() -> str | None:
    """Of this machine, as others see it."""
    found = [a for addresses in psutil.net_if_addrs().values() for a in addresses]
    here = (a.address for a in found if a.family == socket.AF_INET)
    return next((address for address in here if not address.startswith("127.")), None)


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    if find_postgres() is None:
        pytest.skip("no PostgreSQL here")
    with PostgresServer("prefect", "mlflow") as server:
        yield server


@pytest.fixture(scope="module")
def up(
    services: Path,
    postgres: PostgresServer,
    s3: S3Server,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[SkyscaleUp]:
    """Each database is told of in one of the two ways; all of the network may come."""
    folder = tmp_path_factory.mktemp("up")
    prefect_db = postgres.url("prefect").replace(f":{postgres.password}@", "@")
    up = SkyscaleUp(
        folder / "servers",
        *("--artifacts", f"s3://{s3.bucket}/mlflow", "--gpu-slots", 8),
        *("--host", "0.0.0.0", "--prefect-db", prefect_db),
        SKYSCALE_AUTH=AUTH,
        SKYSCALE_MLFLOW_DB=postgres.url("mlflow"),
        PGPASSFILE=str(postgres.pass_file(folder)),
        MLFLOW_SERVER_ALLOWED_HOSTS=f"{address_in_network() or 'maps.example.org'}:*",
    )
    up.start()
    yield up
    up.stop()


def test_both_servers_want_the_password_and_health_does_not(up: SkyscaleUp) -> None:
    experiments = f"{up.mlflow}/api/2.0/mlflow/experiments/search"
    for auth in (None, "surveyor:wrong"):
        with pytest.raises(ServiceError, match="401"):
            ask(f"{up.api}/flow_runs/filter", {}, auth=auth)
        with pytest.raises(ServiceError, match="401"):
            ask(experiments, {"max_results": 1}, auth=auth)
    assert ask(f"{up.api}/health")
    assert ask(f"{up.mlflow}/health") == "OK"
    assert "experiments" in ask(experiments, {"max_results": 1}, auth=AUTH)


def test_both_answer_in_the_network_and_want_the_password_there(up: SkyscaleUp) -> None:
    if (address := address_in_network()) is None:
        pytest.skip("this machine is in no network")
    prefect, mlflow = (url.replace("127.0.0.1", address) for url in (up.api, up.mlflow))
    experiments = f"{mlflow}/api/2.0/mlflow/experiments/search?max_results=1"
    for url in (f"{prefect}/admin/version", experiments):
        assert ask(url, auth=AUTH)
        with pytest.raises(ServiceError, match="401"):
            ask(url)


@pytest.mark.parametrize(("auth", "code"), [(AUTH, 0), (None, 1)])
def test_status_wants_it_from_the_environment(up: SkyscaleUp, auth: str | None, code: int) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
    environment |= {"SKYSCALE_AUTH": auth} if auth else {}
    command = [sys.executable, "-m", "flows", "status", "--folder", str(up.folder)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == code, done.stdout + done.stderr
    assert ("SKYSCALE_AUTH" in done.stdout) == (code == 1)


def test_eight_runs_at_once_end_well_and_are_tracked(
    up: SkyscaleUp, s3: S3Server, scenes: Path, tmp_path: Path
) -> None:
    source = str(scenes / "satellite/sat_20240621/sat_20240621.json")
    runs = [
        up.run(
            "upscale",
            source=source,
            output=str(tmp_path / f"{n}.tif"),
            model="nearest",
            report=str(tmp_path / f"report{n}"),
            workers=1,
        )
        for n in range(8)
    ]
    for run in runs:
        assert up.await_end(run, seconds=400) == "COMPLETED", up.messages(run)
    search = {"experiment_ids": ["1"], "max_results": 20}
    tracked = ask(f"{up.mlflow}/api/2.0/mlflow/runs/search", search, auth=AUTH)["runs"]
    assert len(tracked) == 8
    listed = f"{up.mlflow}/api/2.0/mlflow/artifacts/list?run_id={tracked[0]['info']['run_id']}"
    assert ask(listed, auth=AUTH)["files"]
    assert not list((up.folder / "mlartifacts").glob("*"))
    for log in up.folder.glob("*.log"):
        for trouble in ("locked", "deadlock", "too many clients"):
            assert trouble not in log.read_text(), log


def test_no_secret_is_in_a_log_or_the_list_of_processes(
    up: SkyscaleUp, postgres: PostgresServer, s3: S3Server
) -> None:
    secrets = (PASSWORD, postgres.password, s3.environment["AWS_SECRET_ACCESS_KEY"])
    listed = [" ".join(process.cmdline()) for process in up.processes()]
    written = [path.read_text() for path in up.folder.glob("*.*") if path.suffix != ".db"]
    assert len(listed) > 3
    for secret in secrets:
        assert not [text for text in (*listed, *written, *up.said) if secret in text]


def test_a_restart_keeps_the_history_and_the_account(up: SkyscaleUp) -> None:
    before = up.ask("flow_runs/count", {})
    assert before >= 8
    up.stop()
    up.start()
    assert up.ask("flow_runs/count", {}) == before
