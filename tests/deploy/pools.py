"""Work pools made from the templates of deploy/, on a real server, filled as workers fill them."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from flows.web import ask

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
FILE = DEPLOY / "prefect.yaml"


def template(kind: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DEPLOY / f"{kind}-pool.json").read_text())
    return found


def deployments(file: Path = FILE) -> dict[str, dict[str, Any]]:
    """Those of a file, by name."""
    return {d["name"]: d for d in yaml.safe_load(file.read_text())["deployments"]}


def pool_name() -> str:
    """The one that deploy/prefect.yaml names, and no other."""
    (name,) = {d["work_pool"]["name"] for d in deployments().values()}
    return str(name)


def file_for_docker(folder: Path, name: str) -> Path:
    """The deployments as a reader has them who changed them for a pool of Docker of that name."""
    kubernetes = 'job_variables: {gpus: 1, cpu: "8", memory: 32Gi}'
    docker = "{device_requests: [{count: -1, capabilities: [[gpu]]}], memory: 32g}"
    text = FILE.read_text()
    assert kubernetes in text
    assert docker in text, "told in a comment"
    text = text.replace(kubernetes, f"job_variables: {docker}")
    (folder / "prefect.yaml").write_text(text.replace("name: cluster\n", f"name: {name}\n"))
    return folder / "prefect.yaml"


class Pool:
    """A work pool of its own name, and deployments of deploy/prefect.yaml in it.

    Parameters
    ----------
    api : str
        Address of a Prefect server.
    kind : str
        ``docker`` or ``kubernetes``.
    name : str
    """

    def __init__(self, api: str, kind: str, name: str) -> None:
        self._api, self.kind, self.name = api, kind, name
        body = {"name": name, "type": kind, "base_job_template": template(kind)}
        ask(f"{api}/work_pools/", body, attempts=20)

    def deploy(self, file: Path = FILE) -> None:
        """Register the deployments of a file as the guide says."""
        prefect = str(Path(sys.executable).with_name("prefect"))
        command = [prefect, "--no-prompt", "deploy", "--all", "--prefect-file", str(file)]
        environment = {**os.environ, "PREFECT_API_URL": self._api}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    def start(
        self, deployment: str, config: Mapping[str, Any] | None = None, **job_variables: Any
    ) -> str:
        """A flow run that waits for a worker; its id."""
        flow = deployments()[deployment]["entrypoint"].partition(":")[2]
        known = ask(f"{self._api}/deployments/name/{flow}/{deployment}")
        body: dict[str, Any] = {"job_variables": job_variables, "state": {"type": "SCHEDULED"}}
        if config is not None:
            body["parameters"] = {"config": config}
        run = ask(f"{self._api}/deployments/{known['id']}/create_flow_run", body, attempts=20)
        return str(run["id"])

    def fill(self, run: str, configuration: type[Any]) -> Any:
        """What a worker of this type would start for a flow run."""

        from prefect.client.orchestration import get_client
        from prefect.settings import PREFECT_API_URL, temporary_settings

        async def resolve() -> Any:
            async with get_client() as client:
                return await configuration.resolve_for_flow_run(
                    await client.read_flow_run(run),
                    client=client,
                    work_pool=await client.read_work_pool(self.name),
                    worker_name="worker",
                )

        with temporary_settings({PREFECT_API_URL: self._api}):
            return asyncio.run(resolve())
