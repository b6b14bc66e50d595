from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from safetensors.torch import load_file
from torch import distributed

from models.chips import load_chips
from models.config import TrainConfig
from models.config_chips import ChipsConfig
from models.config_networks import DiscriminatorConfig, GeneratorConfig, LossConfig
from models.config_segment import SegmentConfig
from models.config_style import StyleConfig
from models.degrade import load_degrader_card
from models.distributed import Ranks, pick_device, pick_dtype, ranks
from models.errors import ConfigError
from models.export import load_card

WORKER = Path(__file__).with_name("torchrun_worker.py")
CONFIG = TrainConfig(
    generator=GeneratorConfig(channels=8, blocks=1),
    discriminator=DiscriminatorConfig(channels=4, stages=3),
    batch_size=8,
    patch_lr=16,
    content_steps=12,
    adversarial_steps=6,
    lr_generator=1e-3,
    lr_discriminator=1e-3,
    adversarial_weight=0.1,
    warmup_steps=2,
    val_every=100,
    checkpoint_every=100,
    log_every=5,
    precision="float32",
    device="cpu",
)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pairs, some half invalid, so that ranks do not have equally many valid pixels."""
    random = np.random.default_rng(0)
    hr = random.integers(0, 255, (12, 2, 40, 40), np.uint8)
    valid = np.ones((12, 40, 40), np.bool_)
    valid[:4, :, :20] = False
    path = tmp_path_factory.mktemp("pairs") / "pairs.npz"
    lr = hr.reshape(12, 2, 20, 2, 20, 2).mean((3, 5)).astype(np.uint8)
    np.savez(path, lr=lr, hr=hr, valid=valid)
    return path


def launch(pairs: Path, folder: Path, *, ranks: int, config: TrainConfig = CONFIG) -> None:
    start = [sys.executable]
    if ranks > 1:
        start += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    command = [*start, str(WORKER), str(pairs), str(folder), json.dumps(config.to_dict())]
    project = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(project), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
def test_two_ranks_are_one_rank_on_the_same_total_batch(pairs: Path, tmp_path: Path) -> None:
    for count in (1, 2):
        launch(pairs, tmp_path / str(count), ranks=count)
    one, two = (load_file(tmp_path / f"{n}/generator/generator.safetensors") for n in (1, 2))
    untouched = True
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, atol=1e-4, rtol=1e-3)
        untouched &= torch.equal(two[name], tensor)
    assert not untouched  # sums in another order: it was another computation
    cards = [load_card(tmp_path / f"{n}/generator") for n in (1, 2)]
    assert [card.training["ranks"] for card in cards] == [1, 2]
    assert cards[0].training["clock"]["images"] == cards[1].training["clock"]["images"]
    scores = [card.training["validation"]["mae"] for card in cards]
    assert scores[0] == pytest.approx(scores[1], rel=1e-4)


@pytest.mark.slow
def test_two_ranks_train_without_partners(pairs: Path, tmp_path: Path) -> None:
    """Noise is drawn on each rank, so it is no run that one rank would do."""
    config = replace(CONFIG, task="unpaired", objective="least_squares")
    launch(pairs, tmp_path, ranks=2, config=config)
    card = load_card(tmp_path / "generator")
    assert card.training["ranks"] == 2
    assert card.training["stopped_by"] == "steps"
    assert np.isfinite(card.training["validation"]["mae"])


@pytest.mark.slow
def test_two_ranks_learn_to_degrade(pairs: Path, tmp_path: Path) -> None:
    """Noise is drawn on each rank here as well."""
    config = replace(CONFIG, task="degrade", objective="least_squares")
    launch(pairs, tmp_path, ranks=2, config=config)
    card = load_degrader_card(tmp_path / "degrader")
    assert card.training["ranks"] == 2
    assert card.training["stopped_by"] == "steps"
    assert np.isfinite(card.training["validation"]["mae"])


@pytest.mark.slow
def test_two_ranks_learn_the_look_that_one_does(pairs: Path, tmp_path: Path) -> None:
    """Moments are means over images, and gradients go through those at hand."""
    with np.load(pairs) as held:
        hr, valid = held["hr"], held["valid"]
    other = np.ascontiguousarray((hr[::-1] // 2 + 60).swapaxes(2, 3))
    np.savez(tmp_path / "campaigns.npz", lr=other, hr=hr, valid=valid)
    config = replace(
        CONFIG,
        task="style",
        style=StyleConfig(source="a", target="b"),
        losses=LossConfig(features="random"),
        adversarial_steps=0,
    )
    for count in (1, 2):
        launch(tmp_path / "campaigns.npz", tmp_path / str(count), ranks=count, config=config)
    one, two = (load_file(tmp_path / f"{n}/style/generator.safetensors") for n in (1, 2))
    assert any(not torch.equal(one[name], two[name]) for name in one), "sums in another order"
    for name in one:
        torch.testing.assert_close(one[name], two[name], atol=2e-3, rtol=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["dcgan", "vae"])
def test_two_ranks_draw_the_chips_that_one_would(task: str, pairs: Path, tmp_path: Path) -> None:
    """Noise and batch normalisation are of the whole mini-batch."""
    game = task == "dcgan"
    config = replace(
        CONFIG,
        task=task,
        chips=ChipsConfig(latent=8, channels=4),
        generator=GeneratorConfig(),
        objective="non_saturating",
        content_steps=0 if game else 12,
        adversarial_steps=12 if game else 0,
    )
    for count in (1, 2):
        launch(pairs, tmp_path / str(count), ranks=count, config=config)
    one, two = (load_file(tmp_path / f"{n}/chips/chips.safetensors") for n in (1, 2))
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, atol=1e-4, rtol=1e-3)
    drawn = [load_chips(tmp_path / str(n) / "chips").draw(4) for n in (1, 2)]
    assert not np.array_equal(*drawn)  # sums in another order: it was another computation
    np.testing.assert_allclose(*drawn, atol=0.1)  # of 255


@pytest.mark.slow
def test_two_ranks_learn_the_classes_that_one_would(pairs: Path, tmp_path: Path) -> None:
    """Labels missing on one rank more than on the other weigh no pixel differently."""
    with np.load(pairs) as held:
        arrays = {name: held[name] for name in ("lr", "hr", "valid")}
    labels = 1 + (arrays["hr"].mean(axis=1) > 127).astype(np.uint8)
    labels[::3, :20] = 0
    np.savez(tmp_path / "labelled.npz", labels=labels, **arrays)
    config = replace(
        CONFIG,
        task="segment",
        segment=SegmentConfig(labels="given", channels=4, stages=2),
        generator=GeneratorConfig(),
        content_steps=4,  # more, and steps of Adam make much of the last digits
        adversarial_steps=0,
    )
    for count in (1, 2):
        launch(tmp_path / "labelled.npz", tmp_path / str(count), ranks=count, config=config)
    one, two = (load_file(tmp_path / f"{n}/segmenter/segmenter.safetensors") for n in (1, 2))
    assert any(not torch.equal(one[name], two[name]) for name in one), "sums in another order"
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, atol=3e-4, rtol=1e-3)


def test_alone_without_torchrun() -> None:
    with ranks("cpu") as here:
        assert (here.rank, here.world, here.leads) == (0, 1, True)
        layer = torch.nn.Linear(1, 1)
        assert here.wrap(layer) is layer
        assert here.say([0.5]) == [0.5]
        assert torch.equal(here.mean(torch.ones(2)), torch.ones(2))


def test_only_rank_zero_leads() -> None:
    assert not Ranks(rank=1, world=2, device=torch.device("cpu")).leads


def test_precision_is_what_was_asked_for() -> None:
    cpu = torch.device("cpu")
    assert pick_dtype("float32", cpu) is torch.float32
    assert pick_dtype("bfloat16", cpu) is torch.bfloat16
    assert pick_dtype("auto", cpu) in (torch.float32, torch.bfloat16)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_a_gpu_that_is_not_here_is_refused() -> None:
    assert pick_device("auto").type == "cpu"
    with pytest.raises(ConfigError, match="no GPU is here"):
        pick_device("cuda")


def test_networks_let_go_of_the_group_before_it_is_destroyed(tmp_path: Path) -> None:
    """Else a rank may wait for ever for a thread of gloo's, which waits for it."""
    distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'meeting'}", rank=0, world_size=1
    )
    try:
        here = Ranks(rank=0, world=2, device=torch.device("cpu"))
        wrapped = here.wrap(torch.nn.Linear(2, 2))
        wrapped(torch.ones(1, 2)).sum().backward()
        here.let_go()
        assert (wrapped.reducer, wrapped.logger) == (None, None)
    finally:
        distributed.destroy_process_group()


