"""A run that falls ill goes back, and one that cannot be cured is given up."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from models.checkpoint import list_checkpoints, load_checkpoint
from models.config import HealthConfig
from models.data import Pair, PairLike, Window
from models.errors import TrainingError
from models.layers import KeysBicubic
from models.predict import Predictor
from tests.models.training import (
    TINY,
    Recorder,
    make_pairs,
    run,
)


class Poisoned:
    """Pairs of which one holds NaN where it should be valid, and one an infinity in its LR."""

    def __init__(self) -> None:
        self.pairs = make_pairs(6)

    def __len__(self) -> int:
        return len(self.pairs)

    def read(
        self, indices: Sequence[int], windows: Sequence[Window] | None = None
    ) -> list[PairLike]:
        found = []
        for index, pair in zip(indices, self.pairs.read(indices, windows), strict=True):
            lr, hr = pair.lr.astype(np.float32), pair.hr.astype(np.float32)
            if index == 2:
                hr[..., ::3, :] = np.nan
            if index == 4:
                lr[..., ::3, ::2] = np.inf
            found.append(Pair(lr=lr, hr=hr, valid=pair.valid))
        return found


def test_broken_pairs_are_named_and_left_out(tmp_path: Path) -> None:
    recorder = Recorder()
    run(TINY, tmp_path, train_pairs=Poisoned(), listener=recorder)
    assert recorder.events[-1][1].startswith("2 training pairs hold values that are not finite")
    assert ": 2, 4 (numbers within the split)" in recorder.events[-1][1]
    assert all(math.isfinite(v) for told in recorder.progress for v in told["metrics"].values())
    assert max(recorder.series("train/generator_skipped")) == 0


WILD = dataclasses.replace(
    TINY,
    content_steps=60,
    adversarial_steps=0,
    lr_content=3.0,
    checkpoint_every=10,
    val_every=1000,
    health=HealthConfig(patience=2, rollbacks=2, rollback_rate=0.9),
)


def test_a_run_that_diverges_goes_back_with_lower_rates_and_gives_up_in_the_end(
    tmp_path: Path,
) -> None:
    recorder = Recorder()
    with pytest.raises(
        TrainingError, match=r"fell ill at step \d+ \(content phase\): diverged"
    ) as it:
        run(WILD, tmp_path, listener=recorder)
    assert [text.split("times ")[-1] for _, text in recorder.events] == [
        "0.9 (1 of 2 times)",
        "0.81 (2 of 2 times)",
    ]
    assert "lower lr_content" in str(it.value)
    newest = load_checkpoint(list_checkpoints(tmp_path / "checkpoints")[0])
    assert all(t.isfinite().all() for t in newest["generator"].values())
    assert not (tmp_path / "generator").exists()


def test_lower_rates_cure_a_run_that_diverges(tmp_path: Path) -> None:
    recorder = Recorder()
    config = dataclasses.replace(
        WILD, health=HealthConfig(patience=2, rollbacks=1, rollback_rate=3e-4)
    )
    result = run(config, tmp_path, listener=recorder)
    assert (result.stopped_by, result.clock.rollbacks) == ("steps", 1)
    assert result.clock.rate_factor == pytest.approx(3e-4)
    losses, plain = recorder.series("train/content_loss"), recorder.series("train/bicubic_loss")
    assert losses[-1] < 1.05 * plain[-1]


def test_going_back_to_the_end_of_a_shorter_run_does_not_end_the_longer_one(tmp_path: Path) -> None:
    run(dataclasses.replace(TINY, adversarial_steps=0), tmp_path)
    longer = dataclasses.replace(WILD, adversarial_steps=60, lr_generator=3.0, checkpoint_every=999)
    with pytest.raises(TrainingError, match=r"\(adversarial phase\)"):
        run(longer, tmp_path, resume=True)


def test_gradients_that_are_not_finite_move_nothing(tmp_path: Path) -> None:
    recorder = Recorder()
    config = dataclasses.replace(TINY, health=HealthConfig(patience=100))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.utils, "clip_grad_norm_", lambda *_: torch.tensor(float("nan")))
        result = run(config, tmp_path, listener=recorder)
    assert recorder.series("train/generator_skipped") == [1.0] * 5
    layer = KeysBicubic(bands=2, scale=4)
    lr = make_pairs(1).read([0])[0].lr.astype(np.float32)
    np.testing.assert_allclose(
        Predictor.load(result.exported)(lr),
        layer(torch.from_numpy(lr)[None])[0].numpy(),
        rtol=1e-4,
    )
