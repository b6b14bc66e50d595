"""Where one watches the workers of a flow: Dask's dashboard, if there is one."""

from __future__ import annotations

from typing import Any

from flows.console import say
from flows.errors import FlowError
from flows.web import ask
from geo.secrets import without_user

# What Dask shows instead where bokeh is not installed.
_MISSING = "Dask needs"
_told: set[str] = set()


def tell_dashboard(client: Any, *, embedded: bool) -> None:
    """Say where the dashboard of a cluster is, and link it on the page of the flow run.

    Nothing is said where none answers: it wants bokeh beside the scheduler.

    Parameters
    ----------
    client : distributed.Client
    embedded : bool
        The cluster lives in this process, and its dashboard on loopback.
    """
    link = find_dashboard(client, embedded=embedded)
    if link is None or link in _told:
        return
    _told.add(link)
    say(f"dask: dashboard {link}")
    if _in_a_flow():
        from flows.artifacts import publish_link

        title = "Dask's dashboard, while the run goes on"
        publish_link("dask-dashboard", link, text="Dask dashboard", title=title)


def find_dashboard(client: Any, *, embedded: bool) -> str | None:
    """Address of the dashboard, if one answers there."""
    try:
        # Dask would name this machine's address in the network, where an embedded one is not.
        port = client.scheduler_info(n_workers=0)["services"]["dashboard"]
        near = f"http://127.0.0.1:{port}/status"
        link = near if embedded else without_user(client.dashboard_link)
        page = ask(link, timeout_s=2)
    except (FlowError, KeyError, ValueError):
        return None
    return link if _MISSING not in str(page) else None


def _in_a_flow() -> bool:
    from prefect.context import FlowRunContext

    return FlowRunContext.get() is not None
