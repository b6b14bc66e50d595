"""What `skyscale up` tells a Prefect server: pool, queue, deployments, runs that were cut off."""

from __future__ import annotations

import hashlib
import json
import socket
import subprocess
import sys
import zlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from flows.console import say
from flows.errors import FlowError
from flows.notices import post_notice
from flows.web import ServiceError, ask

POOL = "skyscale"
GPU_QUEUE = "gpu"
# What a run that was cut off is told.
INTERRUPTED = "skyscale up: cut off, for its worker or its machine ended under it"
# A run that is cut off every time may be what cuts it off.
_MOST_TRIES = 5
_CRASHED = {"type": "CRASHED", "name": "Crashed", "message": INTERRUPTED}
# Nobody waits any more for what was cut off so long ago.
_FORGOTTEN = timedelta(days=7)
_NEVER = "1970-01-01T00:00:00+00:00"
_UNDER_WAY = ["PENDING", "RUNNING", "CANCELLING"]


class PrefectServer:
    """A Prefect server as its operator sees it.

    Parameters
    ----------
    url : str
        For example ``http://127.0.0.1:4200``.
    auth : str or None
        ``USER:PASSWORD``.
    """

    def __init__(self, url: str, auth: str | None) -> None:
        self._url, self._auth = f"{url}/api", auth

    def ask(self, path: str, body: Any = None, *, method: str | None = None) -> Any:
        """Ask its API."""
        return ask(
            f"{self._url}/{path}",
            body,
            method=method,
            auth=self._auth,
            timeout_s=30,
            attempts=20,
        )

    def has_heard(self, worker: str, since: datetime) -> bool:
        """Whether a worker of the pool has given a sign of life."""
        heard = {
            w["name"]: w["last_heartbeat_time"]
            for w in self.ask(f"work_pools/{POOL}/workers/filter", {})
        }
        return datetime.fromisoformat(heard.get(worker) or _NEVER) >= since

    def limit_gpu_queue(self, slots: int) -> None:
        """Make the queue of flow runs that want a GPU, or change how many run side by side."""
        body = {"name": GPU_QUEUE, "concurrency_limit": slots}
        try:
            self.ask(f"work_pools/{POOL}/queues", body)
        except ServiceError as error:
            if error.status != 409:
                raise
            limit = {"concurrency_limit": slots}
            self.ask(f"work_pools/{POOL}/queues/{GPU_QUEUE}", limit, method="PATCH")

    def deployments(self) -> dict[str, dict[str, Any]]:
        """Ours, by id."""
        body = {"deployments": {"tags": {"all_": [POOL]}}, "limit": 200}
        return {d["id"]: d for d in self.ask("deployments/filter", body)}

    def restore_schedules(
        self, deployment: Mapping[str, Any], before: Mapping[str, Any] | None
    ) -> None:
        """Have the schedules of a deployment as active as they were."""
        was = {s["slug"]: s["active"] for s in (before or {}).get("schedules", []) if s["slug"]}
        for schedule in deployment["schedules"]:
            active = was.get(schedule["slug"], schedule["active"])
            if active != schedule["active"]:
                self.ask(
                    f"deployments/{deployment['id']}/schedules/{schedule['id']}",
                    {"active": active},
                    method="PATCH",
                )

    def automations(self) -> list[dict[str, Any]]:
        """All there are; those of ``prefect.yaml`` are known by their names."""
        return list(self.ask("automations/filter", {"limit": 200}))

    def restore_automations(self, before: Mapping[str, bool]) -> None:
        """Have automations as enabled as they were, by name; deploying makes them anew."""
        for automation in self.automations():
            enabled = before.get(automation["name"], automation["enabled"])
            if enabled != automation["enabled"]:
                self.ask(f"automations/{automation['id']}", {"enabled": enabled}, method="PATCH")

    def share_limit(self, first: Mapping[str, Any], second: Mapping[str, Any]) -> None:
        """Have two deployments take turns: the second counts against the first one's limit.

        ``prefect.yaml`` has no word for it: there each deployment has a limit of its own. Where it
        gives one of them none, they need not take turns.
        """
        limits = [d["global_concurrency_limit"] for d in (first, second)]
        if None in limits or limits[0]["id"] == limits[1]["id"]:
            return
        body = {"global_concurrency_limit_id": limits[0]["id"]}
        self.ask(f"deployments/{second['id']}", body, method="PATCH")
        self.ask(f"v2/concurrency_limits/{limits[1]['id']}", method="DELETE")

    def crash_cut_off_runs(self, worker: str) -> int:
        """Mark runs as crashed whose processes are gone; as cancelled, if that was asked for.

        Parameters
        ----------
        worker : str
            Ours, which does not run now. Runs that another worker of the pool may have begun are
            left alone.
        """
        others = [
            w["last_heartbeat_time"]
            for w in self.ask(f"work_pools/{POOL}/workers/filter", {})
            if w["name"] != worker and w["last_heartbeat_time"]
        ]
        runs = self._runs({"type": {"any_": _UNDER_WAY}})
        flows = {key: d["name"] for key, d in self.deployments().items()} if runs else {}
        count = 0
        for run in runs:
            began = run["start_time"] or run["expected_start_time"]
            if any(heard >= began for heard in others):
                say(f"up: run {run['name']} is {run['state_name']}, perhaps on another worker")
                continue
            if run["state_type"] == "CANCELLING":
                state = {"type": "CANCELLED", "name": "Cancelled"}
            else:
                state = _CRASHED
                count += 1
                post_notice(
                    flows.get(run["deployment_id"], "a"),
                    run["id"],
                    run["name"],
                    "Crashed",
                    INTERRUPTED,
                )
            self._end(run["id"], state)
        return count

    def _end(self, run: str, state: Mapping[str, Any]) -> None:
        """Set the state of a flow run and of all that it has begun."""
        self._end_begun(run, state)
        self.set_state(run, state)

    def _end_begun(self, run: str, state: Mapping[str, Any]) -> None:
        """Set the state of flows and tasks that a flow run has begun, and that have not ended."""
        under_way = {"type": {"any_": _UNDER_WAY}}
        called = {"parent_flow_run_id": {"any_": [run]}, "state": under_way}
        for child in self.ask("flow_runs/filter", {"flow_runs": called, "limit": 200}):
            self._end(child["id"], state)
        for task in self._tasks_under_way(run):
            self._set_task_state(task, state)

    def end_stale_tasks(self) -> None:
        """End tasks under way that belong to an earlier try of a flow run that runs again.

        What a killed process has sent last may reach the server after its tasks were ended.
        """
        for run in self._runs({"type": {"any_": ["RUNNING"]}}):
            for task in self._tasks_under_way(run["id"]) if run["run_count"] > 1 else ():
                if task["flow_run_run_count"] < run["run_count"]:
                    self._set_task_state(task, _CRASHED)

    def _tasks_under_way(self, run: str) -> list[dict[str, Any]]:
        state = {"type": {"any_": _UNDER_WAY}}
        tasks = {"flow_runs": {"id": {"any_": [run]}}, "task_runs": {"state": state}}
        return list(self.ask("task_runs/filter", tasks | {"limit": 200}))

    def _set_task_state(self, task: Mapping[str, Any], state: Mapping[str, Any]) -> None:
        self.ask(f"task_runs/{task['id']}/set_state", {"state": dict(state), "force": True})

    def resume_cut_off_runs(self, clean_up: Callable[[str], object] = lambda run: None) -> int:
        """Schedule runs that have crashed, but for those that do so every time; they go on.

        What is wrong with the work itself makes a run fail. It crashes with its process, which was
        killed or did not reach a server, perhaps before it had begun.

        Parameters
        ----------
        clean_up : callable
            Given the id of such a run, ends what is left of its processes.
        """
        resumed = 0
        for run in self._runs({"type": {"any_": ["CRASHED"]}}):
            now, crashed_at = datetime.now(UTC), datetime.fromisoformat(run["state"]["timestamp"])
            if now - crashed_at < _FORGOTTEN and self._crashes(run) < _MOST_TRIES:
                clean_up(run["id"])
                self._end_begun(run["id"], _CRASHED)
                state = {"type": "SCHEDULED", "name": "AwaitingRetry"}
                details = {"scheduled_time": now.isoformat()}
                self.set_state(run["id"], state | {"state_details": details})
                say(f"up: {run['name']} was cut off; it goes on")
                resumed += 1
        return resumed

    def _crashes(self, run: Mapping[str, Any]) -> int:
        """How often a flow run has crashed, also before it had begun."""
        states = self.ask(f"flow_run_states/?flow_run_id={run['id']}")
        return sum(state["type"] == "CRASHED" for state in states)

    def _runs(self, state: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The newest runs of the pool that stand so; those that a flow has called belong to it."""
        runs = {
            "state": state,
            "parent_task_run_id": {"is_null_": True},
            "deployment_id": {"is_null_": False},
        }
        pools = {"name": {"any_": [POOL]}}
        body = {"flow_runs": runs, "work_pools": pools, "limit": 200, "sort": "START_TIME_DESC"}
        return list(self.ask("flow_runs/filter", body))

    def state_of(self, run: str) -> str:
        """Type of the state of a flow run; ``UNKNOWN`` if there is no such run."""
        body = {"flow_runs": {"id": {"any_": [run]}}, "limit": 1}
        return next((str(r["state_type"]) for r in self.ask("flow_runs/filter", body)), "UNKNOWN")

    def set_state(self, run: str, state: Mapping[str, Any]) -> None:
        """Set the state of a flow run, whatever it was."""
        self.ask(f"flow_runs/{run}/set_state", {"state": dict(state), "force": True})


def worker_name(folder: Path) -> str:
    """The same after a restart, another for another machine or folder."""
    return f"{socket.gethostname()}-{zlib.crc32(str(folder).encode()):08x}"


def register(api: PrefectServer, folder: Path, environment: Mapping[str, str]) -> None:
    """Make the work pool and register the deployments of ``prefect.yaml``, where that is news.

    What was changed in the UI stays until ``prefect.yaml`` or the code changes; whether a schedule
    is active, and an automation enabled, stays even then.
    """
    file = Path(__file__).resolve().parents[1] / "prefect.yaml"
    note, digest = folder / "registered.json", _digest(file)
    if note.exists():
        known = json.loads(note.read_text())
        if known["digest"] == digest and set(known["ids"]) <= set(api.deployments()):
            return
    before = {d["name"]: d for d in api.deployments().values()}
    enabled = {a["name"]: a["enabled"] for a in api.automations()}
    try:
        api.ask(f"work_pools/{POOL}")
    except ServiceError as error:
        if error.status != 404:
            raise
        _prefect("work-pool", "create", POOL, "--type", "process", environment=environment)
    _prefect("--no-prompt", "deploy", "--all", "--prefect-file", file, environment=environment)
    deployments = api.deployments()
    for deployment in deployments.values():
        api.restore_schedules(deployment, before.get(deployment["name"]))
    api.restore_automations(enabled)
    by_name = {d["name"]: d for d in deployments.values()}
    if {"train", "renew"} <= set(by_name):  # users take deployments out
        api.share_limit(by_name["train"], by_name["renew"])
    note.write_text(json.dumps({"digest": digest, "ids": list(deployments)}))


def _digest(file: Path) -> str:
    """Of all that says what a deployment is: its file, and the code with its parameters."""
    found = hashlib.sha256(str(file).encode())
    for path in (file, *sorted((file.parent / "flows").glob("*.py"))):
        found.update(path.read_bytes())
    return found.hexdigest()


def _prefect(*arguments: object, environment: Mapping[str, str]) -> None:
    command = [str(Path(sys.executable).with_name("prefect")), *map(str, arguments)]
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(command, env=dict(environment), cwd=root, capture_output=True, text=True)
    if done.returncode != 0:
        tail = (done.stdout + done.stderr).strip().splitlines()[-3:]
        raise FlowError(f"{' '.join(command[1:4])} failed: {' | '.join(tail)}")
