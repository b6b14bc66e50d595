"""A report in MLflow: scores, files, data, and links to model and training."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows import datasets, tracking
from flows.console import say
from flows.run_notes import ReportPlace, report_section

if TYPE_CHECKING:
    from geo.reporting.scored import ScoredTiles

FOLDER = "report"  # of the artifacts, and group of the metrics

_SCORES = ("psnr_db", "gain_db", "ssim", "cpsnr_db", "sam_deg", "lr_consistency")
# Of the summary, in the order in which the page of the run lists them: what matters comes first.
_NUMBERS = (
    "psnr_db",
    "bicubic_psnr_db",
    "gain_db",
    "gain_db_low",
    "gain_db_high",
    "share_worse",
    "tiles",
    *_SCORES[2:],
    *(f"bicubic_{score}" for score in _SCORES[2:]),
    "mean_gain_db",
    "median_gain_db",
    "mean_psnr_db",
    "mean_bicubic_psnr_db",
    "tiles_without_reference",
    "identical_tiles",
    "registration_residual_px",
)
_WHO = {"sr": "", "bicubic": "bicubic_", "other": "other_"}
_TAG_LENGTH = 2000
_METRIC = re.compile(r"[^\w\-. ]")  # what MLflow does not take in a name


@dataclass(frozen=True, kw_only=True)
class Link:
    """Who drew what was scored.

    Parameters
    ----------
    version : str or None
        ``NAME/VERSION`` of the registered model.
    run_id : str or None
        The run that trained it.
    """

    version: str | None = None
    run_id: str | None = None


def log_report(
    run_id: str, summary: Mapping[str, Any], files: Mapping[str, Path], *, store: str | None = None
) -> None:
    """Log a report to a run.

    Parameters
    ----------
    run_id : str
    summary : mapping
        What ``summary.json`` holds.
    files : mapping of str to Path
        As `write_report` gives them, ``tiles`` and ``summary`` at least.
    store : str, optional
        Pair store whose test ground was scored.

    Notes
    -----
    The table is the Parquet file: as a table of MLflow's own (`log_table`) 50,000 tiles hang its
    page for minutes.
    """
    from geo.reporting.scored import read_scored

    tracking.log_metrics(run_id, dict(metrics_of(summary)))
    for path in files.values():
        tracking.log_files(run_id, {FOLDER: path})
    scored = read_scored(files["tiles"].parent)
    datasets.log_ground(run_id, scored)
    if store is not None:
        _log_store(run_id, store)
    link = _link(run_id, summary, scored)
    _describe(run_id, summary, files, link)


def metrics_of(summary: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Metrics under names that are the same in every run: ``report/SCORE``.

    Pooled where a score can be pooled, else its mean over tiles; bicubic's as
    ``report/bicubic_SCORE``, medians as ``report/median_SCORE``. Of maps there are those of the
    real image too, ``report/real_SCORE``, and the IoU of each class, ``report/fcn_iou.CLASS``.
    """
    low, high = summary.get("gain_db_interval") or (None, None)
    numbers = {**summary, "gain_db_low": low, "gain_db_high": high}
    for name in _NUMBERS:
        yield from _known(name, numbers.get(name))
    for score, by_who in (summary.get("scores") or {}).items():
        for who, prefix in _WHO.items():
            of = by_who.get(who) or {}
            whole = of.get("mean") if of.get("pooled") is None else of["pooled"]
            yield from _known(f"{prefix}{score}", whole)
            yield from _known(f"median_{prefix}{score}", of.get("median"))
    if summary.get("use"):
        yield from _use_metrics(summary["use"])


