"""Flow `train`: a store in, a registered generator out, everything in MLflow."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows import tracking
from flows.artifacts import (
    embed_picture,
    progress_teller,
    publish_link,
    publish_markdown,
    publish_result,
)
from flows.console import say
from flows.errors import UsageError
from flows.launcher import launch_ranks
from flows.notices import HOOKS
from flows.progress import Pace
from flows.stage import masked, stage
from flows.train_folder import folder_of
from flows.train_job import TrainFlowConfig, begun_before, settle_job
from flows.train_publish import closing, publish_run
from flows.transient import TRIED_AGAIN, will_be_tried_again

__all__ = ["TrainFlowConfig", "train"]


@flow(
    name="train", description="Train a generator on a pair store; track it; register it.", **HOOKS
)
@stage("train", closing)
def train(config: TrainFlowConfig) -> dict[str, Any]:
    """Run the stage; returns what ``skyscale train --json`` prints."""
    started = time.monotonic()
    if (nothing := _lacks_news(config)) is not None:
        say(f"train: {nothing['reason']}")
        publish_result("train", nothing, str(nothing["reason"]))
        return nothing
    job = prepare_job(config)
    run_id = job["run_id"]
    if config.prepare:
        tracking.set_status(run_id, "SCHEDULED")
        return {"run_id": run_id, "job": str(folder_of(job).job), "prepared": True}
    tracking.name_flow_run(run_id)
    try:
        if not run_training(config, job):
            say("train: done here; the machine with rank 0 evaluates and registers")
            return {"run_id": run_id, "led_elsewhere": True}
        result = publish_generator(job)
    except BaseException as error:
        tracking.set_status(run_id, "FAILED" if isinstance(error, Exception) else "KILLED")
        say(f"train: stopped; skyscale train --store {config.store} --resume {run_id} goes on")
        raise
    result["seconds"] = time.monotonic() - started
    publish_result("train", result, _sentence(result))
    return result


def _lacks_news(config: TrainFlowConfig) -> dict[str, Any] | None:
    """The result where there is too little that is new to train on; None where it is enough.

    What has begun goes on.
    """
    from flows.train_news import count_new_pairs
    from geo.pairstore.store import PairStore

    wanted = config.min_new_pairs
    if wanted < 0:
        raise UsageError(f"min_new_pairs is {wanted}; wanted 0 (always train) or more")
    if not wanted or config.resume or begun_before(config):
        return None
    tracking.check_reachable()  # MLflow's client would try for minutes
    store = PairStore.open(config.store)
    news = count_new_pairs(store, store.tags.resolve(config.store_version))
    if news.count >= wanted:
        say(f"train: {news.told}, {wanted} wanted: enough")
        return None
    return {
        "run_id": None,
        "model_uri": None if news.champion is None else f"models:/{news.champion}",
        "val": None,
        "test": None,
        "new_pairs": news.count,
        "reason": f"{news.told}, {wanted} wanted: nothing to train",
    }


def _sentence(result: Mapping[str, Any]) -> str:
    told = [f": {split} {scores}" for split, scores in result["told"].items()]
    return f"{result['model_uri']}{''.join(told[:1])}"


@task(name="prepare", cache_policy=NO_CACHE, **TRIED_AGAIN)
@masked
def prepare_job(config: TrainFlowConfig) -> dict[str, Any]:
    """Settle configuration, data version and run; written down for the ranks."""
    return settle_job(config)


@task(name="train ranks", cache_policy=NO_CACHE)
@masked
def run_training(config: TrainFlowConfig, job: Mapping[str, Any]) -> bool:
    """Launch the ranks and pass their story on; raises when they fail.

    Returns
    -------
    bool
        Whether rank 0 was among them.
    """
    folder = folder_of(job)
    if folder.is_finished(job["config"]):
        say("train: nothing is left to train")
        return True
    leads = False
    pace: Pace | None = None
    bar = progress_teller("train-progress", title="Training")
    for event in launch_ranks(
        folder.job,
        log=folder.log,
        nproc=config.nproc,
        nnodes=config.nnodes,
        rendezvous=config.rendezvous,
    ):
        leads = True
        if "pace" in event:
            pace = Pace(**event["pace"])
            bar(pace)
        if "say" in event:
            say(f"train: {event['say']}", **(pace.facts if pace and "pace" in event else {}))
    if pace is not None:
        bar(replace(pace, share=1.0, eta_s=0.0))
    return leads or config.nnodes == 1


@task(name="publish generator", cache_policy=NO_CACHE, **TRIED_AGAIN)
@masked
def publish_generator(job: Mapping[str, Any]) -> dict[str, Any]:
    """Log the generator, register it, and make it champion if it is better on the test ground."""
    result = publish_run(job, insist=will_be_tried_again())
    folder = folder_of(job)
    publish_markdown("model-card", folder.card.read_text(), title="Model card")
    picture = embed_picture(folder.curves.read_bytes(), "curves", where=str(folder.curves))
    publish_markdown("learning-curves", picture, title="Curves of the training")
    if result["published"] and (page := tracking.run_page(job["run_id"])) is not None:
        publish_link(
            "train-run", page, text="Open the run in MLflow", title="Curves, pictures and scores"
        )
    return result
