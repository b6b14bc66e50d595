"""What stands on both sides of the wall must be the same."""

from __future__ import annotations

import numpy as np
import pytest

from geo.interpolate import halo, upsample
from models.config_networks import GeneratorConfig
from models.generators.registry import build_generator
from models.layers import KeysBicubic


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_the_base_of_a_generator_is_the_bicubic_of_the_scores(scale: int) -> None:
    import torch

    lr = np.random.default_rng(0).uniform(0, 1, (3, 9, 13)).astype(np.float32)
    base = KeysBicubic(bands=3, scale=scale)(torch.from_numpy(lr)[None])[0].numpy()
    np.testing.assert_allclose(base, upsample(lr, scale, "bicubic"), atol=2e-6)


@pytest.mark.parametrize("name", ["edsr", "srresnet"])
def test_an_untrained_generator_is_bicubic(name: str) -> None:
    import torch

    network = build_generator(GeneratorConfig(name=name, blocks=1), bands=3, scale=4).eval()
    lr = np.random.default_rng(1).uniform(0, 1, (3, 12, 12)).astype(np.float32)
    with torch.inference_mode():
        sr = network(torch.from_numpy(lr)[None])[0].numpy()
    bicubic = upsample(lr, 4, "bicubic")
    assert np.abs(sr - bicubic).max() < 0.1 * np.abs(lr - lr.mean()).max()
    assert network.halo >= halo("bicubic")


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_the_sensor_of_the_losses_is_that_of_the_scores(scale: int) -> None:
    import torch

    from geo.sensor import degrade
    from models.content_losses import Consistency

    hr = np.random.default_rng(2).uniform(0, 1, (3, 12 * scale, 16 * scale)).astype(np.float32)
    loss = Consistency(scale)
    seen = loss.sees(torch.from_numpy(hr)[None])[0].numpy()
    m = loss.margin
    np.testing.assert_allclose(seen, degrade(hr, scale)[:, m:-m, m:-m], atol=2e-6)


def test_a_score_that_remembers_bicubic_is_the_score() -> None:
    from flows.train_evaluate import PairScore
    from geo.scores.pair import score_pair

    random = np.random.default_rng(3)
    score = PairScore(scale=2, data_range=1000)
    for _ in range(2):  # pairs that differ in one array alone
        for place in range(3):
            lr, hr, sr = (random.uniform(0, 1000, (2, n, n)) for n in (20, 40, 40))
            valid = np.ones((40, 40), np.bool_)
            for holes in range(3):
                valid[holes] = place != 1
                wanted = score_pair(sr, hr, lr, valid, scale=2, data_range=1000)
                del wanted["detail"], wanted["bicubic_detail"]  # of sums over chips in training
                for _ in range(2):
                    assert score(sr, hr, lr, valid) == pytest.approx(wanted, nan_ok=True, rel=0)
