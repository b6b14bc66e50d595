from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.config_networks import GENERATORS, GeneratorConfig
from models.errors import ConfigError, DataError, ExportError
from models.export import GeneratorCard, load_generator, save_generator
from models.generators.registry import build_generator
from models.layers import KeysBicubic
from models.predict import Predictor, _random

RANGE = 10_000.0


def export(folder: Path, name: str = "edsr", *, scale: int = 4, trained: bool = True) -> Path:
    torch.manual_seed(0)
    config = GeneratorConfig(name=name, channels=8, blocks=2)
    generator = build_generator(config, bands=3, scale=scale)
    generator.standardise.set(torch.tensor([0.1, 0.2, 0.3]), 0.05)
    if trained:
        for parameter in generator.parameters():
            parameter.data.add_(torch.randn_like(parameter) * 0.05)
    card = GeneratorCard(
        architecture=config,
        scale=scale,
        bands=("red", "green", "blue"),
        data_range=RANGE,
        halo=generator.halo,
    )
    save_generator(folder, generator, card)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: export(tmp_path_factory.mktemp(name), name) for name in GENERATORS}


def scene(h: int, w: int, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).random((3, h, w)) * 4000).astype(np.float32)


@pytest.mark.parametrize("name", GENERATORS)
@given(shape=st.tuples(st.integers(3, 40), st.integers(3, 40)), block=st.integers(5, 20))
@settings(max_examples=8, deadline=None)
def test_blocks_with_halo_are_the_whole_image(
    folders: dict[str, Path], name: str, shape: tuple[int, int], block: int
) -> None:
    predict = Predictor.load(folders[name], threads=1)
    s, halo = predict.scale, predict.halo
    image = scene(*shape)
    whole = predict(image)
    seamless = np.full_like(whole, np.nan)
    for row in range(0, shape[0], block):
        for col in range(0, shape[1], block):
            top, left = max(row - halo, 0), max(col - halo, 0)
            part = predict(image[:, top : row + block + halo, left : col + block + halo])
            h, w = min(block, shape[0] - row), min(block, shape[1] - col)
            dy, dx = (row - top) * s, (col - left) * s
            seamless[:, row * s : (row + h) * s, col * s : (col + w) * s] = part[
                :, dy : dy + h * s, dx : dx + w * s
            ]
    np.testing.assert_allclose(seamless, whole, atol=1e-6 * RANGE, rtol=1e-5)


@pytest.mark.parametrize("name", GENERATORS)
@given(shape=st.tuples(st.integers(3, 90), st.integers(3, 40)), margin=st.integers(0, 19))
@settings(max_examples=8, deadline=None)
def test_strips_are_the_image_within_the_margin(
    folders: dict[str, Path], name: str, shape: tuple[int, int], margin: int
) -> None:
    predict = Predictor.load(folders[name], threads=1)
    s = predict.scale
    h, w = shape[0] + 2 * margin, shape[1] + 2 * margin
    image = scene(h, w)
    whole = predict(image)[:, margin * s : (h - margin) * s, margin * s : (w - margin) * s]
    after = 0
    for rows, strip in predict.strips(image, margin):
        assert rows.start == after
        assert strip.shape == (3, rows.stop - rows.start, shape[1] * s)
        np.testing.assert_allclose(strip, whole[:, rows], atol=1e-6 * RANGE, rtol=0)
        after = rows.stop
    assert after == shape[0] * s


@pytest.mark.parametrize("name", GENERATORS)
@pytest.mark.parametrize("side", [7, 250])
def test_images_in_a_batch_are_as_alone(folders: dict[str, Path], name: str, side: int) -> None:
    predict = Predictor.load(folders[name], threads=1)
    images = np.stack([scene(side, 13, seed) for seed in range(5)])
    together = predict.predict_batch(images)
    assert (together.dtype, together.shape) == (np.float32, (5, 3, side * 4, 52))
    alone = np.stack([predict(image) for image in images])
    np.testing.assert_allclose(together, alone, atol=1e-6 * RANGE, rtol=0)


@pytest.mark.parametrize("name", GENERATORS)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_not_hidden(folders: dict[str, Path], name: str, bad: float) -> None:
    image = scene(40, 40)
    image[1, 20, 20] = bad
    sr = Predictor.load(folders[name])(image)
    assert not np.isfinite(sr[1, 80:84, 80:84]).any()


def test_the_same_input_gives_the_same_bytes(folders: dict[str, Path]) -> None:
    image = scene(20, 24)
    first, second = (Predictor.load(folders["edsr"], threads=1) for _ in range(2))
    assert first(image).tobytes() == second(image).tobytes()