def _use_metrics(use: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """How well maps of each image agree, also class by class, and how far they are apart."""
    from geo.reporting.map_scores import AGAINST, column_of
    from geo.scores.agreement import NAMES

    for against in AGAINST:
        held = use[f"against_{against}"]
        for image, told in held["images"].items() if held else ():
            for name in NAMES:
                yield from _known(column_of(image, against, name), told[name]["value"])
            for name, value in told["iou"].items():
                column = column_of(image, against, f"iou.{_METRIC.sub('_', name)}")
                yield from _known(column, value)
    for one in use["differences"]:
        name = f"{AGAINST[one['against']]}_mean_iou_{one['a']}_less_{one['b']}"
        low, high = one["interval"] or (None, None)
        yield from _known(name, one["difference"])
        yield from _known(f"{name}_low", low)
        yield from _known(f"{name}_high", high)


def _known(name: str, value: Any) -> Iterator[tuple[str, float]]:
    if isinstance(value, int | float) and math.isfinite(value):
        yield f"{FOLDER}/{name}", float(value)


def _log_store(run_id: str, url: str) -> None:
    from geo.pairstore.store import PairStore

    store = PairStore.open(url)
    datasets.log_store(run_id, store, store.summary(), context="evaluation")


def _link(run_id: str, summary: Mapping[str, Any], scored: ScoredTiles) -> Link:
    """Tags from the report to model, training and scenes, and from those to the report."""
    client = tracking.mlflow_client()
    link = find_link(summary, scored)
    tags = {
        "model": summary.get("model"),
        "model_version": link.version,
        "train_run_id": link.run_id,
        "report_run_id": run_id,
        **{
            f"{kind}s": _joined(scored, kind)
            for kind in ("satellite_id", "aerial_id", "store_version")
        },
    }
    for name, value in tags.items():
        if value:
            client.set_tag(run_id, name, str(value)[:_TAG_LENGTH])
    if link.version is not None:
        client.set_model_version_tag(*link.version.rsplit("/", 1), "report_run_id", run_id)
    if link.run_id not in (None, run_id):
        client.set_tag(link.run_id, "report_run_id", run_id)
    return link


def _describe(
    run_id: str, summary: Mapping[str, Any], files: Mapping[str, Path], link: Link
) -> None:
    """Write the sentence where reviewers of the run, the version and the training look first."""
    run = tracking.mlflow_client().get_run(run_id)
    paths = {name: f"{FOLDER}/{path.name}" for name, path in files.items()}
    told = report_section(
        summary,
        ReportPlace(
            experiment_id=run.info.experiment_id,
            run_id=run_id,
            page=paths.get("page"),
            map=paths.get("map"),
            version=link.version,
            trained_by=link.run_id,
        ),
    )
    tracking.describe_run(run_id, told)
    if link.version is not None:
        tracking.describe_version(link.version, told)
        if run.data.tags.get("stage") == "report":
            tracking.name_version(run_id, link.version)
    if link.run_id not in (None, run_id):
        tracking.describe_run(str(link.run_id), told)


def find_link(summary: Mapping[str, Any], scored: ScoredTiles) -> Link:
    """The registered model and the training that a report is about, as far as they are known.

    What this tracker does not know is said and not linked: a report may be made elsewhere.
    """
    model = _only(scored, "model") or str(summary.get("model") or "")
    version = _only(scored, "model_version") or summary.get("model_version")
    if not version and model.startswith("models:/"):
        if "@" in model:
            say(f"report: not linked to {model}: nothing says which version that was")
            return Link()
        version = model.removeprefix("models:/")
    if version and "/" in str(version):
        return _of_version(str(version))
    if model.startswith("runs:/"):
        return _of_run(model.removeprefix("runs:/").split("/")[0])
    return Link()


def _of_version(version: str) -> Link:
    from mlflow.exceptions import MlflowException

    try:
        known = tracking.mlflow_client().get_model_version(*version.rsplit("/", 1))
    except MlflowException as error:
        say(f"report: not linked to model {version}, which this MLflow has not ({error})")
        return Link()
    return Link(version=version, run_id=known.run_id or None)


def _of_run(run_id: str) -> Link:
    from mlflow.exceptions import MlflowException

    client = tracking.mlflow_client()
    try:
        client.get_run(run_id)
    except MlflowException as error:
        say(f"report: not linked to run {run_id}, which this MLflow has not ({error})")
        return Link()
    found = client.search_model_versions(f"run_id = '{run_id}'")
    newest = max(found, key=lambda version: int(version.version), default=None)
    return Link(version=f"{newest.name}/{newest.version}" if newest else None, run_id=run_id)


def _only(scored: ScoredTiles, name: str) -> str | None:
    """What all tiles say, if they say one thing."""
    found = _all(scored, name)
    return found[0] if len(found) == 1 else None


def _all(scored: ScoredTiles, name: str) -> list[str]:
    return sorted({_text(value) for value in scored.text(name) if value == value and value})


def _text(value: Any) -> str:
    """Versions may have been read as numbers."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _joined(scored: ScoredTiles, name: str) -> str:
    """Names with commas, as many as a tag can hold."""
    names = _all(scored, name)
    text, left = "", len(names)
    for scene in names:
        if len(text) + len(scene) > _TAG_LENGTH - 40:
            return f"{text}, and {left} more"
        text, left = f"{text}, {scene}" if text else scene, left - 1
    return text
