"""What a training run is to do: settled, checked and written down before its ranks start."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows import datasets, registry, tracking
from flows.code_version import code_tags
from flows.console import say
from flows.errors import FlowError, UsageError
from flows.forms import form
from flows.train_checks import (
    HELD_OUT_GROUND,
    check_devices,
    check_machines,
    check_networks,
    check_pairs,
    images_of,
)
from flows.train_folder import RunFolder, write_text_whole
from flows.train_kinds import kind_of
from flows.train_resume import changed_settings, check_beside, merged_settings, same_data
from flows.train_start import (
    Beginning,
    check_start,
    find_restyler,
    find_start,
    keep_network,
)
from flows.work_key import work_key
from models.config import TrainConfig
from models.config_unpaired import PRODUCTS
from models.errors import ConfigError

if TYPE_CHECKING:
    from geo.pairstore.store import PairStore

# What a job, and so the card, says of its data.
_DATA = ("bands", "scale", "lr_size", "data_range", "splits", "balance", "derived", "chips")
# What is made of no generator.
_FROM_SCRATCH = ("chips", "segmenter")
# Passes over the pairs after which the default phases end. On a few hundred pairs held-out scores
# fall again soon after this many.
_MOST_EPOCHS = {"content_steps": 120, "adversarial_steps": 40}
_MOST_EPOCHS_FURTHER = {"content_steps": 30, "adversarial_steps": 40}


@form
@dataclass(frozen=True, kw_only=True)
class TrainFlowConfig:
    """What to train on, for how long, with which settings.

    Parameters
    ----------
    store : str
        Folder or s3:// URL of the pair store.
    store_version : str, optional
        Number or tag of a version; the newest by default.
    config : str, optional
        TOML file of training settings (see ``models/config.py``).
    settings : dict
        Training settings that override the file, for example {"batch_size": 16}.
    start_from : str, optional
        Go on from this generator instead of from scratch: models:/NAME@champion,
        models:/NAME/VERSION, runs:/ID/generator, or a folder.
    min_new_pairs : int
        Train only if the store has so many training pairs that the champion was not trained on; 0
        always trains.
    balance : float, optional
        From 0, pairs as often as they are, to 1, all categories equally often; 0 by default.
    nproc : int
        Processes on this machine: one for each GPU.
    nnodes : int
        Machines that train together.
    rendezvous : str, optional
        ``host:port`` where they meet, if there are several.
    resume : str, optional
        MLflow run id to go on with; settings given beside it replace those of the run.
    prepare : bool
        Only check everything, open the run and write its job down.
    max_minutes : float, optional
        Stop in time; both phases of the training shrink into it. By default it takes what it takes.
    seed : int, optional
        Overrides the one of the training settings.
    out : str
        Folder of checkpoints, one subfolder for each run.
    """

    store: str
    store_version: str | None = None
    config: str | None = None
    start_from: str | None = None
    min_new_pairs: int = 0
    balance: float | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    nproc: int = 1
    nnodes: int = 1
    rendezvous: str | None = None
    resume: str | None = None
    prepare: bool = False
    max_minutes: float | None = None
    seed: int | None = None
    out: str = "runs"


def settle_job(config: TrainFlowConfig) -> dict[str, Any]:
    """Check everything, open or reopen the run, and write its job down for the ranks.

    Returns
    -------
    dict
        ``run_id``, ``store``, ``store_version``, ``store_digest``, ``data`` (bands, scale, chips
        by split and category), ``config``, ``start`` (see `Beginning.to_dict`), ``folder``,
        ``champion``, ``code``, ``work``.

    Raises
    ------
    UsageError, FlowError
        In one sentence, before any run is opened.
    """
    from geo.pairstore.store import PairStore

    check_machines(
        nproc=config.nproc,
        nnodes=config.nnodes,
        rendezvous=config.rendezvous,
        joins=config.resume is not None,
    )
    if config.resume and config.start_from:
        raise UsageError(
            f"--resume {config.resume} goes on with that run, whatever it began as: leave "
            "--start-from out, or start a new run"
        )
    store = PairStore.open(config.store)
    if begun := config.resume or begun_before(config):
        return _go_on(config, begun, store)
    summary = store.summary(store.tags.resolve(config.store_version))
    start = None if config.start_from is None else find_start(config.start_from)
    settings = read_settings(config, summary, start)
    kind = kind_of(settings)
    summary = {**summary, "splits": kind.splits(summary, settings)}
    _check(config, settings, store, summary)
    if start is not None:
        check_start(start, settings, kind.spec(store.config))
        say(f"train: going on from {start.name}, weights {start.card.weights_sha256[:12]}")
    tracking.check_reachable()
    look = settings.augment.style
    restyler = None if look is None else find_restyler(look, kind.spec(store.config))
    return _begin(config, settings, store, summary, start, restyler)


def begun_before(config: TrainFlowConfig) -> str | None:
    """The run that this same Prefect flow run has opened before it was tried again."""
    work = work_key("train", config)
    for file in Path(config.out).glob("*/job.json") if work is not None else ():
        job = json.loads(file.read_text())
        if job.get("work") == work:
            return str(job["run_id"])
    return None


def read_settings(
    config: TrainFlowConfig, summary: Mapping[str, Any], start: Beginning | None = None
) -> TrainConfig:
    """Training settings: the file, what overrides it, and a bound on passes over few pairs.

    Parameters
    ----------
    summary : mapping
        Of what is trained on, as the store tells it.
    start : Beginning, optional
        What it goes on from, which has a word in what is left out.

    Raises
    ------
    UsageError
        If the file cannot be read or a setting cannot be.
    """
    values = _given(config)
    if start is not None and PRODUCTS.get(task := values.get("task", "paired")) in _FROM_SCRATCH:
        raise UsageError(
            f"--start-from {start.source.uri}: it is a generator, and the task {task} has none and "
            "begins from scratch: leave it out"
        )
    settings = _settings(values if start is None else start.fill(values))
    images = images_of(summary, settings)
    pairs = max(images.values())
    most = {
        name: -(-epochs * pairs // settings.batch_size)
        for name, epochs in (_MOST_EPOCHS if start is None else _MOST_EPOCHS_FURTHER).items()
        if name not in values
    }
    shorter = {name: n for name, n in most.items() if 0 < n < getattr(settings, name)}
    if shorter:
        told = ", ".join(f"{name} {n}" for name, n in shorter.items())
        of = "pairs" if settings.task in ("paired", "segment") else "images of the larger side"
        say(f"train: phases bounded by passes over the {pairs} {of}, against overfitting: {told}")
    return _settings(settings.to_dict() | shorter)


def _given(config: TrainFlowConfig) -> dict[str, Any]:
    """Settings that the user has given."""
    values: dict[str, Any] = {}
    if config.config:
        try:
            values = tomllib.loads(Path(config.config).read_text())
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise UsageError(f"{config.config}: {error}") from error
    values |= config.settings
    for name in ("max_minutes", "seed", "balance"):
        if (value := getattr(config, name)) is not None:
            values[name] = value
    return values


def _settings(values: Mapping[str, Any]) -> TrainConfig:
    try:
        return TrainConfig.from_dict(values)
    except ConfigError as error:
        raise UsageError(f"training settings: {error}") from error


def _check(
    config: TrainFlowConfig, settings: TrainConfig, store: PairStore, summary: Mapping[str, Any]
) -> None:
    world, splits = config.nproc * config.nnodes, summary["splits"]
    check_pairs(config.store, summary, settings, world=world)
    check_networks(settings, store.config)
    kind_of(settings).check(store, summary["version"], settings)
    if not config.prepare:  # others train what is only prepared here
        check_devices(settings, config.nproc)
    if not splits.get("val"):
        say(
            "train: no pairs on validation ground, so nothing is validated on the way: exported is "
            "the last running mean, and nobody knows how good it is"
        )
    elif not splits.get("test"):
        say(f"train: no test pairs, so no test scores; ingest into a new store {HELD_OUT_GROUND}")


def _begin(
    config: TrainFlowConfig,
    settings: TrainConfig,
    store: PairStore,
    summary: Mapping[str, Any],
    start: Beginning | None,
    restyler: Beginning | None,
) -> dict[str, Any]:
    """Open a new run."""
    splits, code = summary["splits"], code_tags()
    begun = None if start is None else start.to_dict()
    champion, work = _champion(), work_key("train", config)
    kind = kind_of(settings)
    made = settings.generator.name if kind.product == "generator" else settings.task
    run_id = tracking.start_run(
        f"train {made}, {store.place.name}@{summary['version']}",
        tags={
            "stage": "train",
            "store": store.url,
            "store_version": str(summary["version"]),
            "store_digest": summary["digest"],
            **({} if begun is None else {"start_from": begun["name"]}),
            **code,
        },
        params={
            "store_version": summary["version"],
            "store_digest": summary["digest"],
            "pairs": splits,
            **({"chips_alone": summary["chips"]} if _has_chips(summary) else {}),
            **({"derived": summary["derived"]} if summary["derived"] else {}),
            "scale": summary["scale"],
            "lr_size": summary["lr_size"],
            "data_range": summary["data_range"],
            "bands": ",".join(summary["bands"]),
            "ranks": config.nproc * config.nnodes,
            "start_from": "scratch" if begun is None else begun["name"],
            **({} if begun is None else {"start_from_weights_sha256": begun["weights_sha256"]}),
            **settings.to_dict(),
        },
        work=work,
    )
    datasets.log_store(run_id, store, summary, context="training")
    _keep_version(store, run_id, summary["version"])
    folder = RunFolder((Path(config.out) / run_id).resolve())
    job = {
        "run_id": run_id,
        "store": store.url,
        "store_version": summary["version"],
        "store_digest": summary["digest"],
        "data": {key: summary[key] for key in _DATA},
        "chips_digest": store.chips_digest(summary["version"]) if _has_chips(summary) else None,
        "beside": kind.beside(),
        "config": settings.to_dict(),
        "start": begun,
        "restyler": None if restyler is None else restyler.to_dict(),
        "folder": str(folder.path),
        "champion": champion.folder if champion else None,
        "champion_version": champion.version if champion else None,
        "code": code,
        "work": work,
    }
    folder.path.mkdir(parents=True, exist_ok=True)
    for network, kept in ((start, folder.start), (restyler, folder.restyler)):
        if network is not None:
            keep_network(network, kept)
    write_text_whole(folder.job, json.dumps(job, indent=2))
    say(
        f"train: run {run_id}; {splits.get('train', 0)} training, {splits.get('val', 0)} "
        f"validation, {splits.get('test', 0)} test pairs{_told_apart(settings, summary)} (store "
        f"version {summary['version']})"
    )
    return job


def _has_chips(summary: Mapping[str, Any]) -> bool:
    return any(summary["chips"].values())


def _told_apart(settings: TrainConfig, summary: Mapping[str, Any]) -> str:
    """What is trained on beside true pairs, in words."""
    told = ""
    if derived := sum(summary["derived"].values()):
        told += f", {derived} of the training pairs derived"
    if settings.task == "unpaired":
        alone = {side: of.get("train", 0) for side, of in summary["chips"].items()}
        told += f", {alone['lr']} LR and {alone['hr']} HR training chips without partners"
    return told


def _champion() -> registry.ModelSource | None:
    """The champion, if it can be had; a lost one is for the judgement to deal with."""
    try:
        return registry.champion()
    except FlowError as error:
        say(f"train: the champion cannot be had ({error})")
        return None


def _go_on(config: TrainFlowConfig, run_id: str, store: PairStore) -> dict[str, Any]:
    """Reopen a run, with its own data and, but for what is given anew, its own settings."""
    folder = RunFolder((Path(config.out) / run_id).resolve())
    if not folder.job.exists():
        raise FlowError(f"{folder.job}: no such run to go on with; --out says where runs are kept")
    job: dict[str, Any] = json.loads(folder.job.read_text())
    summary = same_data(config, job, store)
    given = _given(config)
    settings = _settings(merged_settings(job["config"], given))
    kind = kind_of(settings)
    check_beside(job, kind.beside())
    splits = kind.splits(summary, settings)
    _check(config, settings, store, {**summary, "splits": splits})
    changed = changed_settings(job["config"], settings.to_dict())
    job |= {"config": settings.to_dict(), "folder": str(folder.path), "store": store.url}
    write_text_whole(folder.job, json.dumps(job, indent=2))
    tags = {"resumed": datetime.now(UTC).isoformat(timespec="seconds")}
    if changed:
        tags["settings_changed"] = json.dumps(changed)
        say(f"train: changed settings: {', '.join(f'{k} {v}' for k, v in changed.items())}")
    try:
        tracking.check_reachable()
        tracking.reopen_run(run_id, tags)
    except tracking.trouble() as error:
        say(f"train: {error}; what this run has to tell is kept until MLflow is back")
    say(f"train: going on with run {run_id}")
    return job


def _keep_version(store: PairStore, run_id: str, version: int) -> None:
    """Tag the version, so that nothing removes what this run was trained on."""
    from geo.errors import StoreError

    try:
        store.tags.add(f"train-{run_id[:12]}", version)
    except StoreError as error:  # for example, whoever trains may only read
        say(f"train: version {version} is not tagged and may be expired ({error})")
