"""Anybody's segmentation network, as an ONNX file and a few words about it."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from models.config_checks import at_least, positive, whole
from models.errors import ConfigError, DataError, ExportError
from models.segment import Map, check_image

_WANTED = (
    '{"classes": ["water", "wood"], "bands": ["red", "green", "blue"], "data_range": 255} and, as '
    'they apply, "mean", "std" (of each band, where data_range is 1), "halo" and "stride"'
)
_MOST_CLASSES = 254


@dataclass(frozen=True, kw_only=True)
class OnnxCard:
    """What an ONNX file itself does not say; the JSON file beside it does.

    Parameters
    ----------
    classes : tuple of str
        In the order of its planes, or of its numbers from 0.
    bands : tuple of str
        In the order of the planes that it takes.
    data_range : float
        The DN that means one. Images of another range are brought to it.
    mean, std : tuple of float or None
        What it takes is ``(DN / data_range - mean) / std``; without them ``DN / data_range``.
    halo : int
        How far in pixels a pixel looks around itself.
    stride : int
        Sides of what it takes are multiples of this.
    """

    classes: tuple[str, ...]
    bands: tuple[str, ...]
    data_range: float
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    halo: int = 64
    stride: int = 32

    def __post_init__(self) -> None:
        for name in ("classes", "bands"):
            if not getattr(self, name):
                raise ConfigError(f"{name} is empty")
        if not 2 <= len(set(self.classes)) == len(self.classes) <= _MOST_CLASSES:
            raise ConfigError(f"classes must be 2 to {_MOST_CLASSES}, each once")
        positive("data_range", self.data_range)
        for name in ("halo", "stride"):
            whole(name, getattr(self, name))
        at_least("halo", self.halo, 0)
        at_least("stride", self.stride, 1)
        for name in ("mean", "std"):
            value = getattr(self, name)
            if value is not None and len(value) != len(self.bands):
                raise ConfigError(f"{name} has {len(value)} values for {len(self.bands)} bands")
        if self.std is not None and not all(value > 0 for value in self.std):
            raise ConfigError("std must be above 0 everywhere")


def read_onnx_card(path: Path) -> OnnxCard:
    """Read the JSON file beside an ONNX file.

    Raises
    ------
    ExportError
        When it is missing, or does not say what is wanted.
    """
    beside = path.with_suffix(".json")
    try:
        values = json.loads(beside.read_text(encoding="utf-8"))
        for name in ("classes", "bands", "mean", "std"):
            if values.get(name) is not None:
                if not isinstance(values[name], list):
                    raise ConfigError(f"{name} must be a list, got {values[name]!r}")
                values[name] = tuple(values[name])
        return OnnxCard(**values)
    except FileNotFoundError as error:
        raise ExportError(
            f"{path} does not say what its classes are: wanted {beside.name} beside it, {_WANTED}"
        ) from error
    except (ConfigError, OSError, ValueError, TypeError, AttributeError) as error:
        raise ExportError(f"{beside}: {error}; wanted {_WANTED}") from error


class OnnxSegmenter:
    """A network in an ONNX file as `models.segment.Segment`.

    It takes float32 [1, C, H, W] and gives scores [1, K, H, W], of which the highest counts, or
    numbers of classes from 0, [1, H, W] or [1, 1, H, W].

    Parameters
    ----------
    path : Path
        With a JSON file of the same name; see `OnnxCard`.

    Raises
    ------
    ExportError
        When onnxruntime is missing, or a file is missing or damaged.
    """

    def __init__(self, path: Path) -> None:
        if importlib.util.find_spec("onnxruntime") is None:
            raise ExportError(f"{path}: ONNX needs onnxruntime: pip install 'skyscale[export]'")
        import onnxruntime

        self.card = read_onnx_card(path)
        self._path = path
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # tiles are worked on side by side on all cores
        options.log_severity_level = 3
        try:
            content = path.read_bytes()
            self._session = onnxruntime.InferenceSession(
                content, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime has a class for each of its states
            raise ExportError(
                f"{path} cannot be read as ONNX: {str(error)[:300]}", path=str(path)
            ) from error
        inputs = self._session.get_inputs()
        if len(inputs) != 1:
            raise ExportError(f"{path} takes {len(inputs)} inputs; wanted one, of images")
        self._input = inputs[0].name
        self.name = f"{path.stem}@{hashlib.sha256(content).hexdigest()[:12]}"
        self.classes = self.card.classes
        self.bands = self.card.bands
        self.data_range = float(self.card.data_range)
        self.halo = self.card.halo
        self.stride = self.card.stride

    def __call__(self, image: npt.NDArray[Any]) -> Map:
        """See `models.segment.Segment`."""
        check_image(image, self.bands)
        height, width = image.shape[1:]
        x = np.divide(image, self.data_range, dtype=np.float32)
        for values, change in ((self.card.mean, np.subtract), (self.card.std, np.divide)):
            if values is not None:
                x = change(x, np.asarray(values, np.float32)[:, None, None])
        over = [(0, 0), *((0, -side % self.stride) for side in (height, width))]
        x = np.ascontiguousarray(np.pad(x, over, mode="edge")[None], np.float32)
        try:
            found = np.asarray(self._session.run(None, {self._input: x})[0])
        except Exception as error:  # onnxruntime has a class for each of its states
            raise DataError(
                f"{self._path} cannot work on an image of shape {x.shape}: {str(error)[:300]}"
            ) from error
        return self._classes_of(found, x.shape[2:])[:height, :width]

    def _classes_of(self, found: npt.NDArray[Any], size: tuple[int, ...]) -> Map:
        """Scores or numbers as numbers from 1."""
        count = len(self.classes)
        if found.shape == (1, count, *size) and found.dtype.kind == "f":
            return np.asarray(found[0].argmax(axis=0) + 1, np.uint8)
        numbers = found.reshape(size) if found.shape in ((1, *size), (1, 1, *size)) else None
        if numbers is None or numbers.dtype.kind not in "iu":
            raise DataError(
                f"{self._path} gives {found.dtype} of shape {found.shape}; wanted scores of shape "
                f"{(1, count, *size)} or whole numbers of shape {(1, *size)}"
            )
        if not 0 <= numbers.min() <= numbers.max() < count:
            raise DataError(
                f"{self._path} gives numbers {numbers.min()} to {numbers.max()}; the JSON beside "
                f"it names {count} classes, 0 to {count - 1}"
            )
        return np.asarray(numbers + 1, np.uint8)
