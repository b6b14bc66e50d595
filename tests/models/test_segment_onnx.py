"""Segmenters of anybody: an ONNX file, a few words about it, and the map that they mean."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from models.config_segment import SegmentConfig
from models.errors import DataError, ExportError
from models.segment import SegmenterCard, TrainedSegmenter, load_segmenter
from models.segmenter import Segmenter

WORDS: dict[str, Any] = {
    "classes": ["dark", "bright"],
    "bands": ["red", "nir"],
    "data_range": 100.0,
}


def write(path: Path, *nodes: Any, inits: Any = (), kind: int = TensorProto.FLOAT) -> Path:
    """A graph from ``x`` to ``y``, with the words beside it."""
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2, "h", "w"])],
        [helper.make_tensor_value_info("y", kind, None)],
        list(inits),
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), path)
    path.with_suffix(".json").write_text(json.dumps(WORDS))
    return path


def whole(name: str, *values: int) -> Any:
    return helper.make_tensor(name, TensorProto.INT64, [len(values)], values)


def write_planes(path: Path) -> Path:
    """The classes' scores are the bands themselves."""
    return write(path, helper.make_node("Identity", ["x"], ["y"]))


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # torch's exporter, of itself
def test_a_trained_network_says_the_same_as_an_onnx_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = SegmentConfig(channels=4, stages=2)
    network = Segmenter(bands=2, classes=2, config=config).eval()
    network.standardise.set(torch.tensor([0.4, 0.6]), 0.3)
    card = SegmenterCard(
        architecture=config, classes=("dark", "bright"), bands=("red", "nir"), data_range=100.0
    )
    path = tmp_path / "net.onnx"
    program = torch.export.export(network, (torch.zeros(1, 2, 32, 48),))
    torch.onnx.export(program, verbose=False).save(path)  # type: ignore[union-attr]  # it is there
    words = {**WORDS, "halo": network.halo, "stride": network.stride}
    path.with_suffix(".json").write_text(json.dumps(words))
    image = np.random.default_rng(0).integers(0, 100, (2, 32, 48)).astype(np.uint8)
    ours, theirs = TrainedSegmenter(network, card, torch.device("cpu")), load_segmenter(path)
    assert (ours(image) == theirs(image)).all()
    assert (theirs.halo, theirs.stride) == (network.halo, network.stride)
    assert theirs.name.startswith("net@")


def test_the_highest_score_counts_and_means_are_taken_off(tmp_path: Path) -> None:
    path = write_planes(tmp_path / "net.onnx")
    image = np.zeros((2, 5, 7), np.float32)
    image[0, :, :3], image[1, :, 3:] = 60, 60
    wanted = np.where(np.arange(7) < 3, 1, 2) * np.ones((5, 1))
    assert (load_segmenter(path)(image) == wanted).all()
    words = {**WORDS, "mean": [0.0, -1.0], "std": [1.0, 1.0]}
    path.with_suffix(".json").write_text(json.dumps(words))
    assert (load_segmenter(path)(image) == 2).all()


def test_sides_are_filled_up_to_the_stride_and_cut_again(tmp_path: Path) -> None:
    """A network that halves refuses odd sides by itself: its own output tells what it was given."""
    path = write(
        tmp_path / "net.onnx",
        helper.make_node("Shape", ["x"], ["size"], start=2, end=3),
        helper.make_node("Mod", ["size", "eight"], ["rest"]),
        helper.make_node("ReduceMax", ["x", "axes"], ["top"], keepdims=0),
        helper.make_node("Cast", ["rest"], ["added"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["top", "nothing"], ["zero"]),
        helper.make_node("Add", ["zero", "added"], ["real"]),
        helper.make_node("Cast", ["real"], ["y"], to=TensorProto.INT64),
        inits=[
            whole("eight", 8),
            whole("axes", 1),
            helper.make_tensor("nothing", TensorProto.FLOAT, [1], [0.0]),
        ],
        kind=TensorProto.INT64,
    )
    path.with_suffix(".json").write_text(json.dumps({**WORDS, "stride": 8}))
    assert (load_segmenter(path)(np.ones((2, 5, 7))) == np.ones((5, 7))).all()
    path.with_suffix(".json").write_text(json.dumps({**WORDS, "stride": 1}))
    with pytest.raises(DataError, match="gives numbers 5 to 5; the JSON beside it names 2"):
        load_segmenter(path)(np.ones((2, 5, 7)))


def test_what_gives_no_class_of_every_pixel_is_refused(tmp_path: Path) -> None:
    path = write(
        tmp_path / "net.onnx",
        helper.make_node("ReduceMean", ["x", "axes"], ["y"]),
        inits=[whole("axes", 2, 3)],
    )
    with pytest.raises(DataError, match=r"gives float32 of shape \(1, 2, 1, 1\); wanted scores"):
        load_segmenter(path)(np.ones((2, 5, 7)))


def test_files_that_are_missing_or_damaged_are_said_so(tmp_path: Path) -> None:
    path = write_planes(tmp_path / "net.onnx")
    beside = path.with_suffix(".json")
    beside.unlink()
    with pytest.raises(ExportError, match=r"wanted net\.json beside it"):
        load_segmenter(path)
    beside.write_text(json.dumps(WORDS))
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ExportError, match="cannot be read as ONNX"):
        load_segmenter(path)
    with pytest.raises(ExportError, match="holds no segmenter"):
        load_segmenter(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"classes": ["dark"]}, "classes must be 2 to 254"),
        ({"classes": ["dark", "dark"]}, "classes must be 2 to 254"),
        ({"classes": "dark"}, "classes must be a list"),
        ({"bands": []}, "bands is empty"),
        ({"data_range": 0.0}, "data_range"),
        ({"mean": [0.0]}, "mean has 1 values for 2 bands"),
        ({"std": [0.0, 1.0]}, "std must be above 0"),
        ({"halo": 1.5}, "halo must be a whole number"),
        ({"stride": 0}, "stride"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_words_that_cannot_be_are_refused(
    change: dict[str, Any], words: str, tmp_path: Path
) -> None:
    path = write_planes(tmp_path / "net.onnx")
    path.with_suffix(".json").write_text(json.dumps({**WORDS, **change}))
    with pytest.raises(ExportError, match=words):
        load_segmenter(path)
