"""A trained generator on its way out: card, curves, artifacts, registry, judgement."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from flows import registry, tracking
from flows.console import say
from flows.learning_curves import draw_curves, read_curves
from flows.metric_spool import Spool
from flows.run_logger import RunLogger
from flows.train_folder import RunFolder, folder_of, write_text_whole
from flows.train_kinds import kind_of
from flows.transient import is_transient


def publish_run(job: Mapping[str, Any], *, insist: bool = False) -> dict[str, Any]:
    """Write the card and the curves, then tell MLflow and its registry, if they are there.

    Parameters
    ----------
    insist : bool
        Raise what a tracker that is away raises: somebody will try again.

    Returns
    -------
    dict
        ``run_id``, ``model_uri``, ``generator`` (or what else it is), ``val``, ``test``,
        ``told`` (these two in a phrase), ``next``, ``published``. Without a tracker the model is
        the folder on this disk, and `published` is false.
    """
    folder, run_id, kind = folder_of(job), job["run_id"], kind_of(job["config"])
    evaluation = folder.read_evaluation()
    write_text_whole(folder.card, kind.write_card(job, evaluation))
    curves = read_curves(Spool(folder.spool).entries())
    draw_curves(curves, folder.curves, title=f"skyscale train {run_id[:8]}")
    result = {
        "run_id": run_id,
        kind.product: str(folder.product),
        "val": evaluation.get("val"),
        "test": evaluation.get("test"),
        "next": kind.next_step.replace("{folder}", str(folder.product)),
        "told": {
            split: f"{told} over {scores['pairs']} pairs"
            for split in ("test", "val")
            if (scores := evaluation.get(split)) and (told := kind.tell_scores(scores))
        },
    }
    try:
        version = _tell_tracker(job, evaluation)
    except tracking.trouble() as error:
        if insist and is_transient(error):
            raise
        say(
            f"train: trained, but not registered or judged ({' '.join(str(error).split())[:300]}); "
            f"--resume {run_id} does that"
        )
        return {**result, "model_uri": str(folder.product), "published": False}
    uri = f"models:/{kind.model_name}/{version}"
    return {**result, "model_uri": uri, "published": True}


def closing(result: Mapping[str, Any]) -> str:
    """What a training ends with, in a line."""
    if result.get("run_id") is None:
        return str(result["reason"])
    if result.get("prepared"):
        return f"run {result['run_id']} is prepared, nothing trained"
    if result.get("led_elsewhere"):
        return f"run {result['run_id']}, this machine's part"
    told = f"run {result['run_id']}, {result['model_uri']}"
    for split, scores in result["told"].items():
        told += f", {split}: {scores}"
        break
    return told if result["published"] else f"{told}; not registered: MLflow was away"


def _tell_tracker(job: Mapping[str, Any], evaluation: Mapping[str, Any]) -> str:
    """Log scores and files, register and judge; returns the version."""
    folder, run_id, kind = folder_of(job), job["run_id"], kind_of(job["config"])
    tracking.check_reachable()  # MLflow's client would try for minutes
    logger = RunLogger(run_id, folder.spool)
    step = evaluation["training"]["selected_step"] or 0
    for group, split in (("test", "test"), ("val_final", "val")):
        scores = evaluation.get(split) or {}
        logger.metrics({f"{group}/{name}": value for name, value in scores.items()}, step)
    left = logger.close()
    if left is not None:
        say(f"train: {left}")
    for file in (folder.evaluation, folder.curves, folder.events):
        if file.exists():
            tracking.log_files(run_id, {"": file})
    if folder.test.exists():
        tracking.log_files(run_id, {"test": folder.test})
    tracking.log_files(run_id, {kind.product: folder.product})
    if folder.degrader.is_dir() and folder.degrader != folder.product:
        tracking.log_files(run_id, {"degrader": folder.degrader})
    weights = evaluation["training"]["weights_sha256"]
    known = registry.find_version(run_id, weights, kind.model_name)
    if known is None:
        version = _register(job, evaluation)
    else:
        version = str(known.version)
        say(f"train: registered before as version {version}")
    if known is None or "promotion" not in known.tags:
        registry.challenge(version, kind.model_name)
        kind.judge(version, job, evaluation)
    if folder.comparison.exists():
        tracking.log_files(run_id, {"": folder.comparison})
    _describe(job, version, evaluation)
    tracking.end_run(run_id)
    return version


def _register(job: Mapping[str, Any], evaluation: Mapping[str, Any]) -> str:
    kind = kind_of(job["config"])
    return registry.register(
        job["run_id"],
        {
            "weights_sha256": evaluation["training"]["weights_sha256"],
            "store_version": job["store_version"],
            "store_digest": job["store_digest"],
            **({"start_from": job["start"]["name"]} if job.get("start") else {}),
            **kind.version_tags(evaluation),
        },
        kind.model_name,
        kind.product,
    )


def _describe(job: Mapping[str, Any], version: str, evaluation: Mapping[str, Any]) -> None:
    """Tell reviewers of the run and of the version what came of it."""
    kind = kind_of(job["config"])
    run_id, model = job["run_id"], f"{kind.model_name}/{version}"
    client = tracking.mlflow_client()
    told = kind.section(
        job,
        evaluation,
        experiment_id=client.get_run(run_id).info.experiment_id,
        version=model,
        pictures=_pictures(folder_of(job), kind.pictured),
    )
    tracking.describe_run(run_id, told)
    tracking.describe_version(model, told)
    client.set_tag(run_id, "model_version", model)
    tracking.name_version(run_id, model)


def _pictures(folder: RunFolder, pictured: str) -> list[tuple[str, str]]:
    """Captions and artifact paths: a place at the first, middle and last report; the curves."""
    of_place: dict[str, list[tuple[int, str]]] = {}
    for entry in Spool(folder.spool).entries():
        if entry.picture is not None:
            place = str(PurePosixPath(entry.picture).parent)
            of_place.setdefault(place, []).append((entry.step, entry.picture))
    if not of_place:
        return [("Curves", folder.curves.name)]
    through_time = sorted(of_place[min(of_place)])
    chosen = dict.fromkeys(
        through_time[at] for at in (0, len(through_time) // 2, len(through_time) - 1)
    )
    shown = [(f"Step {step}: {pictured}", path) for step, path in chosen]
    return [*shown, ("Curves", folder.curves.name)]
