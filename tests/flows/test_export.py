"""``skyscale export`` as users type it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from typer.testing import CliRunner, Result

from flows.cli import app
from models.config_networks import GeneratorConfig
from models.export import GeneratorCard, save_generator
from models.generators.registry import build_generator


def skyscale(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture
def model(tmp_path: Path) -> Path:
    config = GeneratorConfig(channels=8, blocks=1)
    generator = build_generator(config, bands=2, scale=2)
    card = GeneratorCard(
        architecture=config, scale=2, bands=("red", "nir"), data_range=255.0, halo=generator.halo
    )
    save_generator(tmp_path / "model", generator, card)
    return tmp_path / "model"


def test_a_folder_becomes_a_graph_that_runs_elsewhere(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "g.onnx"
    done = skyscale("export", model, out, "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["output"], told["format"], told["scale"]) == (str(out), "onnx", 2)
    assert told["bands"] == ["red", "nir"]
    assert told["difference_dn"] <= told["tolerance_dn"]
    session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
    (sr,) = session.run(None, {"lr": np.full((1, 2, 6, 5), 100, np.float32)})
    np.testing.assert_allclose(sr, np.full((1, 2, 12, 10), 100), rtol=1e-5)


def test_the_format_may_be_said(model: Path, tmp_path: Path) -> None:
    done = skyscale("export", model, tmp_path / "g.bin", "--format", "pt2")
    assert done.exit_code == 0, done.output
    assert "torch.export.load" in done.stdout
    assert (tmp_path / "g.bin").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("bicubic", "g.onnx"), "bicubic is a formula built into skyscale"),
        (("{model}", "g.bin"), "cannot tell the format of"),
        (("{model}", "g.pt2", "--format", "onnx"), "contradicts the name"),
        (("{model}", "g.x", "--format", "tflite"), "'tflite'; wanted onnx or pt2"),
        (("nobody", "g.onnx"), "'nobody'; wanted models:/"),
    ],
)
def test_wrong_usage_is_one_line(
    model: Path, tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    name, out, *rest = (text.format(model=model) for text in arguments)
    done = skyscale("export", name, tmp_path / out, *rest)
    assert done.exit_code == 2, done.output
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("skyscale:")]
    assert says in line
    assert not (tmp_path / out).exists()