def test_a_rank_that_hears_nothing_ends_when_torchrun_is_gone() -> None:
    rank = (
        "import signal, time, models.distributed as d; "
        "signal.signal(signal.SIGTERM, signal.SIG_IGN); d._LAST_WORDS_S = 0.1; "
        "d._die_with_parent(); "
        "print('ready', flush=True); time.sleep(60)"
    )
    torchrun = (
        "import subprocess, sys; rank = subprocess.Popen([sys.executable, '-c', sys.argv[1]], "
        "stdout=subprocess.PIPE); rank.stdout.readline(); print(rank.pid, flush=True)"
    )
    done = subprocess.run(
        [sys.executable, "-c", torchrun, rank],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).resolve().parents[2],
    )
    orphan = int(done.stdout)
    deadline = time.monotonic() + 20
    while psutil.pid_exists(orphan) and psutil.Process(orphan).status() != "zombie":
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_the_group_is_let_go_while_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    told = {"RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": 1, "MASTER_PORT": port}
    told |= {"MASTER_ADDR": "127.0.0.1", "TORCHELASTIC_RUN_ID": "alone"}
    for name, value in told.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr("models.distributed._die_with_parent", lambda: None)
    there = []
    monkeypatch.setattr(Ranks, "let_go", lambda here: there.append(distributed.is_initialized()))
    with ranks("cpu") as here:
        assert (here.rank, here.world) == (0, 1)
    assert there == [True]
    assert not distributed.is_initialized()
