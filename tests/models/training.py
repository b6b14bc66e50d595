"""A training of seconds, for the tests of it: soft shapes, small networks, and a listener."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file
from scipy.ndimage import gaussian_filter

from models.config import TrainConfig
from models.config_networks import (
    DiscriminatorConfig,
    GeneratorConfig,
)
from models.data import ListedPairs, Pair, PairSpec
from models.evaluate import Evaluation
from models.trainer import TrainResult, train

SPEC = PairSpec(scale=4, bands=("red", "nir"), data_range=10_000.0)
TINY = TrainConfig(
    generator=GeneratorConfig(channels=8, blocks=1),
    discriminator=DiscriminatorConfig(channels=4, stages=3),
    batch_size=4,
    patch_lr=8,
    content_steps=6,
    adversarial_steps=4,
    discriminator_steps=2,
    warmup_steps=2,
    val_every=4,
    checkpoint_every=5,
    log_every=2,
    val_pairs=3,
    precision="float32",
    device="cpu",
)


def make_pairs(count: int, *, size: int = 16, seed: int = 0, scale: int = 4) -> ListedPairs:
    """Soft-edged shapes, blurred and averaged down: what is lost can partly be learned back."""
    random = np.random.default_rng(seed)
    pairs = []
    for _ in range(count):
        noise = gaussian_filter(random.standard_normal((2, size * scale, size * scale)), (0, 3, 3))
        hr = 3000 + 1500 * np.tanh(60 * noise)
        blurred = gaussian_filter(hr, (0, scale / 2, scale / 2))
        lr = blurred.reshape(2, size, scale, size, scale).mean((2, 4))
        pairs.append(
            Pair(
                lr=lr.astype(np.uint16),
                hr=hr.astype(np.uint16),
                valid=np.ones(hr.shape[1:], np.bool_),
            )
        )
    return ListedPairs(pairs)


def psnr_score(
    sr: npt.NDArray[Any],
    hr: npt.NDArray[Any],
    lr: npt.NDArray[Any],
    valid: npt.NDArray[np.bool_],
) -> Mapping[str, float]:
    error = float(np.mean((sr - hr)[:, valid].astype(np.float64) ** 2))
    return {"psnr_db": 10 * np.log10(SPEC.data_range**2 / error)}


class Recorder:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.progress: list[dict[str, Any]] = []
        self.validations: list[tuple[int, Evaluation]] = []
        self.checkpoints: list[int] = []
        self.events: list[tuple[int, str]] = []

    def on_progress(self, **told: Any) -> None:
        self.progress.append(told)

    def on_validation(self, *, step: int, evaluation: Evaluation) -> None:
        self.validations.append((step, evaluation))

    def on_checkpoint(self, *, step: int, path: Path) -> None:
        assert path.is_file()
        self.checkpoints.append(step)

    def on_event(self, *, step: int, text: str) -> None:
        self.events.append((step, text))

    def series(self, name: str) -> list[float]:
        return [told["metrics"][name] for told in self.progress if name in told["metrics"]]


def run(config: TrainConfig, folder: Path, **options: Any) -> TrainResult:
    arguments: dict[str, Any] = {
        "train_pairs": make_pairs(10),
        "val_pairs": make_pairs(5, seed=1),
        "spec": SPEC,
        "score": psnr_score,
        "folder": folder,
        **options,
    }
    return train(config, **arguments)


def weights(result: TrainResult) -> dict[str, torch.Tensor]:
    return load_file(result.exported / "generator.safetensors")


def same(a: Any, b: Any) -> bool:
    """Equal bit for bit, through mappings and lists."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, Mapping):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b


def stop_after(steps: int) -> Any:
    """Ask to stop before step `steps` + 1."""
    asked = iter(range(10**6))
    return lambda: next(asked) >= steps
