from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from models.config import TrainConfig
from models.config_networks import DiscriminatorConfig, GeneratorConfig
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


def launch(pairs: Path, folder: Path, *, ranks: int) -> None:
    start = [sys.executable]
    if ranks > 1:
        start += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    command = [*start, str(WORKER), str(pairs), str(folder), json.dumps(CONFIG.to_dict())]
    project = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=240,
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
