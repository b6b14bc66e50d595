from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor

from models.config_networks import GENERATORS, GeneratorConfig, exported_form
from models.errors import ConfigError, ExportError
from models.export import CARD, GeneratorCard, save_generator
from models.generators.base import Generator
from models.generators.edsr import EDSR
from models.generators.registry import build_generator
from models.portable import FORMATS, TOLERANCE, export_portable
from models.predict import Predictor

RANGE = 10_000.0
BANDS = ("red", "green", "blue", "nir")
# Each generator, scale and number of bands; among the slow tests, each two of them together, and
# each generator in both formats.
SOME = (("edsr", 4, 3), ("srresnet", 2, 4), ("rrdb", 4, 1), ("span", 8, 2), ("unet", 2, 3))
PAIRWISE = tuple(
    (FORMATS[(place + bands) % 2], name, (2, 4, 8)[(place + bands) % 3], bands)
    for place, name in enumerate(GENERATORS)
    for bands in (1, 2, 3, 4)
)

formats = pytest.mark.parametrize("kind", FORMATS)


def make(name: str = "edsr", *, scale: int = 4, bands: int = 3) -> tuple[Generator, GeneratorCard]:
    torch.manual_seed(0)
    config = exported_form(GeneratorConfig(name=name, channels=4, blocks=1))
    generator = build_generator(config, bands=bands, scale=scale)
    generator.standardise.set(torch.linspace(0.1, 0.3, bands), 0.05)
    for parameter in generator.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.05)
    card = GeneratorCard(
        architecture=config,
        scale=scale,
        bands=BANDS[:bands],
        data_range=RANGE,
        halo=generator.halo,
    )
    return generator.eval(), card


def run(path: Path, kind: str, lr: np.ndarray) -> np.ndarray:
    """What somebody without skyscale does with the file."""
    if kind == "onnx":
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        (sr,) = session.run(None, {"lr": lr})
        return np.asarray(sr)
    program = torch.export.load(str(path)).module()
    with torch.inference_mode():
        return program(torch.from_numpy(lr)).numpy()  # type: ignore[no-any-return]


def check(folder: Path, kind: str, name: str, scale: int, bands: int) -> None:
    generator, card = make(name, scale=scale, bands=bands)
    card = save_generator(folder / "generator", generator, card)
    path = folder / f"generator.{kind}"
    report = export_portable(generator, card, path, kind)
    assert report.difference_dn <= report.tolerance_dn
    assert sorted(p.name for p in folder.iterdir()) == ["generator", path.name]
    predict = Predictor.load(folder / "generator")
    for n, h, w in ((1, 5, 3), (2, 20, 11)):
        lr = np.random.default_rng(h).random((n, bands, h, w), np.float32) * 4000
        wanted = np.stack([predict(image) for image in lr])
        limit = TOLERANCE * max(RANGE, float(np.abs(wanted).max()))
        np.testing.assert_allclose(run(path, kind, lr), wanted, atol=limit, rtol=0)


@pytest.mark.parametrize(("name", "scale", "bands"), SOME)
def test_the_graph_gives_what_the_predictor_gives(
    tmp_path: Path, name: str, scale: int, bands: int
) -> None:
    check(tmp_path, "onnx", name, scale, bands)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "name", "scale", "bands"), PAIRWISE)
def test_so_does_every_other(tmp_path: Path, kind: str, name: str, scale: int, bands: int) -> None:
    check(tmp_path, kind, name, scale, bands)


@formats
def test_the_card_travels_inside_and_no_code_does(tmp_path: Path, kind: str) -> None:
    generator, card = make()
    path = tmp_path / f"g.{kind}"
    export_portable(generator, card, path, kind)
    if kind == "onnx":
        model = onnx.load(path, load_external_data=False)
        facts = {entry.key: entry.value for entry in model.metadata_props}[CARD]
        (lr,), (sr,) = model.graph.input, model.graph.output
        assert [d.dim_param or d.dim_value for d in lr.type.tensor_type.shape.dim] == [
            "batch",
            3,
            "height",
            "width",
        ]
        assert sr.type.tensor_type.shape.dim[1].dim_value == 3
        assert not any(tensor.external_data for tensor in model.graph.initializer)
    else:
        extra = {CARD: ""}
        torch.export.load(str(path), extra_files=extra)
        facts = extra[CARD]
        with zipfile.ZipFile(path) as archive:
            assert not any(archive.read(n)[:1] == b"\x80" for n in archive.namelist() if "pkl" in n)
            assert not any("pkl" in name for name in archive.namelist())
    assert json.loads(facts) == json.loads(json.dumps(card.to_dict() | {"name": card.name}))


class _DrawsOtherwiseElsewhere(EDSR):
    """As a layer would that an exporter translates wrongly."""

    def forward(self, x: Tensor) -> Tensor:
        drawn = super().forward(x)
        return drawn + 1e-4 if torch.compiler.is_exporting() else drawn


@formats
def test_a_graph_that_differs_is_not_kept(tmp_path: Path, kind: str) -> None:
    _, card = make()
    wrong = _DrawsOtherwiseElsewhere(bands=3, scale=4, channels=8, blocks=2)
    path = tmp_path / f"g.{kind}"
    path.write_bytes(b"an earlier one")
    with pytest.raises(ExportError, match=r"differs from the generator by 1 DN, allowed are 0"):
        export_portable(wrong, card, path, kind)
    assert path.read_bytes() == b"an earlier one"
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ExportError, match=r"needs onnxruntime: pip install 'skyscale\[export\]'"):
        export_portable(*make(), tmp_path / "g.onnx", "onnx")
    with pytest.raises(ConfigError, match="one of onnx, pt2, got 'tflite'"):
        export_portable(*make(), tmp_path / "g.tflite", "tflite")
    (tmp_path / "file").touch()
    with pytest.raises(ExportError, match="cannot be written"):
        export_portable(*make(), tmp_path / "file" / "g.pt2", "pt2")
