"""A generator as a graph that runs without skyscale: ONNX, or a program of ``torch.export``.

The graph takes DN and gives DN, float32 [N, C, h, w] to [N, C, s*h, s*w], for any N, h and w. The
card travels inside the file. What is written is read back by the runtime that it is meant for and
compared with the generator before it gets its name.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.errors import ConfigError, ExportError
from models.export import CARD, GeneratorCard
from models.generators.base import Generator

FORMATS = ("onnx", "pt2")
TOLERANCE = 1e-5
"""Of the data range (or of the largest value, if that is more): rounding of float32, no more."""

_OPSET = 18  # the oldest that has all that the exporter writes
_NEEDED = ("onnx", "onnxscript", "onnxruntime")
# Odd and even, smaller than a kernel, one image and several, upright and lying.
_SHAPES = ((1, 1, 9), (1, 7, 5), (3, 16, 21), (2, 33, 32), (1, 64, 17))
_TRACED = (2, 13, 17)  # no size that torch.export takes for a constant
_AXES = {0: "batch", 2: "height", 3: "width"}

Run = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class PortableReport:
    """What was written, and how close it is.

    Parameters
    ----------
    path : str
    format : {"onnx", "pt2"}
    bytes : int
    shapes : tuple
        Of the random inputs that were compared, [N, C, h, w].
    difference_dn, tolerance_dn : float
        Largest difference found and allowed.
    """

    path: str
    format: str
    bytes: int
    shapes: tuple[tuple[int, ...], ...]
    difference_dn: float
    tolerance_dn: float


class DnGenerator(nn.Module):
    """A generator from DN to DN: the data range is inside."""

    def __init__(self, generator: Generator, data_range: float) -> None:
        super().__init__()
        self.generator = generator
        self.data_range = data_range

    def forward(self, lr: Tensor) -> Tensor:
        """DN [N, C, h, w] to DN [N, C, s*h, s*w]."""
        out: Tensor = self.generator(lr / self.data_range) * self.data_range
        return out


def export_portable(
    generator: Generator, card: GeneratorCard, path: Path, kind: str
) -> PortableReport:
    """Write a generator as a graph, and check that the graph is the generator.

    Parameters
    ----------
    generator : Generator
        On the CPU, as `load_generator` gives it.
    card : GeneratorCard
    path : Path
        Replaced if it exists, once what was written has been checked.
    kind : {"onnx", "pt2"}

    Raises
    ------
    ConfigError
        For another format.
    ExportError
        When a library is missing, the file cannot be written, or it does not do what the generator
        does.
    """
    if kind not in FORMATS:
        raise ConfigError(f"format must be one of {', '.join(FORMATS)}, got {kind!r}", format=kind)
    if kind == "onnx":
        _need_onnx()
    network = DnGenerator(generator.eval(), card.data_range).requires_grad_(False)
    facts = json.dumps({**card.to_dict(), "name": card.name})
    partial = path.with_name(f".{path.name}.partial")
    write, read = _WAYS[kind]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.unlink(missing_ok=True)
    except OSError as error:
        raise ExportError(f"{path} cannot be written: {error}", path=str(path)) from error
    try:
        write(_trace(network, len(card.bands)), partial, facts)
        run, found = read(partial)
        if found != facts:
            raise ExportError(f"{path}: the card does not come out of the file as it went in")
        difference, tolerance, shapes = _compare(run, network, card)
        if not difference <= tolerance:  # NaN is no agreement
            raise ExportError(
                f"{path}: the {kind} graph differs from the generator by {difference:.3g} DN, "
                f"allowed are {tolerance:.3g}; it was not kept",
                difference_dn=difference,
            )
        size = partial.stat().st_size
        _keep(partial, path)
    except OSError as error:
        raise ExportError(f"{path} cannot be written: {error}", path=str(path)) from error
    finally:
        partial.unlink(missing_ok=True)
    return PortableReport(
        path=str(path),
        format=kind,
        bytes=size,
        shapes=shapes,
        difference_dn=difference,
        tolerance_dn=tolerance,
    )


def _trace(network: DnGenerator, bands: int) -> torch.export.ExportedProgram:
    dims = {axis: torch.export.Dim(name, min=1) for axis, name in _AXES.items()}
    n, h, w = _TRACED
    return torch.export.export(network, (torch.zeros(n, bands, h, w),), dynamic_shapes=(dims,))


def _compare(
    run: Run, network: DnGenerator, card: GeneratorCard
) -> tuple[float, float, tuple[tuple[int, ...], ...]]:
    worst, largest, shapes = 0.0, card.data_range, []
    for lr in _inputs(network.generator, card):
        with torch.inference_mode():
            wanted = network(lr)
        got = run(lr)
        if got.shape != wanted.shape:
            raise ExportError(
                f"the graph makes shape {tuple(got.shape)} of {tuple(lr.shape)}, "
                f"the generator {tuple(wanted.shape)}"
            )
        difference = float((got - wanted).abs().max())
        worst = difference if difference != difference else max(worst, difference)
        largest = max(largest, float(wanted.abs().max()))
        shapes.append(tuple(lr.shape))
    return worst, TOLERANCE * largest, tuple(shapes)


def _inputs(generator: Generator, card: GeneratorCard) -> Iterator[Tensor]:
    """Noise around the training imagery's mean, as far as three times its spread."""
    random = torch.Generator().manual_seed(0)
    mean, spread = generator.standardise.mean, generator.standardise.spread
    for n, h, w in _SHAPES:
        noise = 6 * torch.rand(n, len(card.bands), h, w, generator=random) - 3
        yield (mean + spread * noise) * card.data_range


