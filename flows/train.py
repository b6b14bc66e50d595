"""Flow `train`: a store in, a registered generator out, everything in MLflow."""

from __future__ import annotations

import json
import time
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows import registry, tracking
from flows.artifacts import publish_table
from flows.console import say
from flows.errors import FlowError, UsageError
from flows.launcher import launch_ranks

if TYPE_CHECKING:
    from geo.pairstore.store import PairStore
    from models.config import TrainConfig


@dataclass(frozen=True, kw_only=True)
class TrainFlowConfig:
    """Parameters of the flow.

    Parameters
    ----------
    store : str
        Folder of the pair store.
    store_version : str, optional
        Number or tag; the newest by default.
    config : str, optional
        TOML file of training settings (see ``models/config.py``).
    settings : dict
        Training settings that override the file.
    balance : float, optional
        From 0, pairs as often as they are, to 1, all categories equally often.
    nproc, nnodes : int
        Processes on this machine, and machines.
    rendezvous : str, optional
        ``host:port`` where the machines meet.
    resume : str, optional
        MLflow run id to go on with.
    max_minutes : float, optional
        Stop in time; both phases shrink into it.
    seed : int, optional
    out : str
        Folder of checkpoints, one subfolder for each run.
    """

    store: str
    store_version: str | None = None
    config: str | None = None
    balance: float | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    nproc: int = 1
    nnodes: int = 1
    rendezvous: str | None = None
    resume: str | None = None
    max_minutes: float | None = None
    seed: int | None = None
    out: str = "runs"


@flow(name="train", description="Train a generator on a pair store; track it; register it.")
def train(config: TrainFlowConfig) -> dict[str, Any]:
    """Run the stage; returns what ``skyscale train --json`` prints."""
    job = prepare_job(config)
    started = time.monotonic()
    run_id = job["run_id"]
    try:
        run_training(config, job)
        result = publish_generator(job)
    except BaseException:
        tracking.end_run(run_id, failed=True)
        say(f"train: stopped; skyscale train --store {config.store} --resume {run_id} goes on")
        raise
    result["seconds"] = time.monotonic() - started
    tracking.end_run(run_id)
    publish_table("train", result, title="Training")
    return result


@task(name="prepare", cache_policy=NO_CACHE)
def prepare_job(config: TrainFlowConfig) -> dict[str, Any]:
    """Settle configuration, data version and run; written down for the ranks."""
    from geo.pairstore.store import PairStore

    store = PairStore.open(config.store)
    summary = store.summary(store.tags.resolve(config.store_version))
    splits = summary["splits"]
    settings = read_settings(config, splits.get("train", 0))
    if not splits.get("train"):
        raise FlowError(
            f"{config.store}: no training pairs (splits: {splits or 'none'}); ingest more ground"
        )
    for split in ("val", "test"):
        if not splits.get(split):
            say(
                f"train: no {split} pairs, so no {split} scores; a smaller --split-block at "
                "ingest gives small regions held-out ground"
            )
    out = Path(config.out)
    if config.resume:
        run_id = config.resume
        job = _stored_job(out / run_id)
        say(f"train: going on with run {run_id}")
        return job
    run_id = tracking.start_run(
        f"train {store.place.name}",
        tags={"stage": "train", "store": store.url},
        params={
            "store_version": summary["version"],
            "store_digest": summary["digest"],
            "pairs": splits,
            "scale": summary["scale"],
            "bands": ",".join(summary["bands"]),
            **settings.to_dict(),
        },
    )
    _log_dataset(run_id, store, summary)
    _keep_version(store, run_id, summary["version"])
    champion = registry.champion()
    job = {
        "run_id": run_id,
        "store": store.url,
        "store_version": summary["version"],
        "store_digest": summary["digest"],
        "config": settings.to_dict(),
        "folder": str((out / run_id).resolve()),
        "champion": champion.folder if champion else None,
    }
    (out / run_id).mkdir(parents=True, exist_ok=True)
    (out / run_id / "job.json").write_text(json.dumps(job, indent=2))
    say(
        f"train: run {run_id}; {splits.get('train', 0)} training, {splits.get('val', 0)} "
        f"validation, {splits.get('test', 0)} test pairs (store version {summary['version']})"
    )
    return job


# Passes over the pairs after which the default phases end. On a few hundred pairs held-out scores
# fall again soon after this many.
_MOST_EPOCHS = {"content_steps": 120, "adversarial_steps": 40}


