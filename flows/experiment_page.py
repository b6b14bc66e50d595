"""What stands above the table of runs: where to begin, and a view whose columns are scores."""

from __future__ import annotations

import json
from typing import Any

from flows.mlflow_pages import MODE, runs_page

NOTE = "mlflow.note.content"
_VIEW = "skyscale-scores"
_COLUMNS = (
    "tags.`stage`",
    "metrics.`report/gain_db`",
    "metrics.`report/psnr_db`",
    "metrics.`report/bicubic_psnr_db`",
    "metrics.`report/share_worse`",
    "metrics.`test/gain_db`",
    "tags.`model_version`",
)


def welcome(client: Any, experiment_id: str) -> None:
    """Describe the experiment, unless somebody has."""
    tags = client.get_experiment(experiment_id).tags
    if not tags.get(NOTE):
        for name, value in experiment_tags(experiment_id).items():
            client.set_experiment_tag(experiment_id, name, value)


def experiment_tags(experiment_id: str) -> dict[str, str]:
    """Tags of the experiment that MLflow shows as its description and as a saved view."""
    best_first = {"orderByKey": "metrics.`report/psnr_db`", "orderByAsc": "false"}
    links = {
        "Scores of all runs": {"viewStateShareKey": _VIEW},
        "reports, best PSNR first": {"searchFilter": 'tags.stage = "report"', **best_first},
        "trainings": {"searchFilter": 'tags.stage = "train"'},
        "comparisons": {"searchFilter": 'tags.stage = "compare"'},
    }
    note = " · ".join(
        f"[{text}]({runs_page(experiment_id, **search)})" for text, search in links.items()
    )
    models = f"[models](#/models?{MODE})"
    state = {
        "orderByKey": "attributes.start_time",
        "orderByAsc": False,
        "selectedColumns": list(_COLUMNS),
    }
    # As "Save as new view" writes it; an MLflow that knows no saved views ignores it.
    view = {"name": "Scores", "createdAt": 0, "updatedAt": 0, "state": json.dumps(state)}
    return {NOTE: f"{note} · {models}", f"mlflow.sharedViewState.{_VIEW}": json.dumps(view)}
