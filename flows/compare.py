"""Two reports held against each other: no flow needed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows import tracking
from flows.champion_rule import decide, merit
from flows.errors import FlowError, UsageError
from flows.log_lines import finite
from flows.run_notes import comparison_note

if TYPE_CHECKING:
    from geo.reporting.compare import Comparison

# Artifact folders with scored tiles: reports of regions; test pairs of a training.
_FOLDERS = ("report", "test")


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of two that are compared.

    Parameters
    ----------
    name : str
        As the user gave it.
    run_id : str or None
    kinds : tuple of str
        What there is to compare: ``report`` (of a region), ``test`` (pairs of a training).
    folder : Path or None
        Where it lies, if it is not a run.
    """

    name: str
    run_id: str | None
    kinds: tuple[str, ...]
    folder: Path | None = None


def compare_runs(a: str, b: str, *, out: Path | None = None, log: bool = False) -> dict[str, Any]:
    """Compare two reports: what ``skyscale compare --json`` prints.

    Parameters
    ----------
    a, b : str
        A folder that ``skyscale report`` wrote, the id of an MLflow run, or a registered model
        (``models:/NAME@ALIAS``, ``models:/NAME/VERSION``), whose latest report is taken.
    out : Path, optional
        Folder to write ``comparison.json`` and ``comparison.parquet`` (tile by tile) to.
    log : bool
        Log the comparison to a new MLflow run.

    Raises
    ------
    UsageError, FlowError, ReportError
        If one of them is no report, or they cannot be compared.
    """
    from geo.reporting.compare import compare
    from geo.reporting.scored import read_scored

    sides = find_side(a), find_side(b)
    kind = _common_kind(*sides)
    first, second = (read_scored(_folder_of(side, kind), side.name) for side in sides)
    compared = compare(first, second, merit=merit)
    better, reason = decide(compared.summary)
    result = {
        **compared.summary,
        "run_a": sides[0].run_id,
        "run_b": sides[1].run_id,
        "compared": kind,
        "a_replaces_b": better,
        "reason": reason,
    }
    files = write_comparison(compared, result, out) if out is not None else {}
    if log:
        result["run_id"] = _log(result, compared)
    return {**result, "files": {name: str(path) for name, path in files.items()}}


def find_side(text: str) -> Side:
    """Resolve what the user named.

    Raises
    ------
    UsageError
        If the text names nothing that can be compared.
    FlowError
        If there is no such run or model, or it has no report.
    """
    folder = Path(text)
    if folder.is_dir():
        return Side(name=text, run_id=None, kinds=_FOLDERS, folder=folder)
    if text.startswith("models:/"):
        return _side_of_model(text)
    run_id = text.removeprefix("runs:/").split("/")[0]
    if len(run_id) == 32 and run_id.isalnum():
        return _side_of_run(text, run_id)
    raise UsageError(
        f"{text!r} names no report; wanted a folder that `skyscale report` wrote, an MLflow run "
        "id, models:/NAME@ALIAS or models:/NAME/VERSION"
    )


def _side_of_model(uri: str) -> Side:
    from flows.registry import find_version_of

    tracking.check_reachable()
    version = find_version_of(uri)
    run_id = version.tags.get("report_run_id") or version.run_id
    if not run_id:
        raise FlowError(f"{uri}: no report is known of it; {_HINT}")
    return _side_of_run(uri, run_id)


_HINT = "`skyscale report` of a region that it has upscaled makes one"