def _write_onnx(program: torch.export.ExportedProgram, path: Path, facts: str) -> None:
    with _hushed():
        graph = torch.onnx.export(
            program,
            input_names=["lr"],
            output_names=["sr"],
            dynamic_shapes=(_AXES,),  # of the traced program; here for the names alone
            opset_version=_OPSET,
            external_data=False,
            verbose=False,  # else it talks on standard output
        )
    assert graph is not None
    graph.model.metadata_props[CARD] = facts
    graph.save(path, external_data=False)


@contextmanager
def _hushed() -> Iterator[None]:
    """Without what the exporter says of itself: that torchvision is missing, and how it copies."""
    registration = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = registration.level
    registration.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*LeafSpec.*", FutureWarning)
            yield
    finally:
        registration.setLevel(level)


def _read_onnx(path: Path) -> tuple[Run, str]:
    import onnx
    import onnxruntime

    onnx.checker.check_model(path, full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    facts = session.get_modelmeta().custom_metadata_map.get(CARD, "")
    return lambda lr: torch.from_numpy(session.run(["sr"], {"lr": lr.numpy()})[0]), facts


def _write_pt2(program: torch.export.ExportedProgram, path: Path, facts: str) -> None:
    program.example_inputs = None  # the only part that would be pickled
    with path.open("wb") as file:
        torch.export.save(program, file, extra_files={CARD: facts})


def _read_pt2(path: Path) -> tuple[Run, str]:
    if pickled := _pickles(path):
        # torch.export.load would run what they say.
        raise ExportError(f"{path}: holds pickles ({', '.join(pickled)}); wanted none")
    extra = {CARD: ""}
    with path.open("rb") as file:
        program = torch.export.load(file, extra_files=extra)
    module = program.module()

    def run(lr: Tensor) -> Tensor:
        with torch.inference_mode():
            out: Tensor = module(lr)
            return out

    return run, extra[CARD]


def _pickles(path: Path) -> list[str]:
    """Members of a pt2 archive that would be unpickled on loading."""
    found = []
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            name = member.filename
            if "/sample_inputs/" in name and member.file_size:
                found.append(name)
            if name.endswith("_config.json"):
                tensors: dict[str, Any] = json.loads(archive.read(name)).get("config", {})
                found += [name for name, facts in tensors.items() if facts.get("use_pickle")]
    return found


_WAYS = {"onnx": (_write_onnx, _read_onnx), "pt2": (_write_pt2, _read_pt2)}


def _need_onnx() -> None:
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ExportError(
            f"ONNX needs {', '.join(missing)}: pip install 'skyscale[export]', or write pt2, "
            "which needs nothing more",
            missing=missing,
        )


def _keep(partial: Path, path: Path) -> None:
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(partial, path)
