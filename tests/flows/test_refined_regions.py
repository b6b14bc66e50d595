"""Regions upscaled with an ensemble and with consistency: in blocks as in one piece."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin
from scipy import ndimage

from geo.consistency import ConsistentUpsampler
from geo.ensemble import EnsembleUpsampler
from geo.upsampler import BuiltinUpsampler, Upsampler
from geo.upscale import UpscaleConfig, begin, finish, plan_upscale, run_block

RANGE = 10_000.0
BANDS = ("red", "green")


@dataclass(frozen=True)
class BandsOnly:
    """Hides the extra planes, whatever the region store makes of them."""

    inner: Upsampler
    extras: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def scale(self) -> int:
        return self.inner.scale

    @property
    def halo(self) -> int:
        return self.inner.halo

    @property
    def bands(self) -> tuple[str, ...] | None:
        return self.inner.bands

    def __call__(self, lr: np.ndarray, /) -> np.ndarray:
        return self.inner(lr)[: len(lr)]


@dataclass(frozen=True)
class ExtraOnly(BandsOnly):
    """Shows the extra plane in place of every band."""

    def __call__(self, lr: np.ndarray, /) -> np.ndarray:
        return np.repeat(self.inner(lr)[len(lr) :], len(lr), axis=0)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Upsampler:
    """A small EDSR with random weights."""
    import torch

    from models.config_networks import GeneratorConfig
    from models.export import GeneratorCard, save_generator
    from models.generators.registry import build_generator
    from models.predict import Predictor

    torch.manual_seed(0)
    config = GeneratorConfig(name="edsr", channels=8, blocks=1)
    generator = build_generator(config, bands=len(BANDS), scale=2)
    for parameter in generator.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.05)
    card = GeneratorCard(
        architecture=config, scale=2, bands=BANDS, data_range=RANGE, halo=generator.halo
    )
    folder = tmp_path_factory.mktemp("edsr")
    save_generator(folder, generator, card)
    return Predictor.load(folder, threads=1)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An odd size, with holes."""
    rng = np.random.default_rng(4)
    data = rng.uniform(100, RANGE, (2, 31, 37)).astype(np.float32)
    blobs = ndimage.uniform_filter(rng.random(data.shape[1:]), 5)
    data[:, blobs < np.quantile(blobs, 0.12)] = -1
    path = tmp_path_factory.mktemp("scene") / "lr.tif"
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=data.shape[1],
        width=data.shape[2],
        count=2,
        dtype="float32",
        crs="EPSG:32633",
        transform=from_origin(500_000, 5_000_000, 10, 10),
        nodata=-1,
    ) as dataset:
        dataset.write(data)
        for number, band in enumerate(BANDS, start=1):
            dataset.set_band_description(number, band)
    return str(path)


def upscale(scene: str, output: Path, upsampler: Upsampler, block: int) -> np.ndarray:
    plan = plan_upscale(scene, output, upsampler, UpscaleConfig(block_lr_px=block))
    begin(plan)
    for cell in plan.blocks:
        run_block(plan, cell, upsampler)
    with rasterio.open(finish(plan)) as dataset:
        return dataset.read()


WAYS = {
    "ensemble": lambda inner: BandsOnly(EnsembleUpsampler(inner)),
    "uncertainty": lambda inner: ExtraOnly(EnsembleUpsampler(inner)),
    "consistent": ConsistentUpsampler,
    "both": lambda inner: BandsOnly(ConsistentUpsampler(EnsembleUpsampler(inner))),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["nearest", "bicubic", "edsr"])
@pytest.mark.parametrize("block", [7, 16])
def test_blocks_are_the_whole_region(
    scene: str, network: Upsampler, tmp_path: Path, kind: str, way: str, block: int
) -> None:
    inner = network if kind == "edsr" else BuiltinUpsampler(kind, 2)  # type: ignore[arg-type]
    upsampler = WAYS[way](inner)
    parts = upscale(scene, tmp_path / "parts.tif", upsampler, block)
    complete = upscale(scene, tmp_path / "whole.tif", upsampler, 64)
    np.testing.assert_array_equal(parts == -1, complete == -1)
    assert np.abs(parts - complete).max() < 1e-4 * RANGE


def test_means_over_valid_lr_pixels_are_the_scene(
    scene: str, network: Upsampler, tmp_path: Path
) -> None:
    upsampler = BandsOnly(ConsistentUpsampler(EnsembleUpsampler(network)))
    sr = upscale(scene, tmp_path / "sr.tif", upsampler, 9).astype(np.float64)
    with rasterio.open(scene) as dataset:
        lr, valid = dataset.read(), dataset.dataset_mask() > 0
    means = sr.reshape(2, 31, 2, 37, 2).mean(axis=(2, 4))
    np.testing.assert_allclose(means[:, valid], lr[:, valid], atol=1e-3, rtol=0)