def _side_of_run(name: str, run_id: str) -> Side:
    from mlflow.exceptions import MlflowException

    tracking.check_reachable()
    client = tracking.mlflow_client()
    try:
        there = {file.path for file in client.list_artifacts(run_id)}
        linked = client.get_run(run_id).data.tags.get("report_run_id")
    except MlflowException as error:
        raise FlowError(
            f"{name}: no such run in {client.tracking_uri} ({error}); MLFLOW_TRACKING_URI says "
            "where to look"
        ) from error
    kinds = tuple(kind for kind in _FOLDERS if kind in there)
    if "report" not in kinds and linked not in (None, run_id):
        return _side_of_run(name, str(linked))
    if not kinds:
        raise FlowError(f"{name}: run {run_id} has no report among its artifacts; {_HINT}")
    return Side(name=name, run_id=run_id, kinds=kinds)


def _common_kind(a: Side, b: Side) -> str:
    for kind in _FOLDERS:
        if kind in a.kinds and kind in b.kinds:
            return kind
    raise FlowError(
        f"{a.name} has {', '.join(a.kinds)} and {b.name} has {', '.join(b.kinds)}: a report of a "
        "region and the test pairs of a training are not the same tiles; wanted reports of both "
        f"({_HINT})"
    )


def _folder_of(side: Side, kind: str) -> Path:
    if side.folder is not None:
        return side.folder
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    try:
        return Path(download_artifacts(run_id=side.run_id, artifact_path=kind))
    except (MlflowException, OSError) as error:
        raise FlowError(f"{side.name}: its report cannot be had ({error})") from error


def write_comparison(compared: Comparison, result: Mapping[str, Any], out: Path) -> dict[str, Path]:
    """Write the numbers, and the scores of both tile by tile.

    Raises
    ------
    FlowError
        If the folder cannot be written.
    """
    from geo.reporting.scored import write_table
    from geo.reporting.tile_match import side_by_side

    files = {"comparison": out / "comparison.json", "tiles": out / "comparison.parquet"}
    try:
        out.mkdir(parents=True, exist_ok=True)
        files["comparison"].write_text(json.dumps(finite(result), indent=2) + "\n")
        write_table(side_by_side(compared.matched), files["tiles"])
    except OSError as error:
        raise FlowError(f"{out}: the comparison cannot be written ({error})") from error
    return files


def _log(result: Mapping[str, Any], compared: Comparison) -> str:
    """Log to a run of its own; returns its id."""
    import tempfile

    tracking.check_reachable()
    tags = {"stage": "compare", "run_a": result["run_a"], "run_b": result["run_b"]}
    run_id = tracking.start_run(
        f"compare {_short(result['a'])} with {_short(result['b'])}"[:200],
        {name: str(value) for name, value in tags.items() if value},
        {"a": result["a"], "b": result["b"]},
    )
    tracking.log_metrics(run_id, comparison_metrics(result))
    tracking.describe_run(run_id, comparison_note(result))
    with tempfile.TemporaryDirectory() as folder:
        for path in write_comparison(compared, result, Path(folder)).values():
            tracking.log_files(run_id, {"comparison": path})
    tracking.end_run(run_id)
    return run_id


def _short(name: str) -> str:
    """A model by its version, a run by the head of its id, a folder by its name."""
    if name.startswith("models:/"):
        text = name.removeprefix("models:/")
        return text if "@" in text else f"v{text.rsplit('/', 1)[-1]}"
    name = name.removeprefix("runs:/").split("/generator")[0].rstrip("/").split("/")[-1]
    return name[:8] if len(name) == 32 and name.isalnum() else name


def comparison_metrics(result: Mapping[str, Any]) -> dict[str, float]:
    """Metrics by name: differences with the ends of their intervals, and what they rest on."""
    pooled = ("psnr_db", "merit_db", "hf_power_ratio", "correctness")
    differences = {name: result[name] for name in pooled}
    differences |= result["scores"]
    told = {name: result[name] for name in ("tiles", "places", "share_a_worse", "other_pixels")}
    for name, of in differences.items():
        if of is not None:
            told[name] = of["difference"]
            if of["interval"] is not None:
                told[f"{name}_low"], told[f"{name}_high"] = of["interval"]
    return {f"compare/{name}": value for name, value in told.items() if value is not None}
