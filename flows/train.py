"""Flow `train`: a store in, a registered generator out, everything in MLflow."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows import tracking
from flows.artifacts import publish_markdown, publish_table
from flows.console import say
from flows.launcher import launch_ranks
from flows.train_folder import folder_of
from flows.train_job import TrainFlowConfig, settle_job
from flows.train_publish import publish_run

__all__ = ["TrainFlowConfig", "train"]


@flow(name="train", description="Train a generator on a pair store; track it; register it.")
def train(config: TrainFlowConfig) -> dict[str, Any]:
    """Run the stage; returns what ``skyscale train --json`` prints."""
    started = time.monotonic()
    job = prepare_job(config)
    run_id = job["run_id"]
    if config.prepare:
        tracking.set_status(run_id, "SCHEDULED")
        return {"run_id": run_id, "job": str(folder_of(job).job), "prepared": True}
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
    if result["published"]:
        tracking.set_status(run_id, "FINISHED")
    publish_table("train", result, title="Training")
    return result


@task(name="prepare", cache_policy=NO_CACHE)
def prepare_job(config: TrainFlowConfig) -> dict[str, Any]:
    """Settle configuration, data version and run; written down for the ranks."""
    return settle_job(config)


@task(name="train ranks", cache_policy=NO_CACHE)
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
    for event in launch_ranks(
        folder.job,
        log=folder.log,
        nproc=config.nproc,
        nnodes=config.nnodes,
        rendezvous=config.rendezvous,
    ):
        leads = True
        say(f"train: {event['say']}")
    return leads or config.nnodes == 1


@task(name="publish generator", cache_policy=NO_CACHE)
def publish_generator(job: Mapping[str, Any]) -> dict[str, Any]:
    """Log the generator, register it, and make it champion if it is better on the test ground."""
    result = publish_run(job)
    publish_markdown("model-card", folder_of(job).card.read_text(), title="Model card")
    return result
