"""Deployments for clusters are those of one machine, with other paths and pools."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tests.deploy.pools import DEPLOY, FILE, ROOT, deployments, template

ONE_MACHINE = deployments(ROOT / "prefect.yaml")
CLUSTER = deployments()
WORKER = list(yaml.safe_load_all((DEPLOY / "kubernetes-worker.yaml").read_text()))


def test_every_flow_that_works_alone_has_one() -> None:
    # A pipeline asks for GPUs all the while that it ingests and reports.
    assert {f"cluster-{name}" for name in ONE_MACHINE} - set(CLUSTER) == {"cluster-pipeline"}


@pytest.mark.parametrize("name", CLUSTER)
def test_flow_limit_and_schedules_are_the_same(name: str) -> None:
    here, there = ONE_MACHINE[name.removeprefix("cluster-")], CLUSTER[name]
    for what in ("entrypoint", "concurrency_limit", "schedules"):
        assert there.get(what) == here.get(what), what
    assert set(there["tags"]) == {*here["tags"], "cluster"}


@pytest.mark.parametrize("name", CLUSTER)
def test_data_lies_where_pools_mount_it(name: str) -> None:
    paths = [v for v in CLUSTER[name]["parameters"]["config"].values() if "/" in str(v)]
    assert [p for p in paths if not p.startswith(("/srv/skyscale/", "models:/"))] == []
    mounts = template("kubernetes")["job_configuration"]["job_manifest"]["spec"]["template"]
    assert mounts["spec"]["containers"][0]["volumeMounts"][0]["mountPath"] == "/srv/skyscale"
    docker: dict[str, Any] = template("docker")["variables"]["properties"]["volumes"]
    assert docker["default"] == ["/srv/skyscale:/srv/skyscale"]


def test_code_is_where_the_image_has_it() -> None:
    (step,) = yaml.safe_load(FILE.read_text())["pull"]
    (options,) = step.values()
    assert f"WORKDIR {options['directory']}" in (ROOT / "Dockerfile").read_text()


@pytest.mark.parametrize("kind", ["docker", "kubernetes"])
def test_every_variable_of_a_template_is_used_and_explains_itself(kind: str) -> None:
    found = template(kind)
    for name, field in found["variables"]["properties"].items():
        assert f"{{{{ {name} }}}}" in str(found["job_configuration"]), name
        assert {"title", "type"} <= set(field), name
        assert f"`{name}`" in (ROOT / "docs/guides/clusters.md").read_text(), f"{name} is not told"


def test_the_worker_of_kubernetes_serves_the_pool_in_the_namespace_of_its_jobs() -> None:
    namespaces = {document["metadata"]["namespace"] for document in WORKER}
    variables = template("kubernetes")["variables"]["properties"]
    assert namespaces == {variables["namespace"]["default"]}
    (deployment,) = (d for d in WORKER if d["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["image"] == variables["image"]["default"]
    pools = {d["work_pool"]["name"] for d in CLUSTER.values()}
    assert {container["args"][container["args"].index("--pool") + 1]} == pools
    (claim,) = (d for d in WORKER if d["kind"] == "PersistentVolumeClaim")
    assert claim["metadata"]["name"] == variables["claim"]["default"]
