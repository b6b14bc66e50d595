"""Addresses in the MLflow UI, relative to its root: they hold by whatever name it is served."""

from __future__ import annotations

from urllib.parse import quote, urlencode

# Without it a browser that is new to MLflow opens any experiment among the pages for language
# models, where no run of ours is seen (3.17 asks its own switch, not the kind of the experiment).
MODE = "workflowType=machine_learning"


def runs_page(experiment_id: str, **search: str) -> str:
    """The table of runs.

    Parameters
    ----------
    experiment_id : str
    **search : str
        ``searchFilter``, ``orderByKey``, ``orderByAsc``, ``viewStateShareKey``.
    """
    asked = f"&{urlencode(search, quote_via=quote)}" if search else ""
    return f"#/experiments/{experiment_id}/runs?{MODE}{asked}"


def run_page(experiment_id: str, run_id: str, tab: str = "") -> str:
    """A run: its overview, or a tab such as ``model-metrics``."""
    return f"#/experiments/{experiment_id}/runs/{run_id}{tab and f'/{tab}'}?{MODE}"


def file_page(experiment_id: str, run_id: str, path: str) -> str:
    """A file of a run, shown."""
    return run_page(experiment_id, run_id, f"artifacts/{quote(path)}")


def version_page(version: str) -> str:
    """A version of a registered model, ``NAME/VERSION``."""
    name, number = version.rsplit("/", 1)
    return f"#/models/{quote(name, safe='')}/versions/{number}?{MODE}"


def picture(run_id: str, path: str) -> str:
    """A picture of a run, to stand in a description."""
    return f"get-artifact?{urlencode({'path': path, 'run_uuid': run_id}, quote_via=quote)}"