def test_it_travels_as_a_path_and_works_in_threads(folders: dict[str, Path]) -> None:
    predict = Predictor(folders["edsr"], threads=1)
    parcel = pickle.dumps(predict)
    assert len(parcel) < 1000
    arrived = pickle.loads(parcel)
    images = [scene(12, 12, seed) for seed in range(6)]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(arrived, images))
    for image, result in zip(images, together, strict=True):
        np.testing.assert_array_equal(predict(image), result)


def test_it_says_what_it_is(folders: dict[str, Path]) -> None:
    predict = Predictor(folders["edsr"])
    assert (predict.scale, predict.halo, predict.data_range) == (4, 7, RANGE)
    assert predict.bands == ("red", "green", "blue")
    assert predict.name.startswith("edsr-8x2-x4@")
    # They do not draw the same, so a region must not be drawn by both.
    assert Predictor(folders["edsr"], precision="bfloat16").name == predict.name + "+bfloat16"


def test_a_draw_is_the_same_whoever_draws_it_and_no_two_are(folders: dict[str, Path]) -> None:
    image = scene(20, 24)
    network = Predictor(folders["unet"], threads=1)
    draws = network.draws(3)
    assert [draw.name for draw in draws] == [f"{network.name}+draw{n}" for n in range(3)]
    answers = [draw(image) for draw in draws]
    again = pickle.loads(pickle.dumps(draws[2]))
    assert again.name == draws[2].name
    assert again(image).tobytes() == answers[2].tobytes()
    alone = Predictor.load(folders["unet"], threads=1, draw=2)
    assert alone(image).tobytes() == answers[2].tobytes()
    assert len({answer.tobytes() for answer in [network(image), *answers]}) == 4


def test_the_planes_that_a_draw_leaves_out_depend_on_the_weights(tmp_path: Path) -> None:
    first, second = (export(tmp_path / str(scale), "unet", scale=scale) for scale in (2, 4))
    masks = []
    for folder in (first, second):
        thin, (plain, card) = Predictor(folder, draw=0), load_generator(folder)
        body = plain.thinned(_random(card, 0)).detail[2]
        masks.append([(layer.bias == 0).tolist() for layer in body.up])
        assert thin.scale == plain.scale
    assert masks[0] != masks[1]


def test_what_has_no_noise_has_no_draws(folders: dict[str, Path]) -> None:
    with pytest.raises(ConfigError, match=r"edsr-8x2-x4@\w+ has no dropout, .*leave draws out"):
        Predictor(folders["edsr"]).draws(4)
    with pytest.raises(ConfigError, match="draws is 1; wanted 2 or more"):
        Predictor(folders["unet"]).draws(1)
    with pytest.raises(ConfigError, match="draw is -1; wanted 0 or more"):
        Predictor(folders["unet"], draw=-1)


def test_dn_in_dn_out(tmp_path: Path) -> None:
    predict = Predictor.load(export(tmp_path, trained=False))
    image = scene(9, 11).astype(np.uint16)
    out = predict(image)
    assert (out.dtype, out.shape, out.flags.c_contiguous) == (np.float32, (3, 36, 44), True)
    base = KeysBicubic(bands=3, scale=4)(torch.from_numpy(image.astype(np.float32))[None])[0]
    np.testing.assert_allclose(out, base.numpy(), atol=1e-6 * RANGE, rtol=1e-5)


def test_bfloat16_is_close(folders: dict[str, Path]) -> None:
    image = scene(24, 24)
    exact = Predictor.load(folders["edsr"])(image)
    fast = Predictor.load(folders["edsr"], precision="bfloat16")(image)
    base = KeysBicubic(bands=3, scale=4)(torch.from_numpy(image)[None])[0].numpy()
    assert np.abs(fast - exact).max() < 0.05 * np.abs(exact - base).max()


def test_what_cannot_be_upsampled_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    predict = Predictor(folders["edsr"])
    with pytest.raises(DataError, match=r"\[3, h, w\] \(red, green, blue\), got .*\(4, 8, 8\)"):
        predict(np.zeros((4, 8, 8), np.float32))
    with pytest.raises(DataError, match=r"\[N, 3, h, w\] .*, got .*\(3, 8, 8\)"):
        predict.predict_batch(np.zeros((3, 8, 8), np.float32))
    with pytest.raises(DataError, match=r"got .*\(3, 0, 8\)"):
        predict(np.zeros((3, 0, 8), np.float32))
    with pytest.raises(DataError, match="a margin of 4 px leaves nothing"):
        predict.strips(np.zeros((3, 8, 9), np.float32), 4)
    with pytest.raises(ExportError, match="holds no generator"):
        Predictor(tmp_path)
    with pytest.raises(ConfigError, match="precision must be one of"):
        Predictor(folders["edsr"], precision="int8")
    with pytest.raises(ConfigError, match="device must be"):
        Predictor(folders["edsr"], device="abacus")
