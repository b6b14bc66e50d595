"""Generators that are trained in a minute or three, for benchmarks of what is done with them.

Default settings on real aerial pairs (made scenes where there are none): the content phase alone,
which is as faithful as it gets, and with an adversarial phase, exported as users get it.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from geo.upsampler import Upsampler
from models.predict import Predictor
from tests.benchmarks.aerial_data import SCALE, Split, aerial_pairs
from tests.benchmarks.training_runs import content_config, minutes, train_on

CONTENT_MINUTES, ADVERSARIAL_MINUTES = 1.0, 2.0

Image = npt.NDArray[np.float32]


@cache
def quick_generators() -> tuple[Split, dict[str, Predictor]]:
    """Pairs, and generators trained on them: ``content`` and ``adversarial``."""
    split = aerial_pairs()
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    length = CONTENT_MINUTES + ADVERSARIAL_MINUTES
    configs = {
        "content": content_config(minutes(CONTENT_MINUTES)),
        "adversarial": content_config(
            minutes(length),
            adversarial_steps=10_000_000,
            content_time_share=CONTENT_MINUTES / length,
        ),
    }
    made = {name: train_on(split, config, folder / name) for name, config in configs.items()}
    return split, {
        name: Predictor.load(result.exported, precision="float32", threads=1)
        for name, result in made.items()
    }


def upsampled(upsampler: Upsampler, lr: npt.NDArray[Any]) -> Image:
    """A chip as a region of its own: mirrored about its edges, upsampled, cropped."""
    halo, margin = upsampler.halo, upsampler.halo * SCALE
    around = np.pad(lr.astype(np.float32), ((0, 0), (halo, halo), (halo, halo)), mode="reflect")
    sr = upsampler(around)
    return sr[:, margin : sr.shape[1] - margin, margin : sr.shape[2] - margin]


def inner(image: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """What counts of a chip: all but one LR pixel along its edges, as in other scores."""
    return image[..., SCALE:-SCALE, SCALE:-SCALE]
