"""One rank of a training run: ``torchrun_worker.py PAIRS.npz FOLDER CONFIG_JSON``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch

from models.config import TrainConfig
from models.data import ListedPairs, Pair, PairSpec
from models.trainer import train


def main() -> None:
    arrays, folder, values = sys.argv[1:]
    torch.set_num_threads(1)
    with np.load(arrays) as held:
        labelled = "labels" in held
        labels = held["labels"] if labelled else [None] * len(held["lr"])
        pairs = ListedPairs(
            [
                Pair(lr=lr, hr=hr, valid=valid, labels=shown)
                for lr, hr, valid, shown in zip(
                    held["lr"], held["hr"], held["valid"], labels, strict=True
                )
            ]
        )
        scale = held["hr"].shape[-1] // held["lr"].shape[-1]
    train(
        TrainConfig.from_dict(json.loads(values)),
        train_pairs=pairs,
        val_pairs=pairs,
        spec=PairSpec(
            scale=scale,
            bands=("a", "b"),
            data_range=255.0,
            classes=("dark", "bright") if labelled else (),
        ),
        score=lambda sr, hr, lr, valid: {"mae": float(np.abs(sr - hr)[:, valid].mean())},
        folder=Path(folder),
        resume=True,
    )


if __name__ == "__main__":
    main()
