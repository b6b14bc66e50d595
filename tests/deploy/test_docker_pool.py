"""The pool for Docker: what a worker would ask the daemon for."""

from __future__ import annotations

from typing import Any

import pytest

from tests.deploy.pools import Pool, file_for_docker

worker = pytest.importorskip(
    "prefect_docker.worker", reason="pip install 'skyscale[clusters]' for workers of Docker"
)
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pool(prefect: str, tmp_path_factory: pytest.TempPathFactory) -> Pool:
    pool = Pool(prefect, "docker", "boxes")
    pool.deploy(file_for_docker(tmp_path_factory.mktemp("deploy"), pool.name))
    return pool


def container_of(pool: Pool, deployment: str, **job_variables: Any) -> Any:
    run = pool.start(deployment, **job_variables)
    return pool.fill(run, worker.DockerWorkerJobConfiguration)


def test_the_image_executes_the_flow_run_beside_the_servers(pool: Pool, prefect: str) -> None:
    found = container_of(pool, "cluster-report", env={"SKYSCALE_WORKERS": "2"})
    assert (found.image, found.command) == ("skyscale:latest", "prefect flow-run execute")
    assert found.network_mode == "host"
    assert found.env["PREFECT_API_URL"] == prefect
    assert found.env["MLFLOW_TRACKING_URI"] == "http://127.0.0.1:5000"
    assert found.env["SKYSCALE_WORKERS"] == "2"
    assert found.volumes == ["/srv/skyscale:/srv/skyscale"]


def test_a_stopped_container_is_scheduled_again(pool: Pool) -> None:
    found = container_of(pool, "cluster-report")
    assert found.env["PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR"] == "reschedule"


def test_secrets_come_from_the_server_when_a_worker_starts_the_run(
    pool: Pool, prefect: str
) -> None:
    from prefect.blocks.system import Secret
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: prefect}):
        Secret(value="surveyor:long-enough-for-all").save("skyscale-auth", _sync=True)
    named = {"SKYSCALE_AUTH": "{{ prefect.blocks.secret.skyscale-auth }}"}
    found = container_of(pool, "cluster-report", env=named)
    assert found.env["SKYSCALE_AUTH"] == "surveyor:long-enough-for-all"


def test_only_what_asks_for_gpus_gets_them(pool: Pool) -> None:
    from docker.types import HostConfig

    def asked(deployment: str, **job_variables: Any) -> Any:
        found = container_of(pool, deployment, **job_variables)
        return HostConfig(
            version="1.41",
            device_requests=found.container_create_kwargs["device_requests"],
            cpuset_cpus=found.container_create_kwargs["cpuset_cpus"],
            mem_limit=found.mem_limit,
        )

    training, report = asked("cluster-train", cpus="0-7"), asked("cluster-report")
    (gpus,) = training["DeviceRequests"]
    assert (gpus["Count"], gpus["Capabilities"]) == (-1, [["gpu"]])
    assert (training["CpusetCpus"], training["Memory"]) == ("0-7", 32 << 30)
    assert report["DeviceRequests"] == []
    assert report["Memory"] == 8 << 30
    assert not report.get("CpusetCpus")


def test_a_container_has_no_rights(pool: Pool) -> None:
    options = container_of(pool, "cluster-report").container_create_kwargs
    assert options["user"] == "1000:1000"
    assert options["read_only"] is True
    assert options["cap_drop"] == ["ALL"]
    assert options["security_opt"] == ["no-new-privileges"]
