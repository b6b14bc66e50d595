"""Steps a second of the trainer against a minimal loop of the same updates, and against a peer.

The minimal loop has the same networks, batch, patch, precision, memory layout, clipping and
averaging of weights; its batches lie ready as tensors and it reports nothing. Beside it
`models.trainer.train` with pairs in memory, and what ``skyscale train`` starts: the worker with a
pair store and MLflow, once keeping pairs in memory and once reading each anew. Turns alternate; the
best of each counts, validation and checkpoints left out, of a worker also its first third. Target:
0.93 of the minimal loop, less than 2 % of the time spent waiting for data.

opensr-srgan 0.4.3 trains an SRResNet of equal parameters by its own Lightning module, float32 as it
does, batches ready: with its SRGAN discriminator, and with our two networks put into it. Images are
pairs in generator updates, one discriminator update to each. Target: 1.5 times its images/s.
``SKYSCALE_PEER_PYTHON`` names an interpreter that has it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from flows.settings import worker_environment
from flows.tracking import end_run, mlflow_client, start_run
from geo.pairstore.config import StoreConfig
from geo.pairstore.rows import PairData
from geo.pairstore.store import PairStore
from models.batches import BatchMaker
from models.config import TrainConfig
from models.data import ListedPairs, PairSpec
from models.distributed import pick_device, pick_dtype
from models.trainer import train
from tests.benchmarks.minimal_loop import steps_per_s
from tests.benchmarks.pixels import make_pairs, source_image
from tests.benchmarks.training_runs import Curve

BANDS, SCALE, LR, PAIRS = ("red", "green", "blue"), 4, 32, 512
TURNS, STEPS = 2, {"content": 2400, "adversarial": 600}
WARMUP = 100  # steps
STARTING = 0.3  # share of steps in which a worker still imports and connects to its tracker
PEER_STEPS, PEER_TURNS = 40, 2
_ROOT = Path(__file__).resolve().parents[2]

Write = Callable[[str], None]
Rate = tuple[float, float]  # steps a second, share of time waiting for data


def run(write: Write) -> None:
    """Print the two tables."""
    pairs = list(make_pairs(PAIRS, bands=len(BANDS), lr_size=LR))
    dtype = pick_dtype("auto", pick_device("auto"))
    write(
        f"{PAIRS} pairs of {LR} LR pixels cut from a {source_image(1)[1]}, "
        f"{torch.get_num_threads()} threads, {dtype}.\n"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder / 'mlflow.db'}"
        store = _store(folder / "store", pairs)
        _overhead(write, folder, store, pairs)
        _against_peer(write, folder, pairs)


def _overhead(write: Write, folder: Path, store: PairStore, pairs: list[PairData]) -> None:
    write("| phase | loop | steps/s | images/s | of minimal | waiting for data |")
    write("|---|---|---|---|---|---|")
    for phase in STEPS:
        config = _config(phase, STEPS[phase])
        seen = config.batch_size * _batches_of(phase, config)
        ways: dict[str, Callable[[Path], Rate]] = {
            "minimal": partial(_minimal, config, phase, pairs),
            "train, pairs in memory": partial(_trainer, config, phase, pairs),
            "worker, pairs kept": partial(_worker, config, phase, store),
            "worker, pairs read anew": partial(_worker, _uncached(config), phase, store),
        }
        best = _race(ways, folder / phase)
        for way, (rate, waited) in best.items():
            write(
                f"| {phase} | {way} | {rate:.2f} | {rate * seen:.0f} "
                f"| {rate / best['minimal'][0]:.3f} | {waited:.1%} |"
            )


def _race(ways: Mapping[str, Callable[[Path], Rate]], folder: Path) -> dict[str, Rate]:
    best: dict[str, Rate] = {}
    for turn in range(TURNS):
        for number, (way, go) in enumerate(ways.items()):
            best[way] = max(best.get(way, (0.0, 0.0)), go(folder / f"{turn}-{number}"))
    return best


def _config(phase: str, steps: int, **settings: Any) -> TrainConfig:
    """Defaults with a phase that is long enough to be timed, and the other as short as can be."""
    adversarial = phase == "adversarial"
    never = 1_000_000
    values = {
        "content_steps": 1 if adversarial else steps + WARMUP,
        "adversarial_steps": steps + WARMUP if adversarial else 0,
        "log_every": TrainConfig().log_every,
        "val_every": never,
        "checkpoint_every": never,
        "val_pairs": 4,
    }
    return TrainConfig.from_dict(values | settings)


def _uncached(config: TrainConfig) -> TrainConfig:
    return TrainConfig.from_dict(config.to_dict() | {"cache_mb": 0})


def _batches_of(phase: str, config: TrainConfig) -> int:
    return 1 + config.discriminator_steps if phase == "adversarial" else 1


def _spec() -> PairSpec:
    return PairSpec(scale=SCALE, bands=BANDS, data_range=10_000.0)


def _minimal(config: TrainConfig, phase: str, pairs: list[PairData], _: Path) -> Rate:
    make = BatchMaker(
        ListedPairs(pairs),
        _spec(),
        batch_size=config.batch_size,
        chip_lr=(LR, LR),
        patch_lr=config.patch_lr,
        seed=0,
    )
    return steps_per_s(config, phase, make, steps=STEPS[phase], warmup=WARMUP), 0.0


def _trainer(config: TrainConfig, phase: str, pairs: list[PairData], folder: Path) -> Rate:
    curve = Curve()
    train(
        config,
        train_pairs=ListedPairs(pairs),
        val_pairs=ListedPairs(pairs[:4]),
        spec=_spec(),
        score=lambda *_: {},
        folder=folder,
        listener=curve,
    )
    return curve.rate(phase, after=WARMUP), curve.mean("train/data_wait_share", phase)


def _store(path: Path, pairs: list[PairData]) -> PairStore:
    store = PairStore.create_or_open(path, StoreConfig(bands=BANDS, lr_size=LR, scale=SCALE))
    held = [
        PairData(row={**pair.row, "split": "val"}, lr=pair.lr, hr=pair.hr, valid=pair.valid)
        for pair in make_pairs(4, bands=len(BANDS), lr_size=LR, first=PAIRS)
    ]
    store.commit(store.write_part([*pairs, *held]), "bench")
    return store


def _worker(config: TrainConfig, phase: str, store: PairStore, folder: Path) -> Rate:
    """Speed of the training process of ``skyscale train``, as MLflow has it."""
    folder.mkdir(parents=True)
    summary = store.summary()
    run_id = start_run("bench", tags={}, params={})
    job = {
        "run_id": run_id,
        "store": store.url,
        "store_version": summary["version"],
        "store_digest": summary["digest"],
        "config": config.to_dict(),
        "folder": str(folder),
        "champion": None,
    }
    (folder / "job.json").write_text(json.dumps(job))
    command = [sys.executable, "-m", "flows.train_worker", str(folder / "job.json")]
    environment = worker_environment(torch.get_num_threads())
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the worker failed: {done.stderr[-2000:]}")
    end_run(run_id)
    history = mlflow_client().get_metric_history
    first = STARTING * STEPS[phase]
    speeds = [m.value for m in history(run_id, "train/images_per_s") if m.step > first]
    waits = [m.value for m in history(run_id, "train/data_wait_share") if m.step > first]
    # Reports are as many steps apart, so the mean speed is the harmonic mean.
    images_per_s = len(speeds) / sum(1 / speed for speed in speeds)
    seen = config.batch_size * _batches_of(phase, config)
    return images_per_s / seen, sum(waits) / len(waits)


def _against_peer(write: Write, folder: Path, pairs: list[PairData]) -> None:
    python = os.environ.get("SKYSCALE_PEER_PYTHON")
    if not python:
        write("\nopensr-srgan left out: SKYSCALE_PEER_PYTHON names no interpreter that has it.")
        return
    write("\n| phase | trainer | parameters of both | images/s | ours is |")
    write("|---|---|---|---|---|")
    for phase in STEPS:
        generator = {"name": "srresnet"}
        config = _config(phase, 3 * PEER_STEPS, generator=generator, log_every=20)
        mine, theirs, mixed = 0.0, {"steps_per_s": 0.0}, {"steps_per_s": 0.0}
        for turn in range(PEER_TURNS):
            mine = max(mine, _trainer(config, phase, pairs, folder / f"peer-{phase}{turn}")[0])
            found = [_peer(python, config, phase, networks) for networks in ("peer", "skyscale")]
            if isinstance(found[0], str) or isinstance(found[1], str):
                write(f"| {phase} | opensr-srgan left out: {found[0]} | | | |")
                return
            theirs, mixed = (
                max(old, new, key=lambda r: r["steps_per_s"])
                for old, new in zip((theirs, mixed), found, strict=True)
            )
        write(f"| {phase} | skyscale | | {mine * config.batch_size:.0f} | |")
        for label, r in (("its networks", theirs), ("our networks", mixed)):
            write(
                f"| {phase} | opensr-srgan {r['version']}, {label} "
                f"| {r['generator']} + {r['discriminator']} "
                f"| {r['steps_per_s'] * config.batch_size:.0f} | {mine / r['steps_per_s']:.2f} x |"
            )


def _peer(python: str, config: TrainConfig, phase: str, networks: str) -> Any:
    """What the peer's process measured, or why there is nothing."""
    wanted = {
        "threads": torch.get_num_threads(),
        "networks": networks,
        "phase": phase,
        "bands": len(BANDS),
        "scale": SCALE,
        "channels": config.generator.planes,
        "blocks": config.generator.depth,
        "batch": config.batch_size,
        "patch": config.patch_lr,
        "warmup": 5,
        "steps": PEER_STEPS,
    }
    command = [python, str(Path(__file__).with_name("peer_srgan.py")), json.dumps(wanted)]
    environment = {**os.environ, "PYTHONPATH": str(_ROOT), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["no words"])[-1]
    return json.loads(done.stdout.strip().splitlines()[-1])
