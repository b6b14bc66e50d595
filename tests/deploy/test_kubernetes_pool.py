"""The pool for Kubernetes: what a worker would ask a cluster for. No cluster is asked."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from flows.launcher import _GRACE_S
from tests.deploy.pools import DEPLOY, ROOT, Pool, deployments, pool_name

worker = pytest.importorskip(
    "prefect_kubernetes.worker", reason="pip install 'skyscale[clusters]' for workers of Kubernetes"
)
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pool(prefect: str) -> Pool:
    pool = Pool(prefect, "kubernetes", pool_name())
    pool.deploy()
    return pool


def job_of(pool: Pool, deployment: str, **job_variables: Any) -> dict[str, Any]:
    """Manifest of the job of a flow run."""
    run = pool.start(deployment, **job_variables)
    filled = pool.fill(run, worker.KubernetesWorkerJobConfiguration)
    manifest: dict[str, Any] = filled.job_manifest
    return manifest


@pytest.fixture(scope="module")
def training(pool: Pool) -> dict[str, Any]:
    return job_of(pool, "cluster-train", env={"SKYSCALE_NOTICE_URL": "https://notice.example"})


def pod(job: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = job["spec"]["template"]["spec"]
    return found


def container(job: dict[str, Any]) -> dict[str, Any]:
    (found,) = pod(job)["containers"]
    assert isinstance(found, dict)
    return found


def environment(job: dict[str, Any]) -> dict[str, str]:
    return {e["name"]: e["value"] for e in container(job)["env"]}


def test_the_image_executes_the_flow_run(training: dict[str, Any], prefect: str) -> None:
    assert container(training)["image"] == "skyscale:latest"
    assert container(training)["args"] == ["prefect", "flow-run", "execute"]
    told = environment(training)
    assert told["PREFECT_API_URL"] == prefect
    assert told["PREFECT__FLOW_RUN_ID"]
    assert training["metadata"]["namespace"] == "skyscale"


def test_addresses_of_pool_and_run_come_together(training: dict[str, Any]) -> None:
    told = environment(training)
    assert told["MLFLOW_TRACKING_URI"] == "http://mlflow:5000"
    assert told["SKYSCALE_NOTICE_URL"] == "https://notice.example"


def test_a_training_gets_the_gpu_that_its_deployment_asks_for(training: dict[str, Any]) -> None:
    wanted = deployments()["cluster-train"]["work_pool"]["job_variables"]
    limits = container(training)["resources"]["limits"]
    assert limits == {"cpu": "8", "memory": "32Gi", "nvidia.com/gpu": wanted["gpus"]}


def test_what_asks_for_no_gpu_gets_none_and_runs_may_ask_for_more(pool: Pool) -> None:
    assert container(job_of(pool, "cluster-report"))["resources"] == {
        "requests": {"cpu": "4", "memory": "8Gi"},
        "limits": {"cpu": "4", "memory": "8Gi", "nvidia.com/gpu": 0},
    }
    more = job_of(pool, "cluster-train", gpus=4, node_selector={"gpu": "yes"}, claim="fast")
    assert container(more)["resources"]["limits"]["nvidia.com/gpu"] == 4
    assert pod(more)["nodeSelector"] == {"gpu": "yes"}
    assert pod(more)["volumes"][0]["persistentVolumeClaim"] == {"claimName": "fast"}


def test_secrets_are_named_not_told(training: dict[str, Any]) -> None:
    assert container(training)["envFrom"] == [{"secretRef": {"name": "skyscale", "optional": True}}]


def test_a_stopped_run_has_time_to_save_itself_and_goes_on_elsewhere(
    training: dict[str, Any],
) -> None:
    assert pod(training)["terminationGracePeriodSeconds"] > 30 > _GRACE_S
    # Kubernetes would begin it anew beside the run that Prefect has scheduled again.
    assert training["spec"]["backoffLimit"] == 0
    assert pod(training)["restartPolicy"] == "Never"
    assert environment(training)["PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR"] == "reschedule"
    assert training["spec"]["ttlSecondsAfterFinished"] == 3600


def test_a_pod_has_no_rights(training: dict[str, Any]) -> None:
    assert pod(training)["automountServiceAccountToken"] is False
    assert pod(training)["securityContext"]["runAsNonRoot"] is True
    assert container(training)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    user = f"USER {pod(training)['securityContext']['runAsUser']}:"
    assert user in (ROOT / "Dockerfile").read_text()


def test_kubernetes_knows_every_field(training: dict[str, Any]) -> None:
    judge = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate has the schemas")
    # Prefect insists on these two where no pod has them; a server leaves them out.
    for misplaced in ("parallelism", "completions"):
        del pod(training)[misplaced]
    judge.validate(training, "1.31", strict=True)
    for document in yaml.safe_load_all((DEPLOY / "kubernetes-worker.yaml").read_text()):
        judge.validate(document, "1.31", strict=True)
