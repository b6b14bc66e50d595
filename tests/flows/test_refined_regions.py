"""Regions upscaled with an ensemble, draws and consistency: in blocks as in one piece."""

from __future__ import annotations

import dataclasses
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


GENERATORS = {
    "edsr": {"channels": 8, "blocks": 1},
    "srresnet": {"channels": 8, "blocks": 1},
    "rrdb": {"channels": 8, "blocks": 1},
    "span": {"channels": 8, "blocks": 1},
    "unet": {"channels": 8},
}


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Upsampler]:
    """A small network of each kind with random weights."""
    import torch

    from models.config_networks import GeneratorConfig
    from models.export import GeneratorCard, save_generator
    from models.generators.registry import build_generator
    from models.predict import Predictor

    made: dict[str, Upsampler] = {}
    for name, size in GENERATORS.items():
        torch.manual_seed(0)
        config = GeneratorConfig(name=name, **size)
        trained = build_generator(config, bands=len(BANDS), scale=2)
        for parameter in trained.parameters():
            parameter.data.add_(torch.randn_like(parameter) * 0.05)
        generator = trained.for_export()
        card = GeneratorCard(
            architecture=dataclasses.replace(config, fused=name == "span"),
            scale=2,
            bands=BANDS,
            data_range=RANGE,
            halo=generator.halo,
        )
        folder = tmp_path_factory.mktemp(name)
        save_generator(folder, generator, card)
        made[name] = Predictor.load(folder, threads=1)
    return made


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
    plan = plan_upscale(scene, output, upsampler, UpscaleConfig(block_lr_px=block, tile_px=16))
    begin(plan)
    for cell in plan.blocks:
        run_block(plan, cell, upsampler)
    with rasterio.open(finish(plan)) as dataset:
        return dataset.read()


WAYS = {
    "plain": lambda inner: inner,
    "ensemble": EnsembleUpsampler,
    "consistent": ConsistentUpsampler,
    "both": lambda inner: ConsistentUpsampler(EnsembleUpsampler(inner)),
    "draws": lambda inner: EnsembleUpsampler(inner, inner.draws(3), turned=False),
    "all": lambda inner: ConsistentUpsampler(EnsembleUpsampler(inner, inner.draws(2))),
}
OF_DROPOUT = ("draws", "all")


@pytest.mark.parametrize(
    ("kind", "way"),
    [
        (kind, way)
        for kind in ("nearest", "bicubic", *GENERATORS)
        for way in WAYS
        if way not in OF_DROPOUT or kind == "unet"
    ],
)
def test_blocks_are_the_whole_region(
    scene: str, networks: dict[str, Upsampler], tmp_path: Path, kind: str, way: str
) -> None:
    inner = networks.get(kind) or BuiltinUpsampler(kind, 2)  # type: ignore[arg-type]
    upsampler = WAYS[way](inner)
    complete = upscale(scene, tmp_path / "whole.tif", upsampler, 64)
    assert len(complete) == len(BANDS) + len(upsampler.extras)
    for block in (8, 24):
        parts = upscale(scene, tmp_path / f"{block}.tif", upsampler, block)
        np.testing.assert_array_equal(parts == -1, complete == -1)
        assert np.abs(parts - complete).max() < 1e-4 * RANGE


def test_means_over_valid_lr_pixels_are_the_scene(
    scene: str, networks: dict[str, Upsampler], tmp_path: Path
) -> None:
    upsampler = ConsistentUpsampler(EnsembleUpsampler(networks["edsr"]))
    sr = upscale(scene, tmp_path / "sr.tif", upsampler, 8)[: len(BANDS)].astype(np.float64)
    with rasterio.open(scene) as dataset:
        lr, valid = dataset.read(), dataset.dataset_mask() > 0
    means = sr.reshape(2, 31, 2, 37, 2).mean(axis=(2, 4))
    np.testing.assert_allclose(means[:, valid], lr[:, valid], atol=1e-3, rtol=0)
