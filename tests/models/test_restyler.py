"""Pairs with another look are pairs still."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import avg_pool2d

from models.batches import BatchMaker
from models.config_networks import GeneratorConfig
from models.config_style import AugmentConfig
from models.data import PairSpec
from models.errors import ConfigError, ExportError
from models.export import GeneratorCard, save_generator
from models.generators.base import Generator
from models.generators.registry import build_generator
from models.restyler import Restyler, load_restyler
from models.sampler import chosen_samples
from models.start import Start
from models.tensors import Tensors
from tests.models.training import SPEC, TINY, make_pairs, run, same, stop_after, weights

CPU = torch.device("cpu")
SHAPE = GeneratorConfig(channels=4, blocks=1)


def restyling(scale: int = 1) -> Generator:
    torch.manual_seed(3)
    generator = build_generator(SHAPE, bands=2, scale=scale)
    generator.standardise.set(torch.tensor([0.3, 0.3]), 0.1)
    for parameter in generator.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    return generator.eval().requires_grad_(False)


def saved(folder: Path, scale: int = 1, bands: tuple[str, ...] = SPEC.bands) -> Path:
    generator = restyling(scale)
    card = GeneratorCard(
        architecture=SHAPE,
        scale=scale,
        bands=bands,
        data_range=SPEC.data_range,
        halo=generator.halo,
    )
    save_generator(folder, generator, card)
    return folder


def batch(*, holes: bool = False) -> Tensors:
    made = BatchMaker(
        make_pairs(8),
        SPEC,
        batch_size=8,
        chip_lr=(16, 16),
        patch_lr=8,
        seed=0,
        restyled=0.5,
    )(0)
    tensors = Tensors.of(made, CPU)
    if holes:
        valid = (torch.rand(8, 1, 32, 32, generator=torch.Generator().manual_seed(0)) > 0.3).float()
        valid[0] = 0
        tensors = replace(tensors, valid=valid, hr=tensors.hr * valid)
    return tensors


def test_an_lr_image_moves_by_the_mean_of_what_its_hr_image_does() -> None:
    before = batch()
    after = Restyler(restyling(), torch.float32)(before)
    assert before.restyled is not None
    assert 0 < int(before.restyled.sum()) < 8
    for chosen in (before.restyled, ~before.restyled):
        torch.testing.assert_close(
            after.lr[chosen] - before.lr[chosen],
            avg_pool2d(after.hr[chosen] - before.hr[chosen], SPEC.scale),
        )
    assert torch.equal(after.hr[~before.restyled], before.hr[~before.restyled])
    moved = (after.hr - before.hr)[before.restyled].abs().mean(dim=(1, 2, 3))
    assert (moved > 1e-3).all()
    torch.testing.assert_close(after.hr[before.restyled], restyling()(before.hr[before.restyled]))


def test_holes_stay_holes_and_what_is_around_them_counts_in_full() -> None:
    before = batch(holes=True)
    before = replace(before, restyled=torch.ones(8, dtype=torch.bool))
    after = Restyler(restyling(), torch.float32)(before)
    assert torch.equal(after.hr * before.valid, after.hr)
    change, share = after.hr - before.hr, avg_pool2d(before.valid, SPEC.scale)
    expected = avg_pool2d(change, SPEC.scale) / share.clamp(min=1e-9)
    torch.testing.assert_close(
        after.lr - before.lr, torch.where(share > 0, expected, 0.0), atol=1e-5, rtol=1e-4
    )
    assert torch.equal(after.lr[0], before.lr[0]), "nothing is known of it"


def test_which_samples_is_a_matter_of_their_number() -> None:
    whole = chosen_samples(7, range(4000), 0.3)
    assert 0.27 < whole.mean() < 0.33
    assert np.array_equal(chosen_samples(7, range(100, 200), 0.3), whole[100:200])
    assert not np.array_equal(chosen_samples(8, range(4000), 0.3), whole)
    assert chosen_samples(7, range(4000), 0.6)[whole].all(), "a larger share holds a smaller one"


def test_without_a_share_nothing_is_said(tmp_path: Path) -> None:
    made = BatchMaker(make_pairs(4), SPEC, batch_size=4, chip_lr=(16, 16), patch_lr=8, seed=0)(0)
    assert made.restyled is None
    tensors = Tensors.of(made, CPU)
    assert Restyler(restyling(), torch.float32)(tensors) is tensors


@pytest.mark.usefixtures("one_thread")
def test_training_with_it_differs_and_goes_on_where_it_was(tmp_path: Path) -> None:
    folder = saved(tmp_path / "style")
    config = replace(TINY, augment=AugmentConfig(style=str(folder), share=0.5))
    whole = run(config, tmp_path / "whole")
    run(config, tmp_path / "cut", stop=stop_after(4))
    assert same(weights(run(config, tmp_path / "cut", resume=True)), weights(whole))
    assert not same(weights(run(TINY, tmp_path / "plain")), weights(whole))


def test_what_cannot_redraw_these_pairs_is_refused(tmp_path: Path) -> None:
    good = saved(tmp_path / "good")
    load_restyler(Start(folder=good), SPEC, CPU, torch.float32)
    with pytest.raises(ExportError, match="put that one back"):
        load_restyler(Start(folder=good, weights_sha256="0" * 64), SPEC, CPU, torch.float32)
    with pytest.raises(ConfigError, match="scale 4, wanted 1"):
        load_restyler(Start(folder=saved(tmp_path / "x4", 4)), SPEC, CPU, torch.float32)
    other = PairSpec(scale=4, bands=("red", "green"), data_range=255.0)
    with pytest.raises(ConfigError, match=r"bands red,nir, wanted red,green; data_range 10000"):
        load_restyler(Start(folder=good), other, CPU, torch.float32)
