"""How everything stands: servers, workers, runs, disk. Asks over HTTP and imports nothing heavy."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flows.errors import FlowError
from flows.lost_trainings import RunningTrainings
from flows.progress import duration
from flows.settings import read_surroundings
from flows.web import ServiceError, ask

_TIMEOUT_S = 2.0
_LEAST_DISK = 5e9
# A run that waits so long for a worker, or so long to begin or to end, does not go its way.
_LATE_S, _PENDING_S, _RUNNING_S, _CANCELLING_S = 60.0, 300.0, 86_400.0, 120.0


@dataclass(frozen=True, kw_only=True)
class Addresses:
    """Where the servers are said to be; None where nothing says so."""

    prefect: str | None
    mlflow: str | None
    dask: str | None
    auth: str | None


def find_addresses(folder: Path) -> Addresses:
    """What the environment names; what it does not name, the servers of a folder."""
    told = read_surroundings()
    kept: dict[str, Any] = {}
    if (note := folder / "addresses.json").exists():
        kept = json.loads(note.read_text())
    tracker = told.mlflow_uri if told.mlflow_uri.startswith(("http://", "https://")) else None
    return Addresses(
        prefect=told.prefect_api or kept.get("prefect"),
        mlflow=tracker or kept.get("mlflow"),
        dask=told.dask_scheduler,
        auth=told.auth,
    )


def read_status(folder: Path) -> dict[str, Any]:
    """Ask everything that is named.

    Returns
    -------
    dict
        ``prefect``, ``mlflow`` and ``dask`` (``url``, ``well``, ``version``, ``error``; None where
        nothing is named), ``pools``, ``deployments``, ``lost_trainings`` and ``troubles``
        (sentences), ``disk``, ``ui``, ``well``.
    """
    where = find_addresses(folder)
    with ThreadPoolExecutor(8) as pool:
        prefect = pool.submit(_prefect, where)
        mlflow = pool.submit(_mlflow, where)
        trainings = pool.submit(_lost_trainings, where)
        dask = pool.submit(_dask, where)
        result: dict[str, Any] = {
            "prefect": prefect.result(),
            "mlflow": mlflow.result(),
            "dask": dask.result(),
            "lost_trainings": trainings.result(),
        }
    detail = (result["prefect"] or {}).pop("detail", None) or {"pools": [], "deployments": []}
    result |= detail | {"disk": _disk(folder)}
    result["ui"] = {
        "prefect": where.prefect and where.prefect.removesuffix("/api"),
        "mlflow": where.mlflow,
    }
    result["troubles"] = _troubles(result)
    result["well"] = not result["troubles"]
    return result


def _asked(url: str, look: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    started = time.monotonic()
    try:
        found = {"url": url, "well": True, **look()}
    except FlowError as error:
        return {"url": url, "well": False, "error": str(error)}
    return found | {"seconds": round(time.monotonic() - started, 3)}


def _prefect(where: Addresses) -> dict[str, Any] | None:
    if (url := where.prefect) is None:
        return None

    def get(path: str, body: Any = None) -> Any:
        return ask(
            f"{url.rstrip('/')}/{path}", body, auth=where.auth, timeout_s=_TIMEOUT_S, attempts=2
        )

    def look() -> dict[str, Any]:
        get("health")
        version = get("admin/version")
        with ThreadPoolExecutor(8) as pool:
            pools = pool.submit(get, "work_pools/filter", {"limit": 50})
            deployments = get("deployments/filter", {"limit": 100, "sort": "NAME_ASC"})
            last = pool.map(lambda d: get("flow_runs/filter", _last_run(d["id"])), deployments)
            waiting = get("flow_runs/filter", _UNDER_WAY)
            workers = {
                p["name"]: get(f"work_pools/{p['name']}/workers/filter", {}) for p in pools.result()
            }
            runs = [next(iter(found), None) for found in last]
        return {
            "version": version,
            "detail": {
                "pools": [
                    {
                        "name": p["name"],
                        "type": p["type"],
                        "paused": p["is_paused"],
                        "workers_online": [
                            w["name"] for w in workers[p["name"]] if w["status"] == "ONLINE"
                        ],
                    }
                    for p in pools.result()
                ],
                "deployments": [
                    _deployment(d, run) for d, run in zip(deployments, runs, strict=True)
                ],
                "stuck": [s for run in waiting if (s := _stuck(run)) is not None],
            },
        }

    return _asked(url, look)


def _last_run(deployment: str) -> dict[str, Any]:
    """The newest run of a deployment that has begun."""
    runs = {"deployment_id": {"any_": [deployment]}, "state": {"type": {"not_any_": ["SCHEDULED"]}}}
    return {"flow_runs": runs, "sort": "EXPECTED_START_TIME_DESC", "limit": 1}


_UNDER_WAY = {
    "flow_runs": {
        "state": {"type": {"any_": ["SCHEDULED", "PENDING", "RUNNING", "CANCELLING"]}},
        "parent_task_run_id": {"is_null_": True},
    },
    "sort": "EXPECTED_START_TIME_ASC",
    "limit": 200,
}


def _deployment(deployment: Mapping[str, Any], run: Mapping[str, Any] | None) -> dict[str, Any]:
    active = [s["schedule"] for s in deployment["schedules"] if s["active"]]
    last = None
    if run is not None:
        at = run["end_time"] or run["start_time"] or run["expected_start_time"]
        last = {"name": run["name"], "state": run["state_name"], "age_s": round(_age_s(at))}
    return {
        "name": deployment["name"],
        "pool": deployment["work_pool_name"],
        "schedules": [s.get("cron") or s.get("interval") or s.get("rrule") for s in active],
        "last_run": last,
    }


def _stuck(run: Mapping[str, Any]) -> str | None:
    """What is wrong with a run that has not begun or does not end; None for those that wait."""
    expected = _age_s(run["expected_start_time"])
    since = _age_s((run.get("state") or {}).get("timestamp") or run["expected_start_time"])
    name, state = run["name"], run["state_name"]
    if (
        run["state_type"] == "SCHEDULED"
        and expected > _LATE_S
        and state != "AwaitingConcurrencySlot"
    ):
        return f"run {name} is late by {duration(expected)} ({state})"
    if run["state_type"] == "PENDING" and since > _PENDING_S:
        return f"run {name} has been about to begin for {duration(since)}"
    if run["state_type"] == "RUNNING" and since > _RUNNING_S:
        return f"run {name} has been running for {duration(since)}"
    if run["state_type"] == "CANCELLING" and since > _CANCELLING_S:
        return f"run {name} has been stopping for {duration(since)}"
    return None


def _mlflow(where: Addresses) -> dict[str, Any] | None:
    if (url := where.mlflow) is None:
        return None

    def look() -> dict[str, Any]:
        ask(f"{url.rstrip('/')}/health", timeout_s=_TIMEOUT_S)
        search = f"{url.rstrip('/')}/api/2.0/mlflow/experiments/search"
        ask(search, {"max_results": 1}, auth=where.auth, timeout_s=_TIMEOUT_S)
        return {"version": ask(f"{url.rstrip('/')}/version", auth=where.auth)}

    return _asked(url, look)


def _lost_trainings(where: Addresses) -> list[str]:
    """Those that MLflow takes for running; none where it does not answer, which is told anyway."""
    if where.mlflow is None:
        return []

    def state_of(run: str) -> str:
        if where.prefect is None:
            return "UNKNOWN"
        url = f"{where.prefect.rstrip('/')}/flow_runs/filter"
        asked = {"flow_runs": {"id": {"any_": [run]}}}
        found = ask(url, asked, auth=where.auth, timeout_s=_TIMEOUT_S, attempts=2)
        return next((str(r["state_type"]) for r in found), "UNKNOWN")

    try:
        return RunningTrainings(where.mlflow, where.auth, timeout_s=_TIMEOUT_S).troubles(state_of)
    except FlowError:
        return []


def _dask(where: Addresses) -> dict[str, Any] | None:
    if (address := where.dask) is None:
        return None

    def look() -> dict[str, Any]:
        from distributed import Client

        try:
            with Client(address, timeout=_TIMEOUT_S, set_as_default=False) as client:
                workers = client.scheduler_info(n_workers=-1)["workers"]
                versions = client.get_versions()["scheduler"]["packages"]
        except (OSError, TimeoutError) as error:
            raise ServiceError(f"no Dask scheduler answers at {address}") from error
        threads = sum(w["nthreads"] for w in workers.values())
        return {"version": versions["distributed"], "workers": len(workers), "threads": threads}

    return _asked(address, look)


def _disk(folder: Path) -> dict[str, Any]:
    """Of the nearest folder that is there."""
    there = next(p for p in (folder.resolve(), *folder.resolve().parents) if p.exists())
    usage = shutil.disk_usage(there)
    return {"folder": str(there), "free_bytes": usage.free, "free": usage.free / usage.total}


def _troubles(found: Mapping[str, Any]) -> list[str]:
    """What somebody should look at."""
    told = [
        found[name]["error"]
        for name in ("prefect", "mlflow", "dask")
        if found[name] is not None and not found[name]["well"]
    ]
    if found["dask"] is not None and found["dask"].get("workers") == 0:
        told.append(f"{found['dask']['url']} has no workers")
    used = {d["pool"] for d in found["deployments"]}
    for pool in found["pools"]:
        if pool["name"] in used and not pool["workers_online"]:
            told.append(f"work pool {pool['name']} has no worker online; its runs wait")
        if pool["name"] in used and pool["paused"]:
            told.append(f"work pool {pool['name']} is paused; its runs wait")
    told += found.get("stuck", [])
    told += found["lost_trainings"]
    told += [
        f"{d['name']}: last run {d['last_run']['name']} {d['last_run']['state'].lower()}"
        for d in found["deployments"]
        if d["last_run"] is not None and d["last_run"]["state"] in ("Failed", "Crashed", "TimedOut")
    ]
    disk = found["disk"]
    if disk["free_bytes"] < _LEAST_DISK:
        told.append(f"{disk['folder']} has {disk['free_bytes'] / 1e9:.1f} GB left")
    return told


def _age_s(time_of_day: str) -> float:
    then = datetime.fromisoformat(time_of_day.replace("Z", "+00:00"))
    return (datetime.now(UTC) - then).total_seconds()


def status_lines(found: Mapping[str, Any]) -> list[str]:
    """The same for people."""
    instead = {
        "prefect": "none named: flows run on an API in the process (PREFECT_API_URL)",
        "mlflow": "none named: runs go to a file (MLFLOW_TRACKING_URI)",
        "dask": "none named: a cluster in the process (SKYSCALE_DASK_SCHEDULER)",
    }
    lines = []
    for name, words in instead.items():
        server, title = found[name], {"mlflow": "MLflow"}.get(name, name.capitalize())
        if server is None:
            told = words
        elif server["well"]:
            more = f", {server['workers']} workers" if "workers" in server else ""
            told = f"well      {server['url']}  (version {server['version']}{more})"
        else:
            told = f"NOT WELL  {server['url']}"
        lines.append(f"{title:8} {told}")
    for pool in found["pools"]:
        online = ", ".join(pool["workers_online"]) or "none"
        lines.append(f"Pool     {pool['name']} ({pool['type']}); workers online: {online}")
    lines += [_deployment_line(d) for d in found["deployments"]]
    disk = found["disk"]
    lines.append(f"Disk     {disk['free_bytes'] / 1e9:.0f} GB free in {disk['folder']}")
    lines += [f"Look:    {url}" for url in found["ui"].values() if url]
    lines += [f"Trouble: {trouble}" for trouble in found["troubles"]]
    return [*lines, "All well." if found["well"] else f"{len(found['troubles'])} troubles."]


def _deployment_line(deployment: Mapping[str, Any]) -> str:
    last, schedules = deployment["last_run"], deployment["schedules"]
    ran = "never ran"
    if last is not None:
        ran = f"{last['state']} {duration(last['age_s'])} ago ({last['name']})"
    when = f"; schedule {', '.join(map(str, schedules))}" if schedules else ""
    return f"  {deployment['name']:10} {ran}{when}"
