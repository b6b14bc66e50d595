"""Somebody is told when a flow run fails: in the log, and by a small POST where one is wanted."""

from __future__ import annotations

from typing import Any

from flows.console import LOGGER, tell_worker
from flows.lost_trainings import end_trainings_of
from flows.settings import is_run_by_worker, read_surroundings
from flows.web import ServiceError, ask

_MOST_WORDS = 500


def tell_failure(flow: Any, flow_run: Any, state: Any) -> None:
    """Prefect's hook of runs that failed or crashed; called flows leave it to their callers."""
    if flow_run.parent_task_run_id is None:
        if is_run_by_worker():  # at a terminal the command says it
            tell_worker()
            LOGGER.error("%s: failed: %s", flow.name, state.message)
        post_notice(flow.name, str(flow_run.id), flow_run.name, state.name, state.message or "")


def post_notice(flow: str, run_id: str, run: str, state: str, message: str) -> None:
    """POST it as JSON to ``SKYSCALE_NOTICE_URL``, if that is set.

    Parameters
    ----------
    flow, run_id, run, state, message : str
        Keys of the JSON object too, which also has ``text``, one line as chat rooms show it, and
        ``url`` of the run where there is a server.
    """
    surroundings = read_surroundings()
    words = " ".join(message.split())[:_MOST_WORDS]
    text = f"{flow} run {run}: {state.lower()}: {words}"
    if surroundings.notice_url is None:
        return
    notice = {"flow": flow, "run_id": run_id, "run": run, "state": state, "message": words}
    if surroundings.prefect_api is not None:
        page = surroundings.prefect_api.rstrip("/").removesuffix("/api")
        notice["url"] = f"{page}/runs/flow-run/{run_id}"
    try:
        ask(surroundings.notice_url, notice | {"text": text}, timeout_s=10)
    except ServiceError as error:
        # The address may be a secret itself, as those of chat rooms are.
        LOGGER.warning("the notice of %s could not be sent (status %s)", run, error.status)


# Of every flow.
HOOKS: dict[str, Any] = {
    "on_failure": [tell_failure],
    "on_crashed": [tell_failure, end_trainings_of],
}