def read_settings(config: TrainFlowConfig, pairs: int) -> TrainConfig:
    """Training settings: defaults, then the file, then what the command says.

    Phases whose length nobody has set are no longer than so many passes over the `pairs`.

    Raises
    ------
    UsageError
        If the file cannot be read or a setting is wrong.
    """
    from models.config import TrainConfig
    from models.errors import ConfigError

    values: dict[str, Any] = {}
    if config.config:
        try:
            values = tomllib.loads(Path(config.config).read_text())
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise UsageError(f"{config.config}: {error}") from error
    values |= config.settings
    for name in ("max_minutes", "seed", "balance"):
        if (value := getattr(config, name)) is not None:
            values[name] = value
    try:
        settings = TrainConfig.from_dict(values)
    except ConfigError as error:
        raise UsageError(f"training settings: {error}") from error
    most = {
        name: -(-epochs * pairs // settings.batch_size)
        for name, epochs in _MOST_EPOCHS.items()
        if name not in values
    }
    shorter = {name: n for name, n in most.items() if n < getattr(settings, name)}
    if shorter:
        told = ", ".join(f"{name} {n}" for name, n in shorter.items())
        say(f"train: phases bounded by passes over the {pairs} pairs, against overfitting: {told}")
    return TrainConfig.from_dict(settings.to_dict() | shorter)


def _stored_job(folder: Path) -> dict[str, Any]:
    file = folder / "job.json"
    if not file.exists():
        raise FlowError(f"{file}: no such run to go on with; --out says where runs are kept")
    return dict(json.loads(file.read_text()))


def _keep_version(store: PairStore, run_id: str, version: int) -> None:
    """Tag the version, so that nothing removes what this run was trained on."""
    from geo.errors import StoreError

    try:
        store.tags.add(f"train-{run_id[:12]}", version)
    except StoreError as error:  # for example, whoever trains may only read
        say(f"train: version {version} is not tagged and may be expired ({error})")


def _log_dataset(run_id: str, store: PairStore, summary: Mapping[str, Any]) -> None:
    """Say in MLflow which data the run sees, as a dataset with the store's digest."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    dataset = Dataset(
        name=store.place.name,
        digest=str(summary["digest"])[:36],
        source_type="skyscale-pair-store",
        source=json.dumps({"path": store.url, "version": summary["version"]}),
        profile=json.dumps({"pairs": summary["pairs"], "splits": summary["splits"]}),
    )
    inputs = [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])]
    tracking.mlflow_client().log_inputs(run_id, inputs)


@task(name="train ranks", cache_policy=NO_CACHE)
def run_training(config: TrainFlowConfig, job: Mapping[str, Any]) -> None:
    """Launch the ranks and pass their story on; raises when they fail."""
    log = Path(job["folder"]) / "ranks.log"
    for event in launch_ranks(
        Path(job["folder"]) / "job.json",
        log=log,
        nproc=config.nproc,
        nnodes=config.nnodes,
        rendezvous=config.rendezvous,
    ):
        say(f"train: {event['say']}")


@task(name="publish generator", cache_policy=NO_CACHE)
def publish_generator(job: Mapping[str, Any]) -> dict[str, Any]:
    """Log the generator, register it, and make it champion if it is better on the test ground."""
    folder = Path(job["folder"])
    evaluation = json.loads((folder / "evaluation.json").read_text())
    run_id = job["run_id"]
    for group, split in (("test", "test"), ("val_final", "val")):
        scores = evaluation.get(split) or {}
        tracking.log_metrics(run_id, {f"{group}/{k}": v for k, v in scores.items()})
    tracking.log_files(run_id, {"generator": folder / "generator", "": folder / "evaluation.json"})
    test = evaluation.get("test") or {}
    version = registry.register(
        run_id,
        {
            "store_version": job["store_version"],
            "store_digest": job["store_digest"],
            "test_psnr_db": test.get("psnr_db"),
            "test_bicubic_psnr_db": test.get("bicubic_psnr_db"),
            "test_gain_db": test.get("gain_db"),
        },
    )
    _judge(version, job, evaluation)
    tracking.describe_run(run_id, _describe(job, version, evaluation))
    return {
        "run_id": run_id,
        "model_uri": f"models:/{registry.MODEL_NAME}/{version}",
        "generator": str(folder / "generator"),
        "val": evaluation.get("val"),
        "test": evaluation.get("test"),
    }


def _describe(job: Mapping[str, Any], version: str, evaluation: Mapping[str, Any]) -> str:
    """What a reviewer of the run wants to know first."""
    lines = [
        f"Generator version {version} of `{registry.MODEL_NAME}`, {evaluation['parameters']} "
        f"parameters, trained on version {job['store_version']} of `{job['store']}`.",
        "",
        "| ground | pairs | PSNR dB | bicubic dB | gain dB |",
        "|---|---|---|---|---|",
    ]
    for split in ("val", "test"):
        if s := evaluation.get(split):
            lines.append(
                f"| {split} | {s['pairs']} | {s['psnr_db']:.2f} | {s['bicubic_psnr_db']:.2f} | "
                f"{s['gain_db']:+.2f} |"
            )
    lines += [
        "",
        "Pictures through time: `samples/`; the generator: `generator/`; reports of "
        "upscaled regions, where there are any: `report/`.",
    ]
    return "\n".join(lines)


def _judge(version: str, job: Mapping[str, Any], evaluation: Mapping[str, Any]) -> None:
    """Champion is who is best on the same test pairs; the reason is written on the version."""
    from models.quality import quality

    test, champion = evaluation.get("test"), evaluation.get("champion")
    worth = job["config"].get("detail_worth_db", 1.0)
    if not test:
        reason = "not promoted: there is no test ground to judge on"
    elif not champion:
        reason = f"promoted: no champion to compare with; {_merits(test)}"
    else:
        better = quality(test, worth) > quality(champion, worth)
        reason = (
            f"{'promoted' if better else 'not promoted'}: {_merits(test)}, against "
            f"{_merits(champion)} of the champion on the same pairs"
        )
    if reason.startswith("promoted"):
        registry.promote(version, reason)
    else:
        registry.keep_champion(version, reason)
    say(f"train: version {version} {reason}")


def _merits(scores: Mapping[str, float]) -> str:
    """What the choice is made by."""
    detail = scores.get("hf_power_ratio")
    told = "" if detail is None else f", detail {detail:.0%} of reality's"
    return f"test gain {scores['gain_db']:+.3f} dB{told}"
