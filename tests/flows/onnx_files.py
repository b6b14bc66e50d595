"""Segmenters of anybody, as ONNX files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def write_pixel_network(path: Path, weight: np.ndarray, bias: np.ndarray, **card: Any) -> str:
    """Scores of classes that are linear in the bands of a pixel, with the words beside the file.

    Parameters
    ----------
    weight : array, [K, C]
    bias : array, [K]
    """
    classes, bands = weight.shape
    kernels = weight.astype(np.float32)[:, :, None, None]
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "weight", "bias"], ["y"])],
        "pixels",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", bands, "h", "w"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", classes, "h", "w"])],
        [
            numpy_helper.from_array(kernels, "weight"),
            numpy_helper.from_array(bias.astype(np.float32), "bias"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    onnx.save(model, path)
    path.with_suffix(".json").write_text(json.dumps({"halo": 0, "stride": 1} | card))
    return str(path)
