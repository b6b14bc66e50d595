"""Independent implementations on tiles: run by their own Python, without this project.

Usage: ``python scores_worker.py TILES.npz ANSWERS.json``. TILES holds ``hr0``, ``sr0``, ``lr0``,
``hr1`` ... as DN, ``data_range``, ``scale`` and ``rim``, the pixels cropped off for opensr-test.
For each tile the answers hold what each package says, and the seconds that it took.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from opensr_test import Config, Metrics
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torchmetrics.functional import image as torchmetrics

PACKAGES = ("scikit-image", "torchmetrics", "opensr_test")


def answers(hr, sr, lr, scale: int, data_range: float, rim: int) -> dict:
    """Scores by package and name."""
    x, y, z = (torch.from_numpy(a / data_range) for a in (sr, hr, lr))
    say: dict[str, Callable[[], dict[str, float]]] = {
        "scikit-image": lambda: {
            "psnr_db": peak_signal_noise_ratio(hr, sr, data_range=data_range),
            "ssim": structural_similarity(
                hr,
                sr,
                data_range=data_range,
                channel_axis=0,
                gaussian_weights=True,
                use_sample_covariance=False,
            ),
        },
        "torchmetrics": lambda: {
            "sam_deg": np.degrees(float(torchmetrics.spectral_angle_mapper(x[None], y[None]))),
            "ergas": float(
                torchmetrics.error_relative_global_dimensionless_synthesis(
                    x[None], y[None], ratio=scale
                )
            ),
            "ssim": whole_windows(x[None], y[None]),
        },
        "opensr_test": lambda: opensr(z.float(), x.float(), y.float(), rim),
    }
    found = {}
    for package, call in say.items():
        started = time.process_time()
        found[package] = {name: float(value) for name, value in call().items()}
        found[package]["seconds"] = time.process_time() - started
    return found


def whole_windows(x, y) -> float:
    """Mean SSIM of windows inside the image; by itself torchmetrics counts reflected rims too."""
    _, full = torchmetrics.structural_similarity_index_measure(
        x, y, data_range=1.0, return_full_image=True
    )
    return float(full[..., 5:-5, 5:-5].mean())


def opensr(lr, sr, hr, rim: int) -> dict[str, float]:
    """Correctness by the defaults of ``Metrics.compute``, but for the border."""
    metrics = Metrics(params=Config(border_mask=rim))
    found = metrics.correctness(lr, sr, hr, gradient_threshold="auto")
    return {
        "improvement": found["im_metric"],
        "omission": found["om_metric"],
        "hallucination": found["ha_metric"],
    }


def main() -> None:
    """Answer all tiles of a file."""
    torch.set_num_threads(1)
    tiles = np.load(sys.argv[1])
    rules = (int(tiles["scale"]), float(tiles["data_range"]), int(tiles["rim"]))
    count = sum(name.startswith("hr") for name in tiles.files)
    found = [
        answers(*(tiles[f"{part}{i}"] for part in ("hr", "sr", "lr")), *rules) for i in range(count)
    ]
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    with open(sys.argv[2], "w") as file:
        json.dump({"versions": versions, "tiles": found}, file)


if __name__ == "__main__":
    main()
