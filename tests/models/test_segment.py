"""Segmenters: labels stay with their pixels, maps do not depend on windows, all is learned."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from scipy.ndimage import gaussian_filter
from torch import nn

from models.batches import Batch, BatchMaker
from models.config import TrainConfig
from models.config_networks import GeneratorConfig, LossConfig
from models.config_segment import SegmentConfig
from models.data import ListedPairs, Pair, PairSpec, check_pairs
from models.distributed import Ranks
from models.errors import ConfigError, DataError, ExportError
from models.evaluate import Evaluation
from models.segment import (
    SegmenterCard,
    TrainedSegmenter,
    load_segmenter,
    load_segmenter_card,
    save_segmenter,
)
from models.segmenter import Segmenter
from models.segmenting import evaluate_maps
from models.strategy import build_strategy
from models.tensors import Tensors
from tests.models.training import TINY as PAIRED
from tests.models.training import Recorder, run, same, stop_after

CPU = torch.device("cpu")
SMALL = SegmentConfig(labels="given", channels=4, stages=2, jitter=0.0)
SPEC = PairSpec(scale=4, bands=("red", "nir"), data_range=10_000.0, classes=("calm", "rough"))
TINY = replace(
    PAIRED,
    task="segment",
    segment=SMALL,
    generator=GeneratorConfig(),
    content_steps=8,
    adversarial_steps=0,
)


def make_network(seed: int = 0, config: SegmentConfig = SMALL) -> Segmenter:
    torch.manual_seed(seed)
    return Segmenter(bands=2, classes=2, config=config).eval()


def make_labelled(count: int, *, size: int = 8, seed: int = 0) -> ListedPairs:
    """Two textures of one mean: only what is around a pixel tells which it is of."""
    random = np.random.default_rng(seed)
    side = 4 * size
    pairs = []
    for _ in range(count):
        where = gaussian_filter(random.standard_normal((side, side)), 5) > 0
        noise = random.standard_normal((2, side, side))
        hr = 3000 + np.where(where, 800.0, 60.0) * noise
        pairs.append(
            Pair(
                lr=hr.reshape(2, size, 4, size, 4).mean((2, 4)).astype(np.uint16),
                hr=hr.astype(np.uint16),
                valid=np.ones((side, side), np.bool_),
                labels=1 + where.astype(np.uint8),
            )
        )
    return ListedPairs(pairs)


def score(found: Any, labels: Any, _: Any, known: Any) -> Mapping[str, float]:
    right = (found == labels)[0][known]
    return {"accuracy": float(right.mean()), "mean_iou": float(right.mean()) / 2}


def train(config: TrainConfig, folder: Path, **options: Any) -> Any:
    given = {"train_pairs": make_labelled(10), "val_pairs": make_labelled(5, seed=1)}
    return run(config, folder, **{**given, "spec": SPEC, "score": score, **options})


def test_labels_are_cropped_and_turned_with_their_pixels() -> None:
    """The image tells its own labels, so any of them that slips is found."""
    random = np.random.default_rng(0)
    pairs = []
    for _ in range(6):
        hr = random.integers(1, 3, (1, 32, 32)).astype(np.uint16)
        lr = np.zeros((1, 16, 16), np.uint16)
        valid = random.random((32, 32)) > 0.2
        pairs.append(Pair(lr=lr, hr=hr, valid=valid, labels=hr[0].astype(np.uint8)))
    spec = PairSpec(scale=2, bands=("red",), data_range=1.0, classes=("one", "two"))
    make = BatchMaker(ListedPairs(pairs), spec, batch_size=4, chip_lr=(16, 16), patch_lr=7, seed=3)
    looks = set()
    for number in range(20):
        batch = make(number)
        tensors = Tensors.of(batch, CPU)
        looks.add(batch.swapped)
        assert tensors.labels is not None
        assert torch.equal(tensors.labels.float(), tensors.hr[:, 0])
        assert torch.equal(tensors.labels > 0, tensors.valid[:, 0] > 0)
    assert looks == {False, True}


def test_pairs_without_labels_or_with_others_are_refused() -> None:
    good = make_labelled(1).read([0])[0]
    for labels in (None, np.zeros((3, 3), np.uint8), np.full((32, 32), 3, np.uint8)):
        pair = replace(good, labels=labels)  # type: ignore[type-var]  # a dataclass
        with pytest.raises(DataError, match="a pair has labels"):
            check_pairs(ListedPairs([pair]), SPEC, what="training")


@given(st.integers(1, 3), st.integers(0, 2**31))
def test_no_pixel_looks_farther_than_the_halo(stages: int, seed: int) -> None:
    network = make_network(seed, SegmentConfig(channels=2, stages=stages))
    side = 4 * network.halo // network.stride * network.stride
    y, x = np.random.default_rng(seed).integers(network.halo, side - network.halo, 2)
    image = torch.rand(1, 2, side, side, requires_grad=True)
    network(image)[0, :, y, x].sum().backward()
    assert image.grad is not None
    seen = torch.nonzero(image.grad[0].abs().sum(dim=0))
    farthest = (seen - torch.tensor([y, x])).abs()  # of nothing, where all is cut off on the way
    assert int(farthest.max() if len(seen) else 0) <= network.halo


@pytest.mark.parametrize("stages", [1, 2, 3])
def test_the_halo_is_no_larger_than_it_need_be(stages: int) -> None:
    network = make_network(config=SegmentConfig(channels=2, stages=stages))
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data.fill_(0.1)  # so that nothing is cut off on the way
    side = 4 * (network.halo // network.stride + 1) * network.stride
    farthest = 0
    for at in range(side // 2, side // 2 + network.stride):
        for _ in range(8):  # the largest of four pixels is another one in another image
            image = torch.rand(1, 2, side, side, requires_grad=True)
            network(image)[0, :, at, at].sum().backward()
            assert image.grad is not None
            seen = torch.nonzero(image.grad[0].abs().sum(dim=0))
            farthest = max(farthest, int((seen - at).abs().max()))
    assert farthest == network.halo


@given(st.integers(0, 6), st.integers(0, 6), st.integers(1, 40), st.integers(1, 40))
def test_a_window_with_its_halo_gets_the_map_of_the_whole(
    row: int, col: int, height: int, width: int
) -> None:
    network, card = make_network(), card_of()
    segment = TrainedSegmenter(network, card, CPU)
    image = np.random.default_rng(1).integers(0, 10_000, (2, 120, 120)).astype(np.float32)
    whole = segment(image)
    halo, stride = segment.halo, segment.stride
    top, left = row * stride, col * stride
    begin = [max(0, (at - halo) // stride * stride) for at in (top, left)]
    end = [min(120, at + size + halo) for at, size in ((top, height), (left, width))]
    found = segment(image[:, begin[0] : end[0], begin[1] : end[1]])
    y, x = top - begin[0], left - begin[1]
    assert (
        found[y : y + height, x : x + width] == whole[top : top + height, left : left + width]
    ).all()


def test_any_size_will_do() -> None:
    network = make_network()
    for height, width in ((1, 1), (3, 7), (4, 8), (33, 5)):
        assert network(torch.rand(2, 2, height, width)).shape == (2, 2, height, width)


def batch(labels: np.ndarray) -> Tensors:
    random = np.random.default_rng(0)
    return Tensors.of(
        Batch(
            lr=np.zeros((4, 2, 4, 4), np.float32),
            hr=random.random((4, 2, 16, 16), np.float32),
            valid=np.ones((4, 1, 16, 16), np.bool_),
            data_range=1.0,
            swapped=False,
            shift=(0, 0),
            labels=labels,
        ),
        CPU,
    )


def learner(jitter: float = 0.0) -> Any:
    torch.manual_seed(0)
    config = replace(TINY, segment=replace(SMALL, jitter=jitter))
    here = Ranks(rank=0, world=1, device=CPU)
    statistics = np.array([0.5, 0.5], np.float32), 0.3
    return build_strategy(config, SPEC, statistics, here, torch.float32, 4)


def test_the_loss_is_the_cross_entropy_of_labelled_pixels_over_all_pixels() -> None:
    labels = np.random.default_rng(2).integers(0, 3, (4, 1, 16, 16)).astype(np.uint8)
    one, tensors = learner(), batch(labels)
    scores = one.network(tensors.hr).detach()
    told = one.content_step(tensors)
    known = torch.from_numpy(labels[:, 0]).long()
    nats = -torch.log_softmax(scores, dim=1).gather(1, (known - 1).clamp(min=0)[:, None])[:, 0]
    assert float(told["content_loss"]) == pytest.approx(
        float(nats[known > 0].sum()) / known.numel(), rel=1e-5
    )
    right = (scores.argmax(dim=1) + 1 == known)[known > 0].float().mean()
    assert float(told["accuracy"]) == pytest.approx(float(right))


def test_chips_are_learned_in_another_light_each() -> None:
    """Brightness and contrast change, of each chip and a little of each band, and nothing else."""
    image = torch.rand(200, 2, 4, 4)
    seen = learner(jitter=0.2)._in_another_light(image)
    slopes = []
    for before, after in zip(image.flatten(0, 1), seen.flatten(0, 1), strict=True):
        slope, offset = np.polyfit(before.flatten().double(), after.flatten().double(), 1)
        assert np.allclose(after, slope * before + offset, atol=1e-5)
        slopes.append(slope)
    logs = np.log(slopes).reshape(-1, 2)
    assert logs.mean(axis=1).std() == pytest.approx(0.2, rel=0.2)
    assert (logs[:, 0] - logs[:, 1]).std() == pytest.approx(0.2 * 0.3 * 2**0.5, rel=0.2)


def test_it_is_in_training_alone_that_the_light_changes() -> None:
    tensors = batch(np.ones((4, 1, 16, 16), np.uint8))
    losses = [float(learner(jitter).content_step(tensors)["content_loss"]) for jitter in (0, 0.5)]
    assert losses[0] != losses[1]
    one = learner(jitter=0.5)
    maps = [one.product(SPEC).network(tensors.hr) for _ in range(2)]
    assert torch.equal(*maps)


def test_ground_without_labels_teaches_nothing() -> None:
    one = learner()
    before = {name: t.clone() for name, t in one.network.state_dict().items()}
    told = one.content_step(batch(np.zeros((4, 1, 16, 16), np.uint8)))
    assert float(told["content_loss"]) == 0
    after = one.network.state_dict()
    assert all(
        torch.equal(before[name], after[name])
        for name in before
        if not name.endswith((".mean", ".variance"))
    )


def test_what_knows_only_how_frequent_classes_are_has_their_entropy() -> None:
    labels = np.ones((4, 1, 16, 16), np.uint8)
    labels[:1] = 2
    told = learner().check_up(batch(labels))
    assert float(told["mean_loss"]) == pytest.approx(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25)))


def test_there_is_no_game() -> None:
    one, tensors = learner(), batch(np.ones((4, 1, 16, 16), np.uint8))
    for call in (
        lambda: one.discriminator_step(tensors),
        lambda: one.generator_step(tensors, 0.5),
        lambda: one.start_as(None),
    ):
        with pytest.raises(ConfigError, match="the task segment"):
            call()


def test_textures_are_learned_and_the_best_state_is_exported(tmp_path: Path) -> None:
    recorder = Recorder()
    config = replace(TINY, content_steps=120, val_every=30, ema_decay=0.9, lr_content=1e-2)
    result = train(config, tmp_path, listener=recorder)
    accuracies = [told.scores["accuracy"] for _, told in recorder.validations]
    assert max(accuracies) > 0.8
    assert result.validation["accuracy"] == max(accuracies)
    segment = load_segmenter(result.exported)
    assert (segment.classes, segment.bands) == (SPEC.classes, SPEC.bands)
    found = evaluate_maps(segment, make_labelled(5, seed=1), score, limit=TINY.val_pairs)
    assert found.scores == result.validation


@pytest.mark.usefixtures("one_thread")
def test_a_stopped_run_goes_on_as_if_nothing_had_been(tmp_path: Path) -> None:
    whole = train(TINY, tmp_path / "whole")
    assert train(TINY, tmp_path / "cut", stop=stop_after(3)).stopped_by == "request"
    again = train(TINY, tmp_path / "cut", resume=True)
    assert same(*(load_file(r.exported / "segmenter.safetensors") for r in (whole, again)))


def test_a_run_goes_on_with_the_same_classes_alone(tmp_path: Path) -> None:
    train(TINY, tmp_path, stop=stop_after(3))
    with pytest.raises(Exception, match="classes"):
        train(TINY, tmp_path, resume=True, spec=replace(SPEC, classes=("rough", "calm")))


def test_all_pairs_are_held_against_their_labels_as_one() -> None:
    pairs = make_labelled(3)
    truth = [pair.labels for pair in pairs.read([0, 1, 2])]  # type: ignore[attr-defined]  # labelled
    seen: list[Any] = []

    def note(found: Any, labels: Any, _: Any, known: Any) -> Mapping[str, float]:
        seen.append((found, labels, known))
        return {}

    told = evaluate_maps(lambda image: np.ones(image.shape[1:], np.uint8), pairs, note, samples=2)
    assert isinstance(told, Evaluation)
    ((found, labels, known),) = seen
    assert (labels[0] == np.concatenate(truth)).all()
    assert (found == 1).all()
    assert known.all()
    assert told.pairs == 3
    assert {name: of.shape for name, of in told.sheets.items()} == {
        "image": (2, 2, 32, 32),
        "labels": (2, 1, 32, 32),
        "found": (2, 1, 32, 32),
    }
    assert (told.sheets["labels"][:, 0] == np.stack([truth[0], truth[2]])).all()


def card_of(**changes: Any) -> SegmenterCard:
    values = {
        "architecture": SMALL,
        "classes": SPEC.classes,
        "bands": SPEC.bands,
        "data_range": SPEC.data_range,
    }
    return SegmenterCard(**{**values, **changes})


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    network = make_network()
    card = save_segmenter(tmp_path, network, card_of())
    assert load_segmenter_card(tmp_path) == card
    segment = load_segmenter(tmp_path)
    image = np.random.default_rng(0).integers(0, 10_000, (2, 30, 22)).astype(np.uint16)
    assert (segment(image) == TrainedSegmenter(network, card, CPU)(image)).all()
    assert segment.name == f"segmenter-2@{card.weights_sha256[:12]}"
    assert set(np.unique(segment(image))) <= {1, 2}


def test_what_is_no_image_of_its_bands_is_refused(tmp_path: Path) -> None:
    save_segmenter(tmp_path, make_network(), card_of())
    segment = load_segmenter(tmp_path)
    with pytest.raises(DataError, match=r"takes \[2, H, W\] \(red, nir\), got an array of shape"):
        segment(np.zeros((3, 8, 8)))
    with pytest.raises(DataError, match="fill invalid pixels first"):
        segment(np.full((2, 8, 8), np.nan))


def test_a_card_that_tells_nothing_apart_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="wanted two classes or more"):
        card_of(classes=("calm",))
    save_segmenter(tmp_path, make_network(), card_of())
    path = tmp_path / "segmenter.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "classes": ["a", "b", "c"]}))
    with pytest.raises(ExportError, match="shape"):
        load_segmenter(tmp_path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"segment": SegmentConfig()}, "needs segment labels"),
        ({"adversarial_steps": 5}, "has no game"),
        ({"generator": GeneratorConfig(channels=8)}, "generator has no meaning"),
        ({"losses": LossConfig(ssim=1.0)}, "losses has no meaning"),
        ({"accumulate": 2}, "accumulate is 2, but batch normalisation"),
    ],
)
def test_what_makes_no_sense_where_nothing_is_drawn_is_refused(
    changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        replace(TINY, **changes)
