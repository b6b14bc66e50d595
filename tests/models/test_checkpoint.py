from __future__ import annotations

import dataclasses
import os
import pickle
from pathlib import Path

import pytest
import torch

from models.checkpoint import (
    list_checkpoints,
    load_checkpoint,
    load_newest,
    restore,
    save_checkpoint,
)
from models.clock import Clock
from models.config import TrainConfig
from models.config_networks import DiscriminatorConfig, GeneratorConfig
from models.data import PairSpec
from models.discriminators.registry import build_discriminator
from models.distributed import Ranks
from models.errors import CheckpointError
from models.generators.registry import build_generator
from models.step import Learner

SPEC = PairSpec(scale=2, bands=("grey",), data_range=255.0)
CONFIG = TrainConfig(
    generator=GeneratorConfig(channels=4, blocks=1), discriminator=DiscriminatorConfig(channels=4)
)


def learner(seed: int = 0) -> Learner:
    torch.manual_seed(seed)
    return Learner(
        build_generator(CONFIG.generator, bands=1, scale=2),
        build_discriminator(CONFIG.discriminator, bands=1),
        CONFIG,
        Ranks(rank=0, world=1, device=torch.device("cpu")),
        torch.float32,
    )


def save(folder: Path, step: int) -> Path:
    return save_checkpoint(folder, learner(), Clock(content_steps=step), CONFIG, SPEC)


def test_the_newest_two_are_kept_and_nothing_half_written(tmp_path: Path) -> None:
    for step in (5, 20, 100):
        save(tmp_path, step)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["checkpoint-00000020.pt", "checkpoint-00000100.pt"]
    state = load_newest(tmp_path)
    assert state is not None
    assert state["clock"]["content_steps"] == 100


def test_a_kill_while_writing_leaves_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, 1)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path, 2)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["checkpoint-00000001.pt"]


def test_a_damaged_newest_one_falls_back_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save(tmp_path, 1)
    newest = save(tmp_path, 2)
    newest.write_bytes(newest.read_bytes()[:500])
    state = load_newest(tmp_path)
    assert state is not None
    assert state["clock"]["content_steps"] == 1
    assert "checkpoint-00000002.pt is no checkpoint, or damaged" in caplog.text
    list_checkpoints(tmp_path)[1].write_bytes(b"")
    with pytest.raises(CheckpointError, match="none of the 2 checkpoints"):
        load_newest(tmp_path)


def test_no_checkpoints_are_no_error(tmp_path: Path) -> None:
    assert load_newest(tmp_path / "nothing") is None


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return (os.mkdir, ("pwned",))


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"format": 1, "config": Evil()}, tmp_path / "zip.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Evil()))
    for name in ("zip.pt", "plain.pt"):
        with pytest.raises(CheckpointError, match="is no checkpoint"):
            load_checkpoint(tmp_path / name)
    assert not (tmp_path / "pwned").exists()


def test_another_format_is_named(tmp_path: Path) -> None:
    torch.save({"format": 9}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="format 9, this version reads 2"):
        load_checkpoint(tmp_path / "a.pt")


def test_everything_comes_back(tmp_path: Path) -> None:
    first = learner()
    clock = Clock(content_steps=3, batches=3, content_s=1.5)
    path = save_checkpoint(tmp_path, first, clock, CONFIG, SPEC)
    second = learner(seed=9)
    assert restore(load_checkpoint(path), second, CONFIG, SPEC) == clock
    for a, b in zip(first.generator.parameters(), second.generator.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"seed": 5}, "seed was 0, is 5"),
        ({"batch_size": 8}, "batch_size was 16, is 8"),
        ({"generator": GeneratorConfig(channels=8, blocks=1)}, "generator was"),
    ],
)
def test_another_run_is_refused(tmp_path: Path, changes: dict[str, object], says: str) -> None:
    state = load_checkpoint(save(tmp_path, 1))
    other = dataclasses.replace(CONFIG, **changes)
    with pytest.raises(CheckpointError, match=says):
        restore(state, learner(), other, SPEC)


def test_other_pairs_are_refused_and_longer_runs_are_not(tmp_path: Path) -> None:
    state = load_checkpoint(save(tmp_path, 1))
    with pytest.raises(CheckpointError, match="trained on pairs of"):
        restore(state, learner(), CONFIG, dataclasses.replace(SPEC, bands=("red",)))
    longer = dataclasses.replace(CONFIG, content_steps=10**6, lr_content=1e-4, max_minutes=5.0)
    assert restore(state, learner(), longer, SPEC).step == 1
